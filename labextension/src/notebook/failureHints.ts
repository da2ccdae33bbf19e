/** Below what failed in a notebook: which differences explain it, where some do. */
import { NotebookActions } from '@jupyterlab/notebook';
import type { Notebook } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { failureOf } from './kernels';
import type { IActiveKernels } from '../model/kernel';
import type { Model } from '../model/model';
import type { Diff, Explanation, Row } from '../api/wire';
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

/** How often a failure is asked about until there is an answer. */
const TIMES = 5;

/** A failed cell that isn't explained yet. */
interface IFailure {
  readonly cell: Notebook['widgets'][number];
  readonly place: Element;
  readonly text: string;
  asking: boolean;
  left: number;
}

/** A link below a cell, and the rows that it is about. */
interface IHint {
  readonly node: HTMLElement;
  readonly rows: readonly Row[];
  /** The comparison by which it was explained: only a later one shows that the cause has gone. */
  readonly diff: Diff | null;
}

/**
 * Asks for an explanation of each failure in the notebook that the panel follows, until a whole comparison has answered,
 * and shows only what a row explains.
 */
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
    this._failures = this._failures.filter(it => it.cell !== cell);
    const place = cell.node.querySelector('.jp-Cell-outputWrapper');
    cell.node.querySelector('.jp-Coiled-hint')?.remove();
    const source = cell.model.sharedModel;
    const text = 'getOutputs' in source ? failureOf(source.getOutputs()) : null;
    if (!place || !text || (success && !text.includes(WARNED))) {
      return;
    }
    // What another notebook met isn't explained by this one's comparison.
    if (this._options.kernels.holds(cell.node)) {
      const failure = { cell, place, text, asking: false, left: TIMES };
      this._failures = [...this._failures, failure];
      void this._ask(failure);
    }
  }

  private async _ask(failure: IFailure): Promise<void> {
    const { model } = this._options;
    failure.asking = true;
    failure.left--;
    const whole = model.judge().reason === null;
    // Who wants to know why may still ask by the menu, and is told.
    const found = await model.explain(failure.text).catch(() => null);
    failure.asking = false;
    if (
      failure.cell.isDisposed ||
      this.isDisposed ||
      !this._failures.includes(failure)
    ) {
      return;
    }
    const explained = found !== null && found.causes.length > 0;
    if (explained || (found && whole) || failure.left === 0) {
      this._failures = this._failures.filter(it => it !== failure);
    }
    if (explained) {
      const node = this._link(found);
      const rows = found.causes.map(({ row }) => row);
      this._hints = [...this._hints, { node, rows, diff: model.diff }];
      failure.place.after(node);
    }
  }

  /** Ask again, and remove links whose cause has gone, as a whole reading of the same notebook shows. */
  private _onChanged(): void {
    const { kernels, model } = this._options;
    const { diff } = model;
    const waits = this._hints.length + this._failures.length > 0;
    if (!waits || !diff || model.judge().reason) {
      return;
    }
    for (const failure of this._failures) {
      if (!failure.asking && kernels.holds(failure.cell.node)) {
        void this._ask(failure);
      }
    }
    this._hints = this._hints.filter(hint => {
      const { node, rows } = hint;
      // A cell that has been scrolled away keeps its link.
      if (!kernels.holds(node) || diff === hint.diff) {
        return node.parentElement !== null;
      }
      // Where graphs are sealed, or a scheduler isn't synced, versions may go on to differ.
      const stays = rows.some(before => {
        const row = diff.rows.find(({ name }) => name === before.name);
        return row && row.status !== 'same' && !isCured(before, row);
      });
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
  private _failures: readonly IFailure[] = [];
}

/** Whether a difference no longer matters that did when it explained a failure. */
function isCured(before: Row, now: Row): boolean {
  return now.severity === 'same' && before.severity !== 'same';
}
