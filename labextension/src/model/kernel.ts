/** The notebook or console that the panel follows, as the model needs it. */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

/** The notebook or console that the panel follows. */
export interface IActiveKernel {
  /** The kernel's id, null if none runs. */
  readonly id: string | null;
  /** The title of its tab. */
  readonly label: string;
  /** Its path, by which choices are remembered. */
  readonly path: string;
  /** Whether a kernel can answer. */
  readonly state: 'none' | 'starting' | 'alive' | 'dead';
  /** Whether its cells name Dask, or can't be known. */
  readonly usesDask: boolean;
}

export interface IActiveKernels extends IDisposable {
  /** Null if neither a notebook nor a console is open. */
  readonly current: IActiveKernel | null;
  /** Emitted when `current` has changed. */
  readonly changed: ISignal<IActiveKernels, void>;
  /** Emitted when the kernel has restarted: its packages may have changed. */
  readonly restarted: ISignal<IActiveKernels, void>;
  /** Insert code into the notebook or console, without running it. */
  insert(code: string): void;
  /** The traceback or warning below the active cell, or null. */
  failure(): string | null;
  /** Whether an element belongs to the notebook or console. */
  holds(node: Node): boolean;
}
