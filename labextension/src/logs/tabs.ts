/** Tabs of logs, one for each cluster. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { LabIcon } from '@jupyterlab/ui-components';

import { LogFeed } from './feed';
import type { LogPanel } from './view';
import type { Model } from '../model/model';
import type { Cluster } from '../api/wire';

export interface ILogTabsOptions {
  model: Model;
  shell: Pick<JupyterFrontEnd.IShell, 'activateById' | 'add'>;
  copy: (text: string) => void;
  icon: LabIcon;
  trans: TranslationBundle;
}

export class LogTabs {
  constructor(private readonly _options: ILogTabsOptions) {}

  /** Show the logs of a cluster, below what is in front. */
  async open({ id, name }: Cluster): Promise<void> {
    const { shell } = this._options;
    const view = await import('./view');
    const tab = this._tabs.get(id) ?? this._make(id, name, view);
    if (!tab.isAttached) {
      shell.add(tab, 'main', { mode: 'split-bottom' });
    }
    shell.activateById(tab.id);
  }

  private _make(
    id: string,
    name: string,
    view: typeof import('./view')
  ): MainAreaWidget<LogPanel> {
    const { copy, icon, model, trans } = this._options;
    const content = new view.LogPanel({
      feed: new LogFeed(query => model.logs(id, query)),
      name: () => model.clusters.find(it => it.id === id)?.name ?? name,
      copy,
      trans
    });
    const tab = new MainAreaWidget({ content });
    tab.id = `coiled-jupyter-logs-${id}`;
    tab.title.icon = icon;
    tab.toolbar.hide();
    const entitle = () => {
      tab.title.label = trans.__('Logs of %1', content.name);
      content.node.setAttribute('aria-label', tab.title.label);
    };
    model.changed.connect(entitle);
    entitle();
    this._tabs.set(id, tab);
    tab.disposed.connect(() => {
      model.changed.disconnect(entitle);
      this._tabs.delete(id);
    });
    return tab;
  }

  private readonly _tabs = new Map<string, MainAreaWidget<LogPanel>>();
}
