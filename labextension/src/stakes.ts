/** What a cluster holds, as it was read last: what is lost with its workers, and whom that concerns. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { freshness } from './model';
import type { Model } from './model';
import type { ClientInfo, Cluster } from './wire';
import { ageWords } from './words';

/** So many clients are named. */
const NAMED = 5;

/** What is at stake, one sentence each. */
export function stakesWords(
  { clients, other_clients: others, tasks }: Cluster,
  trans: TranslationBundle
): readonly string[] {
  if (!tasks) {
    return [trans.__('What it holds has not been read.')];
  }
  const { in_memory: held, queued, running } = tasks;
  const names = others.slice(0, NAMED).map(it => nameOf(it, trans));
  const more = names.length < others.length ? '…' : '';
  return [
    held === null
      ? trans.__('How many results it holds in memory is not known.')
      : held === 0
        ? trans.__('It holds no results in memory.')
        : trans._n(
            'It holds %1 result in memory.',
            'It holds %1 results in memory, each copy counted.',
            held
          ),
    running + queued === 0
      ? trans.__('No task is running or waiting.')
      : trans.__(
          '%1, %2.',
          trans._n('%1 task is running', '%1 tasks are running', running),
          trans._n('%1 is waiting', '%1 are waiting', queued)
        ),
    clients === 0
      ? trans.__('No client is connected.')
      : trans._n(
          '%1 client is connected: %2',
          '%1 clients are connected: %2',
          clients,
          names.join(', ') + more || trans.__('by whom is not known')
        )
  ];
}

function nameOf(client: ClientInfo, trans: TranslationBundle): string {
  return client.own
    ? (client.opened_by ?? trans.__('a kernel of this server'))
    : trans.__('somebody on %1', client.host ?? trans.__('unknown host'));
}

/** The sentences with their age, below a first one; read anew while they are shown. */
export class Stakes extends Widget {
  constructor(
    private readonly _cluster: Cluster,
    private readonly _model: Model,
    private readonly _trans: TranslationBundle,
    lead = ''
  ) {
    super();
    this.addClass('jp-Coiled-stakes');
    if (lead) {
      this.node.append(text('p', lead));
    }
    this.node.append(this._list, this._age);
    this._draw();
  }

  dispose(): void {
    this._stop();
    super.dispose();
  }

  protected onAfterAttach(): void {
    this._model.changed.connect(this._draw, this);
    this._timer = window.setInterval(() => this._draw(), 1000);
    // The panel reads only while it is seen.
    this._model.invalidate();
  }

  protected onBeforeDetach(): void {
    this._stop();
  }

  private _stop(): void {
    window.clearInterval(this._timer);
    this._model.changed.disconnect(this._draw, this);
  }

  private _draw(): void {
    const { id } = this._cluster;
    const cluster = this._model.clusters.find(it => it.id === id);
    const sentences = cluster
      ? stakesWords(cluster, this._trans)
      : [this._trans.__('It is not there any more.')];
    // What has been selected stays so while nothing is new.
    const said = sentences.join('\n');
    if (said !== this._said) {
      this._said = said;
      this._list.replaceChildren(...sentences.map(it => text('li', it)));
    }
    const age = cluster ? this._model.clusterAge(cluster) : null;
    this._age.textContent = age === null ? '' : ageWords(age, this._trans);
    this._age.className = 'jp-Coiled-age';
    this._age.dataset.age = freshness(age);
  }

  private readonly _list = document.createElement('ul');
  private readonly _age = document.createElement('span');
  private _said = '';
  private _timer = 0;
}

function text(tag: string, words: string): HTMLElement {
  const node = document.createElement(tag);
  node.textContent = words;
  return node;
}
