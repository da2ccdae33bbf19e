/** The row of one package, with its details. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { ApiError } from '../../api/client';
import { isLocalCode, placesOf } from '../../model/places';
import type { IPlace } from '../../model/places';
import { normalName } from '../../model/model';
import { canSync } from '../../model/syncOffer';
import type {
  DiffGroup,
  DiffKernel,
  Row,
  RowGroup,
  Rules
} from '../../api/wire';
import type { IWords } from '../../words/words';
import { rowUseWords } from '../../words/rows';
import {
  packageSourceWords,
  problemWords,
  ratingWords,
  roleWords,
  rowStatusWords
} from '../../words/words';

type Severity = Row['severity'];

export const SEVERITIES: readonly Severity[] = [
  'breaks',
  'risky',
  'minor',
  'same'
];

export const SEVERITY_ICONS: Record<Severity, string> = {
  breaks: '✕',
  risky: '!',
  minor: '+',
  same: '✓'
};

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

const NONE = '—';
/** Hosts and nodes that are named; the rest is counted. */
const NAMED = 3;

/** The actions on a row; each may reject with an `ApiError`. */
export interface IRowActions {
  ignore(name: string, ignored: boolean): Promise<void>;
  rate(name: string, severity: Severity | null): Promise<void>;
  readRules(): Promise<void>;
  /** Show the plan of syncing this package alone. */
  sync(name: string): void;
  /** Copy text to the clipboard. */
  copy(text: string): void;
}

export interface IPackageRowProps {
  row: Row;
  kernel: DiffKernel;
  groups: readonly DiffGroup[];
  rules: Rules | null;
  actions: IRowActions;
  /** Why nothing can be synced now, '' if it can. */
  blocked: string;
  open: boolean;
  /** Its index in the whole table, of which only visible rows are rendered. */
  rowIndex: number;
  trans: TranslationBundle;
  onToggle: () => void;
  /** Called before its severity changes. */
  onChange: () => void;
}

/** The row, and a second one with the details if it is open. */
export function PackageRow(props: IPackageRowProps): JSX.Element {
  const { row, groups, open, rowIndex, trans } = props;
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
              {rowStatusWords(row.status, trans)}
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
            <ul aria-label={trans.__('Where it is')}>
              <KernelPlace row={row} kernel={props.kernel} trans={trans} />
              {placesOf(row, groups).map((place, index) => (
                <Place key={index} place={place} trans={trans} />
              ))}
            </ul>
            <RowButtons {...props} />
            <Rating {...props} />
          </td>
        </tr>
      )}
    </>
  );
}

interface IKernelPlaceProps {
  row: Row;
  kernel: DiffKernel;
  trans: TranslationBundle;
}

function KernelPlace(props: IKernelPlaceProps): JSX.Element {
  const { row, kernel, trans } = props;
  const side = row.kernel;
  const loaded = side?.loaded;
  return (
    <li data-role="kernel">
      <b>{versionWords(side ? side.version : null, trans)}</b>
      {' · '}
      {trans.__('kernel of %1', kernel.label)}
      {kernel.python && ` · ${trans.__('Python %1', kernel.python)}`}
      {side && loaded && loaded !== side.version && (
        <div>{trans.__('still runs %1', loaded)}</div>
      )}
      {side?.source && <SourceLine source={side.source} trans={trans} />}
    </li>
  );
}

interface IPlaceProps {
  place: IPlace;
  trans: TranslationBundle;
}

function Place({ place, trans }: IPlaceProps): JSX.Element {
  const { groups, role } = place;
  const hosts = [...new Set(groups.map(group => group.host))];
  return (
    <li data-role={role}>
      <b>{versionWords(place.version, trans)}</b>
      {' · '}
      {role === 'worker'
        ? trans._n(
            '%2 of %1 worker',
            '%2 of %1 workers',
            place.total,
            place.count
          )
        : roleWords(role, trans)}
      {' · '}
      {trans.__('on %1', named(hosts, trans))}
      {' · '}
      {trans.__('Python %1', place.python)}
      {place.running.map(({ version, count }) => (
        <div key={version}>
          {role === 'worker'
            ? trans._n(
                'still runs %2 on %1 worker',
                'still runs %2 on %1 workers',
                count,
                version
              )
            : trans.__('still runs %1', version)}
        </div>
      ))}
      {place.source && <SourceLine source={place.source} trans={trans} />}
      <details>
        <summary>{trans.__('Nodes')}</summary>
        <ul>
          {groups.map(group => (
            <li key={group.id}>
              {trans.__(
                '%1, %2: %3',
                group.host,
                group.prefix,
                group.nodes.join(', ')
              )}
            </li>
          ))}
        </ul>
      </details>
    </li>
  );
}

interface ISourceLineProps {
  source: NonNullable<RowGroup['source']>;
  trans: TranslationBundle;
}

