/** Names that more than one part of the page needs: of the commands, and where the documentation is. */

export const DOCUMENTATION = 'https://coiled-jupyter.org';

export namespace CommandIDs {
  export const showPanel = 'coiled-jupyter:show-panel';
  export const createCluster = 'coiled-jupyter:create-cluster';
  export const attachCluster = 'coiled-jupyter:attach-cluster';
  export const scaleCluster = 'coiled-jupyter:scale-cluster';
  export const restartCluster = 'coiled-jupyter:restart-cluster';
  export const renameCluster = 'coiled-jupyter:rename-cluster';
  export const keepCluster = 'coiled-jupyter:keep-cluster';
  export const stopCluster = 'coiled-jupyter:stop-cluster';
  export const showLogs = 'coiled-jupyter:show-logs';
  export const openTaskStream = 'coiled-jupyter:open-task-stream';
  export const openProgress = 'coiled-jupyter:open-progress';
  export const openWorkers = 'coiled-jupyter:open-workers';
  export const openClusterMap = 'coiled-jupyter:open-cluster-map';
  export const openDashboard = 'coiled-jupyter:open-dashboard';
  export const copyCluster = 'coiled-jupyter:copy-cluster-json';
  export const exportCluster = 'coiled-jupyter:export-cluster-json';
  export const refresh = 'coiled-jupyter:refresh';
  export const insertClient = 'coiled-jupyter:insert-client';
  export const sync = 'coiled-jupyter:sync';
  export const seal = 'coiled-jupyter:seal';
  export const syncChosen = 'coiled-jupyter:sync-chosen';
  export const undoSync = 'coiled-jupyter:undo-sync';
  export const restoreState = 'coiled-jupyter:restore-state';
  export const removeStates = 'coiled-jupyter:remove-states';
  export const cancelSync = 'coiled-jupyter:cancel-sync';
  export const explain = 'coiled-jupyter:explain';
  export const reportProblem = 'coiled-jupyter:report-problem';
  export const documentation = 'coiled-jupyter:documentation';
}

/** Opens a pane anew, for the lab: nobody chooses it, so it is in no list. */
export const RESTORE_PANE = 'coiled-jupyter:restore-pane';
