/** The dialog that sets a cluster's lease. */
import { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Cluster } from '../api/wire';
import { durationWords } from '../words/words';
import type { IDialogContext } from './context';
import { ask } from './form';

/** Leases to choose from, in seconds; 0 stops the cluster with its last holder. */
const LEASES = [600, 3600, 8 * 3600, 24 * 3600, 7 * 24 * 3600, 0];

export async function keepCluster(
  cluster: Cluster,
  { model, trans }: IDialogContext
): Promise<void> {
  const present = cluster.desired.lease_seconds;
  const known = present === null || LEASES.includes(present);
  const leases = known ? LEASES : [present, ...LEASES];
  await ask<{ lease_seconds: string }>({
    title: trans.__('Keep %1', cluster.name),
    initial: { lease_seconds: String(present ?? LEASES[0]) },
    fields: form =>
      form.select(
        'lease_seconds',
        trans.__('When unused, keep it running for'),
        leases.map(seconds => [
          String(seconds),
          seconds === 0
            ? trans.__('stop when unused')
            : durationWords(seconds, trans)
        ])
      ),
    effect: values => effectWords(cluster, Number(values.lease_seconds), trans),
    accept: Dialog.okButton({ label: trans.__('Keep') }),
    focus: 'select',
    act: values =>
      model.change(cluster.id, { lease_seconds: Number(values.lease_seconds) }),
    trans
  });
}

function effectWords(
  { desired, name }: Cluster,
  seconds: number,
  trans: TranslationBundle
): string {
  const change =
    seconds === 0
      ? trans.__(
          '%1 stops as soon as no client is connected and no Jupyter server runs that follows it, also while that restarts.',
          name
        )
      : trans.__(
          '%1 stops %2 after the last client and the last Jupyter server let go of it, also when the server was shut down.',
          name,
          durationWords(seconds, trans)
        );
  const present = desired.lease_seconds;
  if (present === null) {
    return change;
  }
  const before =
    present === 0
      ? trans.__('Until now: at once.')
      : desired.kept
        ? trans.__('Until now: %1.', durationWords(present, trans))
        : trans.__(
            'Until now: %1, and at once when the server is shut down.',
            durationWords(present, trans)
          );
  return `${change} ${before}`;
}
