/** The dialog that removes unused earlier states from disk. */
import { Dialog, Notification } from '@jupyterlab/apputils';

import { BASE, layerSizeWords, layerUseWords, layerWords } from '../words/plan';
import type { IDialogContext } from './context';
import { ask } from './form';

export async function removeStates({
  model,
  trans
}: IDialogContext): Promise<void> {
  // Updated while the dialog is open, as states are removed.
  let layers = (await model.syncs.layers()).filter(({ id }) => id !== BASE);
  if (layers.length === 0) {
    Notification.info(trans.__('No earlier state takes any room'));
    return;
  }
  const names = new Map(model.clusters.map(({ id, name }) => [id, name]));
  await ask<{ layers: readonly string[] }>({
    title: trans.__('Earlier states of clusters'),
    initial: { layers: [] },
    fields: form =>
      form.checkboxes(
        'layers',
        trans.__('Earlier states'),
        layers.map(layer => ({
          value: layer.id,
          label: layerWords(layer, model.now, trans),
          disabled: layer.clusters.length > 0 || layer.known_by.length === 0,
          lines: [
            layerUseWords(layer, names, trans),
            ...layer.places.map(({ host, path }) =>
              host ? trans.__('%1: %2', host, path) : path
            )
          ]
        }))
      ),
    effect: values => {
      const chosen = layers.filter(({ id }) => values.layers.includes(id));
      const known = new Set(chosen.flatMap(({ known_by }) => known_by));
      return chosen.length === 0
        ? trans.__('Choose at least one state')
        : trans._n(
            '%1 state is removed (%2); %3 can not go back to it any more.',
            '%1 states are removed (%2); %3 can not go back to them any more.',
            chosen.length,
            layerSizeWords(chosen, trans),
            [...known].map(id => names.get(id) ?? id).join(', ')
          );
    },
    accept: Dialog.warnButton({ label: trans.__('Remove') }),
    focus: 'input:enabled',
    act: async values => {
      for (const chosen of layers.filter(it => values.layers.includes(it.id))) {
        await model.syncs.removeLayer(chosen.id);
        layers = layers.filter(layer => layer !== chosen);
      }
    },
    trans
  });
}
