/** What of a comparison can be synced, why it can't, and what a plan does where; the server has the last word. */
import { isLocalCode } from './details';
import type { IJudgement, Reason } from './model';
import type { Cluster, Diff, Plan, PlanAction, Row, Sync } from './wire';

/** Why nothing can be synced now. */
export type Blocked =
  Reason | { readonly kind: 'nothing' } | { readonly kind: 'discovered' };

/** What the button offers. */
export interface IOffer {
  /** Packages that differ and are rated, which is what a sync of everything is for. */
  readonly packages: number;
  /** Whether Python itself differs too. */
  readonly python: boolean;
  readonly blocked: Blocked | null;
}

/** Whether a sync could change anything about a row; a file beside the notebook is no package. */
export function canSync(row: Row): boolean {
  return row.status !== 'same' && row.status !== 'unknown' && !isLocalCode(row);
}

/** Whether a row is one of those that matter most. */
export function isRated({ severity }: Row): boolean {
  return severity === 'block' || severity === 'warn';
}

/** Rows of packages that a sync could change. */
export function choosable(diff: Diff | null): readonly Row[] {
  return (diff?.rows ?? []).filter(row => canSync(row) && row.name !== PYTHON);
}

const PYTHON = 'python';

/** What can be offered; nothing without a comparison that still holds. */
export function offerOf(
  cluster: Cluster,
  judgement: IJudgement,
  diff: Diff | null,
  running: Sync | null
): IOffer {
  const rows = (diff?.rows ?? []).filter(
    row => canSync(row) && row.severity !== 'ok'
  );
  const python = rows.some(({ name }) => name === PYTHON);
  return {
    packages: rows.length - Number(python),
    python,
    blocked: blockedBy(cluster, judgement, diff, running, rows.length)
  };
}

function blockedBy(
  { source }: Cluster,
  { reason }: IJudgement,
  diff: Diff | null,
  running: Sync | null,
  rows: number
): Blocked | null {
  if (running) {
    return { kind: 'syncing', sync: running };
  }
  // What a single node hides doesn't keep the others from being planned for.
  if (reason && reason.kind !== 'unread') {
    return reason;
  }
  if (!diff) {
    return { kind: 'reading' };
  }
  if (diff.level !== 'all') {
    return { kind: 'unread', diff };
  }
  if (rows > 0 && source === 'discovered') {
    return { kind: 'discovered' };
  }
  return rows === 0 ? { kind: 'nothing' } : null;
}

/** Groups for which a plan does the same. */
export interface IPart {
  readonly groups: readonly string[];
  readonly actions: readonly PlanAction[];
}

/** What a plan does, told once for groups for which it does the same; what it can't do is left out. */
export function partsOf(plan: Plan): readonly IPart[] {
  return merged(plan.actions.filter(({ kind }) => kind !== 'refuse'));
}

/** What a plan can't do. */
export function refusalsOf(plan: Plan): readonly IPart[] {
  return merged(plan.actions.filter(({ kind }) => kind === 'refuse'));
}

function merged(actions: readonly PlanAction[]): readonly IPart[] {
  const byGroup = new Map<string, PlanAction[]>();
  for (const action of actions) {
    byGroup.set(action.group, [...(byGroup.get(action.group) ?? []), action]);
  }
  const parts = new Map<string, IPart>();
  for (const [group, own] of byGroup) {
    const same = JSON.stringify(own.map(action => ({ ...action, group: '' })));
    const part = parts.get(same);
    parts.set(same, {
      groups: [...(part?.groups ?? []), group],
      actions: own
    });
  }
  return [...parts.values()];
}

/** Workers that restart, and in how many batches. */
export function restartsOf(plan: Plan): { workers: number; batches: number } {
  return {
    workers: plan.rolls.reduce((sum, { workers }) => sum + workers.length, 0),
    batches: new Set(plan.rolls.map(({ batch }) => batch)).size
  };
}

/** Whether nothing would be lost. */
export function losesNothing({ lost }: Pick<Plan, 'lost'>): boolean {
  return (
    lost.futures + lost.scattered + lost.running + lost.actors === 0 &&
    !lost.why
  );
}

/** Whether two plans do the same to the same; what they are called and how long they hold doesn't matter. */
export function samePlan(one: Plan, other: Plan): boolean {
  const essence = (plan: Plan) => {
    const { cluster, direction, how, actions, rolls, restarts } = plan;
    const { lost, others, layer } = plan;
    return JSON.stringify([
      cluster,
      direction,
      how,
      actions.map(({ kind, name, before, after, group, why }) => [
        kind,
        name,
        before,
        after,
        group,
        why
      ]),
      rolls.map(({ group, workers, batch }) => [group, workers, batch]),
      restarts,
      [lost.futures, lost.scattered, lost.running, lost.actors, lost.why],
      others.map(({ client, host, opened_by }) => [client, host, opened_by]),
      layer
    ]);
  };
  return essence(one) === essence(other);
}
