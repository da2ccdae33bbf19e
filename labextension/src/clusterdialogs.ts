/** What the commands of clusters and failures do: each shows in a dialog of ours what it changes. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { ApiError } from './api';
import { AttachForm } from './attach';
import type { ICommandOptions } from './commands';
import { ExplainBody } from './components/explain';
import { ask, StayingDialog } from './dialogs';
import { CreateForm } from './form';
import { hasEnded } from './model';
import { Stakes } from './stakes';
import type { Cluster } from './wire';
import { problemWords, reasonWords } from './words';

/** Start a cluster. */
export async function createCluster({
  model,
  preferences,
  trans
}: ICommandOptions): Promise<void> {
  await ask({
    title: trans.__('New cluster'),
    body: new CreateForm(
      model.kernel,
      model.usage,
      trans,
      preferences().newCluster
    ),
    accept: Dialog.okButton({ label: trans.__('Create') }),
    focus: 'input',
    act: body => model.create(body),
    trans
  });
}

/** Follow a cluster that runs elsewhere. */
export async function attachCluster({
  model,
  trans
}: ICommandOptions): Promise<void> {
  await ask({
    title: trans.__('Attach a cluster'),
    body: new AttachForm(trans),
    accept: Dialog.okButton({ label: trans.__('Attach') }),
    focus: 'input',
    act: body => model.attach(body),
    trans
  });
}

/** Find the differences that explain a failure. */
export async function explain(options: ICommandOptions): Promise<void> {
  const { kernels, model, show, trans } = options;
  const body = new ExplainBody({
    text: kernels.failure() ?? '',
    explain: async text => {
      // The panel reads only while it is seen.
      await model.refresh().catch(() => undefined);
      const found = await model.explain(text);
      if (!found) {
        const { reason } = model.judge();
        const words = reason && reasonWords(reason, trans);
        throw new ApiError(
          'not_found',
          trans.__('Nothing to compare: %1', words?.text ?? ''),
          words?.hint
        );
      }
      return found;
    },
    onShow: name => {
      dialog.reject();
      show();
      model.show(name);
    },
    trans
  });
  const dialog = new StayingDialog(
    {
      title: trans.__('Explain a Dask error'),
      body,
      buttons: [
        Dialog.cancelButton({ label: trans.__('Close') }),
        Dialog.okButton({ label: trans.__('Explain') })
      ],
      focusNodeSelector: 'textarea'
    },
    async () => {
      await body.ask();
      return false;
    }
  );
  await dialog.launch();
}

/** Stop a cluster, detach one that isn't ours, or forget one that has ended. */
export async function stopCluster(
  cluster: Cluster,
  { model, trans }: ICommandOptions
): Promise<void> {
  let title = trans.__('Stop %1?', cluster.name);
  let label = trans.__('Stop');
  let body: string | Widget = trans._n(
    'Its %1 worker ends, and results that only it holds are lost.',
    'Its %1 workers end, and results that only they hold are lost.',
    cluster.workers.length
  );
  if (hasEnded(cluster)) {
    title = trans.__('Remove %1 from the list?', cluster.name);
    label = trans.__('Remove');
    body = trans.__('It has ended; only its record goes.');
  } else if (cluster.source !== 'managed') {
    title = trans.__('Detach %1?', cluster.name);
    label = trans.__('Detach');
    body = trans.__('It was started elsewhere and goes on.');
  } else {
    body = new Stakes(cluster, model, trans, body);
  }
  const result = await showDialog({
    title,
    body,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({ label })
    ]
  });
  if (result.button.accept) {
    await attempt(() => model.remove(cluster.id), trans);
  }
}

/** Put code that connects to a cluster into the notebook. */
export async function insertClient(
  cluster: Cluster,
  { kernels, model, trans }: ICommandOptions
): Promise<void> {
  const code = clientCode(cluster);
  const target = model.kernel;
  const body = new Widget();
  const lead = document.createElement('p');
  lead.textContent = trans.__(
    'This code is added to %1. It is not run. It needs coiled-jupyter in the kernel.',
    target?.label ?? ''
  );
  const shown = document.createElement('pre');
  shown.textContent = code;
  body.node.append(lead, shown);
  const result = await showDialog({
    title: trans.__('Insert a client of %1?', cluster.name),
    body,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Insert') })
    ]
  });
  // Not into another notebook than the one named.
  if (result.button.accept && kernels.current?.path === target?.path) {
    kernels.insert(code);
  }
}

/** A JSON string is a Python string: a name can't end the literal. */
export function clientCode(cluster: Pick<Cluster, 'name'>): string {
  return [
    'import coiled_jupyter',
    '',
    `client = coiled_jupyter.connect(${JSON.stringify(cluster.name)})`,
    'client'
  ].join('\n');
}

async function attempt(
  act: () => Promise<unknown>,
  trans: TranslationBundle
): Promise<void> {
  try {
    await act();
  } catch (reason) {
    if (!(reason instanceof ApiError)) {
      throw reason;
    }
    const { text, hint } = problemWords(reason, trans);
    Notification.error([text, hint].filter(Boolean).join('. '), {
      autoClose: false
    });
  }
}
