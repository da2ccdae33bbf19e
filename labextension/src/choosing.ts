/** Forms before a plan: which packages, or which earlier state. */
import type { TranslationBundle } from '@jupyterlab/translation';

import { CheckedForm, choice } from './fields';
import type { Finding } from './fields';
import { isRated } from './offers';
import { BASE, layerSizeWords, layerUseWords, layerWords } from './planwords';
import type { Cluster, Layer, Row } from './wire';
import {
  clusterSourceWords,
  clusterStatusWords,
  ratingWords,
  rowStatusWords
} from './words';

let forms = 0;

/** One of several clusters; at first the one compared, where it is among them. */
export class ClusterForm extends CheckedForm<string> {
  constructor(
    clusters: readonly Cluster[],
    compared: string | undefined,
    private readonly _purpose: string,
    trans: TranslationBundle
  ) {
    super(trans);
    const list = document.createElement('div');
    list.className = 'jp-Coiled-list';
    const group = `jp-Coiled-cluster-${forms++}`;
    for (const { id, name, status, ...rest } of clusters) {
      const { label, field } = choice(group, id, name, id === compared);
      const words = [
        clusterStatusWords(status, trans),
        clusterSourceWords(rest, trans),
        id === compared && trans.__('compared with the notebook')
      ].filter(Boolean);
      label.dataset.cluster = id;
      label.append(line(words.join(' · ')));
      list.append(label);
      this._fields.push(field);
    }
    if (!this._fields.some(({ checked }) => checked)) {
      this._fields[0].checked = true;
    }
    this.node.append(list);
    this.complete();
  }

  protected value(): string {
    return this._fields.find(({ checked }) => checked)?.value ?? '';
  }

  protected problems(): readonly Finding[] {
    return [];
  }

  protected words(): string {
    return this._purpose;
  }

  private readonly _fields: HTMLInputElement[] = [];
}

/** Packages out of those that differ; at first those that are rated. */
export class PackagesForm extends CheckedForm<readonly string[]> {
  constructor(
    rows: readonly Row[],
    private readonly _cluster: Cluster,
    trans: TranslationBundle
  ) {
    super(trans);
    const field = document.createElement('fieldset');
    // A fieldset doesn't scroll.
    const list = document.createElement('div');
    list.className = 'jp-Coiled-list';
    const legend = document.createElement('legend');
    legend.textContent = trans.__('Packages that differ');
    field.append(legend, list);
    for (const row of rows) {
      const words = trans.__(
        '%1: %2, %3',
        row.name,
        rowStatusWords(row.status, trans),
        ratingWords(row.severity, trans)
      );
      const { label, field: box } = choice('', row.name, words, isRated(row));
      box.type = 'checkbox';
      list.append(label);
      this._fields.push(box);
    }
    this.node.append(field);
    this.complete();
  }

  protected value(): readonly string[] {
    return this._fields
      .filter(({ checked }) => checked)
      .map(({ value }) => value);
  }

  protected problems(): readonly Finding[] {
    const none = this.value().length === 0;
    const { trans } = this;
    return this._fields.map((field, index) => [
      field,
      none && index === 0 ? trans.__('Choose at least one package') : ''
    ]);
  }

  protected words(): string {
    return this.trans._n(
      'A plan is made for %1 package on %2, with what it needs. Nothing is changed before you have seen it.',
      'A plan is made for %1 packages on %2, with what they need. Nothing is changed before you have seen it.',
      this.value().length,
      this._cluster.name
    );
  }

  private readonly _fields: HTMLInputElement[] = [];
}

/** States that nobody runs in, to be removed from the disks; at first none is chosen. */
export class RemovalForm extends CheckedForm<readonly string[]> {
  constructor(
    layers: readonly Layer[],
    private readonly _names: ReadonlyMap<string, string>,
    now: number,
    trans: TranslationBundle
  ) {
    super(trans);
    this._list.className = 'jp-Coiled-list';
    for (const layer of layers) {
      const { label, field } = choice(
        '',
        layer.id,
        layerWords(layer, now, trans),
        false
      );
      field.type = 'checkbox';
      field.disabled = layer.clusters.length > 0 || layer.known_by.length === 0;
      label.dataset.layer = layer.id;
      label.append(line(layerUseWords(layer, _names, trans)));
      for (const { host, path } of layer.places) {
        label.append(line(host ? trans.__('%1: %2', host, path) : path));
      }
      this._list.append(label);
      this._fields.set(layer, field);
    }
    this.node.append(this._list);
    this.complete();
  }

  /** One of them has gone. */
  drop(id: string): void {
    for (const [layer, field] of this._fields) {
      if (layer.id === id) {
        this._fields.delete(layer);
        field.closest('label')?.remove();
      }
    }
  }

  protected value(): readonly string[] {
    return this._chosen().map(({ id }) => id);
  }

  protected problems(): readonly Finding[] {
    const none = this._chosen().length === 0;
    return [...this._fields.values()]
      .filter(({ disabled }) => !disabled)
      .map((field, index) => [
        field,
        none && index === 0 ? this.trans.__('Choose at least one state') : ''
      ]);
  }

  protected words(): string {
    const { trans } = this;
    const chosen = this._chosen();
    if (chosen.length === 0) {
      return trans.__('There is none that could be removed now.');
    }
    const known = new Set(chosen.flatMap(({ known_by }) => known_by));
    return trans._n(
      '%1 state is removed (%2); %3 can not go back to it any more.',
      '%1 states are removed (%2); %3 can not go back to them any more.',
      chosen.length,
      layerSizeWords(chosen, trans),
      [...known].map(id => this._names.get(id) ?? id).join(', ')
    );
  }

  private _chosen(): readonly Layer[] {
    return [...this._fields]
      .filter(([, { checked }]) => checked)
      .map(([layer]) => layer);
  }

  private readonly _fields = new Map<Layer, HTMLInputElement>();
  // A fieldset doesn't scroll.
  private readonly _list = document.createElement('div');
}

function line(text: string): HTMLElement {
  const node = document.createElement('span');
  node.className = 'jp-Coiled-sub';
  node.textContent = text;
  return node;
}

/** A state that the cluster had. */
export class StateForm extends CheckedForm<string> {
  constructor(
    layers: readonly Layer[],
    private readonly _cluster: Cluster,
    now: number,
    trans: TranslationBundle
  ) {
    super(trans);
    const group = `jp-Coiled-state-${forms++}`;
    for (const layer of layers) {
      const present = layer.clusters.includes(_cluster.id);
      const words = layerWords(layer, now, trans);
      const { label, field } = choice(
        group,
        layer.id,
        present ? trans.__('%1 (present)', words) : words,
        false
      );
      field.disabled = present;
      this.node.append(label);
      this._fields.push(field);
    }
    const first = this._fields.find(({ disabled }) => !disabled);
    if (first) {
      first.checked = true;
    }
    this.complete();
  }

  protected value(): string {
    return this._fields.find(({ checked }) => checked)?.value ?? BASE;
  }

  protected problems(): readonly Finding[] {
    return [];
  }

  protected words(): string {
    return this.trans.__(
      'A plan is made for %1. Nothing is changed before you have seen it.',
      this._cluster.name
    );
  }

  private readonly _fields: HTMLInputElement[] = [];
}
