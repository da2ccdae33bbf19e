/** What is in a plan, as dialogs tell it. */
import type { Plan, PlanAction } from './wire';

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
