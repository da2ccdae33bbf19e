/** The rows of a comparison, with filters. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Diff, DiffGroup, Row, RowGroup } from '../wire';
import { rowStatusWords, severityWords } from '../words';

export interface ISoftwareTableProps {
  diff: Diff;
  trans: TranslationBundle;
}

type Severity = Row['severity'];

const ICONS: Record<Severity, string> = {
  block: '✕',
  warn: '!',
  note: '+',
  ok: '✓'
};
const ALL: readonly Severity[] = ['block', 'warn', 'note', 'ok'];
const NONE = '—';

/** Drawn anew only for another comparison: it can have hundreds of rows. */
export const SoftwareTable = React.memo(function SoftwareTable(
  props: ISoftwareTableProps
): JSX.Element {
  const { diff, trans } = props;
  const [shown, setShown] = React.useState<readonly Severity[]>(
    ALL.filter(it => it !== 'ok')
  );
  const [text, setText] = React.useState('');
  const [open, setOpen] = React.useState<readonly string[]>([]);
  const wanted = text.trim().toLowerCase();
  const named = diff.rows.filter(row =>
    row.name.toLowerCase().includes(wanted)
  );
  const rows = named.filter(row => shown.includes(row.severity));
  const hidden = named.length - rows.length;
  return (
    <div>
      <div
        className="jp-Coiled-row"
        role="group"
        aria-label={trans.__('Show packages by severity')}
      >
        {ALL.map(severity => (
          <button
            key={severity}
            className="jp-Coiled-pill"
            data-severity={severity}
            aria-pressed={shown.includes(severity)}
            onClick={() => setShown(toggled(shown, severity))}
          >
            <span className="jp-Coiled-icon" aria-hidden="true">
              {ICONS[severity]}
            </span>{' '}
            {severityWords(severity, diff.severities[severity], trans)}
          </button>
        ))}
      </div>
      <input
        className="jp-Coiled-filter"
        type="search"
        value={text}
        placeholder={trans.__('Filter packages')}
        aria-label={trans.__('Filter packages')}
        onChange={event => setText(event.target.value)}
      />
      {rows.length > 0 && (
        <table
          className="jp-Coiled-table"
          aria-label={trans.__('Packages of the kernel and the cluster')}
        >
          <thead>
            <tr>
              <th scope="col">{trans.__('Package')}</th>
              <th scope="col">{trans.__('Kernel')}</th>
              <th scope="col">{trans.__('Cluster')}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(row => (
              <PackageRow
                key={row.name}
                row={row}
                groups={diff.cluster.groups}
                open={open.includes(row.name)}
                trans={trans}
                onToggle={() => setOpen(toggled(open, row.name))}
              />
            ))}
          </tbody>
        </table>
      )}
      {rows.length === 0 && !hidden && (
        <div className="jp-Coiled-sub">{trans.__('No matches')}</div>
      )}
      {wanted && hidden > 0 && (
        <div className="jp-Coiled-row">
          <span className="jp-Coiled-sub">
            {trans._n('%1 more is hidden', '%1 more are hidden', hidden)}
          </span>
          <button
            className="jp-Coiled-button"
            onClick={() => setShown([...ALL])}
          >
            {trans.__('Show all')}
          </button>
        </div>
      )}
    </div>
  );
});

interface IPackageRowProps {
  row: Row;
  groups: readonly DiffGroup[];
  open: boolean;
  trans: TranslationBundle;
  onToggle: () => void;
}

function PackageRow(props: IPackageRowProps): JSX.Element {
  const { row, groups, open, trans } = props;
  const id = `jp-Coiled-why-${row.name}`;
  const { kernel } = row;
  return (
    <>
      <tr
        data-package={row.name}
        data-status={row.status}
        data-severity={row.severity}
      >
        <td>
          <button
            className="jp-Coiled-name"
            aria-expanded={open}
            aria-controls={open ? id : undefined}
            onClick={props.onToggle}
          >
            <span className="jp-Coiled-icon" aria-hidden="true">
              {ICONS[row.severity]}
            </span>{' '}
            {row.name}
          </button>
          <div className="jp-Coiled-sub">
            {rowStatusWords(row.status, trans)}
            {row.in_use && ` · ${trans.__('in use')}`}
          </div>
        </td>
        <td>
          {kernel
            ? running(kernel.version, kernel.loaded ? [kernel.loaded] : [])
            : NONE}
          {kernel?.source && (
            <div className="jp-Coiled-sub">{kernel.source.kind}</div>
          )}
        </td>
        <td>{clusterCell(row.groups, trans)}</td>
      </tr>
      {open && (
        <tr id={id}>
          <td colSpan={3} className="jp-Coiled-why">
            {row.why && <p>{row.why}</p>}
            {row.fix && <p>{row.fix}</p>}
            <ul>
              {row.groups.map(entry => (
                <li key={entry.group}>
                  {groupWords(
                    groups.find(group => group.id === entry.group),
                    entry,
                    trans
                  )}
                </li>
              ))}
            </ul>
          </td>
        </tr>
      )}
    </>
  );
}

/** What runs where it isn't what is installed, then what is installed. */
function running(version: string | null, loaded: readonly string[]): string {
  const other = [...new Set(loaded)].filter(it => it !== version);
  const installed = version ?? NONE;
  return other.length ? `${other.join(', ')} → ${installed}` : installed;
}

function entryWords(entry: RowGroup): string {
  return running(
    entry.version,
    entry.loaded.map(({ version }) => version)
  );
}

function clusterCell(
  groups: readonly RowGroup[],
  trans: TranslationBundle
): string {
  const versions = [...new Set(groups.map(entryWords))];
  return versions.length > 1
    ? trans._n('%1 version', '%1 versions', versions.length)
    : (versions[0] ?? NONE);
}

function groupWords(
  group: DiffGroup | undefined,
  entry: RowGroup,
  trans: TranslationBundle
): string {
  const version =
    entry.version === null && !entry.loaded.length
      ? trans.__('not installed')
      : entryWords(entry);
  if (!group) {
    return version;
  }
  const count = group.nodes.length;
  const nodes =
    group.role === 'scheduler'
      ? trans.__('scheduler')
      : trans._n('%1 worker', '%1 workers', count);
  return trans.__(
    '%1: %2 on %3 (%4)',
    version,
    nodes,
    group.host,
    group.nodes.join(', ')
  );
}

function toggled<T>(list: readonly T[], item: T): T[] {
  return list.includes(item)
    ? list.filter(other => other !== item)
    : [...list, item];
}
