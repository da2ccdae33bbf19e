/** Below what failed in a notebook: which differences explain it, where some do. */
import { NotebookActions } from '@jupyterlab/notebook';
import type { Notebook } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { failureOf } from './kernels';
import type { IActiveKernels } from '../model/kernel';
import type { Model } from '../model/model';
import type { Explanation } from '../api/wire';
import { hintWords } from '../words/words';

/** What Dask itself says when versions differ. */
const WARNED = 'Mismatched versions found';

export interface IHintsOptions {
  model: Model;
  kernels: IActiveKernels;
  /** Bring the panel to the front. */
  show: () => void;
  trans: TranslationBundle;
}

/** Asks for an explanation of each failure in the notebook that the panel follows, and shows only what a row explains. */
export class Hints implements IDisposable {
  constructor(private readonly _options: IHintsOptions) {
    NotebookActions.executed.connect(this._onExecuted, this);
  }

  isDisposed = false;

  dispose(): void {
    this.isDisposed = true;
    Signal.clearData(this);
  }

  private _onExecuted(
    _: unknown,
    args: { cell: Notebook['widgets'][number]; success: boolean }
  ): void {
    const { cell, success } = args;
    const place = cell.node.querySelector('.jp-Cell-outputWrapper');
    cell.node.querySelector('.jp-Coiled-hint')?.remove();
    const source = cell.model.sharedModel;
    const text = 'getOutputs' in source ? failureOf(source.getOutputs()) : null;
    if (!place || !text || (success && !text.includes(WARNED))) {
      return;
    }
    const { kernels, model } = this._options;
    // What another notebook met isn't explained by this one's comparison.
    if (!kernels.holds(cell.node)) {
      return;
    }
    void model
      .explain(text)
      .then(found => {
        if (found?.causes.length && !cell.isDisposed && !this.isDisposed) {
          place.after(this._link(found));
        }
      })
      // Who wants to know why may still ask by the menu, and is told.
      .catch(() => undefined);
  }

  private _link({ basis, causes }: Explanation): HTMLElement {
    const { model, show, trans } = this._options;
    const names = causes.map(({ row }) => row.name);
    const node = document.createElement('div');
    node.className = 'jp-Coiled-hint';
    node.setAttribute('role', 'status');
    const button = document.createElement('button');
    button.className = 'jp-Coiled-button';
    button.textContent = hintWords(basis, names, trans);
    button.onclick = () => {
      show();
      model.show(names[0]);
    };
    node.append(button);
    return node;
  }
}
