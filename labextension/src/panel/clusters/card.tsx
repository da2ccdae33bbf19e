/** One cluster in one line, and what is behind it once it is opened. */
import { closeIcon, ellipsesIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { freshness, hasEnded } from '../../model/model';
import {
  clusterSourceWords,
  clusterStateWords,
  leaseWords,
  outcomeWords,
  restartsWords,
  sizeWords
} from '../../words/words';
import { Age } from '../age';
import { CLUSTER_ICONS, Icon, IconButton, MenuButton } from '../icons';
import { lazy } from '../lazy';
import { Notice } from '../notice';
import type { IClusterCardProps } from './shared';

const ClusterDetails = lazy(() =>
  import('./details').then(it => it.ClusterDetails)
);

export function ClusterCard(props: IClusterCardProps): JSX.Element {
  const { age, cluster, now, trans, wish } = props;
  const { status } = cluster;
  const code = hasEnded(cluster) ? null : props.code;
  const [chosen, setChosen] = React.useState<boolean | null>(null);
  // One that failed says why.
  const open = chosen ?? (status === 'failed' || status === 'lost');
  const known = freshness(age) !== 'unknown';
  const wished = wish.workers ?? cluster.desired.workers;
  const told = [
    clusterStateWords(cluster, known, trans),
    !hasEnded(cluster) && leaseWords(cluster, now, trans),
    sizeWords(cluster, wished, trans),
    restartsWords(cluster, trans),
    clusterSourceWords(cluster, trans)
  ]
    .filter(Boolean)
    .join(' · ');
  return (
    <div
      className="jp-Coiled-cluster"
      role="group"
      aria-label={cluster.name}
      data-cluster-id={cluster.id}
      data-status={status}
      data-age={freshness(age)}
    >
      <div className="jp-Coiled-bar">
        <button
          className="jp-Coiled-fold"
          aria-expanded={open}
          title={[
            `${cluster.name} · ${told}`,
            code && trans.__('Drag it into a notebook to insert a client')
          ]
            .filter(Boolean)
            .join('\n')}
          onMouseDown={({ button, nativeEvent }) => {
            if (code && button === 0) {
              const { name } = cluster;
              void import('./drag').then(it =>
                it.follow(nativeEvent, { name, code, trans })
              );
            }
          }}
          onClick={() => setChosen(!open)}
        >
          <Icon icon={CLUSTER_ICONS[known ? status : 'unknown']} />
          <span className="jp-Coiled-line">
            <b>{cluster.name}</b> <small>{told}</small>
          </span>
        </button>
        <Age seconds={age} quiet={true} trans={trans} />
        {props.compared && <small>{trans.__('compared')}</small>}
        <MenuButton
          icon={ellipsesIcon}
          label={trans.__('More actions for %1', cluster.name)}
          onMenu={props.onMenu}
        />
      </div>
      {wish.outcome && (
        <div className="jp-Coiled-problem jp-Coiled-bar" role="alert">
          <span className="jp-Coiled-grow">
            {outcomeWords(wish.outcome, trans)}
          </span>
          <IconButton
            icon={closeIcon}
            label={trans.__('Dismiss the message')}
            onClick={props.onDismiss}
          />
        </div>
      )}
      {cluster.warnings.map(warning => (
        <Notice key={warning} text={warning} />
      ))}
      {open && <ClusterDetails {...props} />}
    </div>
  );
}
