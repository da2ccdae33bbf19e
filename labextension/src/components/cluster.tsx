/** One cluster's card. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { freshness, hasEnded } from '../model';
import type { ClientInfo, Cluster, Step } from '../wire';
import {
  agoWords,
  clusterSourceWords,
  clusterStatusWords,
  durationWords,
  stepStateWords,
  stopWords
} from '../words';
import { Age } from './age';

export interface IClusterCardProps {
  cluster: Cluster;
  /** Milliseconds of the present. */
  now: number;
  /** Seconds since it was read, null if that doesn't matter. */
  age: number | null;
  trans: TranslationBundle;
  /** Null where it isn't ours to stop. */
  onStop: (() => void) | null;
  /** Null where no notebook or console takes code. */
  onInsert: (() => void) | null;
}

const ICONS: Record<Cluster['status'], string> = {
  starting: '◐',
  running: '●',
  idle: '●',
  degraded: '!',
  unreachable: '?',
  stopping: '◐',
  stopped: '○',
  failed: '✕',
  lost: '✕'
};

const STEPS: Record<Step['state'], string> = {
  waiting: '○',
  running: '◐',
  done: '✓',
  failed: '✕',
  cancelled: '–'
};

export function ClusterCard(props: IClusterCardProps): JSX.Element {
  const { age, cluster, now, trans } = props;
  const ended = hasEnded(cluster);
  const managed = cluster.source === 'managed';
  const known = freshness(age) !== 'unknown';
  const stop = stopWords(cluster, trans);
  const since = (now - Date.parse(cluster.since)) / 1000;
  return (
    <div
      className="jp-Coiled-card"
      role="group"
      aria-label={cluster.name}
      data-cluster-id={cluster.id}
      data-status={cluster.status}
      data-age={freshness(age)}
    >
      <div className="jp-Coiled-row">
        <span className="jp-Coiled-icon" aria-hidden="true">
          {known ? ICONS[cluster.status] : '?'}
        </span>
        <b className="jp-Coiled-grow">{cluster.name}</b>
        <span>
          {known
            ? clusterStatusWords(cluster.status, trans)
            : trans.__(
                'Unknown, was %1',
                clusterStatusWords(cluster.status, trans)
              )}
          {known && since >= 0 && ` · ${durationWords(since, trans)}`}
        </span>
      </div>
      <Age seconds={age} quiet={true} trans={trans} />
      <div className="jp-Coiled-sub">
        {managed
          ? trans.__(
              '%1 of %2 workers',
              cluster.workers.length,
              cluster.desired.workers
            )
          : trans._n('%1 worker', '%1 workers', cluster.workers.length)}
        {` · ${clusterSourceWords(cluster, trans)}`}
      </div>
      {!managed && cluster.scheduler && (
        <div className="jp-Coiled-sub">{cluster.scheduler.address}</div>
      )}
      <div
        className="jp-Coiled-sub"
        title={cluster.environment.prefix ?? undefined}
      >
        {softwareWords(cluster, trans)}
      </div>
      {cluster.reason && (
        <div className="jp-Coiled-reason">{cluster.reason}</div>
      )}
      {(cluster.status === 'starting' || cluster.status === 'failed') && (
        <Steps steps={cluster.steps} trans={trans} />
      )}
      {!ended && cluster.other_clients.length > 0 && (
        <Clients clients={cluster.other_clients} now={now} trans={trans} />
      )}
      <div className="jp-Coiled-row">
        {!ended && props.onInsert && (
          <button
            className="jp-Coiled-button"
            aria-label={trans.__('Insert a client of %1', cluster.name)}
            disabled={
              cluster.status === 'starting' || cluster.status === 'stopping'
            }
            onClick={props.onInsert}
          >
            {trans.__('Insert client')}
          </button>
        )}
        {props.onStop && (
          <button
            className="jp-Coiled-button"
            aria-label={
              ended
                ? trans.__('Remove %1 from the list', cluster.name)
                : stop.name
            }
            title={ended ? undefined : stop.name}
            disabled={cluster.status === 'stopping'}
            onClick={props.onStop}
          >
            {ended ? trans.__('Remove') : stop.label}
          </button>
        )}
      </div>
    </div>
  );
}

function softwareWords(cluster: Cluster, trans: TranslationBundle): string {
  const { software, python, prefix } = cluster.environment;
  const parts = [
    software && trans.__('environment %1', software),
    python && trans.__('Python %1', python),
    prefix && shortened(prefix)
  ].filter(Boolean);
  return parts.length ? parts.join(' · ') : trans.__('environment not known');
}

/** The end of a path, which is what tells one environment from another; the whole is the tooltip. */
function shortened(path: string): string {
  const parts = path.split('/').filter(Boolean);
  return parts.length > 2 ? `…/${parts.slice(-2).join('/')}` : path;
}

interface IClientsProps {
  clients: readonly ClientInfo[];
  now: number;
  trans: TranslationBundle;
}

/** Who else works with the cluster, and with what: whatever is done to it concerns them too. */
function Clients({ clients, now, trans }: IClientsProps): JSX.Element {
  return (
    <details className="jp-Coiled-clients">
      <summary>{trans._n('%1 client', '%1 clients', clients.length)}</summary>
      <ul>
        {clients.map(client => (
          <li key={client.id} data-client={client.id}>
            <b>
              {client.own
                ? (client.opened_by ?? trans.__('a kernel of this server'))
                : (client.host ?? trans.__('unknown host'))}
            </b>
            <div className="jp-Coiled-sub">
              {clientVersions(client, trans)}
              {client.last_seen !== null &&
                ` · ${agoWords(Math.max(0, now - Date.parse(client.last_seen)) / 1000, trans)}`}
            </div>
          </li>
        ))}
      </ul>
    </details>
  );
}

function clientVersions(client: ClientInfo, trans: TranslationBundle): string {
  const told = ['python', 'dask', 'distributed', 'numpy', 'pandas']
    .filter(name => client.versions[name])
    .map(name =>
      name === 'python'
        ? `Python ${client.versions[name].split(/[.\s]/).slice(0, 3).join('.')}`
        : `${name} ${client.versions[name]}`
    );
  return told.length ? told.join(', ') : trans.__('told no versions');
}

interface IStepsProps {
  steps: readonly Step[];
  trans: TranslationBundle;
}

function Steps({ steps, trans }: IStepsProps): JSX.Element {
  return (
    <ol className="jp-Coiled-steps" aria-label={trans.__('Steps of the start')}>
      {steps.map(step => (
        <li key={step.name} data-step={step.name} data-state={step.state}>
          <span
            className="jp-Coiled-icon"
            role="img"
            aria-label={stepStateWords(step.state, trans)}
          >
            {STEPS[step.state]}
          </span>
          <span className="jp-Coiled-grow">
            {step.name}
            {step.text && <span className="jp-Coiled-sub">{step.text}</span>}
          </span>
          {step.state !== 'waiting' && step.seconds !== null && (
            <span>{trans.__('%1 s', step.seconds.toFixed(1))}</span>
          )}
        </li>
      ))}
    </ol>
  );
}
