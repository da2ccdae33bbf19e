/** One cluster's card. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Cluster, Step } from '../wire';

export interface IClusterCardProps {
  cluster: Cluster;
  chosen: boolean;
  /** Whether there is more than one to choose from. */
  choice: boolean;
  trans: TranslationBundle;
  onChoose: () => void;
  onStop: () => void;
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
  const { cluster, trans } = props;
  const ended = ['stopped', 'failed', 'lost'].includes(cluster.status);
  const showSteps =
    cluster.status === 'starting' || cluster.status === 'failed';
  return (
    <div
      className="jp-Coiled-card"
      data-cluster-id={cluster.id}
      data-status={cluster.status}
    >
      <div className="jp-Coiled-row">
        <span aria-hidden="true">{ICONS[cluster.status]}</span>
        <b className="jp-Coiled-grow">{cluster.name}</b>
        <span>{statusWords(cluster.status, trans)}</span>
      </div>
      <div className="jp-Coiled-sub">
        {trans.__(
          '%1 of %2 workers · %3',
          cluster.workers.length,
          cluster.desired.workers,
          cluster.environment.prefix ?? cluster.factory
        )}
      </div>
      {cluster.reason && <div className="jp-Coiled-sub">{cluster.reason}</div>}
      {showSteps && (
        <ol aria-label={trans.__('Steps of the start')}>
          {cluster.steps.map(step => (
            <li key={step.name}>
              <span aria-hidden="true">{STEPS[step.state]}</span>
              <span className="jp-Coiled-grow">{step.name}</span>
              <span>
                {step.state === 'waiting' || step.seconds === null
                  ? ''
                  : trans.__('%1 s', (step.seconds ?? 0).toFixed(1))}
              </span>
            </li>
          ))}
        </ol>
      )}
      <div className="jp-Coiled-row">
        {props.choice && !ended && (
          <button
            className="jp-Coiled-button"
            aria-pressed={props.chosen}
            onClick={props.onChoose}
          >
            {trans.__('Compare with %1', cluster.name)}
          </button>
        )}
        <button
          className="jp-Coiled-button"
          onClick={props.onStop}
          disabled={cluster.status === 'stopping'}
        >
          {ended
            ? trans.__('Remove %1 from the list', cluster.name)
            : trans.__('Stop %1', cluster.name)}
        </button>
      </div>
    </div>
  );
}

function statusWords(
  status: Cluster['status'],
  trans: TranslationBundle
): string {
  return {
    starting: trans.__('Starting'),
    running: trans.__('Running'),
    idle: trans.__('Idle'),
    degraded: trans.__('Degraded'),
    unreachable: trans.__('Unreachable'),
    stopping: trans.__('Stopping'),
    stopped: trans.__('Stopped'),
    failed: trans.__('Failed'),
    lost: trans.__('Lost')
  }[status];
}
