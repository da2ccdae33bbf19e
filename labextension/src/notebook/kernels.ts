/** Which notebook or console is active, and its kernel. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ISessionContext } from '@jupyterlab/apputils';
import type { ConsolePanel, IConsoleTracker } from '@jupyterlab/console';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { Debouncer } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { IActiveKernel, IActiveKernels } from '../model/kernel';

type Tracked = NotebookPanel | ConsolePanel;

/** Milliseconds without a change after which the cells are looked at. */
const CALM = 500;
const DASK =
  /^\s*(?:import|from)\s.*\b(?:dask|distributed|coiled_jupyter)\b|^\s*%%?coiled\b/m;

/** Follows the notebook or console that was in front last; all parts are optional. */
export class ActiveKernels implements IActiveKernels {
  constructor(options: ActiveKernels.IOptions) {
    this._notebooks = options.notebooks;
    this._consoles = options.consoles;
    this._notebooks?.currentChanged.connect(this._onCurrent, this);
    this._consoles?.currentChanged.connect(this._onCurrent, this);
    // A tracker keeps its current widget while the other kind is in front, and says nothing on the way back.
    options.shell?.currentChanged?.connect((_, args) => {
      const widget = args.newValue;
      if (widget && this._notebooks?.has(widget)) {
        this._follow(widget as NotebookPanel);
      } else if (widget && this._consoles?.has(widget)) {
        this._follow(widget as ConsolePanel);
      }
    }, this);
    this._onCurrent(null, null);
  }

