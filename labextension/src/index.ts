/** Wiring of the extension, nothing else. */
import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ILayoutRestorer } from '@jupyterlab/application';
import { Clipboard, ICommandPalette } from '@jupyterlab/apputils';
import { IConsoleTracker } from '@jupyterlab/console';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';

import { Api } from './api';
import { addCommands } from './commands';
import { CommandIDs } from './ids';
import { ActiveKernels } from './kernels';
import { Model } from './model';
import { Panel } from './panel';
import { LogTabs } from './tabs';

const EVENTS = 'https://events.coiled-jupyter.org/change/v1';

const icon = new LabIcon({
  name: 'coiled-jupyter:icon',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16"><path class="jp-icon3" fill="#616161" d="M4 5h16v3H4zm0 5.5h10v3H4zM4 16h16v3H4zm12-5.5h4v3h-4z"/></svg>'
});

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'coiled-jupyter:plugin',
  description:
    'Shows how the packages of a notebook and of its Dask cluster differ.',
  autoStart: true,
  optional: [
    INotebookTracker,
    IConsoleTracker,
    ILayoutRestorer,
    ICommandPalette,
    ISettingRegistry,
    IStateDB,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    notebooks: INotebookTracker | null,
    consoles: IConsoleTracker | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    settings: ISettingRegistry | null,
    state: IStateDB | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('coiled_jupyter');
    const kernels = new ActiveKernels({
      notebooks,
      consoles,
      shell: app.shell
    });
    const model = new Model({
      api: new Api(app.serviceManager.serverSettings),
      kernels,
      memory: state
    });
    const panel = new Panel(model, app.commands, trans);
    panel.title.icon = icon;
    panel.disposed.connect(() => {
      model.dispose();
      kernels.dispose();
    });
    app.serviceManager.events.stream.connect((_, event) => {
      if (event.schema_id !== EVENTS) {
        return;
      }
      if (event.kind === 'sync' && typeof event.id === 'string') {
        model.syncs.notice(event.id);
      } else {
        model.invalidateSoon();
      }
    });
    const copy = (text: string) => Clipboard.copyToSystem(text);
    const logs = new LogTabs({ model, shell: app.shell, copy, icon, trans });
    addCommands(app.commands, {
      model,
      kernels,
      show: () => app.shell.activateById(panel.id),
      copy,
      openLogs: cluster => logs.open(cluster),
      trans
    });
    app.shell.add(panel, 'right', { rank: 300 });
    restorer?.add(panel, panel.id);
    for (const command of Object.values(CommandIDs)) {
      palette?.addItem({ command, category: trans.__('Coiled Jupyter') });
    }
    settings
      ?.load(plugin.id)
      .then(loaded => {
        const apply = () => {
          model.refreshSeconds = loaded.get('refreshSeconds')
            .composite as number;
        };
        loaded.changed.connect(apply);
        apply();
      })
      .catch((reason: unknown) =>
        console.warn('The settings of coiled-jupyter are missing', reason)
      );
  }
};

export default plugin;
