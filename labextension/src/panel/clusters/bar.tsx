/** The bar of the cluster that the notebook is compared with: its state, its name, by which another is chosen, and its size. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { ellipsesIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { freshness } from '../../model/model';
import type { Cluster } from '../../api/wire';
import { clusterStatusWords, sizeWords } from '../../words/words';
import { Age } from '../age';
import { CLUSTER_ICONS, Icon, MenuButton } from '../icons';

export interface IClusterBarProps {
  /** The cluster that is compared, null if none is. */
  cluster: Cluster | null;
  /** The clusters that can be compared. */
  candidates: readonly Cluster[];
  /** Seconds since it was read, null if irrelevant. */
  age: number | null;
  onChoose: (id: string) => void;
  /** Open the menu of actions at a button; whether by the keyboard. */
  onMenu: (button: HTMLElement, keyboard: boolean) => void;
  trans: TranslationBundle;
}

export function ClusterBar(props: IClusterBarProps): JSX.Element {
  const { age, candidates, cluster, trans } = props;
  const known = freshness(age) !== 'unknown';
  const cores = cluster && [cluster.cores.busy, cluster.cores.allocated];
  const told = cluster && [
    known
      ? clusterStatusWords(cluster.status, trans).toLowerCase()
      : trans.__('Unknown, was %1', clusterStatusWords(cluster.status, trans)),
    sizeWords(cluster, cluster.desired.workers, trans)
  ];
  return (
    <div
      className="jp-Coiled-bar jp-Coiled-compared"
      role="group"
      aria-label={trans.__('Cluster compared')}
      data-compared={cluster?.id}
      data-age={freshness(age)}
      data-state={cluster?.status}
    >
      {cluster && (
        <Icon icon={CLUSTER_ICONS[known ? cluster.status : 'unknown']} />
      )}
      <select
        className="jp-Coiled-switch"
        aria-label={trans.__('Compare with')}
        value={cluster?.id ?? ''}
        onChange={event => props.onChoose(event.target.value)}
      >
        {!cluster && <option value="">{trans.__('Choose a cluster…')}</option>}
        {candidates.map(({ id, name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
      {cluster && told && cores && (
        <>
          <Age seconds={age} quiet={true} trans={trans} />
          <span className="jp-Coiled-line" title={told.join(' · ')}>
            {told.join(' · ')}
          </span>
          <span
            className="jp-Coiled-num"
            title={trans.__('%1 of %2 cores busy', ...cores)}
          >
            {trans.__('%1 / %2', ...cores)}
            <span className="jp-Coiled-wide"> {trans.__('cores')}</span>
          </span>
          <MenuButton
            icon={ellipsesIcon}
            label={trans.__('More actions for %1', cluster.name)}
            onMenu={props.onMenu}
          />
        </>
      )}
    </div>
  );
}