  get current(): IActiveKernel | null {
    return this._current;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get restarted(): ISignal<this, void> {
    return this._restarted;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  insert(code: string): void {
    const widget = this._widget;
    if (!widget || widget.isDisposed) {
      return;
    }
    if ('console' in widget) {
      const cell = widget.console.promptCell?.model.sharedModel;
      const before = cell?.getSource() ?? '';
      cell?.setSource(before ? `${before}\n${code}` : code);
      return;
    }
    const notebook = widget.content;
    const index = notebook.activeCellIndex + 1;
    notebook.model?.sharedModel.insertCell(index, {
      cell_type: 'code',
      source: code,
      metadata: {}
    });
    notebook.activeCellIndex = index;
  }

  failure(): string | null {
    const widget = this._widget;
    if (!widget || widget.isDisposed || 'console' in widget) {
      return null;
    }
    const cell = widget.content.activeCell?.model.sharedModel;
    return cell && 'getOutputs' in cell ? failureOf(cell.getOutputs()) : null;
  }

  holds(node: Node): boolean {
    return this._widget?.node.contains(node) ?? false;
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      this._unfollow();
      this._soon.dispose();
      Signal.clearData(this);
    }
  }

  private _onCurrent(_: unknown, widget: Tracked | null): void {
    this._follow(
      widget ??
        this._notebooks?.currentWidget ??
        this._consoles?.currentWidget ??
        null
    );
  }

  private _follow(widget: Tracked | null): void {
    if (this._disposed) {
      return;
    }
    if (widget !== this._widget) {
      this._unfollow();
      this._widget = widget;
      widget?.disposed.connect(this._onDisposed, this);
      const context = widget?.sessionContext;
      context?.kernelChanged.connect(this._update, this);
      context?.sessionChanged.connect(this._update, this);
      context?.propertyChanged.connect(this._update, this);
      context?.statusChanged.connect(this._onStatus, this);
      widget?.title.changed.connect(this._update, this);
      if (isNotebook(widget)) {
        widget.content.modelContentChanged.connect(this._onContent, this);
        // Before that it has no cells.
        void widget.context.ready.then(() => this._look());
      }
      this._usesDask = usesDask(widget);
    }
    this._update();
  }

  private _unfollow(): void {
    const widget = this._widget;
    this._widget = null;
    if (widget) {
      widget.disposed.disconnect(this._onDisposed, this);
      widget.title.changed.disconnect(this._update, this);
      if (isNotebook(widget)) {
        widget.content.modelContentChanged.disconnect(this._onContent, this);
      }
      const context = widget.sessionContext as ISessionContext | undefined;
      context?.kernelChanged.disconnect(this._update, this);
      context?.sessionChanged.disconnect(this._update, this);
      context?.propertyChanged.disconnect(this._update, this);
      context?.statusChanged.disconnect(this._onStatus, this);
    }
  }

  private _onDisposed(widget: unknown): void {
    if (widget === this._widget) {
      this._unfollow();
      this._onCurrent(null, null);
    }
  }

  private _onStatus(_: unknown, status: string): void {
    if (status === 'restarting' || status === 'autorestarting') {
      this._restarted.emit();
    }
    this._update();
  }

  private _onContent(): void {
    this._soon.invoke().catch(() => undefined);
  }

  private _look(): void {
    if (!this._disposed) {
      this._usesDask = usesDask(this._widget);
      this._update();
    }
  }

  /** Read anew, and tell only what is new: a kernel's busy and idle come with each cell. */
  private _update(): void {
    const next = read(this._widget, this._usesDask);
    const last = this._current;
    this._current = next;
    if (
      next?.id !== last?.id ||
      next?.label !== last?.label ||
      next?.path !== last?.path ||
      next?.state !== last?.state ||
      next?.usesDask !== last?.usesDask
    ) {
      this._changed.emit();
    }
  }

  private readonly _notebooks: INotebookTracker | null;
  private readonly _consoles: IConsoleTracker | null;
  private _widget: Tracked | null = null;
  private _current: IActiveKernel | null = null;
  private _usesDask = false;
  private readonly _soon = new Debouncer(() => this._look(), CALM);
  private _disposed = false;
  private _changed = new Signal<this, void>(this);
  private _restarted = new Signal<this, void>(this);
}

export namespace ActiveKernels {
  export interface IOptions {
    notebooks: INotebookTracker | null;
    consoles: IConsoleTracker | null;
    shell?: Pick<JupyterFrontEnd.IShell, 'currentChanged'>;
  }
}

/** The last error among a cell's outputs as the kernel gave it, else what was warned of (stderr), or null. */
export function failureOf(
  outputs: readonly ReadonlyPartialJSONObject[]
): string | null {
  const error = outputs.filter(it => it.output_type === 'error').pop();
  if (!error) {
    const warned = outputs.filter(it => it.name === 'stderr');
    return warned.map(it => it.text).join('') || null;
  }
  const { traceback, ename, evalue } = error;
  const lines = Array.isArray(traceback) ? traceback.join('\n') : '';
  return lines || `${ename}: ${evalue}`;
}

/** Whether the cells of a notebook name Dask; a console's are of the past. */
export function usesDask(widget: Tracked | null): boolean {
  if (!isNotebook(widget)) {
    return true;
  }
  const cells = widget.content.model?.sharedModel.cells ?? [];
  return cells.some(
    cell => cell.cell_type === 'code' && DASK.test(cell.getSource())
  );
}

const STARTING = ['starting', 'restarting', 'autorestarting'];

function isNotebook(widget: Tracked | null): widget is NotebookPanel {
  return widget !== null && !('console' in widget);
}

function read(widget: Tracked | null, usesDask: boolean): IActiveKernel | null {
  if (!widget || widget.isDisposed) {
    return null;
  }
  const context = widget.sessionContext;
  const kernel = context.session?.kernel ?? null;
  let state: IActiveKernel['state'] = 'alive';
  if (!kernel) {
    state = 'none';
  } else if (kernel.status === 'dead' || kernel.status === 'terminating') {
    state = 'dead';
  } else if (STARTING.includes(kernel.status)) {
    state = 'starting';
  }
  return {
    id: kernel?.id ?? null,
    label: widget.title.label,
    path: context.path,
    state,
    usesDask
  };
}
