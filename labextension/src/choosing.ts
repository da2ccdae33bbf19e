/** Forms before a plan: which packages, or which earlier state. */
import type { TranslationBundle } from '@jupyterlab/translation';

import { CheckedForm, choice } from './fields';
import type { Finding } from './fields';
import { isRated } from './offers';
import { BASE, layerWords } from './syncwords';
import type { Cluster, Layer, Row } from './wire';
import { ratingWords, rowStatusWords } from './words';

let forms = 0;

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
