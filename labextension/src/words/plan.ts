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

/** What a plan does as a whole. */
export function howWords(plan: Plan, trans: TranslationBundle): string {
  switch (plan.how) {
    case 'roll':
      return trans.__(
        'A new environment is built beside the present one, then the workers move to it one batch after the other. The present environment stays as it is.'
      );
    case 'replace':
      return trans.__(
        'A new environment is built beside the present one, then the whole cluster restarts in it.'
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
      return trans.__(
        'See the step that failed and what the installer said, then plan again.'
      );
    case 'lost':
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
