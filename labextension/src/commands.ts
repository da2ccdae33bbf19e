/** Commands; what changes anything opens our own dialog, and no argument skips it. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';

import { ApiError } from './api';
import type { Model } from './model';
import type { ClusterCreate } from './wire';

export namespace CommandIDs {
  export const showPanel = 'coiled-jupyter:show-panel';
  export const createCluster = 'coiled-jupyter:create-cluster';
  export const stopCluster = 'coiled-jupyter:stop-cluster';
  export const refresh = 'coiled-jupyter:refresh';
}

const NO_ARGUMENTS = { args: { type: 'object', properties: {} } };

export function addCommands(
  commands: CommandRegistry,
  model: Model,
  show: () => void,
  trans: TranslationBundle
): void {
  commands.addCommand(CommandIDs.showPanel, {
    label: trans.__('Show Coiled Jupyter'),
    describedBy: NO_ARGUMENTS,
    execute: show
  });
  commands.addCommand(CommandIDs.refresh, {
    label: trans.__('Compare Packages Again'),
    describedBy: NO_ARGUMENTS,
    execute: () => model.invalidate()
  });
  commands.addCommand(CommandIDs.createCluster, {
    label: trans.__('New Cluster…'),
    describedBy: NO_ARGUMENTS,
    execute: () => createCluster(model, trans)
  });
  commands.addCommand(CommandIDs.stopCluster, {
    label: trans.__('Stop Cluster…'),
    describedBy: {
      args: {
        type: 'object',
        properties: {
          cluster: {
            type: 'string',
            description: trans.__(
              'Id of the cluster; the one compared if left out'
            )
          }
        }
      }
    },
    execute: args => stopCluster(model, args.cluster, trans)
  });
}

async function stopCluster(
  model: Model,
  id: unknown,
  trans: TranslationBundle
): Promise<void> {
  const cluster =
    model.clusters.find(other => other.id === id) ?? model.cluster;
  if (!cluster) {
    return;
  }
  const result = await showDialog({
    title: trans.__('Stop %1?', cluster.name),
    body: trans.__(
      'Its %1 workers end, and results that only they hold are lost.',
      cluster.workers.length
    ),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({ label: trans.__('Stop') })
    ]
  });
  if (result.button.accept) {
    await attempt(() => model.remove(cluster.id));
  }
}

async function createCluster(
  model: Model,
  trans: TranslationBundle
): Promise<void> {
  const kernel = model.kernel?.id ?? null;
  const result = await showDialog({
    title: trans.__('New cluster'),
    body: new CreateForm(kernel, trans),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Create') })
    ],
    focusNodeSelector: 'input'
  });
  if (result.button.accept && result.value) {
    const body = result.value;
    await attempt(() => model.create(body));
  }
}

async function attempt(act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (reason) {
    if (!(reason instanceof ApiError)) {
      throw reason;
    }
    Notification.error([reason.message, reason.hint].filter(Boolean).join(' '));
  }
}

/** The form of a new cluster. */
class CreateForm
  extends Widget
  implements Dialog.IBodyWidget<Partial<ClusterCreate> | null>
{
  constructor(
    private readonly _kernel: string | null,
    trans: TranslationBundle
  ) {
    super();
    this._workers.type = 'number';
    this._workers.min = '1';
    this._workers.value = '2';
    const sources: [string, string][] = [
      ['server', trans.__('Packages of the Jupyter server')]
    ];
    if (_kernel) {
      sources.unshift(
        ['kernel', trans.__("This notebook's packages, in an environment")],
        ['interpreter', trans.__("This notebook's own Python, as it stands")]
      );
    }
    for (const [value, label] of sources) {
      const option = document.createElement('option');
      option.value = value;
      option.textContent = label;
      this._packages.append(option);
    }
    this._add(trans.__('Name (optional)'), this._name);
    this._add(trans.__('Workers'), this._workers);
    this._add(trans.__('Packages'), this._packages);
  }

  getValue(): Partial<ClusterCreate> | null {
    const workers = Number(this._workers.value);
    const body: {
      -readonly [key in keyof ClusterCreate]?: ClusterCreate[key];
    } = { workers };
    if (this._name.value.trim()) {
      body.name = this._name.value.trim();
    }
    if (this._kernel && this._packages.value === 'kernel') {
      body.kernel = this._kernel;
    }
    if (this._kernel && this._packages.value === 'interpreter') {
      body.interpreter = { kernel: this._kernel };
    }
    return body;
  }

  private _add(
    text: string,
    control: HTMLInputElement | HTMLSelectElement
  ): void {
    const label = document.createElement('label');
    label.textContent = text;
    label.append(control);
    this.node.append(label);
  }

  private readonly _name = document.createElement('input');
  private readonly _workers = document.createElement('input');
  private readonly _packages = document.createElement('select');
}
