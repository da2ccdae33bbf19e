/** The dialogs, which are loaded when the first of them is opened, with their styles. */
import '../../labextension/style/dialogs.css';

export { attachCluster } from './attachCluster';
export { chooseCluster } from './chooseCluster';
export { explainFailure } from './explainFailure';
export { insertClient } from './insertClient';
export { keepCluster } from './keepCluster';
export { createCluster } from './newCluster';
export { removeStates } from './removeStates';
export { renameCluster } from './renameCluster';
export { restartCluster } from './restartCluster';
export { exportCluster, reportProblem } from './saveFile';
export { scaleCluster } from './scaleCluster';
export { stopCluster } from './stopCluster';
export {
  cancelSync,
  restoreState,
  syncChosen,
  syncCluster,
  undoSync
} from './syncCluster';
