/** A problem, in the server's words. */
import * as React from 'react';

export interface INoticeProps {
  text: string;
  hint?: string;
}

export function Notice({ text, hint }: INoticeProps): JSX.Element {
  return (
    <div className="jp-Coiled-problem jp-Coiled-row" role="status" data-notice>
      <span className="jp-Coiled-icon" aria-hidden="true">
        !
      </span>
      <span className="jp-Coiled-grow">
        {text}
        {hint && <div className="jp-Coiled-sub">{hint}</div>}
      </span>
    </div>
  );
}
