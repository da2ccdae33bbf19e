/** The versions of one package on a cluster, with equal groups merged. */
import type { DiffGroup, Row, RowGroup, Source } from '../api/wire';

/** Nodes of one role with the same version of a package. */
export interface IPlace {
  readonly role: DiffGroup['role'];
  readonly python: string;
  readonly version: string | null;
  /** Loaded versions that differ from the installed one, with the number of processes. */
  readonly running: readonly { version: string; count: number }[];
  readonly source: Source | null;
  readonly groups: readonly DiffGroup[];
  /** The number of nodes, and of all nodes with this role. */
  readonly count: number;
  readonly total: number;
}

/** The places of a row, those with most nodes first, the scheduler last. */
export function placesOf(row: Row, groups: readonly DiffGroup[]): IPlace[] {
  const known = new Map(groups.map(group => [group.id, group]));
  const found = new Map<string, [DiffGroup, RowGroup][]>();
  for (const entry of row.groups) {
    const group = known.get(entry.group);
    if (group) {
      const versions = entry.loaded.map(({ version }) => version).sort();
      const { role, python } = group;
      const key = JSON.stringify([
        role,
        python,
        entry.version,
        versions,
        entry.source
      ]);
      found.set(key, [...(found.get(key) ?? []), [group, entry]]);
    }
  }
  return [...found.values()]
    .map(parts => place(parts, groups))
    .sort(
      (one, other) =>
        Number(one.role === 'scheduler') - Number(other.role === 'scheduler') ||
        other.count - one.count
    );
}

function place(
  parts: readonly [DiffGroup, RowGroup][],
  groups: readonly DiffGroup[]
): IPlace {
  const [{ role, python }, { version, source }] = parts[0];
  const running = new Map<string, number>();
  for (const [, entry] of parts) {
    for (const loaded of entry.loaded) {
      if (loaded.version !== version) {
        const before = running.get(loaded.version) ?? 0;
        running.set(loaded.version, before + loaded.nodes.length);
      }
    }
  }
  return {
    role,
    python,
    version,
    running: [...running].map(([version, count]) => ({ version, count })),
    source,
    groups: parts.map(([group]) => group),
    count: nodes(parts.map(([group]) => group)),
    total: nodes(groups.filter(group => group.role === role))
  };
}

function nodes(groups: readonly DiffGroup[]): number {
  return groups.reduce((sum, group) => sum + group.nodes.length, 0);
}

/** Whether a row is a file or folder beside the notebook, which has no version. */
export function isLocalCode(row: Row): boolean {
  return [row.kernel, ...row.groups].some(
    side => side?.source?.kind === 'module'
  );
}
