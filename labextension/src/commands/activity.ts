/** Commands that show what a cluster is doing, in panes whose code is loaded with the first of them. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { hasEnded } from '../model/model';
import { CommandIDs, RESTORE_PANE } from '../tokens';
import type { CommandAdder } from './adder';

export interface IActivityOptions {
  /** Show what of a cluster is named; as it was before a reload, it isn't brought to the front. */
  openPane: (
    wanted: ReadonlyPartialJSONObject,
    activate?: boolean
  ) => Promise<void>;
  trans: TranslationBundle;
}

/** Add the commands, each for one cluster. */
export function addActivity(
  commands: CommandAdder,
  { openPane, trans }: IActivityOptions
): void {
  for (const [id, kind, label, short, caption] of [
    [
      CommandIDs.openTaskStream,
      'task-stream',
      trans.__('Open Task Stream of the Cluster'),
      trans.__('Task stream'),
      trans.__('Show what each thread does for which task')
    ],
    [
      CommandIDs.openProgress,
      'progress',
      trans.__('Open Progress of the Cluster'),
      trans.__('Progress'),
      trans.__('Show how many tasks are done')
    ],
    [
      CommandIDs.openWorkers,
      'workers',
      trans.__('Open Workers of the Cluster'),
      trans.__('Workers'),
      trans.__('Show what each worker uses')
    ],
    [
      CommandIDs.openClusterMap,
      'cluster-map',
      trans.__('Open Map of the Cluster'),
      trans.__('Cluster map'),
      trans.__('Show the memory of all workers')
    ]
  ]) {
    commands.addForCluster({
      id,
      label,
      short,
      caption,
      allowed: cluster => !hasEnded(cluster),
      compared: true,
      execute: ({ id: cluster, name }) => openPane({ cluster, kind, name })
    });
  }
  commands.add({
    id: RESTORE_PANE,
    label: trans.__('Open a Pane of a Cluster Again'),
    caption: trans.__('As it was before a reload'),
    execute: args => openPane(args, false)
  });
}
