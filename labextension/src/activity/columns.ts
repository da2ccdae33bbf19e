/** The workers in an order. */
import type { ActivityWorker } from '../api/wire';

/** What can be sorted by. */
export const COLUMNS = [
  'name',
  'status',
  'threads',
  'cpu',
  'memory',
  'managed',
  'spilled',
  'limit',
  'received',
  'sent',
  'executing',
  'processing',
  'stored',
  'seen'
] as const satisfies readonly (keyof ActivityWorker)[];

export type Column = (typeof COLUMNS)[number];

export interface IOrder {
  readonly by: Column;
  readonly down: boolean;
}

const collator = new Intl.Collator(undefined, { numeric: true });

/** Return the workers by a column, those that are equal in it by their names; what isn't known comes last. */
export function sortedWorkers(
  workers: readonly ActivityWorker[],
  { by, down }: IOrder
): ActivityWorker[] {
  const sign = down ? -1 : 1;
  return [...workers].sort((one, other) => {
    const [a, b] = [one[by], other[by]];
    if (a === null || b === null) {
      return Number(a === null) - Number(b === null);
    }
    const order =
      typeof a === 'number' && typeof b === 'number'
        ? a - b
        : collator.compare(String(a), String(b));
    return (
      sign * order ||
      collator.compare(one.name, other.name) ||
      collator.compare(one.id, other.id)
    );
  });
}
