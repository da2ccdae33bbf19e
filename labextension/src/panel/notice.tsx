/** A problem, in the server's words. */
import * as React from 'react';

import { Icon, SEVERITY_ICONS } from './icons';

export interface INoticeProps {
  text: string;
  hint?: string;
}

export function Notice({ text, hint }: INoticeProps): JSX.Element {
  return (
    <div className="jp-Coiled-problem jp-Coiled-row" role="status" data-notice>
      <Icon icon={SEVERITY_ICONS.risky} />
      <span className="jp-Coiled-grow">
        {text}
        {hint && <div className="jp-Coiled-sub">{hint}</div>}
      </span>
    </div>
  );
}
