/** The dialog that attaches a cluster that runs elsewhere. */
import { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { ClusterAttach } from '../api/wire';
import type { IDialogContext } from './context';
import { ask } from './form';
import type { IFormOptions } from './form';

type Values = {
  readonly address: string;
  readonly name: string;
  readonly 'tls.ca_file': string;
  readonly 'tls.cert_file': string;
  readonly 'tls.key_file': string;
};

const EXAMPLE = 'tcp://10.0.0.7:8786';

export async function attachCluster({
  model,
  trans
}: IDialogContext): Promise<void> {
  await ask({
    ...attachForm(trans),
    title: trans.__('Attach a cluster'),
    accept: Dialog.okButton({ label: trans.__('Attach') }),
    focus: 'input',
    act: values => model.attach(requestOf(values))
  });
}

export function attachForm(trans: TranslationBundle): IFormOptions<Values> {
  const file = { placeholder: trans.__('absolute path') };
  return {
    initial: {
      address: '',
      name: '',
      'tls.ca_file': '',
      'tls.cert_file': '',
      'tls.key_file': ''
    },
    fields: form => (
      <>
        {form.text('address', trans.__('Address of the scheduler'), {
          placeholder: EXAMPLE,
          required: true
        })}
        {form.text('name', trans.__('Name (optional)'), {
          placeholder: trans.__('its host and port')
        })}
        <details>
          <summary>
            {trans.__(
              'Certificate files (PEM) on the server, for tls:// addresses'
            )}
          </summary>
          {form.text('tls.ca_file', trans.__('Authority (CA)'), file)}
          {form.text('tls.cert_file', trans.__('Certificate'), file)}
          {form.text('tls.key_file', trans.__('Key'), file)}
        </details>
      </>
    ),
    effect: () =>
      trans.__(
        'Its nodes are read and compared with the notebook. Nothing on it is changed, and it goes on when you detach it.'
      ),
    trans
  };
}

/** Return the body of the request. */
export function requestOf(values: Values): ClusterAttach {
  const { address, name } = values;
  const tls = {
    ca_file: values['tls.ca_file'].trim(),
    cert_file: values['tls.cert_file'].trim(),
    key_file: values['tls.key_file'].trim()
  };
  return {
    address: address.trim(),
    ...(name.trim() && { name: name.trim() }),
    ...(Object.values(tls).some(Boolean) && { tls })
  };
}
