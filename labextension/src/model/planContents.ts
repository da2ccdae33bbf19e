/** The contents of a plan, as the panel shows them. */
import type { Plan, PlanAction, PlanCreate } from '../api/wire';

/** What matters to the notebook, all packages, those rated `breaks` or `risky`, or names of packages. */
export type Scope = NonNullable<PlanCreate['scope']>;

/** Groups with the same actions. */
export interface IPart {
  readonly groups: readonly string[];
  readonly actions: readonly PlanAction[];
}

/** The actions of a plan, with equal groups merged; without refusals. */
export function partsOf(plan: Plan): readonly IPart[] {
  return merged(plan.actions.filter(({ kind }) => kind !== 'refuse'));
}

/** The refusals of a plan. */
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

/** The number of restarting workers, and of batches. */
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

/** Whether two plans have the same effect, regardless of ids and times. */
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
