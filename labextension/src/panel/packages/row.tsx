/** The row of one package. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { isLocalCode } from '../../model/places';
import type { Row, RowGroup } from '../../api/wire';
import { differenceWords, rowUseWords } from '../../words/rows';
import { packageSourceWords } from '../../words/words';
import { lazy } from '../lazy';
import { NONE, SEVERITY_ICONS, versionWords } from './shared';
import type { IPackageRowProps } from './shared';

const RowDetails = lazy(() => import('./details').then(it => it.RowDetails));

const STATUS_ICONS: Record<Row['status'], string> = {
  broken: '⚠',
  unknown: '?',
  split: '⇅',
  differs: '≠',
  only_kernel: '◧',
  only_cluster: '◨',
  content_differs: '≈',
  restart_needed: '↻',
  same: '='
};

/** The row, and a second one with the details if it is open. */
export function PackageRow(props: IPackageRowProps): JSX.Element {
  const { row, open, rowIndex, trans } = props;
  // An id must not contain spaces.
  const id = `jp-Coiled-why-${row.name.replace(/\s/g, '_')}`;
  const { kernel } = row;
  const local = isLocalCode(row);
  return (
    <>
      <tr
        aria-rowindex={rowIndex}
        data-package={row.name}
        data-status={row.status}
        data-severity={row.severity}
      >
        <th scope="row">
          <button
            className="jp-Coiled-name"
            aria-expanded={open}
            aria-controls={open ? id : undefined}
            onClick={props.onToggle}
          >
            <span className="jp-Coiled-twist" aria-hidden="true">
              {open ? '▾' : '▸'}
            </span>
            <span className="jp-Coiled-icon" aria-hidden="true">
              {SEVERITY_ICONS[row.severity]}
            </span>{' '}
            {row.name}
          </button>
          <div className="jp-Coiled-sub jp-Coiled-status">
            <span className="jp-Coiled-icon" aria-hidden="true">
              {STATUS_ICONS[row.status]}
            </span>
            <span>
              {differenceWords(row, trans)}
              {row.use && ` · ${rowUseWords(row, trans)}`}
            </span>
          </div>
        </th>
        <td>
          {kernel
            ? running(
                kernel.version,
                kernel.loaded ? [kernel.loaded] : [],
                trans
              )
            : NONE}
          {kernel?.source && !local && (
            <div className="jp-Coiled-sub">
              {packageSourceWords(kernel.source, trans)}
            </div>
          )}
        </td>
        <td>{clusterCell(row.groups, trans)}</td>
      </tr>
      {open && (
        <tr id={id} aria-rowindex={rowIndex + 1}>
          <td colSpan={3} className="jp-Coiled-why">
            {row.why && <p>{row.why}</p>}
            {row.fix && (
              <p>
                <b>{trans.__('What helps:')}</b> {row.fix}
              </p>
            )}
            <RowDetails {...props} />
          </td>
        </tr>
      )}
    </>
  );
}

/** Loaded versions that differ from the installed ones, then the installed ones. */
function running(
  version: string | null,
  loaded: readonly string[],
  trans: TranslationBundle
): string {
  const other = [...new Set(loaded)].filter(it => it && it !== version);
  const installed = version === null ? NONE : versionWords(version, trans);
  return other.length ? `${other.join(', ')} → ${installed}` : installed;
}

function clusterCell(
  groups: readonly RowGroup[],
  trans: TranslationBundle
): string {
  const versions = [
    ...new Set(
      groups.map(entry =>
        running(
          entry.version,
          entry.loaded.map(({ version }) => version),
          trans
        )
      )
    )
  ];
  return versions.length > 1
    ? trans._n('%1 version', '%1 versions', versions.length)
    : (versions[0] ?? NONE);
}
