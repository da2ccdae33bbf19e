/** The dialog that chooses an earlier state of a cluster. */
import { Dialog } from '@jupyterlab/apputils';

import type { Cluster, Layer } from '../api/wire';
import { layerWords } from '../words/plan';
import type { IDialogContext } from './context';
import { ask } from './form';

/** Return the id of the chosen state, null if the user cancels. */
export async function chooseState(
  layers: readonly Layer[],
  cluster: Cluster,
  { model, trans }: IDialogContext
): Promise<string | null> {
  const isPresent = ({ clusters }: Layer) => clusters.includes(cluster.id);
  let chosen: string | null = null;
  await ask<{ layer: string }>({
    title: trans.__('Earlier states of %1', cluster.name),
    initial: { layer: layers.find(it => !isPresent(it))?.id ?? '' },
    fields: form =>
      form.radio(
        'layer',
        layers.map(layer => {
          const words = layerWords(layer, model.now, trans);
          const present = isPresent(layer);
          return {
            value: layer.id,
            label: present ? trans.__('%1 (present)', words) : words,
            disabled: present
          };
        })
      ),
    effect: () =>
      trans.__(
        'A plan is made for %1. Nothing is changed before you have seen it.',
        cluster.name
      ),
    accept: Dialog.okButton({ label: trans.__('Preview…') }),
    focus: 'input:enabled',
    act: ({ layer }) => {
      chosen = layer;
    },
    trans
  });
  return chosen;
}
