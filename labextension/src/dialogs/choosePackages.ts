/** The dialog that chooses the packages of a sync. */
import { Dialog } from '@jupyterlab/apputils';

import type { Cluster } from '../api/wire';
import { choosable, isRated } from '../model/syncOffer';
import { ratingWords, rowStatusWords } from '../words/words';
import type { IDialogContext } from './context';
import { ask } from './form';

/** Return the chosen packages, none if the user cancels; those rated above `same` are checked initially. */
export async function choosePackages(
  cluster: Cluster,
  { model, trans }: IDialogContext
): Promise<readonly string[]> {
  const rows = choosable(model.diff);
  let chosen: readonly string[] = [];
  await ask<{ scope: readonly string[] }>({
    title: trans.__('Which packages for %1?', cluster.name),
    initial: { scope: rows.filter(isRated).map(({ name }) => name) },
    fields: form =>
      form.checkboxes(
        'scope',
        trans.__('Packages that differ'),
        rows.map(({ name, severity, status }) => ({
          value: name,
          label: trans.__(
            '%1: %2, %3',
            name,
            rowStatusWords(status, trans),
            ratingWords(severity, trans)
          )
        }))
      ),
    effect: ({ scope }) =>
      scope.length === 0
        ? trans.__('Choose at least one package')
        : trans._n(
            'A plan is made for %1 package on %2, with what it needs. Nothing is changed before you have seen it.',
            'A plan is made for %1 packages on %2, with what they need. Nothing is changed before you have seen it.',
            scope.length,
            cluster.name
          ),
    accept: Dialog.okButton({ label: trans.__('Preview…') }),
    focus: 'input',
    act: ({ scope }) => {
      chosen = scope;
    },
    trans
  });
  return chosen;
}
