/** What the commands that sync and undo do: they show the whole plan in a dialog of ours first. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import { ApiError } from './api';
import { PackagesForm, RemovalForm, StateForm } from './choosing';
import { PlanBody } from './components/plan';
import { ask, StayingDialog } from './dialogs';
import { choosable } from './offers';
import { Preview } from './preview';
import { isRunning } from './syncs';
import type { ISyncingOptions, Scope } from './syncing';
import { BASE } from './planwords';
import type { Cluster, Plan, PlanCreate, Sync } from './wire';
import { problemWords } from './words';

/** Give a cluster the packages of the notebook. */
export async function sync(
  cluster: Cluster,
  scope: Scope,
  options: ISyncingOptions
): Promise<void> {
  const { model, trans } = options;
  const kernel = model.kernel;
  if (!kernel?.id) {
    return;
  }
  const lead =
    typeof scope !== 'string'
      ? trans._n(
          '%2 gets %3 as %4 has it.',
          '%2 gets %3 as %4 has them.',
          scope.length,
          cluster.name,
          scope.join(', '),
          kernel.label
        )
      : scope === 'rated'
        ? trans.__(
            '%1 gets the packages of %2 that break or may fail.',
            cluster.name,
            kernel.label
          )
        : trans.__('%1 gets the packages of %2.', cluster.name, kernel.label);
  await preview(
    cluster,
    {
      title: trans.__('Sync %1?', cluster.name),
      accept: trans.__('Sync'),
      lead,
      body: {
        cluster: cluster.id,
        kernel: kernel.id,
        direction: 'to_cluster',
        scope
      }
    },
    options
  );
}

/** Give a cluster packages that are chosen first. */
export async function syncChosen(
  cluster: Cluster,
  options: ISyncingOptions
): Promise<void> {
  const { model, trans } = options;
  let chosen: readonly string[] = [];
  await ask({
    title: trans.__('Which packages for %1?', cluster.name),
    body: new PackagesForm(choosable(model.diff), cluster, trans),
    accept: Dialog.okButton({ label: trans.__('Preview…') }),
    focus: 'input',
    act: async names => {
      chosen = names;
    },
    trans
  });
  if (chosen.length > 0) {
    await sync(cluster, chosen, options);
  }
}

/** Bring back what a cluster had before a sync. */
export async function undo(
  cluster: Cluster,
  last: Sync,
  options: ISyncingOptions
): Promise<void> {
  const { model, trans } = options;
  await preview(
    cluster,
    {
      title:
        last.undo_of === null
          ? trans.__('Undo the last sync of %1?', cluster.name)
          : trans.__('Take the undo on %1 back?', cluster.name),
      accept: last.undo_of === null ? trans.__('Undo') : trans.__('Take back'),
      lead: trans.__('%1 gets back what it had before.', cluster.name),
      body: {
        cluster: cluster.id,
        direction: 'to_cluster',
        from: { layer: last.layer_before ?? BASE }
      },
      begin: () => model.syncs.undo(last.id)
    },
    options
  );
}

/** Bring back one of the states that a cluster had. */
export async function restore(
  cluster: Cluster,
  options: ISyncingOptions
): Promise<void> {
  const { model, trans } = options;
  let layer: string | null = null;
  try {
    const layers = await model.syncs.layersOf(cluster.id);
    if (!layers.some(({ clusters }) => !clusters.includes(cluster.id))) {
      Notification.info(
        trans.__('%1 has no other state to go back to', cluster.name)
      );
      return;
    }
    await ask({
      title: trans.__('Earlier states of %1', cluster.name),
      body: new StateForm(layers, cluster, model.now, trans),
      accept: Dialog.okButton({ label: trans.__('Preview…') }),
      focus: 'input:enabled',
      act: async id => {
        layer = id;
      },
      trans
    });
  } catch (reason) {
    notify(reason, trans);
    return;
  }
  if (layer !== null) {
    await preview(
      cluster,
      {
        title: trans.__('Bring %1 back to an earlier state?', cluster.name),
        accept: trans.__('Go back'),
        lead: trans.__('%1 gets back what it had then.', cluster.name),
        body: { cluster: cluster.id, direction: 'to_cluster', from: { layer } }
      },
      options
    );
  }
}

