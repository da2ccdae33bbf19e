/** What is behind a cluster's line: its size, environment, workers and clients, and what can be done with it. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { canSteer } from '../../model/capabilities';
import { hasEnded } from '../../model/model';
import type { ClientInfo, Cluster } from '../../api/wire';
import {
  agoWords,
  clusterSourceWords,
  clusterStatusWords,
  durationWords,
  leaseWords,
  restartsWords,
  sizeWords,
  stopWords
} from '../../words/words';
import { Steps } from '../steps';
import type { IClusterCardProps } from './shared';
import { Stepper } from './stepper';
import { WorkerList } from './workerList';

export function ClusterDetails(props: IClusterCardProps): JSX.Element {
  const { cluster, now, trans, wish } = props;
  const ended = hasEnded(cluster);
  const managed = cluster.source === 'managed';
  const stepped = managed && !ended && cluster.desired.adaptive === null;
  const wished = wish.workers ?? cluster.desired.workers;
  const lease = ended ? '' : leaseWords(cluster, now, trans);
  const stop = stopWords(cluster, trans);
  const since = (now - Date.parse(cluster.since)) / 1000;
  return (
    <div className="jp-Coiled-behind">
      <div className="jp-Coiled-bar">
        <span className="jp-Coiled-grow">
          {[
            clusterStatusWords(cluster.status, trans),
            since >= 0 && durationWords(since, trans),
            sizeWords(cluster, wished, trans),
            clusterSourceWords(cluster, trans),
            restartsWords(cluster, trans)
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
          {lease}
        </div>
      )}
      {cluster.reason && (
        <div className="jp-Coiled-reason">{cluster.reason}</div>
      )}
      {(cluster.status === 'starting' || cluster.status === 'failed') && (
        <Steps
          steps={cluster.steps}
          label={trans.__('Steps of the start')}
          trans={trans}
        />
      )}
      {!ended && cluster.workers.length > 0 && (
        <WorkerList workers={cluster.workers} trans={trans} />
      )}
      {!ended && cluster.other_clients.length > 0 && (
        <Clients clients={cluster.other_clients} now={now} trans={trans} />
      )}
      <div className="jp-Coiled-row">
        {!ended && props.onInsert && (
          <button
            className="jp-Coiled-button"
            aria-label={trans.__('Insert client… of %1', cluster.name)}
            disabled={
              cluster.status === 'starting' || cluster.status === 'stopping'
            }
            onClick={props.onInsert}
          >
            {trans.__('Insert client…')}
          </button>
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
        {props.onStop && (
          <button
            className="jp-Coiled-button"
            aria-label={
              ended
                ? trans.__('Remove… %1 from the list', cluster.name)
                : stop.name
            }
            title={ended ? undefined : stop.name}
            disabled={cluster.status === 'stopping'}
            onClick={props.onStop}
          >
            {ended ? trans.__('Remove…') : stop.label}
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
