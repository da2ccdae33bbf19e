/** Commands; what changes anything opens our own dialog, and no argument skips it. */
import type { CommandRegistry } from '@lumino/commands';

import { goesOn, isOurs } from '../model/capabilities';
import { CommandIDs, DOCUMENTATION } from '../tokens';
import { hasEnded } from '../model/model';
import { addActivity } from './activity';
import type { IActivityOptions } from './activity';
import { addSteering } from './steering';
import type { ISteeringOptions } from './steering';
import { addSyncing } from './syncing';
import { CommandAdder } from './adder';

const dialogs = () => import('../dialogs');

export function addCommands(
  registry: CommandRegistry,
  options: ISteeringOptions & IActivityOptions
): void {
  const { model, trans } = options;
  const commands = new CommandAdder(registry, options);

  addSteering(commands, options);
  addSyncing(commands, options);
  addActivity(commands, options);

  commands.add({
    id: CommandIDs.showPanel,
    label: trans.__('Show Coiled Jupyter'),
    caption: trans.__('Compare the notebook with its cluster'),
    execute: options.show
  });
  commands.add({
    id: CommandIDs.refresh,
    label: trans.__('Compare Packages Again'),
    caption: trans.__('Read and compare again'),
    execute: () => model.invalidate()
  });
  commands.add({
    id: CommandIDs.createCluster,
    label: trans.__('New Cluster…'),
    caption: trans.__('Start a cluster, after you have seen what it takes'),
    execute: () => dialogs().then(it => it.createCluster(options))
  });
  commands.add({
    id: CommandIDs.attachCluster,
    label: trans.__('Attach Cluster…'),
    caption: trans.__('Compare with a cluster that runs elsewhere'),
    execute: () => dialogs().then(it => it.attachCluster(options))
  });
  commands.addForCluster({
    id: CommandIDs.stopCluster,
    label: trans.__('Stop Cluster…'),
    short: cluster =>
      hasEnded(cluster)
        ? trans.__('Remove…')
        : goesOn(cluster)
          ? trans.__('Detach…')
          : trans.__('Stop…'),
    caption: trans.__('Stop a cluster, after you have seen what is lost'),
    allowed: isOurs,
    execute: cluster => dialogs().then(it => it.stopCluster(cluster, options))
  });
  commands.addForCluster({
    id: CommandIDs.insertClient,
    label: trans.__('Insert Client of the Cluster…'),
    short: trans.__('Insert client…'),
    caption: trans.__(
      'Put code that connects to the cluster into the notebook'
    ),
    allowed: cluster =>
      isOurs(cluster) && !hasEnded(cluster) && model.kernel !== null,
    execute: cluster => dialogs().then(it => it.insertClient(cluster, options))
  });
  commands.add({
    id: CommandIDs.explain,
    label: trans.__('Explain a Dask Error…'),
    caption: trans.__('Find the differences that explain a failure'),
    execute: () => dialogs().then(it => it.explainFailure(options))
  });
  commands.add({
    id: CommandIDs.reportProblem,
    label: trans.__('Report a Problem with Coiled Jupyter…'),
    caption: trans.__('Gather a report, look through it, and save it'),
    execute: () => dialogs().then(it => it.reportProblem(options))
  });
  commands.add({
    id: CommandIDs.documentation,
    label: trans.__('Coiled Jupyter Documentation'),
    caption: trans.__('Open the documentation in a new tab'),
    execute: () => {
      window.open(DOCUMENTATION, '_blank', 'noopener');
    }
  });
}
