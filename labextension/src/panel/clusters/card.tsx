/** One cluster's card. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { canSteer } from '../../model/capabilities';
import { freshness, hasEnded } from '../../model/model';
import type { IWish } from '../../model/workerRequest';
import type { ClientInfo, Cluster } from '../../api/wire';
import {
  agoWords,
  clusterSourceWords,
  clusterStatusWords,
  durationWords,
  leaseWords,
  outcomeWords,
  restartsWords,
  sizeWords,
  stopWords
} from '../../words/words';
import { Age } from '../age';
import { Notice } from '../notice';
import { Steps } from '../steps';
import { Stepper } from './stepper';
import { Workers } from './workers';

export interface IClusterCardProps {
  cluster: Cluster;
  /** The present time in milliseconds, by the server's clock. */
  now: number;
  /** Seconds since it was read, null if irrelevant. */
  age: number | null;
  trans: TranslationBundle;
  /** Null if it can't be stopped from here. */
  onStop: (() => void) | null;
  /** Null if no notebook or console is open. */
  onInsert: (() => void) | null;
  /** Null if its logs can't be read. */
  onLogs: (() => void) | null;
  /** The request of its stepper. */
  wish: IWish;
  /** Request so many workers more. */
  onStep: (by: number) => void;
  /** Dismiss the outcome of the last request. */
  onDismiss: () => void;
  /** Open the menu of further actions at a button; whether by the keyboard. */
  onMenu: (button: HTMLElement, keyboard: boolean) => void;
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

export function ClusterCard(props: IClusterCardProps): JSX.Element {
  const { age, cluster, now, trans, wish } = props;
  const ended = hasEnded(cluster);
  const managed = cluster.source === 'managed';
  const stepped = managed && !ended && cluster.desired.adaptive === null;
  const wished = wish.workers ?? cluster.desired.workers;
  const restarts = restartsWords(cluster, trans);
  const lease = ended ? '' : leaseWords(cluster, now, trans);
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
      <div className="jp-Coiled-row jp-Coiled-size">
        <span className="jp-Coiled-sub jp-Coiled-grow">
          {[
            sizeWords(cluster, wished, trans),
            clusterSourceWords(cluster, trans),
            restarts
          ]
            .filter(Boolean)
            .join(' · ')}
        </span>
        {stepped && (
          <Stepper
            name={cluster.name}
            workers={wished}
            disabled={!canSteer(cluster)}
            onStep={props.onStep}
            trans={trans}
          />
        )}
      </div>
      {wish.outcome && (
        <div className="jp-Coiled-problem jp-Coiled-row" role="alert">
          <span className="jp-Coiled-grow">
            {outcomeWords(wish.outcome, trans)}
          </span>
          <button
            className="jp-Coiled-button"
            aria-label={trans.__('Dismiss the message')}
            title={trans.__('Dismiss the message')}
            onClick={props.onDismiss}
          >
            <span aria-hidden="true">✕</span>
          </button>
        </div>
      )}
      {!managed && cluster.scheduler && (
        <div className="jp-Coiled-sub">{cluster.scheduler.address}</div>
      )}
      <div
        className="jp-Coiled-sub"
        title={cluster.environment.prefix ?? undefined}
      >
        {softwareWords(cluster, trans)}
      </div>
      {lease && (
        <div className="jp-Coiled-sub" data-lease={cluster.lease_until}>
          <span className="jp-Coiled-icon" aria-hidden="true">
            ◷
          </span>{' '}
          {lease}
        </div>
      )}
      {cluster.warnings.map(warning => (
        <Notice key={warning} text={warning} />
      ))}
      {cluster.reason && (
        <div className="jp-Coiled-reason">{cluster.reason}</div>
      )}
      {cluster.status === 'failed' && props.onLogs && (
        <button
          className="jp-Coiled-button"
          aria-label={trans.__('Logs of %1', cluster.name)}
          onClick={props.onLogs}
        >
          {trans.__('Logs')}
        </button>
      )}
      {(cluster.status === 'starting' || cluster.status === 'failed') && (
        <Steps
          steps={cluster.steps}
          label={trans.__('Steps of the start')}
          trans={trans}
        />
      )}
      {!ended && cluster.workers.length > 0 && (
        <Workers cluster={cluster} trans={trans} />
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
        <button
          className="jp-Coiled-button"
          aria-label={trans.__('More actions for %1', cluster.name)}
          title={trans.__('More actions for %1', cluster.name)}
          aria-haspopup="menu"
          aria-expanded="false"
          // A click by the keyboard has no count.
          onClick={event =>
            props.onMenu(event.currentTarget, event.detail === 0)
          }
        >
          <span aria-hidden="true">⋯</span>
        </button>
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
  return parts.length
    ? parts.join(' · ')
    : trans.__('reading the environment…');
}

/** The end of a path, which distinguishes environments; the tooltip has all of it. */
function shortened(path: string): string {
  const parts = path.split('/').filter(Boolean);
  return parts.length > 2 ? `…/${parts.slice(-2).join('/')}` : path;
}

interface IClientsProps {
  clients: readonly ClientInfo[];
  now: number;
  trans: TranslationBundle;
}

/** The clients of a cluster, with their versions. */
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
  return told.length ? told.join(', ') : trans.__('no versions reported');
}
