/** Commands that steer a cluster; each says in a dialog of ours what it changes, and no argument skips that. */
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';

import {
  canKeep,
  canRename,
  canSteer,
  dashboardOf,
  hasDashboard,
  hasLogs
} from './allowed';
import type { Allowed } from './allowed';
import { CommandIDs } from './ids';
import type { Model } from './model';
import { onDemand } from './ondemand';
import type { Cluster } from './wire';

export interface ISteeringOptions {
  model: Model;
  /** Put text on the clipboard. */
  copy: (text: string) => void;
  /** Show the logs of a cluster in a tab. */
  openLogs: (cluster: Cluster) => unknown;
  trans: TranslationBundle;
}

/** Add the commands; `find` tells the cluster that an argument means, and `args` describes it. */
export function addSteering(
  commands: CommandRegistry,
  options: ISteeringOptions,
  find: (id: unknown) => Cluster | null,
  args: ReadonlyJSONObject
): void {
  const { copy, openLogs, trans } = options;
  const add = (
    id: string,
    words: { label: string; short: string; caption: string },
    allowed: Allowed,
    execute: (cluster: Cluster) => unknown
  ) =>
    commands.addCommand(id, {
      // In a cluster's own menu it is clear what is meant.
      label: ({ cluster }) =>
        cluster === undefined ? words.label : words.short,
      caption: words.caption,
      describedBy: { args },
      isEnabled: ({ cluster: wish }) => {
        const cluster = find(wish);
        return cluster !== null && allowed(cluster);
      },
      execute: ({ cluster: wish }) => {
        const cluster = find(wish);
        return cluster && allowed(cluster) ? execute(cluster) : undefined;
      }
    });

  add(
    CommandIDs.scaleCluster,
    {
      label: trans.__('Scale Cluster…'),
      short: trans.__('Scale…'),
      caption: trans.__(
        'Set how many workers a cluster has, or let its work decide'
      )
    },
    canSteer,
    cluster => onDemand(trans, it => it.scale(cluster, options))
  );
  add(
    CommandIDs.restartCluster,
    {
      label: trans.__('Restart Cluster…'),
      short: trans.__('Restart…'),
      caption: trans.__(
        'Start the workers or the whole cluster anew, after you have seen what is lost'
      )
    },
    canSteer,
    cluster => onDemand(trans, it => it.restart(cluster, options))
  );
  add(
    CommandIDs.renameCluster,
    {
      label: trans.__('Rename Cluster…'),
      short: trans.__('Rename…'),
      caption: trans.__('Give a cluster another name')
    },
    canRename,
    cluster => onDemand(trans, it => it.rename(cluster, options))
  );
  add(
    CommandIDs.keepCluster,
    {
      label: trans.__('Keep Cluster…'),
      short: trans.__('Keep…'),
      caption: trans.__('Set how long a cluster lives on when nobody holds it')
    },
    canKeep,
    cluster => onDemand(trans, it => it.keep(cluster, options))
  );
  add(
    CommandIDs.showLogs,
    {
      label: trans.__('Show Logs of the Cluster'),
      short: trans.__('Logs'),
      caption: trans.__(
        'Show what scheduler and workers print, beside the notebook'
      )
    },
    hasLogs,
    openLogs
  );
  add(
    CommandIDs.openDashboard,
    {
      label: trans.__('Open Dask Dashboard'),
      short: trans.__('Open dashboard'),
      caption: trans.__("Open the cluster's own dashboard in a new tab")
    },
    hasDashboard,
    cluster =>
      window.open(dashboardOf(cluster) ?? '', '_blank', 'noopener,noreferrer')
  );
  add(
    CommandIDs.copyCluster,
    {
      label: trans.__('Copy Cluster as JSON'),
      short: trans.__('Copy as JSON'),
      caption: trans.__('Put what is known of a cluster on the clipboard')
    },
    () => true,
    cluster => {
      copy(JSON.stringify(cluster, null, 2));
      Notification.info(trans.__('%1 is on the clipboard', cluster.name), {
        autoClose: 3000
      });
    }
  );
  add(
    CommandIDs.exportCluster,
    {
      label: trans.__('Export Cluster as JSON…'),
      short: trans.__('Export as JSON…'),
      caption: trans.__('Look at what is known of a cluster, and save it')
    },
    () => true,
    cluster => onDemand(trans, it => it.exportCluster(cluster, options))
  );
}
