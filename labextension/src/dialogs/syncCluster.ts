/** Syncs, undoes and goes back: after dialogs that choose, the panel shows the plan first. Cancels a sync after a dialog. */
import { Dialog, Notification } from '@jupyterlab/apputils';

import type { Cluster, Plan, PlanCreate, Sync } from '../api/wire';
import type { Scope } from '../model/planContents';
import { PlanReview } from '../model/planReview';
import type { IReviewed } from '../model/planReview';
import { isRunning } from '../model/syncs';
import { BASE } from '../words/plan';
import { choosePackages } from './choosePackages';
import { chooseState } from './chooseState';
import type { IDialogContext } from './context';
import { FocusedDialog } from './dialog';

interface IReviewRequest extends Omit<IReviewed, 'cluster' | 'review'> {
  body: PlanCreate;
  begin?: (plan: Plan) => Promise<Sync>;
}

/** Show a plan in the panel, which carries it out if the user agrees. */
function reviewPlan(
  cluster: Cluster,
  { begin, body, ...words }: IReviewRequest,
  { model, show }: IDialogContext
): void {
  // A plan that is beginning is gone in a moment.
  if (model.review?.review.stage.kind !== 'starting') {
    const review = new PlanReview({ syncs: model.syncs, body, begin });
    model.review = { ...words, cluster, review };
    void review.plan();
  }
  show();
}

/** Sync a cluster to the notebook's packages. */
export function syncCluster(
  cluster: Cluster,
  scope: Scope,
  context: IDialogContext
): void {
  const { model, trans } = context;
  const kernel = model.kernel;
  if (!kernel?.id) {
    return;
  }
  const lead = (scope: Scope) =>
    typeof scope !== 'string'
      ? trans._n(
          '%2 gets %3 as %4 has it.',
          '%2 gets %3 as %4 has them.',
          scope.length,
          cluster.name,
          scope.join(', '),
          kernel.label
        )
      : scope === 'rated'
        ? trans.__(
            '%1 gets the packages of %2 that break or may fail.',
            cluster.name,
            kernel.label
          )
        : scope === 'all'
          ? trans.__('%1 gets all packages of %2.', cluster.name, kernel.label)
          : trans.__(
              '%1 gets what matters to %2: what would break, and what the notebook imports.',
              cluster.name,
              kernel.label
            );
  reviewPlan(
    cluster,
    {
      title: trans.__('Sync %1?', cluster.name),
      accept: trans.__('Sync'),
      lead,
      body: {
        cluster: cluster.id,
        kernel: kernel.id,
        direction: 'to_cluster',
        scope
      }
    },
    context
  );
}

/** Choose packages, and sync these. */
export async function syncChosen(
  cluster: Cluster,
  context: IDialogContext
): Promise<void> {
  const chosen = await choosePackages(cluster, context);
  if (chosen.length > 0) {
    syncCluster(cluster, chosen, context);
  }
}

/** Undo a sync. */
export function undoSync(
  cluster: Cluster,
  last: Sync,
  context: IDialogContext
): void {
  const { model, trans } = context;
  reviewPlan(
    cluster,
    {
      title:
        last.undo_of === null
          ? trans.__('Undo the last sync of %1?', cluster.name)
          : trans.__('Take the undo on %1 back?', cluster.name),
      accept: last.undo_of === null ? trans.__('Undo') : trans.__('Redo'),
      lead: () => trans.__('%1 gets back what it had before.', cluster.name),
      body: {
        cluster: cluster.id,
        direction: 'to_cluster',
        from: { layer: last.layer_before ?? BASE }
      },
      begin: () => model.syncs.undo(last.id)
    },
    context
  );
}

/** Choose an earlier state, and go back to it. */
export async function restoreState(
  cluster: Cluster,
  context: IDialogContext
): Promise<void> {
  const { model, trans } = context;
  const layers = await model.syncs.layersOf(cluster.id);
  if (layers.every(({ clusters }) => clusters.includes(cluster.id))) {
    Notification.info(
      trans.__('%1 has no other state to go back to', cluster.name)
    );
    return;
  }
  const layer = await chooseState(layers, cluster, context);
  if (layer !== null) {
    reviewPlan(
      cluster,
      {
        title: trans.__('Bring %1 back to an earlier state?', cluster.name),
        accept: trans.__('Go back'),
        lead: () => trans.__('%1 gets back what it had then.', cluster.name),
        body: { cluster: cluster.id, direction: 'to_cluster', from: { layer } }
      },
      context
    );
  }
}

/** Cancel a running sync. */
export async function cancelSync(
  cluster: Cluster,
  running: Sync,
  { model, trans }: IDialogContext
): Promise<void> {
  const result = await new FocusedDialog({
    title: trans.__('Cancel the sync of %1?', cluster.name),
    body: running.undoable
      ? trans.__(
          'Workers that were moved already move back, and the old state is read again before it is called so.'
        )
      : trans.__(
          'Workers that have restarted run what is installed now; the others are left as they are.'
        ),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Let it run') }),
      Dialog.warnButton({ label: trans.__('Cancel the sync') })
    ]
  }).launch();
  // It may have ended while the dialog was open.
  const present = model.syncs.list.find(({ id }) => id === running.id);
  if (result.button.accept && present && isRunning(present)) {
    await model.syncs.cancel(running.id);
  }
}
