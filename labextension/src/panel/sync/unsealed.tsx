/** What is missing where a cluster was synced for sealed graphs and the notebook's clients don't send such, as after a restart. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Icon, SEVERITY_ICONS } from '../icons';

export interface IUnsealedProps {
  onSeal: () => void;
  trans: TranslationBundle;
}

export function Unsealed({ onSeal, trans }: IUnsealedProps): JSX.Element {
  return (
    <div
      className="jp-Coiled-problem jp-Coiled-row"
      role="status"
      data-note="unsealed"
    >
      <Icon icon={SEVERITY_ICONS.risky} />
      <span className="jp-Coiled-grow">
        {trans.__(
          "The scheduler keeps other packages, and this notebook doesn't send it sealed graphs now: a restart of the kernel ends that."
        )}
      </span>
      <button className="jp-Coiled-button" onClick={onSeal}>
        {trans.__('Seal')}
      </button>
    </div>
  );
}
