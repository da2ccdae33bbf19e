/** Commands; what changes anything opens our own dialog, and no argument skips it. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';
import { Widget } from '@lumino/widgets';

import { ApiError } from './api';
import { isOurs } from './allowed';
import { AttachForm } from './attach';
import { ExplainBody } from './components/explain';
import { ask, StayingDialog } from './dialogs';
import { CreateForm } from './form';
import { CommandIDs } from './ids';
import type { IActiveKernels } from './kernels';
import { hasEnded } from './model';
import { addSteering } from './steering';
import type { ISteeringOptions } from './steering';
import { addSyncing } from './syncing';
import type { Cluster } from './wire';
import { problemWords, reasonWords } from './words';

export interface ICommandOptions extends ISteeringOptions {
  kernels: IActiveKernels;
  /** Bring the panel to the front. */
  show: () => void;
}

const NO_ARGUMENTS: ReadonlyJSONObject = { type: 'object', properties: {} };

export function addCommands(
  commands: CommandRegistry,
  options: ICommandOptions
): void {
  const { model, trans } = options;
  const ofCluster: ReadonlyJSONObject = {
    type: 'object',
    properties: {
      cluster: {
        type: 'string',
        description: trans.__('Id of the cluster; the one compared if left out')
      }
    }
  };
  /** The cluster meant; a wrong id means none, never another cluster. */
  const find = (id: unknown): Cluster | null =>
    id === undefined
      ? model.cluster
      : (model.clusters.find(cluster => cluster.id === id) ?? null);
  const findOurs = (id: unknown): Cluster | null => {
    const cluster = find(id);
    return cluster && isOurs(cluster) ? cluster : null;
  };

  addSteering(commands, options, find, ofCluster);
  addSyncing(commands, options, find, ofCluster);

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
    execute: () => createCluster(options)
  });
  commands.addCommand(CommandIDs.attachCluster, {
    label: trans.__('Attach Cluster…'),
    caption: trans.__('Compare with a cluster that runs elsewhere'),
    describedBy: { args: NO_ARGUMENTS },
    execute: () => attachCluster(options)
  });
  commands.addCommand(CommandIDs.stopCluster, {
    label: trans.__('Stop Cluster…'),
    caption: trans.__('Stop a cluster, after you have seen what is lost'),
    describedBy: { args: ofCluster },
    isEnabled: args => findOurs(args.cluster) !== null,
    execute: async args => {
      const cluster = findOurs(args.cluster);
      if (cluster) {
        await stopCluster(cluster, options);
      }
    }
  });
  commands.addCommand(CommandIDs.insertClient, {
    label: trans.__('Insert Client of the Cluster…'),
    caption: trans.__(
      'Put code that connects to the cluster into the notebook; it is not run'
    ),
    describedBy: { args: ofCluster },
    isEnabled: args => findOurs(args.cluster) !== null && model.kernel !== null,
    execute: async args => {
      const cluster = findOurs(args.cluster);
      if (cluster && model.kernel) {
        await insertClient(cluster, options);
      }
    }
  });
  commands.addCommand(CommandIDs.explain, {
    label: trans.__('Explain a Dask Error…'),
    caption: trans.__(
      'Find the differences between notebook and cluster that explain a failure'
    ),
    describedBy: { args: NO_ARGUMENTS },
    execute: () => explain(options)
  });
}

async function createCluster({ model, trans }: ICommandOptions): Promise<void> {
  await ask({
    title: trans.__('New cluster'),
    body: new CreateForm(model.kernel, model.usage, trans),
    accept: Dialog.okButton({ label: trans.__('Create') }),
    focus: 'input',
    act: body => model.create(body),
    trans
  });
}

async function attachCluster({ model, trans }: ICommandOptions): Promise<void> {
  await ask({
    title: trans.__('Attach a cluster'),
    body: new AttachForm(trans),
    accept: Dialog.okButton({ label: trans.__('Attach') }),
    focus: 'input',
    act: body => model.attach(body),
    trans
  });
}

async function explain(options: ICommandOptions): Promise<void> {
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

async function stopCluster(
  cluster: Cluster,
  { model, trans }: ICommandOptions
): Promise<void> {
  let title = trans.__('Stop %1?', cluster.name);
  let label = trans.__('Stop');
  let body = trans._n(
    'Its %1 worker ends, and results that only they hold are lost.',
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

async function insertClient(
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
