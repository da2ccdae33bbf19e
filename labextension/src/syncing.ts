/** Commands that sync and undo; each shows the whole plan in a dialog of ours first, and no argument skips that. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';

import { CommandIDs } from './ids';
import type { Model } from './model';
import { choosable, isRated, offerOf } from './offers';
import { onDemand } from './ondemand';
import { undoWords } from './syncwords';
import type { Cluster, PlanCreate } from './wire';

export interface ISyncingOptions {
  model: Model;
  /** Bring the panel to the front. */
  show: () => void;
  trans: TranslationBundle;
}

/** All, what is rated, or names of packages. */
export type Scope = NonNullable<PlanCreate['scope']>;

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
        await onDemand(trans, it => it.sync(cluster, scope, options));
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
        await onDemand(trans, it => it.syncChosen(cluster, options));
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
        await onDemand(trans, it => it.undo(cluster, last, options));
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
        await onDemand(trans, it => it.restore(cluster, options));
      }
    }
  });
  commands.addCommand(CommandIDs.removeStates, {
    label: trans.__('Remove Earlier States…'),
    caption: trans.__(
      'See the room that earlier states of clusters take, and free that of those that no cluster runs in'
    ),
    describedBy: { args: { type: 'object', properties: {} } },
    execute: () => onDemand(trans, it => it.removeStates(options))
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
        await onDemand(trans, it => it.cancel(cluster, running, options));
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
