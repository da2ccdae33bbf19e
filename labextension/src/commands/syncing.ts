/** Commands that sync and undo; each shows the whole plan in the panel first, and no argument skips that. */
import type { ReadonlyJSONObject } from '@lumino/coreutils';

import { CommandIDs } from '../tokens';
import { hasEnded } from '../model/model';
import type { Scope } from '../model/planContents';
import { choosable, isRated, offerOf } from '../model/syncOffer';
import { undoWords } from '../words/sync';
import type { CommandAdder } from './adder';
import type { IDialogContext } from '../dialogs/context';
import type { Cluster } from '../api/wire';

const dialogs = () => import('../dialogs');

export function addSyncing(
  commands: CommandAdder,
  options: IDialogContext
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
    const { blocked, everything } = offerOf(model.judge(), diff, running);
    if (scope === 'rated') {
      return blocked === null && (model.diff?.rows ?? []).some(isRated);
    }
    if (scope === 'all' && blocked?.kind === 'nothing') {
      return everything > 0;
    }
    // What one names oneself needn't be rated.
    return (
      blocked === null || (scope !== 'notebook' && blocked.kind === 'nothing')
    );
  };

  const everythingWords = (): string => {
    const { cluster, diff } = model;
    const { everything } = cluster
      ? offerOf(model.judge(), diff, null)
      : { everything: 0 };
    return everything > 0
      ? trans.__('Sync Everything (%1)…', everything)
      : trans.__('Sync Everything…');
  };

  commands.add({
    id: CommandIDs.sync,
    label: ({ scope }) =>
      scope === 'rated'
        ? trans.__('Sync Only What Is Rated…')
        : scope === 'all'
          ? everythingWords()
          : trans.__('Sync Cluster to Notebook…'),
    caption: trans.__('Give the cluster the packages of the notebook'),
    args: {
      cluster,
      scope: {
        description: trans.__(
          'notebook, all, rated, or a list of names of packages'
        ),
        anyOf: [
          { type: 'string', enum: ['notebook', 'all', 'rated'] },
          { type: 'array', items: { type: 'string' }, minItems: 1 }
        ]
      }
    },
    isEnabled: ({ cluster, scope }) => offered(cluster, scopeOf(scope)),
    execute: async ({ cluster: wish, scope: wished }) => {
      const scope = scopeOf(wished);
      const cluster = compared(wish);
      if (cluster && scope && offered(wish, scope)) {
        await dialogs().then(it => it.syncCluster(cluster, scope, options));
      }
    }
  });
  commands.add({
    id: CommandIDs.seal,
    label: trans.__('Send Sealed Graphs'),
    caption: trans.__('For a scheduler that keeps other packages'),
    args: { cluster },
    isEnabled: ({ cluster: wish }) =>
      compared(wish) !== null && model.diff?.unsealed === true,
    execute: async ({ cluster: wish }) => {
      const cluster = compared(wish);
      const kernel = model.kernel?.id;
      if (cluster && kernel && model.diff?.unsealed) {
        await model.seal(kernel, cluster.id);
      }
    }
  });
  commands.add({
    id: CommandIDs.syncChosen,
    label: trans.__('Sync Chosen Packages…'),
    caption: trans.__('Choose what the cluster gets'),
    args: { cluster },
    isEnabled: ({ cluster: wish }) =>
      offered(wish, []) && choosable(model.diff).length > 0,
    execute: async ({ cluster: wish }) => {
      const cluster = compared(wish);
      if (cluster && offered(wish, [])) {
        await dialogs().then(it => it.syncChosen(cluster, options));
      }
    }
  });
  commands.addForCluster({
    id: CommandIDs.undoSync,
    label: trans.__('Undo the Last Sync…'),
    short: ({ id }) => {
      const last = syncs.undoable(id);
      return last ? undoWords(last, trans) : '';
    },
    caption: trans.__('Bring back what the cluster had before its last sync'),
    allowed: cluster =>
      !hasEnded(cluster) && syncs.undoable(cluster.id) !== null,
    execute: cluster => {
      const last = syncs.undoable(cluster.id);
      return last && dialogs().then(it => it.undoSync(cluster, last, options));
    }
  });
  commands.addForCluster({
    id: CommandIDs.restoreState,
    label: trans.__('Go Back to an Earlier State…'),
    caption: trans.__('Choose one of its earlier states'),
    allowed: cluster =>
      !hasEnded(cluster) &&
      syncs.running(cluster.id) === null &&
      syncs.list.some(it => it.cluster === cluster.id && it.undoable),
    execute: cluster => dialogs().then(it => it.restoreState(cluster, options))
  });
  commands.add({
    id: CommandIDs.removeStates,
    label: trans.__('Remove Earlier States…'),
    caption: trans.__('See and free the room that earlier states take'),
    execute: () => dialogs().then(it => it.removeStates(options))
  });
  commands.addForCluster({
    id: CommandIDs.cancelSync,
    label: trans.__('Cancel the Sync…'),
    caption: trans.__('End a sync that runs; the old state comes back'),
    allowed: ({ id }) => syncs.running(id) !== null,
    execute: cluster => {
      const running = syncs.running(cluster.id);
      return (
        running &&
        dialogs().then(it => it.cancelSync(cluster, running, options))
      );
    }
  });
}

/** What an argument means; null is nothing that could be planned. */
function scopeOf(value: unknown): Scope | null {
  if (value === undefined || value === 'notebook') {
    return 'notebook';
  }
  if (value === 'all' || value === 'rated') {
    return value;
  }
  return Array.isArray(value) &&
    value.length > 0 &&
    value.every(name => typeof name === 'string' && name !== '')
    ? (value as string[])
    : null;
}
