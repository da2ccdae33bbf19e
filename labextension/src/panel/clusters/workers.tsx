/** The workers of a cluster, listed when unfolded. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Cluster } from '../../api/wire';
import { lazy } from '../lazy';

const WorkerList = lazy(() => import('./workerList').then(it => it.WorkerList));

export interface IWorkersProps {
  cluster: Cluster;
  trans: TranslationBundle;
}

export function Workers({ cluster, trans }: IWorkersProps): JSX.Element {
  const { workers } = cluster;
  const [open, setOpen] = React.useState(false);
  return (
    <details
      className="jp-Coiled-workers"
      onToggle={event => setOpen(event.currentTarget.open)}
    >
      <summary>{trans.__('Workers')}</summary>
      {open && <WorkerList workers={workers} trans={trans} />}
    </details>
  );
}
