/** The dialog that restarts a cluster's workers or the whole cluster. */
import { Dialog } from '@jupyterlab/apputils';
import * as React from 'react';

import type { Cluster } from '../api/wire';
import type { IDialogContext } from './context';
import { ask } from './form';
import { WhatIsLost } from './whatIsLost';

export async function restartCluster(
  cluster: Cluster,
  { model, trans }: IDialogContext
): Promise<void> {
  await ask<{ what: string }>({
    title: trans.__('Restart %1?', cluster.name),
    initial: { what: 'workers' },
    fields: form => (
      <>
        <WhatIsLost cluster={cluster} model={model} trans={trans} />
        {form.radio('what', [
          { value: 'workers', label: trans.__('The workers') },
          {
            value: 'cluster',
            label: trans.__('The whole cluster: scheduler and workers')
          }
        ])}
      </>
    ),
    effect: ({ what }) =>
      what === 'cluster'
        ? trans.__(
            'Scheduler and workers restart at the same address. All results, scattered data and tasks are lost. Clients reconnect by themselves.'
          )
        : trans._n(
            'Its %1 worker restarts. Running tasks start again; results that only it holds are computed again, scattered data is lost.',
            'Its %1 workers restart. Running tasks start again; results that only they hold are computed again, scattered data is lost.',
            cluster.workers.length
          ),
    accept: Dialog.warnButton({ label: trans.__('Restart') }),
    focus: 'input:checked',
    act: ({ what }) =>
      model.restart(cluster.id, what === 'cluster' ? 'cluster' : 'workers'),
    trans
  });
}
