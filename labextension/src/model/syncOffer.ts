/** Which differences can be synced, or why they can't; the server decides. */
import { isLocalCode } from './places';
import type { IJudgement, Reason } from './model';
import type { Diff, Row, Sync } from '../api/wire';

/** Why nothing can be synced now. */
export type Blocked =
  Reason | { readonly kind: 'nothing'; readonly others: number };

/** The offer of the sync button. */
export interface IOffer {
  /** The number of packages that differ and matter to the notebook. */
  readonly packages: number;
  /** The number of all packages that a sync of everything would change. */
  readonly everything: number;
  /** Whether Python itself differs too. */
  readonly python: boolean;
  readonly blocked: Blocked | null;
}

/** Whether a sync could change a row; local code is never synced, and what is no package isn't either. */
export function canSync(row: Row): boolean {
  const known = row.status !== 'same' && row.status !== 'unknown';
  return known && !row.condition && !isLocalCode(row);
}

/** Whether a row breaks or may fail. */
export function isRated({ severity }: Pick<Row, 'severity'>): boolean {
  return severity === 'breaks' || severity === 'risky';
}

/** The rows that a sync could change. */
export function choosable(diff: Diff | null): readonly Row[] {
  return (diff?.rows ?? []).filter(row => canSync(row) && row.name !== PYTHON);
}

const PYTHON = 'python';

/** Return the offer, or why nothing can be synced, such as without a current comparison. */
export function offerOf(
  judgement: IJudgement,
  diff: Diff | null,
  running: Sync | null
): IOffer {
  const rows = (diff?.rows ?? []).filter(
    // What only the cluster has stays there.
    row =>
      canSync(row) &&
      row.severity !== 'same' &&
      (row.matters || row.status !== 'only_cluster')
  );
  const matter = rows.filter(row => row.matters);
  const named = (some: readonly Row[]) =>
    some.filter(({ name }) => name !== PYTHON).length;
  return {
    packages: named(matter),
    everything: named(rows),
    python: matter.some(({ name }) => name === PYTHON),
    blocked: blockedBy(judgement, diff, running, [matter.length, named(rows)])
  };
}

function blockedBy(
  { reason }: IJudgement,
  diff: Diff | null,
  running: Sync | null,
  [matter, others]: readonly [number, number]
): Blocked | null {
  if (running) {
    return { kind: 'syncing', sync: running };
  }
  // An unread node doesn't prevent a plan for the others.
  if (reason && reason.kind !== 'unread') {
    return reason;
  }
  if (!diff) {
    return { kind: 'reading' };
  }
  if (diff.level !== 'all') {
    return { kind: 'unread', diff };
  }
  return matter === 0 ? { kind: 'nothing', others } : null;
}
