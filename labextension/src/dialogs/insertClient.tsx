/** The dialog that inserts code for connecting to a cluster into the notebook. */
import { Dialog } from '@jupyterlab/apputils';
import * as React from 'react';

import type { Cluster } from '../api/wire';
import type { IDialogContext } from './context';
import { FocusedDialog } from './dialog';

export async function insertClient(
  cluster: Cluster,
  { kernels, model, trans }: IDialogContext
): Promise<void> {
  const code = clientCode(cluster);
  const target = model.kernel;
  const { button } = await new FocusedDialog({
    title: trans.__('Insert a client of %1?', cluster.name),
    body: (
      <div>
        <p>
          {trans.__(
            'This code is added to %1. It is not run. It needs coiled-jupyter in the kernel.',
            target?.label ?? ''
          )}
        </p>
        <pre>{code}</pre>
      </div>
    ),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Insert') })
    ]
  }).launch();
  // The followed notebook may have changed since.
  if (button.accept && kernels.current?.path === target?.path) {
    kernels.insert(code);
  }
}

/** Every JSON string is a Python literal, so a name can't inject code. */
export function clientCode(cluster: Pick<Cluster, 'name'>): string {
  return [
    'import coiled_jupyter',
    '',
    `client = coiled_jupyter.connect(${JSON.stringify(cluster.name)})`,
    'client'
  ].join('\n');
}
