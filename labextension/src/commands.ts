/** Commands; what changes anything opens our own dialog, and no argument skips it. */
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';

import { isOurs } from './allowed';
import { CommandIDs } from './ids';
import type { IActiveKernels } from './kernels';
import { hasEnded } from './model';
import { onDemand } from './ondemand';
import type { IPreferences } from './preferences';
import { addSteering } from './steering';
import type { ISteeringOptions } from './steering';
import { addSyncing } from './syncing';
import { forClusters } from './which';

export interface ICommandOptions extends ISteeringOptions {
  kernels: IActiveKernels;
  /** Bring the panel to the front. */
  show: () => void;
  preferences: () => IPreferences;
}

const DOCUMENTATION = 'https://coiled-jupyter.org';

const NO_ARGUMENTS: ReadonlyJSONObject = { type: 'object', properties: {} };

export function addCommands(
  commands: CommandRegistry,
  options: ICommandOptions
): void {
  const { model, trans } = options;
  const add = forClusters(commands, options);

  addSteering(add, options);
  addSyncing(commands, add, options);

  commands.addCommand(CommandIDs.showPanel, {
    label: trans.__('Show Coiled Jupyter'),
    caption: trans.__(
      'Compare the packages of the notebook with those of its cluster'
    ),
    describedBy: { args: NO_ARGUMENTS },
    execute: options.show
  });
  commands.addCommand(CommandIDs.refresh, {
    label: trans.__('Compare Packages Again'),
    caption: trans.__('Read the clusters and compare the packages again'),
    describedBy: { args: NO_ARGUMENTS },
    execute: () => model.invalidate()
  });
  commands.addCommand(CommandIDs.createCluster, {
    label: trans.__('New Cluster…'),
    caption: trans.__('Start a cluster, after you have seen what it takes'),
    describedBy: { args: NO_ARGUMENTS },
    execute: () => onDemand(trans, it => it.createCluster(options))
  });
  commands.addCommand(CommandIDs.attachCluster, {
    label: trans.__('Attach Cluster…'),
    caption: trans.__('Compare with a cluster that runs elsewhere'),
    describedBy: { args: NO_ARGUMENTS },
    execute: () => onDemand(trans, it => it.attachCluster(options))
  });
  add({
    id: CommandIDs.stopCluster,
    label: trans.__('Stop Cluster…'),
    caption: trans.__('Stop a cluster, after you have seen what is lost'),
    allowed: isOurs,
    execute: cluster => onDemand(trans, it => it.stopCluster(cluster, options))
  });
  add({
    id: CommandIDs.insertClient,
    label: trans.__('Insert Client of the Cluster…'),
    caption: trans.__(
      'Put code that connects to the cluster into the notebook; it is not run'
    ),
    allowed: cluster =>
      isOurs(cluster) && !hasEnded(cluster) && model.kernel !== null,
    execute: cluster => onDemand(trans, it => it.insertClient(cluster, options))
  });
  commands.addCommand(CommandIDs.explain, {
    label: trans.__('Explain a Dask Error…'),
    caption: trans.__(
      'Find the differences between notebook and cluster that explain a failure'
    ),
    describedBy: { args: NO_ARGUMENTS },
    execute: () => onDemand(trans, it => it.explain(options))
  });
  commands.addCommand(CommandIDs.reportProblem, {
    label: trans.__('Report a Problem with Coiled Jupyter…'),
    caption: trans.__(
      'Gather what a report needs, look through it, and save it as a file'
    ),
    describedBy: { args: NO_ARGUMENTS },
    execute: () => onDemand(trans, it => it.reportProblem(options))
  });
  commands.addCommand(CommandIDs.documentation, {
    label: trans.__('Coiled Jupyter Documentation'),
    caption: trans.__('Open the documentation in a new tab'),
    describedBy: { args: NO_ARGUMENTS },
    execute: () => {
      window.open(DOCUMENTATION, '_blank', 'noopener');
    }
  });
}
