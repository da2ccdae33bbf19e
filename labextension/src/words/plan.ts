/** Plans, states and what came of syncs in words; only what is loaded on demand says them. */
import type { TranslationBundle } from '@jupyterlab/translation';

import { restartsOf } from '../model/planContents';
import type { Need, Note } from '../model/planReview';
import type { DiffGroup, Layer, Plan, PlanAction, Sync } from '../api/wire';
import { bytesWords, durationWords, roleWords } from './words';

/** What happens to a package. */
export function actionWords(
  kind: PlanAction['kind'],
  trans: TranslationBundle
): string {
  return {
    install: trans.__('install'),
    upgrade: trans.__('upgrade'),
    downgrade: trans.__('downgrade'),
    remove: trans.__('remove'),
    build: trans.__('build'),
    refuse: trans.__('stays as it is')
  }[kind];
}

/** Which nodes groups are; of those that weren't read here only the plan tells how many. */
export function groupsWords(
  ids: readonly string[],
  groups: readonly DiffGroup[],
  plan: Plan,
  trans: TranslationBundle
): string {
  const known = groups.filter(({ id }) => ids.includes(id));
  const workers = known
    .filter(({ role }) => role === 'worker')
    .flatMap(({ nodes }) => nodes);
  const others = plan.rolls
    .filter(
      ({ group }) => ids.includes(group) && !known.some(it => it.id === group)
    )
    .flatMap(roll => roll.workers);
  const count = new Set([...workers, ...others]).size;
  const roles = [
    count > 0 && trans._n('%1 worker', '%1 workers', count),
    ...new Set(
      known
        .filter(({ role }) => role !== 'worker')
        .map(({ role }) => roleWords(role, trans))
    )
  ].filter(Boolean);
  const hosts = [...new Set(known.map(({ host }) => host))];
  return hosts.length > 0
    ? trans.__('%1 on %2', roles.join(', '), hosts.join(', '))
    : roles.join(', ');
}

/** What was lost, one sentence each; none where nothing was. */
export function wereLostWords(
  lost: Plan['lost'],
  trans: TranslationBundle
): readonly string[] {
  const { actors, futures, running, scattered, why } = lost;
  return [
    futures > 0 &&
      trans._n(
        '%1 finished result was lost.',
        '%1 finished results were lost.',
        futures
      ),
    scattered > 0 &&
      trans._n(
        '%1 scattered value was lost.',
        '%1 scattered values were lost.',
        scattered
      ),
    running > 0 &&
      trans._n(
        '%1 running task started again.',
        '%1 running tasks started again.',
        running
      ),
    actors > 0 &&
      trans._n('%1 actor was lost.', '%1 actors were lost.', actors),
    why
  ].filter(it => typeof it === 'string' && it !== '') as string[];
}

/** What would be lost, one sentence each; none where nothing is. */
export function lostWords(
  lost: Plan['lost'],
  trans: TranslationBundle
): readonly string[] {
  const { actors, futures, running, scattered, why } = lost;
  return [
    futures > 0 &&
      trans._n(
        '%1 finished result is lost.',
        '%1 finished results are lost.',
        futures
      ),
    scattered > 0 &&
      trans._n(
        '%1 scattered value is lost.',
        '%1 scattered values are lost.',
        scattered
      ),
    running > 0 &&
      trans._n(
        '%1 running task starts again.',
        '%1 running tasks start again.',
        running
      ),
    actors > 0 && trans._n('%1 actor is lost.', '%1 actors are lost.', actors),
    why
  ].filter(it => typeof it === 'string' && it !== '') as string[];
}

/** What the differences that stay mean. */
export function remainingWords(
  remaining: Plan['remaining'],
  trans: TranslationBundle
): string {
  return remaining.some(({ severity }) => severity === 'breaks')
    ? trans.__('Your notebook will still break:')
    : trans.__('Your notebook may still give other results:');
}

/** A difference that stays, such as “Python 3.10.13 on the cluster, 3.11.7 here”. */
export function differenceWords(
  { here, name: raw, there, where }: Plan['remaining'][number],
  trans: TranslationBundle
): string {
  const name = raw === 'python' ? 'Python' : raw;
  const place = {
    cluster: trans.__('on the cluster'),
    scheduler: trans.__('on the scheduler'),
    workers: trans.__('on the workers')
  }[where];
  const versions = there
    .map(version => version ?? trans.__('missing'))
    .join(', ');
  if (here === null) {
    return trans.__('%1 %2 %3, missing here', name, versions, place);
  }
  return there.length === 1 && there[0] === here
    ? trans.__('%1 %2 %3 and here, but not the same', name, versions, place)
    : trans.__('%1 %2 %3, %4 here', name, versions, place, here);
}

/** How many packages change, such as “2 change, 7 install, 1 remove”. */
export function totalsWords(
  { change, install, refuse, remove }: Plan['totals'],
  trans: TranslationBundle
): string {
  return [
    change > 0 && trans._n('%1 change', '%1 change', change),
    install > 0 && trans._n('%1 install', '%1 install', install),
    remove > 0 && trans._n('%1 remove', '%1 remove', remove),
    refuse > 0 && trans._n('%1 can not be done', '%1 can not be done', refuse)
  ]
    .filter(Boolean)
    .join(', ');
}

