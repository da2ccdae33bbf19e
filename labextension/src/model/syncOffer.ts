/** Which differences can be synced, or why they can't; the server decides. */
import { isLocalCode } from './places';
import type { IJudgement, Reason } from './model';
import type { Cluster, Diff, PlanCreate, Row, Sync } from '../api/wire';

/** Why nothing can be synced now. */
export type Blocked =
  Reason | { readonly kind: 'nothing' } | { readonly kind: 'discovered' };

/** All packages, those rated `breaks` or `risky`, or names of packages. */
export type Scope = NonNullable<PlanCreate['scope']>;

/** The offer of the sync button. */
export interface IOffer {
  /** The number of packages rated `breaks` or `risky`. */
  readonly packages: number;
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
export function isRated({ severity }: Row): boolean {
  return severity === 'breaks' || severity === 'risky';
}

/** The rows that a sync could change. */
export function choosable(diff: Diff | null): readonly Row[] {
  return (diff?.rows ?? []).filter(row => canSync(row) && row.name !== PYTHON);
}

const PYTHON = 'python';

/** Return the offer, or why nothing can be synced, such as without a current comparison. */
export function offerOf(
  cluster: Cluster,
  judgement: IJudgement,
  diff: Diff | null,
  running: Sync | null
): IOffer {
  const rows = (diff?.rows ?? []).filter(
    row => canSync(row) && row.severity !== 'same'
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
  if (rows > 0 && source === 'discovered') {
    return { kind: 'discovered' };
  }
  return rows === 0 ? { kind: 'nothing' } : null;
}
