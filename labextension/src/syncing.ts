/** Commands that sync and undo; each shows the whole plan in a dialog of ours first, and no argument skips that. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';

import { ApiError } from './api';
import { PackagesForm, RemovalForm, StateForm } from './choosing';
import { PlanBody } from './components/plan';
import { ask, StayingDialog } from './dialogs';
import { CommandIDs } from './ids';
import type { Model } from './model';
import { choosable, isRated, offerOf } from './offers';
import { Preview } from './preview';
import { isRunning } from './syncs';
import { BASE, undoWords } from './syncwords';
import type { Cluster, Plan, PlanCreate, Sync } from './wire';
import { problemWords } from './words';

export interface ISyncingOptions {
  model: Model;
  /** Bring the panel to the front. */
  show: () => void;
  trans: TranslationBundle;
}

type Scope = NonNullable<PlanCreate['scope']>;

/** Add the commands; `find` tells the cluster that an argument means, and `args` describes it. */
export function addSyncing(
  commands: CommandRegistry,
  options: ISyncingOptions,
  find: (id: unknown) => Cluster | null,
  args: ReadonlyJSONObject
): void {
  const { model, trans } = options;

  /** The cluster, if it is the one compared: of another one nothing is known that could be synced. */
  const compared = (id: unknown): Cluster | null => {
    const cluster = find(id);
    return cluster && cluster.id === model.cluster?.id ? cluster : null;
  };
  const offered = (id: unknown, scope: Scope | null): boolean => {
    const cluster = compared(id);
    if (!cluster || !scope || !model.kernel?.id) {
      return false;
    }
    const running = model.syncs.running(cluster.id);
    const { diff } = model;
    const { blocked } = offerOf(cluster, model.judge(), diff, running);
    if (scope === 'rated') {
      return blocked === null && (model.diff?.rows ?? []).some(isRated);
    }
    // What one names oneself needn't be rated.
    return blocked === null || (scope !== 'all' && blocked.kind === 'nothing');
  };

  commands.addCommand(CommandIDs.sync, {
    label: ({ scope }) =>
      scope === 'rated'
        ? trans.__('Sync Only What Is Rated…')
        : trans.__('Sync Cluster to Notebook…'),
    caption: trans.__(
      'Give the cluster the packages of the notebook, after you have seen the plan'
    ),
    describedBy: {
      args: {
        type: 'object',
        properties: {
          ...(args.properties as ReadonlyJSONObject),
          scope: {
            description: trans.__('all, rated, or a list of names of packages'),
            anyOf: [
              { type: 'string', enum: ['all', 'rated'] },
              { type: 'array', items: { type: 'string' }, minItems: 1 }
            ]
          }
        }
      }
    },
    isEnabled: ({ cluster, scope }) => offered(cluster, scopeOf(scope)),
    execute: async ({ cluster: wish, scope: wished }) => {
      const scope = scopeOf(wished);
      const cluster = compared(wish);
      if (cluster && scope && offered(wish, scope)) {
        await sync(cluster, scope, options);
      }
    }
  });
  commands.addCommand(CommandIDs.syncChosen, {
    label: trans.__('Sync Chosen Packages…'),
    caption: trans.__('Choose the packages that the cluster gets'),
    describedBy: { args },
    isEnabled: ({ cluster }) =>
      offered(cluster, []) && choosable(model.diff).length > 0,
    execute: async ({ cluster: wish }) => {
      const cluster = compared(wish);
      if (cluster && offered(wish, [])) {
        await syncChosen(cluster, options);
      }
    }
  });
  commands.addCommand(CommandIDs.undoSync, {
    label: ({ cluster: wish }) => {
      const cluster = find(wish);
      const last = cluster && model.syncs.undoable(cluster.id);
      return last ? undoWords(last, trans) : trans.__('Undo the Last Sync…');
    },
    caption: trans.__(
      'Bring back what the cluster had before its last sync, after you have seen the plan'
    ),
    describedBy: { args },
    isEnabled: ({ cluster: wish }) => {
      const cluster = find(wish);
      return cluster !== null && model.syncs.undoable(cluster.id) !== null;
    },
    execute: async ({ cluster: wish }) => {
      const cluster = find(wish);
      const last = cluster && model.syncs.undoable(cluster.id);
      if (cluster && last) {
        await undo(cluster, last, options);
      }
    }
  });
  commands.addCommand(CommandIDs.restoreState, {
    label: trans.__('Go Back to an Earlier State…'),
    caption: trans.__(
      'Choose one of the states that the cluster had, and see the plan'
    ),
    describedBy: { args },
    isEnabled: ({ cluster: wish }) => {
      const cluster = find(wish);
      return (
        cluster !== null &&
        model.syncs.running(cluster.id) === null &&
        model.syncs.list.some(it => it.cluster === cluster.id)
      );
    },
    execute: async ({ cluster: wish }) => {
      const cluster = find(wish);
      if (cluster && model.syncs.running(cluster.id) === null) {
        await restore(cluster, options);
      }
    }
  });
  commands.addCommand(CommandIDs.removeStates, {
    label: trans.__('Remove Earlier States…'),
    caption: trans.__(
      'See the room that earlier states of clusters take, and free that of those that no cluster runs in'
    ),
    describedBy: { args: { type: 'object', properties: {} } },
    execute: () => removeStates(options)
  });
  commands.addCommand(CommandIDs.cancelSync, {
    label: trans.__('Cancel the Sync…'),
    caption: trans.__('End a sync that runs; the old state comes back'),
    describedBy: { args },
    isEnabled: ({ cluster: wish }) => {
      const cluster = find(wish);
      return cluster !== null && model.syncs.running(cluster.id) !== null;
    },
    execute: async ({ cluster: wish }) => {
      const cluster = find(wish);
      const running = cluster && model.syncs.running(cluster.id);
      if (cluster && running) {
        await cancel(cluster, running, options);
      }
    }
  });
}

/** What an argument means; null is nothing that could be planned. */
function scopeOf(value: unknown): Scope | null {
  if (value === undefined || value === 'all' || value === 'rated') {
    return value ?? 'all';
  }
  return Array.isArray(value) &&
    value.length > 0 &&
    value.every(name => typeof name === 'string' && name !== '')
    ? (value as string[])
    : null;
}

async function sync(
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

async function syncChosen(
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

async function undo(
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

async function restore(
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

async function removeStates({ model, trans }: ISyncingOptions): Promise<void> {
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

async function cancel(
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
