/** What a pane shows, as a file: comma-separated values of RFC 4180. */
import type { Activity } from '../api/wire';
import { COLUMNS } from './columns';
import { ACTIONS, UNITS } from './spans';
import type { Spans } from './spans';

type Value = string | number | null;

/** A cluster says what its names are: none begins a formula of a spreadsheet, which could call out. */
function field(value: Value): string {
  if (typeof value !== 'string') {
    return value === null ? '' : String(value);
  }
  const plain = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(plain) ? `"${plain.replace(/"/g, '""')}"` : plain;
}

export function csv(rows: Iterable<readonly Value[]>): string {
  const lines: string[] = [];
  for (const row of rows) {
    lines.push(row.map(field).join(','));
  }
  return lines.map(line => `${line}\r\n`).join('');
}

/** All spans that are kept, oldest first; begins are by the clock of the scheduler. */
export function spansCsv(spans: Spans): string {
  const rows: Value[][] = [
    ['worker', 'thread', 'prefix', 'action', 'begin', 'seconds']
  ];
  for (let index = 0; index < spans.count; index++) {
    const span = spans.at(index);
    const { thread, worker } = spans.lanes[spans.lane[span]];
    rows.push([
      worker,
      thread,
      spans.prefixes[spans.prefix[span]].name,
      ACTIONS[spans.action[span]],
      isoTime(spans.base + spans.start[span] / UNITS),
      spans.length[span] / UNITS
    ]);
  }
  return csv(rows);
}

/** The states of tasks, as Dask calls them. */
export const STATES = [
  'memory',
  'released',
  'processing',
  'waiting',
  'queued',
  'no-worker',
  'erred'
] as const;

export function prefixesCsv({ prefixes }: Activity): string {
  return csv([
    ['prefix', ...STATES],
    ...prefixes.map(({ name, states }) => [
      name,
      ...STATES.map(state => states[state] ?? 0)
    ])
  ]);
}

export function workersCsv({ workers }: Activity): string {
  return csv([
    ['address', ...COLUMNS],
    ...workers.map(worker => [
      worker.id,
      ...COLUMNS.map(column => worker[column])
    ])
  ]);
}

/** A time in seconds since 1970 in ISO 8601, '' where it is none. */
export function isoTime(seconds: number): string {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) ? '' : time.toISOString();
}
