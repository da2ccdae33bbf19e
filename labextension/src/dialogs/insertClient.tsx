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
  const target = model.kernel;
  // The server knows the certificates, and what the kernel has.
  const { code, missing } = await model.clientCode(cluster.id);
  const { button } = await new FocusedDialog({
    title: trans.__('Insert a client of %1?', cluster.name),
    body: (
      <div>
        <p>
          {trans.__(
            'This code is added to %1. It is not run.',
            target?.label ?? ''
          )}
        </p>
        {missing && (
          <p className="jp-Coiled-problem">
            {trans.__(
              'Its kernel has no %1: run %2 first.',
              missing,
              `%pip install ${missing}`
            )}
          </p>
        )}
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
