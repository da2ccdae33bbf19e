/** The panes of activity in the lab's main area: one of each kind for each cluster. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget } from '@jupyterlab/apputils';
import type { WidgetTracker } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { LabIcon } from '@jupyterlab/ui-components';
import { TabPanel } from '@lumino/widgets';

import '../../labextension/style/activity.css';

import type { IApi } from '../api/client';
import type { Model } from '../model/model';
import type { PaneKind } from '../words/activity';
import { ActivityFeeds } from './feed';
import { MapPane } from './mapPane';
import type { IPaneOptions, Pane } from './pane';
import { ProgressPane } from './progressPane';
import { StreamPane } from './streamPane';
import { WorkersPane } from './workersPane';

const KINDS: Record<PaneKind, new (options: IPaneOptions) => Pane> = {
  'task-stream': StreamPane,
  progress: ProgressPane,
  workers: WorkersPane,
  'cluster-map': MapPane
};

/** Pixels of a pane that has room for another one beside it. */
const WIDE = 700;

export interface IPanesOptions {
  api: Pick<IApi, 'activity'>;
  model: Pick<Model, 'changed' | 'clusters'>;
  shell: Pick<JupyterFrontEnd.IShell, 'activateById' | 'add'>;
  /** Whether the main area has room for more than a document, as the lab's has. */
  roomy: boolean;
  /** Remembers what is open. */
  tracker: Pick<WidgetTracker<MainAreaWidget<Pane>>, 'add' | 'save'>;
  icon: LabIcon;
  /** Hand a file to the browser; for tests. */
  save?: (name: string, content: Blob) => void;
  trans: TranslationBundle;
}

/** What of a cluster is to be shown; without a known kind, nothing. */
export interface IWanted {
  readonly cluster?: unknown;
  readonly kind?: unknown;
  /** How it was called. */
  readonly name?: unknown;
}

export class Panes {
  constructor(private readonly _options: IPanesOptions) {
    this._feeds = new ActivityFeeds((cluster, after) =>
      _options.api.activity(cluster, after)
    );
  }

  /** Show a pane, beside those that are open. */
  open({ cluster, kind, name }: IWanted, activate = true): void {
    if (
      typeof cluster !== 'string' ||
      typeof kind !== 'string' ||
      !Object.hasOwn(KINDS, kind)
    ) {
      return;
    }
    const { roomy, shell, tracker } = this._options;
    const id = `coiled-jupyter-${kind}-${cluster}`;
    let pane = this._panes.get(id);
    if (!pane) {
      pane = this._make(
        id,
        cluster,
        kind as PaneKind,
        typeof name === 'string' ? name : cluster
      );
      const [beside] = [...this._panes.values()]
        .filter(it => it.isAttached)
        .sort((one, other) => other.node.clientWidth - one.node.clientWidth);
      this._panes.set(id, pane);
      shell.add(
        pane,
        roomy ? 'main' : 'down',
        beside
          ? {
              mode:
                beside.node.clientWidth < WIDE ? 'tab-after' : 'split-right',
              ref: beside.id
            }
          : { mode: 'split-bottom' }
      );
      void tracker.add(pane);
    }
    if (activate) {
      shell.activateById(id);
      const tabs = pane.parent?.parent;
      if (tabs instanceof TabPanel) {
        // Notebook 7 gives it the focus, but doesn't bring it to the front.
        tabs.currentWidget = pane;
      }
    }
  }

  private _make(
    id: string,
    cluster: string,
    kind: PaneKind,
    called: string
  ): MainAreaWidget<Pane> {
    const { icon, model, save = download, tracker, trans } = this._options;
    let known = called;
    const content = new KINDS[kind]({
      cluster,
      feed: this._feeds.take(cluster),
      name: () => known,
      release: () => this._feeds.giveBack(cluster),
      save,
      trans
    });
    const pane = new MainAreaWidget({ content });
    pane.id = id;
    pane.title.icon = icon;
    pane.title.closable = true;
    pane.toggleClass('jp-Coiled-paneBelow', !this._options.roomy);
    for (const [name, button] of Object.entries(content.buttons())) {
      pane.toolbar.addItem(name, button);
    }
    const entitle = () => {
      known = model.clusters.find(it => it.id === cluster)?.name ?? known;
      if (pane.title.label !== content.label) {
        pane.title.label = content.label;
        content.node.setAttribute('aria-label', content.label);
        content.update();
        void tracker.save(pane);
      }
    };
    model.changed.connect(entitle);
    entitle();
    pane.disposed.connect(() => {
      model.changed.disconnect(entitle);
      this._panes.delete(id);
    });
    return pane;
  }

  private readonly _feeds: ActivityFeeds;
  private readonly _panes = new Map<string, MainAreaWidget<Pane>>();
}

function download(name: string, content: Blob): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
