/** What is behind a package's row: where it is, what can be done, and how it is rated. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { ApiError } from '../../api/client';
import type { DiffKernel, Row, RowGroup } from '../../api/wire';
import { normalName } from '../../model/model';
import { placesOf } from '../../model/places';
import type { IPlace } from '../../model/places';
import { canSync } from '../../model/syncOffer';
import { DOCUMENTATION } from '../../tokens';
import { differenceWords, useWords } from '../../words/rows';
import type { IWords } from '../../words/words';
import {
  packageSourceWords,
  problemWords,
  ratingWords,
  roleWords,
  rowStatusWords
} from '../../words/words';
import { NONE, SEVERITIES, versionWords } from './shared';
import type { IPackageRowProps, Severity } from './shared';

/** Hosts and nodes that are named; the rest is counted. */
const NAMED = 3;

export function RowDetails(props: IPackageRowProps): JSX.Element {
  const { row, groups, trans } = props;
  return (
    <>
      <RowButtons {...props} />
      <p className="jp-Coiled-sub">
        {[differenceWords(row, trans), useWords(row.use, trans)].join(' · ')}
      </p>
      <ul aria-label={trans.__('Where it is')}>
        <KernelPlace row={row} kernel={props.kernel} trans={trans} />
        {placesOf(row, groups).map((place, index) => (
          <Place key={index} place={place} trans={trans} />
        ))}
      </ul>
      <Rating {...props} />
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
          aria-label={trans.__('Sync only this… (%1)', row.name)}
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
      <a
        className="jp-Coiled-link"
        // The lab gives links the colour of the text around them.
        style={{ color: 'var(--jp-content-link-color)' }}
        href={`${DOCUMENTATION}/why.html#why-versions-should-match`}
        target="_blank"
        rel="noopener"
      >
        {trans.__('Why should versions match?')}
      </a>
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
