/** The rows of a comparison, with filters. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Diff, Row } from '../wire';

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
const ORDER: readonly Severity[] = ['block', 'warn', 'note', 'ok'];

export function SoftwareTable(props: ISoftwareTableProps): JSX.Element {
  const { diff, trans } = props;
  const [shown, setShown] = React.useState<readonly Severity[]>([
    'block',
    'warn',
    'note'
  ]);
  const [text, setText] = React.useState('');
  const [open, setOpen] = React.useState<string | null>(null);
  const wanted = text.trim().toLowerCase();
  const rows = diff.rows.filter(row =>
    wanted ? row.name.includes(wanted) : shown.includes(row.severity)
  );
  const toggle = (severity: Severity) =>
    setShown(
      shown.includes(severity)
        ? shown.filter(other => other !== severity)
        : [...shown, severity]
    );
  return (
    <div>
      <div className="jp-Coiled-row">
        {ORDER.map(severity => (
          <button
            key={severity}
            className="jp-Coiled-button"
            aria-pressed={shown.includes(severity)}
            onClick={() => toggle(severity)}
          >
            {`${ICONS[severity]} ${severityWords(severity, diff.severities[severity] ?? 0, trans)}`}
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
      <table className="jp-Coiled-table">
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
              open={open === row.name}
              trans={trans}
              onToggle={() => setOpen(open === row.name ? null : row.name)}
            />
          ))}
        </tbody>
      </table>
      {rows.length === 0 && (
        <div className="jp-Coiled-sub">{trans.__('No matches')}</div>
      )}
    </div>
  );
}

interface IPackageRowProps {
  row: Row;
  open: boolean;
  trans: TranslationBundle;
  onToggle: () => void;
}

function PackageRow(props: IPackageRowProps): JSX.Element {
  const { row, open, trans } = props;
  const versions = [...new Set(row.groups.map(group => group.version ?? '—'))];
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
            onClick={props.onToggle}
          >
            <span aria-hidden="true">{ICONS[row.severity]}</span> {row.name}
          </button>
          <div className="jp-Coiled-sub">{statusWords(row.status, trans)}</div>
        </td>
        <td>{row.kernel?.version ?? '—'}</td>
        <td>
          {versions.length === 1
            ? versions[0]
            : trans._n('%1 version', '%1 versions', versions.length)}
        </td>
      </tr>
      {open && (
        <tr>
          <td colSpan={3}>
            <div className="jp-Coiled-sub">{row.why}</div>
            <div className="jp-Coiled-sub">{row.fix}</div>
            {versions.length > 1 && (
              <div className="jp-Coiled-sub">{versions.join(', ')}</div>
            )}
          </td>
        </tr>
      )}
    </>
  );
}

function severityWords(
  severity: Severity,
  count: number,
  trans: TranslationBundle
): string {
  switch (severity) {
    case 'block':
      return trans._n('%1 will break', '%1 will break', count);
    case 'warn':
      return trans._n('%1 differs', '%1 differ', count);
    case 'note':
      return trans._n('%1 to note', '%1 to note', count);
    default:
      return trans._n('%1 matches', '%1 match', count);
  }
}

function statusWords(status: Row['status'], trans: TranslationBundle): string {
  return {
    broken: trans.__('damaged installation'),
    unknown: trans.__('not read'),
    split: trans.__('nodes differ'),
    differs: trans.__('versions differ'),
    only_kernel: trans.__('only in the kernel'),
    only_cluster: trans.__('only on the cluster'),
    content_differs: trans.__('sources differ'),
    restart_needed: trans.__('restart needed'),
    same: trans.__('same')
  }[status];
}
