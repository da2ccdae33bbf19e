/** The workers of a cluster, which are listed when one asks for them. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Cluster } from '../wire';
import { useParts } from './late';

export interface IWorkersProps {
  cluster: Cluster;
  trans: TranslationBundle;
}

export function Workers({ cluster, trans }: IWorkersProps): JSX.Element {
  const { workers } = cluster;
  const [open, setOpen] = React.useState(false);
  const parts = useParts(open, trans);
  return (
    <details
      className="jp-Coiled-workers"
      onToggle={event => setOpen(event.currentTarget.open)}
    >
      <summary>{trans.__('Workers')}</summary>
      {open && parts && <parts.WorkerList workers={workers} trans={trans} />}
    </details>
  );
}
