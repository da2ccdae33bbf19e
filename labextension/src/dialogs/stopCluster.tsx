/** The dialog that stops a cluster, detaches one that runs elsewhere, or removes the record of one that has ended. */
import { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Cluster } from '../api/wire';
import { goesOn } from '../model/capabilities';
import { hasEnded } from '../model/model';
import type { Model } from '../model/model';
import type { IDialogContext } from './context';
import { FocusedDialog } from './dialog';
import { WhatIsLost } from './whatIsLost';

export async function stopCluster(
  cluster: Cluster,
  { model, trans }: IDialogContext
): Promise<void> {
  const { body, label, title } = partsOf(cluster, model, trans);
  const { button } = await new FocusedDialog({
    title,
    body,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({ label })
    ]
  }).launch();
  if (button.accept) {
    await model.remove(cluster.id);
  }
}

interface IParts {
  title: string;
  label: string;
  body: string | React.ReactElement;
}

function partsOf(
  cluster: Cluster,
  model: Model,
  trans: TranslationBundle
): IParts {
  const { name, workers } = cluster;
  if (hasEnded(cluster)) {
    return {
      title: trans.__('Remove %1 from the list?', name),
      label: trans.__('Remove'),
      body: trans.__('It has ended; only its record goes.')
    };
  }
  if (goesOn(cluster)) {
    return {
      title: trans.__('Detach %1?', name),
      label: trans.__('Detach'),
      body: trans.__('It was started elsewhere and goes on.')
    };
  }
  const lead = trans._n(
    'Its %1 worker ends, and results that only it holds are lost.',
    'Its %1 workers end, and results that only they hold are lost.',
    workers.length
  );
  return {
    title: trans.__('Stop %1?', name),
    label: trans.__('Stop'),
    body: (
      <WhatIsLost cluster={cluster} model={model} lead={lead} trans={trans} />
    )
  };
}
