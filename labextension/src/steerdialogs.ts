/** What the commands that steer a cluster do: each says in a dialog of ours what it changes. */
import { Dialog, Notification } from '@jupyterlab/apputils';

import { KeepForm, RenameForm, RestartForm } from './choices';
import { ClusterForm } from './choosing';
import { ask } from './dialogs';
import { ScaleForm } from './scale';
import { Stakes } from './stakes';
import type { ISteeringOptions } from './steering';
import type { Cluster } from './wire';
import { grantWords } from './words';

/** Ask which of several clusters is meant, for a purpose in words; undefined where nobody says. */
export async function which(
  clusters: readonly Cluster[],
  purpose: string,
  { model, trans }: Pick<ISteeringOptions, 'model' | 'trans'>
): Promise<Cluster | undefined> {
  let chosen: string | null = null;
  await ask({
    title: trans.__('Which cluster?'),
    body: new ClusterForm(clusters, model.cluster?.id, purpose, trans),
    accept: Dialog.okButton({ label: trans.__('Continue') }),
    focus: 'input:checked',
    act: async id => {
      chosen = id;
    },
    trans
  });
  return clusters.find(({ id }) => id === chosen);
}

/** Set how many workers a cluster has. */
export async function scale(
  cluster: Cluster,
  { model, trans }: ISteeringOptions
): Promise<void> {
  await ask({
    title: trans.__('Scale %1', cluster.name),
    body: new ScaleForm(cluster, model.usage, trans),
    accept: Dialog.okButton({ label: trans.__('Scale') }),
    focus: 'div:not([hidden]) > label > input[type=number]',
    act: async body => {
      const changed = await model.change(cluster.id, body);
      const asked = body.adaptive?.maximum ?? body.workers ?? 0;
      const words = grantWords(changed, asked, trans);
      if (words) {
        Notification.warning(words, { autoClose: false });
      }
    },
    trans
  });
}

/** Start a cluster's workers, or all of it, anew. */
export async function restart(
  cluster: Cluster,
  { model, trans }: ISteeringOptions
): Promise<void> {
  await ask({
    title: trans.__('Restart %1?', cluster.name),
    body: new RestartForm(cluster, new Stakes(cluster, model, trans), trans),
    accept: Dialog.warnButton({ label: trans.__('Restart') }),
    focus: 'input:checked',
    act: what => model.restart(cluster.id, what),
    trans
  });
}

/** Give a cluster another name. */
export async function rename(
  cluster: Cluster,
  { model, trans }: ISteeringOptions
): Promise<void> {
  await ask({
    title: trans.__('Rename %1', cluster.name),
    body: new RenameForm(cluster, trans),
    accept: Dialog.okButton({ label: trans.__('Rename') }),
    focus: 'input',
    act: name => model.change(cluster.id, { name }),
    trans
  });
}

/** Set how long a cluster lives on when nobody holds it. */
export async function keep(
  cluster: Cluster,
  { model, trans }: ISteeringOptions
): Promise<void> {
  await ask({
    title: trans.__('Keep %1', cluster.name),
    body: new KeepForm(cluster, trans),
    accept: Dialog.okButton({ label: trans.__('Keep') }),
    focus: 'select',
    act: seconds => model.change(cluster.id, { lease_seconds: seconds }),
    trans
  });
}
