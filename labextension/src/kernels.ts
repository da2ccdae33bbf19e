/** Which notebook or console is active, and its kernel. */
import type { ISessionContext } from '@jupyterlab/apputils';
import type { IConsoleTracker } from '@jupyterlab/console';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';

/** The kernel that the panel follows. */
export interface IActiveKernel {
  readonly id: string | null;
  readonly label: string;
}

export interface IActiveKernels {
  readonly current: IActiveKernel | null;
  readonly changed: ISignal<IActiveKernels, void>;
}

type Tracked = Widget & { readonly sessionContext: ISessionContext };

/** Follows the trackers of notebooks and consoles; `current` is null where neither is open. */
export class ActiveKernels implements IActiveKernels {
  constructor(
    notebooks: INotebookTracker | null,
    consoles: IConsoleTracker | null
  ) {
    notebooks?.currentChanged.connect((_, panel) => this._follow(panel));
    consoles?.currentChanged.connect((_, panel) => this._follow(panel));
    this._follow(notebooks?.currentWidget ?? consoles?.currentWidget ?? null);
  }

  get current(): IActiveKernel | null {
    const widget = this._widget;
    if (!widget || widget.isDisposed) {
      return null;
    }
    return {
      id: widget.sessionContext.session?.kernel?.id ?? null,
      label: widget.title.label
    };
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  private _follow(widget: Tracked | null): void {
    if (this._widget && !this._widget.isDisposed) {
      const old = this._widget.sessionContext;
      old.kernelChanged.disconnect(this._emit, this);
      old.sessionChanged.disconnect(this._emit, this);
    }
    this._widget = widget;
    if (widget) {
      widget.sessionContext.kernelChanged.connect(this._emit, this);
      widget.sessionContext.sessionChanged.connect(this._emit, this);
    }
    this._emit();
  }

  private _emit(): void {
    this._changed.emit();
  }

  private _widget: Tracked | null = null;
  private _changed = new Signal<this, void>(this);
}
