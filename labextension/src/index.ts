/** Wiring of the extension, nothing else. */
import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ILabShell, ILayoutRestorer } from '@jupyterlab/application';
import {
  Clipboard,
  ICommandPalette,
  IToolbarWidgetRegistry,
  Notification,
  WidgetTracker
} from '@jupyterlab/apputils';
import type { MainAreaWidget } from '@jupyterlab/apputils';
import { IConsoleTracker } from '@jupyterlab/console';
import { INotebookTracker } from '@jupyterlab/notebook';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';

import type { Pane } from './activity/pane';
import type { Panes } from './activity/panes';
import { Alarm } from './model/breakageAlert';
import { Api } from './api/client';
import { addCommands } from './commands/commands';
import { VerdictItem } from './panel/verdict/verdictItem';
import { Hints } from './notebook/failureHints';
import { CommandIDs, RESTORE_PANE } from './tokens';
import { ActiveKernels } from './notebook/kernels';
import { followImports } from './notebook/liveImports';
import { Model } from './model/model';
import { Panel } from './panel/panel';
import { DEFAULTS, preferencesOf } from './model/preferences';
import type { LogTabs } from './logs/tabs';
import { alarmWords } from './words/words';

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
    ITranslator,
    IToolbarWidgetRegistry,
    IStatusBar,
    ILabShell
  ],
  activate: (
    app: JupyterFrontEnd,
    notebooks: INotebookTracker | null,
    consoles: IConsoleTracker | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    settings: ISettingRegistry | null,
    state: IStateDB | null,
    translator: ITranslator | null,
    toolbars: IToolbarWidgetRegistry | null,
    statusBar: IStatusBar | null,
    labShell: ILabShell | null
  ) => {
    const trans = (translator ?? nullTranslator).load('coiled_jupyter');
    const kernels = new ActiveKernels({
      notebooks,
      consoles,
      shell: app.shell
    });
    const api = new Api(app.serviceManager.serverSettings);
    if (notebooks) {
      followImports(notebooks, (kernel, cells) =>
        api.tellImports(kernel, cells)
      );
    }
    const model = new Model({
      api,
      kernels,
      memory: state
    });
    const panel = new Panel(model, app.commands, trans);
    panel.title.icon = icon;
    panel.disposed.connect(() => {
      alarm.dispose();
      hints.dispose();
      model.dispose();
      kernels.dispose();
    });
    app.serviceManager.events.stream.connect((_, event) => {
      if (event.schema_id !== EVENTS) {
        return;
      }
      if (event.kind === 'sync') {
        model.syncs.invalidate();
      } else {
        model.invalidateSoon();
      }
    });
    let preferences = DEFAULTS;
    const show = () => app.shell.activateById(panel.id);
    const items = new Set<VerdictItem>();
    const item = (shown: () => boolean, path?: () => string) => {
      const made = new VerdictItem({ model, show, shown, path, trans });
      items.add(made);
      made.disposed.connect(() => items.delete(made));
      return made;
    };
    toolbars?.addFactory<NotebookPanel>('Notebook', 'coiled-jupyter', it =>
      item(
        () => preferences.showInToolbar,
        () => it.context.path
      )
    );
    statusBar?.registerStatusItem('coiled-jupyter:verdict', {
      item: item(() => preferences.showInStatusBar),
      align: 'left',
      rank: 100
    });
    const alarm = new Alarm({
      model,
      memory: state,
      tell: (rows, diff) => {
        Notification.warning(alarmWords(rows, diff, trans), {
          autoClose: 15_000,
          actions: [
            {
              label: trans.__('Show'),
              callback: () => {
                show();
                model.show(rows[0].name);
              }
            }
          ]
        });
      }
    });
    const hints = new Hints({ model, kernels, show, trans });
    const prefer = (next: typeof DEFAULTS) => {
      preferences = next;
      model.refreshSeconds = next.refreshSeconds;
      model.watched = next.showInToolbar || next.showInStatusBar || next.notify;
      alarm.enabled = next.notify;
      items.forEach(it => it.update());
    };
    const copy = (text: string) => Clipboard.copyToSystem(text);
    const { shell } = app;
    let logs: LogTabs | null = null;
    let panes: Panes | null = null;
    const tracker = new WidgetTracker<MainAreaWidget<Pane>>({
      namespace: 'coiled-jupyter-panes'
    });
    addCommands(app.commands, {
      model,
      kernels,
      show,
      preferences: () => preferences,
      copy,
      openLogs: async cluster => {
        const it = await import('./logs/tabs');
        logs ??= new it.LogTabs({ model, shell, copy, icon, trans });
        return logs.open(cluster);
      },
      openPane: async (wanted, activate) => {
        const it = await import('./activity/panes');
        const roomy = labShell !== null;
        const options = { api, model, shell, roomy, tracker, icon, trans };
        panes ??= new it.Panes(options);
        panes.open(wanted, activate);
      },
      trans
    });
    app.shell.add(panel, 'right', { rank: 300 });
    restorer?.add(panel, panel.id);
    void restorer?.restore(tracker, {
      command: RESTORE_PANE,
      args: ({ content }) => content.args,
      name: ({ id }) => id
    });
    for (const command of Object.values(CommandIDs)) {
      palette?.addItem({ command, category: trans.__('Coiled Jupyter') });
    }
    const loading = settings?.load(plugin.id) ?? Promise.reject('no registry');
    loading
      .then(loaded => {
        const apply = () => prefer(preferencesOf(loaded));
        loaded.changed.connect(apply);
        apply();
      })
      .catch((reason: unknown) => {
        console.warn('The settings of coiled-jupyter are missing', reason);
        prefer(DEFAULTS);
      });
  }
};

export default plugin;
