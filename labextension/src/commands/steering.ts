/** Commands that steer a cluster; each says in a dialog of ours what it changes, and no argument skips that. */
import { Notification } from '@jupyterlab/apputils';

import {
  canKeep,
  canRename,
  canSteer,
  dashboardOf,
  hasDashboard,
  hasLogs
} from '../model/capabilities';
import { CommandIDs } from '../tokens';
import type { CommandAdder } from './adder';
import type { IDialogContext } from '../dialogs/context';
import type { Cluster } from '../api/wire';

export interface ISteeringOptions extends IDialogContext {
  /** Put text on the clipboard. */
  copy: (text: string) => void;
  /** Show the logs of a cluster in a tab. */
  openLogs: (cluster: Cluster) => unknown;
}

const dialogs = () => import('../dialogs');

/** Add the commands, each for one cluster. */
export function addSteering(
  commands: CommandAdder,
  options: ISteeringOptions
): void {
  const { copy, openLogs, trans } = options;
  commands.addForCluster({
    id: CommandIDs.scaleCluster,
    label: trans.__('Scale Cluster…'),
    short: trans.__('Scale…'),
    caption: trans.__(
      'Set how many workers a cluster has, or let its work decide'
    ),
    allowed: canSteer,
    execute: cluster => dialogs().then(it => it.scaleCluster(cluster, options))
  });
  commands.addForCluster({
    id: CommandIDs.restartCluster,
    label: trans.__('Restart Cluster…'),
    short: trans.__('Restart…'),
    caption: trans.__(
      'Start workers or all of it anew, after a look at what is lost'
    ),
    allowed: canSteer,
    execute: cluster =>
      dialogs().then(it => it.restartCluster(cluster, options))
  });
  commands.addForCluster({
    id: CommandIDs.renameCluster,
    label: trans.__('Rename Cluster…'),
    short: trans.__('Rename…'),
    caption: trans.__('Give a cluster another name'),
    allowed: canRename,
    execute: cluster => dialogs().then(it => it.renameCluster(cluster, options))
  });
  commands.addForCluster({
    id: CommandIDs.keepCluster,
    label: trans.__('Keep Cluster…'),
    short: trans.__('Keep…'),
    caption: trans.__('Set how long a cluster keeps running when unused'),
    allowed: canKeep,
    execute: cluster => dialogs().then(it => it.keepCluster(cluster, options))
  });
  commands.addForCluster({
    id: CommandIDs.showLogs,
    label: trans.__('Show Logs of the Cluster'),
    short: trans.__('Logs'),
    caption: trans.__('Show what scheduler and workers print'),
    allowed: hasLogs,
    execute: openLogs
  });
  commands.addForCluster({
    id: CommandIDs.openDashboard,
    label: trans.__('Open Dask Dashboard'),
    short: trans.__('Open dashboard'),
    caption: trans.__("Open the cluster's own dashboard in a new tab"),
    allowed: hasDashboard,
    execute: cluster =>
      window.open(dashboardOf(cluster) ?? '', '_blank', 'noopener,noreferrer')
  });
  commands.addForCluster({
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
  commands.addForCluster({
    id: CommandIDs.exportCluster,
    label: trans.__('Export Cluster as JSON…'),
    short: trans.__('Export as JSON…'),
    caption: trans.__('Look at what is known of a cluster'),
    allowed: () => true,
    execute: cluster => dialogs().then(it => it.exportCluster(cluster, options))
  });
}
