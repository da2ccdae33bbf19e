/** What of a comparison can be synced, why it can't, and what a plan does where; the server has the last word. */
import { isLocalCode } from './details';
import type { IJudgement, Reason } from './model';
import type { Cluster, Diff, Row, Sync } from './wire';

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
