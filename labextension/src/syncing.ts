/** Commands that sync and undo; each shows the whole plan in a dialog of ours first, and no argument skips that. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';

import { CommandIDs } from './ids';
import { hasEnded } from './model';
import type { Model } from './model';
import { choosable, isRated, offerOf } from './offers';
import { onDemand } from './ondemand';
import { undoWords } from './syncwords';
import type { AddForCluster } from './which';
import type { Cluster, PlanCreate } from './wire';

export interface ISyncingOptions {
  model: Model;
  /** Bring the panel to the front. */
  show: () => void;
  trans: TranslationBundle;
}

/** All, what is rated, or names of packages. */
export type Scope = NonNullable<PlanCreate['scope']>;

/** Add the commands; `add` adds those for any cluster. */
export function addSyncing(
  commands: CommandRegistry,
  add: AddForCluster,
  options: ISyncingOptions
): void {
  const { model, trans } = options;
  const { syncs } = model;

  const cluster: ReadonlyJSONObject = {
    type: 'string',
    description: trans.__('Id of the cluster; only the one compared will do')
  };
  /** The cluster, if it is the one compared: of another one nothing is known that could be synced. */
  const compared = (id: unknown): Cluster | null =>
    id === undefined || id === model.cluster?.id ? model.cluster : null;
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
          cluster,
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
    describedBy: { args: { type: 'object', properties: { cluster } } },
    isEnabled: ({ cluster: wish }) =>
      offered(wish, []) && choosable(model.diff).length > 0,
    execute: async ({ cluster: wish }) => {
      const cluster = compared(wish);
      if (cluster && offered(wish, [])) {
        await onDemand(trans, it => it.syncChosen(cluster, options));
      }
    }
  });
  add({
    id: CommandIDs.undoSync,
    label: trans.__('Undo the Last Sync…'),
    short: ({ id }) => {
      const last = syncs.undoable(id);
      return last ? undoWords(last, trans) : '';
    },
    caption: trans.__(
      'Bring back what the cluster had before its last sync, after you have seen the plan'
    ),
    allowed: cluster =>
      !hasEnded(cluster) && syncs.undoable(cluster.id) !== null,
    execute: cluster => {
      const last = syncs.undoable(cluster.id);
      return last && onDemand(trans, it => it.undo(cluster, last, options));
    }
  });
  add({
    id: CommandIDs.restoreState,
    label: trans.__('Go Back to an Earlier State…'),
    caption: trans.__(
      'Choose one of the states that the cluster had, and see the plan'
    ),
    allowed: cluster =>
      !hasEnded(cluster) &&
      syncs.running(cluster.id) === null &&
      syncs.list.some(it => it.cluster === cluster.id),
    execute: cluster => onDemand(trans, it => it.restore(cluster, options))
  });
  commands.addCommand(CommandIDs.removeStates, {
    label: trans.__('Remove Earlier States…'),
    caption: trans.__(
      'See the room that earlier states of clusters take, and free that of those that no cluster runs in'
    ),
    describedBy: { args: { type: 'object', properties: {} } },
    execute: () => onDemand(trans, it => it.removeStates(options))
  });
  add({
    id: CommandIDs.cancelSync,
    label: trans.__('Cancel the Sync…'),
    caption: trans.__('End a sync that runs; the old state comes back'),
    allowed: ({ id }) => syncs.running(id) !== null,
    execute: cluster => {
      const running = syncs.running(cluster.id);
      return (
        running && onDemand(trans, it => it.cancel(cluster, running, options))
      );
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
