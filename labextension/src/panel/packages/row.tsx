/** The row of one package: one line, and what is behind it once it is opened. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { RowGroup } from '../../api/wire';
import { rowNoteWords } from '../../words/rows';
import { ratingWords } from '../../words/words';
import { Icon, SEVERITY_ICONS } from '../icons';
import { lazy } from '../lazy';
import type { IPackageRowProps } from './shared';

const RowDetails = lazy(() => import('./details').then(it => it.RowDetails));

/** The row, and a second one with the details if it is open; with roles, since lines are laid out one by one. */
export function PackageRow(props: IPackageRowProps): JSX.Element {
  const { row, open, rowIndex, trans } = props;
  // An id must not contain spaces.
  const id = `jp-Coiled-why-${row.name.replace(/\s/g, '_')}`;
  const { kernel } = row;
  const note = rowNoteWords(row, trans);
  const here = kernel
    ? version(kernel.version, kernel.loaded ? [kernel.loaded] : [], trans)
    : trans.__('missing');
  const there = clusterCell(row.groups, trans);
  return (
    <>
      <tr
        role="row"
        className="jp-Coiled-package"
        aria-rowindex={rowIndex}
        data-package={row.name}
        data-status={row.status}
        data-severity={row.severity}
        data-revealed={props.revealed || undefined}
      >
        <th role="rowheader" scope="row">
          <button
            className="jp-Coiled-name"
            aria-expanded={open}
            aria-controls={open ? id : undefined}
            title={[row.name, note].filter(Boolean).join(' · ')}
            onClick={props.onToggle}
          >
            <Icon
              icon={SEVERITY_ICONS[row.severity]}
              label={ratingWords(row.severity, trans)}
            />
            <span className="jp-Coiled-line">
              {row.name}
              {note && <small>{note}</small>}
            </span>
          </button>
        </th>
        <td role="cell" className="jp-Coiled-here" title={here}>
          {here}
        </td>
        <td role="cell" className="jp-Coiled-there" title={there}>
          {there}
        </td>
      </tr>
      {open && (
        <tr role="row" id={id} aria-rowindex={rowIndex + 1}>
          <td
            role="cell"
            colSpan={3}
            className="jp-Coiled-why jp-Coiled-behind"
          >
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

/** A version as installed, and what still runs where that differs. */
function version(
  installed: string | null,
  loaded: readonly string[],
  trans: TranslationBundle
): string {
  const words =
    installed === null
      ? trans.__('missing')
      : installed || trans.__('local code');
  const other = [...new Set(loaded)].filter(it => it && it !== installed);
  return other.length
    ? trans.__('%1 (runs %2)', words, other.join(', '))
    : words;
}

function clusterCell(
  groups: readonly RowGroup[],
  trans: TranslationBundle
): string {
  const versions = [
    ...new Set(
      groups.map(entry =>
        version(
          entry.version,
          entry.loaded.map(it => it.version),
          trans
        )
      )
    )
  ];
  return versions.length > 1
    ? trans._n('%1 version', '%1 versions', versions.length)
    : (versions[0] ?? trans.__('missing'));
}
