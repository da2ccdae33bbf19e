/** The card of a sync: its progress and its result. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { freshness } from '../../model/model';
import { isRunning } from '../../model/syncs';
import { lostWords, nextWords } from '../../words/plan';
import { syncStateWords, syncWords } from '../../words/sync';
import type { Sync } from '../../api/wire';
import { durationWords, roleWords, stepWords } from '../../words/words';
import { Age } from '../age';
import { Steps } from '../steps';

export interface ISyncCardProps {
  sync: Sync;
  /** The cluster's name. */
  name: string;
  lines: readonly string[];
  /** Seconds since it was read. */
  age: number | null;
  /** The present time in milliseconds, by the server's clock. */
  now: number;
  onCancel: () => void;
  /** Null if this sync can't be undone. */
  onUndo: (() => void) | null;
  /** Null if there is nothing to plan. */
  onAgain: (() => void) | null;
  onDismiss: () => void;
  /** Read the log of an ended sync. */
  onLog: () => void;
  trans: TranslationBundle;
}

const ICONS: Partial<Record<Sync['state'], string>> = {
  done: '✓',
  failed: '✕',
  cancelled: '–',
  lost: '?'
};

export function SyncCard(props: ISyncCardProps): JSX.Element {
  const { age, name, now, sync, trans } = props;
  const running = isRunning(sync);
  const known = !running || freshness(age) !== 'unknown';
  const title = syncWords(sync, name, trans);
  const state = syncStateWords(sync, trans);
  const seconds =
    (sync.ended_at ? Date.parse(sync.ended_at) : now) / 1000 -
    Date.parse(sync.started_at) / 1000;
  return (
    <div
      className="jp-Coiled-card jp-Coiled-sync"
      role="group"
      aria-label={title}
      data-sync-id={sync.id}
      data-state={sync.state}
    >
      <div className="jp-Coiled-row">
        <span className="jp-Coiled-icon" aria-hidden="true">
          {known ? (ICONS[sync.state] ?? '◐') : '?'}
        </span>
        <b className="jp-Coiled-grow">{title}</b>
        <span>{durationWords(Math.max(0, seconds), trans)}</span>
      </div>
      <div className="jp-Coiled-sub jp-Coiled-syncState">
        {known ? sentence(state) : trans.__('Not known, was: %1', state)}
      </div>
      {running && <Age seconds={age} quiet={true} trans={trans} />}
      <Steps
        steps={sync.steps}
        label={trans.__('Steps of the sync')}
        trans={trans}
      />
      {!running && <Result {...props} />}
      {(running || sync.log.next > 0) && <Log {...props} />}
      <div className="jp-Coiled-row">
        {running && sync.state !== 'rolling_back' && (
          <button
            className="jp-Coiled-button"
            aria-label={trans.__('Cancel the sync of %1', name)}
            onClick={props.onCancel}
          >
            {trans.__('Cancel…')}
          </button>
        )}
        {props.onUndo && (
          <button
            className="jp-Coiled-button"
            aria-label={
              sync.undo_of === null
                ? trans.__('Undo the sync of %1', name)
                : trans.__('Take the undo on %1 back', name)
            }
            onClick={props.onUndo}
          >
            {sync.undo_of === null ? trans.__('Undo…') : trans.__('Redo…')}
          </button>
        )}
        {props.onAgain && (
          <button className="jp-Coiled-button" onClick={props.onAgain}>
            {trans.__('Plan again…')}
          </button>
        )}
        {!running && (
          <button
            className="jp-Coiled-button"
            aria-label={trans.__('Dismiss the result for %1', name)}
            onClick={props.onDismiss}
          >
            {trans.__('Dismiss')}
          </button>
        )}
      </div>
    </div>
  );
}

/** The result: what happened, where, and what to do next. */
function Result({ sync, trans }: ISyncCardProps): JSX.Element {
  const { result, state, steps } = sync;
  const ended = state === 'done';
  const next = nextWords(sync, trans);
  const lost = result ? lostWords(result.lost, trans) : [];
  // Without a summary, the failed step is named.
  const failed = steps.find(step => step.state === 'failed');
  const text =
    result?.text ||
    (failed
      ? [stepWords(failed.name, trans), failed.text].filter(Boolean).join(': ')
      : '');
  // Verified groups of a successful sync aren't repeated.
  const groups = (result?.groups ?? []).filter(
    ({ verified }) => !(ended && verified)
  );
  return (
    <div
      className={ended ? 'jp-Coiled-said' : 'jp-Coiled-said jp-Coiled-reason'}
      data-result={state}
    >
      {text && <div>{text}</div>}
      {lost.map(it => (
        <div key={it}>{it}</div>
      ))}
      {groups.length > 0 && (
        <ul className="jp-Coiled-places">
          {groups.map(group => (
            <li key={group.group} data-verified={group.verified}>
              <span
                className="jp-Coiled-icon"
                role="img"
                aria-label={
                  group.verified
                    ? trans.__('read and right')
                    : trans.__('not verified')
                }
              >
                {group.verified ? '✓' : '?'}
              </span>{' '}
              {trans.__(
                '%1 on %2: %3',
                group.role === 'worker'
                  ? trans._n('%1 worker', '%1 workers', group.nodes.length)
                  : roleWords(group.role, trans),
                group.host,
                group.text
              )}
            </li>
          ))}
        </ul>
      )}
      {next && <div>{next}</div>}
    </div>
  );
}

/** The log of a sync, folded. */
function Log(props: ISyncCardProps): JSX.Element {
  const { lines, onLog, sync, trans } = props;
  const [open, setOpen] = React.useState(false);
  const shown = lines.length > 0 ? lines : sync.log.lines;
  const node = React.useRef<HTMLPreElement>(null);
  const atEnd = React.useRef(true);
  React.useLayoutEffect(() => {
    if (node.current && atEnd.current) {
      node.current.scrollTop = node.current.scrollHeight;
    }
  }, [shown, open]);
  return (
    <details
      className="jp-Coiled-syncLog"
      onToggle={event => {
        const now = event.currentTarget.open;
        setOpen(now);
        if (now && !isRunning(sync)) {
          onLog();
        }
      }}
    >
      <summary>
        {trans._n('Log, %1 line', 'Log, %1 lines', sync.log.next)}
      </summary>
      {open && (
        <pre
          ref={node}
          role="log"
          // Much installer output would crowd out everything else that a screen reader announces.
          aria-live="off"
          aria-label={trans.__('What the installer and the steps said')}
          tabIndex={0}
          onScroll={({ currentTarget: it }) => {
            atEnd.current =
              it.scrollHeight - it.clientHeight - it.scrollTop < 20;
          }}
        >
          {shown.join('\n')}
        </pre>
      )}
    </details>
  );
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
