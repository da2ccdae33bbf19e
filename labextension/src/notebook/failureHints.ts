/** Below what failed in a notebook: which differences explain it, where some do. */
import { NotebookActions } from '@jupyterlab/notebook';
import type { Notebook } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { failureOf } from './kernels';
import type { IActiveKernels } from '../model/kernel';
import type { Model } from '../model/model';
import type { Diff, Explanation } from '../api/wire';
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

/** A link below a cell, and the packages that it is about. */
interface IHint {
  readonly node: HTMLElement;
  readonly names: readonly string[];
  /** The comparison by which it was explained: only a later one shows that the cause has gone. */
  readonly diff: Diff | null;
}

/** Asks for an explanation of each failure in the notebook that the panel follows, and shows only what a row explains. */
export class Hints implements IDisposable {
  constructor(private readonly _options: IHintsOptions) {
    NotebookActions.executed.connect(this._onExecuted, this);
    _options.model.changed.connect(this._onChanged, this);
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
          const node = this._link(found);
          const names = found.causes.map(({ row }) => row.name);
          this._hints = [...this._hints, { node, names, diff: model.diff }];
          place.after(node);
        }
      })
      // Who wants to know why may still ask by the menu, and is told.
      .catch(() => undefined);
  }

  /** Remove links whose cause has gone, as a whole reading of the same notebook shows. */
  private _onChanged(): void {
    const { kernels, model } = this._options;
    const { diff } = model;
    if (this._hints.length === 0 || !diff || model.judge().reason) {
      return;
    }
    this._hints = this._hints.filter(hint => {
      const { names, node } = hint;
      // A cell that has been scrolled away keeps its link.
      if (!kernels.holds(node) || diff === hint.diff) {
        return node.parentElement !== null;
      }
      const stays = diff.rows.some(
        row => names.includes(row.name) && row.status !== 'same'
      );
      if (!stays) {
        node.remove();
      }
      return stays;
    });
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
    const fix = document.createElement('span');
    fix.textContent = causes[0].row.fix;
    node.append(button, ' ', fix);
    return node;
  }

  private _hints: readonly IHint[] = [];
}