function SourceLine({ source, trans }: ISourceLineProps): JSX.Element {
  const words = packageSourceWords(source, trans);
  return (
    <div>
      {source.commit
        ? trans.__(
            '%1: %2 at commit %3',
            words,
            source.url,
            source.commit.slice(0, 12)
          )
        : trans.__('%1: %2', words, source.url)}
    </div>
  );
}

function RowButtons(props: IPackageRowProps): JSX.Element {
  const { actions, blocked, row, trans } = props;
  return (
    <div className="jp-Coiled-row jp-Coiled-rowButtons">
      {canSync(row) && (
        <button
          className="jp-Coiled-button"
          aria-label={trans.__('Sync only %1', row.name)}
          aria-disabled={blocked !== ''}
          title={blocked || undefined}
          onClick={() => blocked === '' && actions.sync(row.name)}
        >
          {trans.__('Sync only this…')}
        </button>
      )}
      <button
        className="jp-Coiled-button"
        aria-label={trans.__('Copy what is known of %1', row.name)}
        onClick={() => actions.copy(rowText(props))}
      >
        {trans.__('Copy')}
      </button>
    </div>
  );
}

/** Return a row as text, to be sent to others. */
function rowText({ row, kernel, groups, trans }: IPackageRowProps): string {
  const { name, why, fix } = row;
  const places = placesOf(row, groups).map(place =>
    trans.__(
      '%1 (%2 of %3): %4',
      roleWords(place.role, trans),
      place.count,
      place.total,
      place.version ?? NONE
    )
  );
  return [
    trans.__('%1: %2', name, rowStatusWords(row.status, trans)),
    trans.__('%1: %2', kernel.label, row.kernel?.version ?? NONE),
    ...places,
    why,
    fix
  ]
    .filter(Boolean)
    .join('\n');
}

/** The user's own rules about a package, and their controls. */
function Rating(props: IPackageRowProps): JSX.Element {
  const { row, rules, actions, trans } = props;
  const [busy, setBusy] = React.useState(false);
  const [problem, setProblem] = React.useState<IWords | null>(null);
  const attempt = async (act: () => Promise<void>) => {
    setBusy(true);
    setProblem(null);
    try {
      await act();
    } catch (reason) {
      setProblem(
        reason instanceof ApiError
          ? problemWords(reason, trans)
          : { text: String(reason), hint: '' }
      );
    } finally {
      setBusy(false);
    }
  };
  React.useEffect(() => {
    void attempt(() => actions.readRules());
  }, []);
  const name = normalName(row.name);
  const ignored = rules?.ignores.includes(name) ?? false;
  const rated = rules?.overrides[name] ?? null;
  return (
    <div className="jp-Coiled-rating" aria-busy={busy}>
      <div>{holdsWords(row.severity, ignored, rated, trans)}</div>
      <div className="jp-Coiled-row">
        <button
          className="jp-Coiled-button"
          disabled={busy || !rules}
          onClick={() => {
            props.onChange();
            void attempt(() => actions.ignore(row.name, !ignored));
          }}
        >
          {ignored
            ? trans.__('Stop ignoring')
            : trans.__('Ignore this package')}
        </button>
        <label className="jp-Coiled-select">
          {trans.__('Set severity')}
          <select
            disabled={busy || !rules}
            value={rated ?? ''}
            onChange={event => {
              const value = event.target.value;
              const wish = SEVERITIES.find(it => it === value) ?? null;
              props.onChange();
              void attempt(() => actions.rate(row.name, wish));
            }}
          >
            <option value="">{trans.__('the rules say')}</option>
            {SEVERITIES.map(severity => (
              <option key={severity} value={severity}>
                {ratingWords(severity, trans)}
              </option>
            ))}
          </select>
        </label>
      </div>
      {problem && (
        <div role="alert" className="jp-Coiled-problem">
          {[problem.text, problem.hint].filter(Boolean).join('. ')}
        </div>
      )}
    </div>
  );
}

function holdsWords(
  severity: Severity,
  ignored: boolean,
  rated: Severity | null,
  trans: TranslationBundle
): string {
  const now = ratingWords(severity, trans);
  if (ignored) {
    return trans.__('Severity: %1 (ignored by you)', now);
  }
  return rated
    ? trans.__('Severity: %1 (chosen by you)', now)
    : trans.__('Severity: %1 (default)', now);
}

/** Return the first few names, and the number of the others. */
function named(names: readonly string[], trans: TranslationBundle): string {
  const more = names.length - NAMED;
  const shown = names.slice(0, NAMED).join(', ');
  return more > 0
    ? trans._n('%2 and %1 more', '%2 and %1 more', more, shown)
    : shown;
}

/** A version as installed; local code has none. */
function versionWords(
  version: string | null,
  trans: TranslationBundle
): string {
  return version === null
    ? trans.__('not installed')
    : version || trans.__('local code');
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
