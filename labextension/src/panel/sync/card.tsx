/** The card of a sync: its progress and its result. */
import '../../../labextension/style/sync.css';

import type { TranslationBundle } from '@jupyterlab/translation';
import { closeIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { freshness } from '../../model/model';
import { isRunning } from '../../model/syncs';
import { wereLostWords, nextWords } from '../../words/plan';
import { syncStateWords, syncWords } from '../../words/sync';
import type { Sync } from '../../api/wire';
import { durationWords, roleWords, stepWords } from '../../words/words';
import { Age } from '../age';
import {
  CLUSTER_ICONS,
  Icon,
  IconButton,
  SEVERITY_ICONS,
  STEP_ICONS
} from '../icons';
import { Steps } from '../steps';

const ICONS: Record<Sync['state'], typeof STEP_ICONS.done> = {
  planned: STEP_ICONS.running,
  building: STEP_ICONS.running,
  rolling: STEP_ICONS.running,
  verifying: STEP_ICONS.running,
  rolling_back: STEP_ICONS.running,
  done: STEP_ICONS.done,
  failed: STEP_ICONS.failed,
  cancelled: STEP_ICONS.cancelled,
  lost: CLUSTER_ICONS.unknown
};

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

/** A line that says how a sync stands, and its steps, result and log behind it; unfolded where more than success is to be said. */
export function SyncCard(props: ISyncCardProps): JSX.Element {
  const { age, name, now, sync, trans } = props;
  const running = isRunning(sync);
  const known = !running || freshness(age) !== 'unknown';
  const title = syncWords(sync, name, trans);
  const state = syncStateWords(sync, trans);
  const [chosen, setChosen] = React.useState<boolean | null>(null);
  const { lost = null, groups = [] } = sync.result ?? {};
  const worse =
    sync.state !== 'done' ||
    (lost !== null && wereLostWords(lost, trans).length > 0) ||
    groups.some(({ verified }) => !verified);
  const open = chosen ?? (!running && worse);
  const step = sync.steps.find(it => it.state === 'running');
  const seconds =
    (sync.ended_at ? Date.parse(sync.ended_at) : now) / 1000 -
    Date.parse(sync.started_at) / 1000;
  return (
    <div
      className="jp-Coiled-sync"
      role="group"
      aria-label={title}
      data-sync-id={sync.id}
      data-state={sync.state}
    >
      <div className="jp-Coiled-bar">
        <button
          className="jp-Coiled-fold"
          aria-expanded={open}
          title={[title, state].join(': ')}
          onClick={() => setChosen(!open)}
        >
          <Icon icon={known ? ICONS[sync.state] : CLUSTER_ICONS.unknown} />
          <span className="jp-Coiled-line">
            <b className="jp-Coiled-syncState">
              {known ? state : trans.__('Not known, was: %1', state)}
            </b>
            {step?.text && ` · ${step.text}`}
            <span className="jp-Coiled-syncOf">{` · ${title}`}</span>
          </span>
          <span
            className={
              running ? 'jp-Coiled-num' : 'jp-Coiled-num jp-Coiled-wide'
            }
          >
            {durationWords(Math.max(0, seconds), trans)}
          </span>
        </button>
        {running && sync.state !== 'rolling_back' && (
          <button
            className="jp-Coiled-link"
            aria-label={trans.__('Cancel the sync of %1…', name)}
            onClick={props.onCancel}
          >
            {trans.__('Cancel')}
          </button>
        )}
        {props.onUndo && (
          <button
            className="jp-Coiled-link"
            aria-label={
              sync.undo_of === null
                ? trans.__('Undo… the sync of %1', name)
                : trans.__('Redo… what was undone on %1', name)
            }
            onClick={props.onUndo}
          >
            {sync.undo_of === null ? trans.__('Undo…') : trans.__('Redo…')}
          </button>
        )}
        {props.onAgain && (
          <button className="jp-Coiled-link" onClick={props.onAgain}>
            {trans.__('Plan again…')}
          </button>
        )}
        {!running && (
          <IconButton
            icon={closeIcon}
            label={trans.__('Dismiss the result for %1', name)}
            onClick={props.onDismiss}
          />
        )}
      </div>
      {open && (
        <div className="jp-Coiled-behind">
          {running && <Age seconds={age} quiet={true} trans={trans} />}
          <Steps
            steps={sync.steps}
            now={known ? now : undefined}
            label={trans.__('Steps of the sync')}
            trans={trans}
          />
          {!running && <Result {...props} />}
          {(running || sync.log.next > 0) && <Log {...props} />}
        </div>
      )}
    </div>
  );
}

/** The result: what happened, where, and what to do next. */
function Result({ sync, trans }: ISyncCardProps): JSX.Element {
  const { result, state, steps } = sync;
  const ended = state === 'done';
  const next = nextWords(sync, trans);
  const lost = result ? wereLostWords(result.lost, trans) : [];
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
      className={
        ended ? 'jp-Coiled-outcome' : 'jp-Coiled-outcome jp-Coiled-reason'
      }
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
              <Icon
                icon={
                  group.verified ? SEVERITY_ICONS.same : CLUSTER_ICONS.unknown
                }
                label={
                  group.verified
                    ? trans.__('read and right')
                    : trans.__('not verified')
                }
              />{' '}
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
