/** Commands that steer a cluster; each says in a dialog of ours what it changes, and no argument skips that. */
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import {
  canKeep,
  canRename,
  canSteer,
  dashboardOf,
  hasDashboard,
  hasLogs
} from './allowed';
import { CommandIDs } from './ids';
import type { Model } from './model';
import { onDemand } from './ondemand';
import type { AddForCluster } from './which';
import type { Cluster } from './wire';

export interface ISteeringOptions {
  model: Model;
  /** Put text on the clipboard. */
  copy: (text: string) => void;
  /** Show the logs of a cluster in a tab. */
  openLogs: (cluster: Cluster) => unknown;
  trans: TranslationBundle;
}

/** Add the commands, each for one cluster. */
export function addSteering(
  add: AddForCluster,
  options: ISteeringOptions
): void {
  const { copy, openLogs, trans } = options;
  add({
    id: CommandIDs.scaleCluster,
    label: trans.__('Scale Cluster…'),
    short: trans.__('Scale…'),
    caption: trans.__(
      'Set how many workers a cluster has, or let its work decide'
    ),
    allowed: canSteer,
    execute: cluster => onDemand(trans, it => it.scale(cluster, options))
  });
  add({
    id: CommandIDs.restartCluster,
    label: trans.__('Restart Cluster…'),
    short: trans.__('Restart…'),
    caption: trans.__(
      'Start the workers or the whole cluster anew, after you have seen what is lost'
    ),
    allowed: canSteer,
    execute: cluster => onDemand(trans, it => it.restart(cluster, options))
  });
  add({
    id: CommandIDs.renameCluster,
    label: trans.__('Rename Cluster…'),
    short: trans.__('Rename…'),
    caption: trans.__('Give a cluster another name'),
    allowed: canRename,
    execute: cluster => onDemand(trans, it => it.rename(cluster, options))
  });
  add({
    id: CommandIDs.keepCluster,
    label: trans.__('Keep Cluster…'),
    short: trans.__('Keep…'),
    caption: trans.__('Set how long a cluster lives on when nobody holds it'),
    allowed: canKeep,
    execute: cluster => onDemand(trans, it => it.keep(cluster, options))
  });
  add({
    id: CommandIDs.showLogs,
    label: trans.__('Show Logs of the Cluster'),
    short: trans.__('Logs'),
    caption: trans.__(
      'Show what scheduler and workers print, beside the notebook'
    ),
    allowed: hasLogs,
    execute: openLogs
  });
  add({
    id: CommandIDs.openDashboard,
    label: trans.__('Open Dask Dashboard'),
    short: trans.__('Open dashboard'),
    caption: trans.__("Open the cluster's own dashboard in a new tab"),
    allowed: hasDashboard,
    execute: cluster =>
      window.open(dashboardOf(cluster) ?? '', '_blank', 'noopener,noreferrer')
  });
  add({
    id: CommandIDs.copyCluster,
    label: trans.__('Copy Cluster as JSON'),
    short: trans.__('Copy as JSON'),
    caption: trans.__('Put what is known of a cluster on the clipboard'),
    allowed: () => true,
    execute: cluster => {
      copy(JSON.stringify(cluster, null, 2));
      Notification.info(trans.__('%1 is on the clipboard', cluster.name), {
        autoClose: 3000
      });
    }
  });
  add({
    id: CommandIDs.exportCluster,
    label: trans.__('Export Cluster as JSON…'),
    short: trans.__('Export as JSON…'),
    caption: trans.__('Look at what is known of a cluster, and save it'),
    allowed: () => true,
    execute: cluster =>
      onDemand(trans, it => it.exportCluster(cluster, options))
  });
}