/** What a plan does as a whole. */
export function howWords(plan: Plan, trans: TranslationBundle): string {
  switch (plan.how) {
    case 'roll':
      return trans.__(
        'The workers move, one batch after the other, to an environment beside the present one, which stays as it is. It is built first, unless it is there already.'
      );
    case 'replace':
      return trans.__(
        'The whole cluster restarts in an environment beside the present one, which is built first, unless it is there already.'
      );
    case 'in_place':
      return trans.__(
        'The workers restart in the environment that they share with the notebook, and run what is installed there now. Nothing is installed, so there is nothing to undo: to go back, install the earlier version in the notebook and sync again.'
      );
    case 'build':
      return trans.__('A kernel of its own is made beside the present one.');
    case 'nothing':
      return trans.__('There is nothing to do: it is equal already.');
    case 'refused':
      return trans.__('Nothing of this can be done.');
  }
}

/** Why a package changes: in words of ours where the plan says it as data, else in those of who planned it. */
export function causeWords(
  { cause, why }: PlanAction,
  trans: TranslationBundle
): string {
  switch (cause) {
    case 'absent':
      return trans.__('The notebook does not have it.');
    case 'unfit':
      return why;
    case 'unneeded':
      return trans.__('Nothing in the new environment needs it.');
    case 'required':
      return trans.__('Another package needs this version.');
    case 'replaced':
      return trans.__('Its installation on the cluster is replaced.');
    case 'base':
      return trans.__('Original version.');
    case 'state':
      return trans.__('That state had it so.');
    case 'python':
      return trans.__("The whole cluster restarts on the notebook's Python.");
    default:
      return why;
  }
}

/** What restarts; '' for nothing. */
export function restartWords(plan: Plan, trans: TranslationBundle): string {
  const { batches, workers } = restartsOf(plan);
  if (plan.how === 'replace') {
    return trans.__(
      'The scheduler and every worker restart, at the same address; clients reconnect by themselves.'
    );
  }
  if (plan.temporary) {
    return trans.__(
      'The only worker restarts; a temporary second one keeps what it holds.'
    );
  }
  if (workers === 0) {
    return '';
  }
  if (plan.how === 'in_place') {
    return trans._n(
      '%1 worker restarts, after it has handed what it holds to the others.',
      '%1 workers restart, one after the other, each after it has handed what it holds to the others.',
      workers
    );
  }
  return batches <= 1
    ? trans._n(
        '%1 worker restarts.',
        '%1 workers restart, all at once.',
        workers
      )
    : trans._n(
        '%1 worker restarts, in %2 batches, and hands what it holds to the others before.',
        '%1 workers restart, in %2 batches, and hand what they hold to the others before.',
        workers,
        batches
      );
}

export function othersWords(plan: Plan, trans: TranslationBundle): string {
  return plan.others.length === 0
    ? ''
    : trans._n(
        '%1 other client uses this cluster and gets the change too:',
        '%1 other clients use this cluster and get the change too:',
        plan.others.length
      );
}

/** What a user agrees to. */
export function needWords(need: Need, trans: TranslationBundle): string {
  return {
    lost_results: trans.__('Discard these results and continue'),
    plain_connection: trans.__(
      'Send the credentials of the package index over a connection that is not encrypted'
    )
  }[need];
}

export function noteWords(note: Note, trans: TranslationBundle): string {
  return {
    stale: trans.__(
      'The cluster or the notebook has changed since this was planned. This is the plan as things are now.'
    ),
    changed: trans.__(
      'Something has changed meanwhile, so nothing was done. This is the plan as things are now.'
    ),
    expired: trans.__(
      'The plan was too old to be carried out, so it was made anew.'
    )
  }[note];
}

/** What to do after a sync that didn't end well; '' where there is nothing. */
export function nextWords(sync: Sync, trans: TranslationBundle): string {
  switch (sync.state) {
    case 'failed':
      if (!sync.undoable) {
        return '';
      }
      return trans.__(
        'See the step that failed and what the installer said, then plan again.'
      );
    case 'lost':
      if (!sync.undoable) {
        return '';
      }
      return trans.__('Restart the cluster or make a new one, then compare.');
    default:
      return '';
  }
}

/** A state that a cluster had. */
export function layerWords(
  layer: Layer,
  now: number,
  trans: TranslationBundle
): string {
  const ago = durationWords(
    Math.max(0, now - Date.parse(layer.used_at)) / 1000,
    trans
  );
  return layer.id === BASE
    ? trans.__('The first state, before any sync')
    : trans._n(
        '%1 package, %2, in use %3 ago',
        '%1 packages, %2, in use %3 ago',
        layer.packages,
        layerSizeWords([layer], trans),
        ago
      );
}

/** The room that states take in all places together, as far as it was measured. */
export function layerSizeWords(
  layers: readonly Layer[],
  trans: TranslationBundle
): string {
  const sizes = layers.flatMap(({ places }) => places.map(({ size }) => size));
  const known = sizes.filter(size => size !== null);
  if (known.length === 0) {
    return trans.__('size not known');
  }
  const words = bytesWords(
    known.reduce((sum, size) => sum + size, 0),
    trans
  );
  return known.length < sizes.length ? trans.__('at least %1', words) : words;
}

/** Who has to do with a state: who runs in it, else who could go back to it, else nobody. */
export function layerUseWords(
  layer: Layer,
  names: ReadonlyMap<string, string>,
  trans: TranslationBundle
): string {
  const named = (ids: readonly string[]) =>
    ids.map(id => names.get(id) ?? id).join(', ');
  if (layer.clusters.length > 0) {
    return trans.__('%1 runs in it', named(layer.clusters));
  }
  return layer.known_by.length > 0
    ? trans.__('%1 could go back to it', named(layer.known_by))
    : trans.__(
        'Its clusters have gone, so nobody can be asked to remove it: remove the folder yourself'
      );
}

/** The id of what a cluster had at first. */
export const BASE = 'base';
