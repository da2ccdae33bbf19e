/** The dialog that renames a cluster. */
import { Dialog } from '@jupyterlab/apputils';

import type { Cluster } from '../api/wire';
import type { IDialogContext } from './context';
import { ask } from './form';

export async function renameCluster(
  cluster: Cluster,
  { model, trans }: IDialogContext
): Promise<void> {
  await ask<{ name: string }>({
    title: trans.__('Rename %1', cluster.name),
    initial: { name: cluster.name },
    fields: form => form.text('name', trans.__('Name'), { required: true }),
    effect: ({ name }) =>
      trans.__(
        '%1 is called %2 from now on. Code that asks for it as %1 no longer finds it; clients that are connected stay.',
        cluster.name,
        name.trim()
      ),
    accept: Dialog.okButton({ label: trans.__('Rename') }),
    focus: 'input',
    act: ({ name }) => model.change(cluster.id, { name: name.trim() }),
    trans
  });
}