/** Remove states that nobody runs in from the disks. */
export async function removeStates({
  model,
  trans
}: ISyncingOptions): Promise<void> {
  try {
    const layers = await model.syncs.layers();
    const built = layers.filter(({ id }) => id !== BASE);
    if (built.length === 0) {
      Notification.info(trans.__('No earlier state takes any room'));
      return;
    }
    const names = new Map(model.clusters.map(({ id, name }) => [id, name]));
    const body = new RemovalForm(built, names, model.now, trans);
    await ask({
      title: trans.__('Earlier states of clusters'),
      body,
      accept: Dialog.warnButton({ label: trans.__('Remove') }),
      focus: 'input:enabled',
      act: async ids => {
        for (const id of ids) {
          await model.syncs.removeLayer(id);
          // What has gone stays gone, also where a later one can't be removed.
          body.drop(id);
        }
      },
      trans
    });
  } catch (reason) {
    notify(reason, trans);
  }
}

/** End a sync that runs. */
export async function cancel(
  cluster: Cluster,
  running: Sync,
  { model, trans }: ISyncingOptions
): Promise<void> {
  const result = await showDialog({
    title: trans.__('Cancel the sync of %1?', cluster.name),
    body: trans.__(
      'Workers that were moved already move back, and the old state is read again before it is called so.'
    ),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Let it run') }),
      Dialog.warnButton({ label: trans.__('Cancel the sync') })
    ]
  });
  // It may have ended while one was asked.
  const present = model.syncs.list.find(({ id }) => id === running.id);
  if (result.button.accept && present && isRunning(present)) {
    try {
      await model.syncs.cancel(running.id);
    } catch (reason) {
      notify(reason, trans);
    }
  }
}

interface IPreviewing {
  title: string;
  accept: string;
  lead: string;
  body: PlanCreate;
  begin?: (plan: Plan) => Promise<Sync>;
}

/** Show a plan, and carry it out if that is what is wished then. */
async function preview(
  cluster: Cluster,
  previewing: IPreviewing,
  { model, show, trans }: ISyncingOptions
): Promise<void> {
  const { accept, begin, body, lead, title } = previewing;
  const shown = new Preview({ syncs: model.syncs, body, begin });
  let begun = false;
  const content = new PlanBody({
    preview: shown,
    lead,
    groups: () => {
      const there = model.diff?.cluster;
      return there?.id === cluster.id ? there.groups : [];
    },
    trans
  });
  const dialog = new StayingDialog(
    {
      title,
      body: content,
      buttons: [
        Dialog.cancelButton({ label: trans.__('Cancel') }),
        Dialog.okButton({ label: accept })
      ],
      focusNodeSelector: '.jp-Coiled-lead'
    },
    async () => {
      begun = await shown.apply();
      return begun;
    }
  );
  const button = dialog.node.querySelector<HTMLButtonElement>('.jp-mod-accept');
  // Not `disabled`: what had the focus would lose it.
  const enable = () =>
    button?.setAttribute('aria-disabled', String(!shown.ready));
  shown.changed.connect(enable);
  enable();
  // The plan speaks of nodes that the panel may read only now.
  const redraw = () => content.update();
  model.changed.connect(redraw);
  void shown.plan();
  await dialog.launch();
  model.changed.disconnect(redraw);
  if (begun) {
    show();
    if (shown.overtaken) {
      Notification.info(
        trans.__(
          'Another sync of %1 runs already: the panel shows it.',
          cluster.name
        )
      );
    }
  }
}

function notify(reason: unknown, trans: TranslationBundle): void {
  if (!(reason instanceof ApiError)) {
    throw reason;
  }
  const { text, hint } = problemWords(reason, trans);
  Notification.error([text, hint].filter(Boolean).join('. '), {
    autoClose: false
  });
}
