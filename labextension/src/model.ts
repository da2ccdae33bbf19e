/** What the panel shows: state and signals. It never compares versions; the server decides what a difference means. */
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { ApiError } from './api';
import type { IApi } from './api';
import type { IActiveKernel, IActiveKernels } from './kernels';
import type { Cluster, ClusterCreate, Diff, Usage } from './wire';

/** After this many seconds without a new answer nothing is claimed any more. */
export const STALE_SECONDS = 30;

const ENDED = ['stopped', 'failed', 'lost'];

/** The state of the panel. State first, then signal. */
export class Model implements IDisposable {
  constructor(options: Model.IOptions) {
    this._api = options.api;
    this._kernels = options.kernels;
    this._now = options.now ?? Date.now;
    this._kernels.changed.connect(this._onKernel, this);
    this._kernel = this._kernels.current;
    this._poll = new Poll({
      auto: options.auto ?? true,
      factory: () => this.refresh(),
      frequency: { interval: 5000, backoff: true, max: 20000 },
      standby: () => (this._visible ? 'when-hidden' : true),
      name: 'coiled-jupyter'
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get clusters(): readonly Cluster[] {
    return this._clusters;
  }

  get usage(): Usage | null {
    return this._usage;
  }

  get kernel(): IActiveKernel | null {
    return this._kernel;
  }

  get error(): ApiError | null {
    return this._error;
  }

  /** Whether anything has been answered yet. */
  get ready(): boolean {
    return this._ready;
  }

  /** The cluster that is compared: the one chosen, else the only live one, else the newest. */
  get cluster(): Cluster | null {
    const live = this._clusters.filter(c => !ENDED.includes(c.status));
    return (
      live.find(c => c.id === this._chosen) ?? live[live.length - 1] ?? null
    );
  }

  /** The last comparison of the present kernel and cluster. */
  get diff(): Diff | null {
    return this._diff;
  }

  /** Seconds since the last comparison was answered, or null. */
  get age(): number | null {
    return this._diffAt === null ? null : (this._now() - this._diffAt) / 1000;
  }

  /** Whether the last comparison is too old, or the connection gone, to claim anything. */
  get stale(): boolean {
    return (
      this._error !== null || this.age === null || this.age > STALE_SECONDS
    );
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  set refreshSeconds(seconds: number) {
    this._poll.frequency = {
      interval: seconds * 1000,
      backoff: true,
      max: 20000
    };
  }

  set visible(visible: boolean) {
    this._visible = visible;
    if (visible) {
      this.invalidate();
    }
  }

  /** Ask anew, soon. */
  invalidate(): void {
    if (!this._disposed) {
      void this._poll.refresh();
    }
  }

  choose(cluster: string): void {
    this._chosen = cluster;
    this._forget();
    this._changed.emit();
    this.invalidate();
  }

  async create(body: Partial<ClusterCreate>): Promise<Cluster> {
    const cluster = await this._api.create(body);
    this._chosen = cluster.id;
    this._forget();
    this.invalidate();
    return cluster;
  }

  async remove(id: string): Promise<void> {
    await this._api.remove(id);
    this.invalidate();
  }

  /** Ask for everything that is shown. */
  async refresh(): Promise<void> {
    try {
      const [clusters, usage] = await Promise.all([
        this._api.clusters(),
        this._api.usage()
      ]);
      if (this._disposed) {
        return;
      }
      this._clusters = clusters;
      this._usage = usage;
      const kernel = this._kernel?.id ?? null;
      const cluster = this.cluster;
      if (this._diff && this._diff.cluster.id !== cluster?.id) {
        this._forget();
      }
      if (kernel && cluster) {
        const diff = await this._api.diff(kernel, cluster.id);
        // A late answer for another kernel or cluster is dropped.
        const same =
          kernel === this._kernel?.id && cluster.id === this.cluster?.id;
        if (this._disposed || !same) {
          return;
        }
        this._diff = diff;
        this._diffAt = this._now();
      }
      this._error = null;
    } catch (reason) {
      if (this._disposed) {
        return;
      }
      // A kernel or cluster that has just gone is no fault of the connection.
      if (!(reason instanceof ApiError) || reason.kind !== 'not_found') {
        this._error =
          reason instanceof ApiError
            ? reason
            : new ApiError('unavailable', 'The answer could not be read');
        this._ready = true;
        this._changed.emit();
        throw reason;
      }
      this._forget();
    }
    this._ready = true;
    this._changed.emit();
  }

  dispose(): void {
    if (this._disposed) {
      return;
    }
    this._disposed = true;
    this._poll.dispose();
    Signal.clearData(this);
  }

  private _onKernel(): void {
    const next = this._kernels.current;
    if (next?.id !== this._kernel?.id) {
      this._forget();
      this.invalidate();
    }
    this._kernel = next;
    this._changed.emit();
  }

  private _forget(): void {
    this._diff = null;
    this._diffAt = null;
  }

  private readonly _api: IApi;
  private readonly _kernels: IActiveKernels;
  private readonly _now: () => number;
  private readonly _poll: Poll;
  private _kernel: IActiveKernel | null;
  private _clusters: readonly Cluster[] = [];
  private _usage: Usage | null = null;
  private _diff: Diff | null = null;
  private _diffAt: number | null = null;
  private _error: ApiError | null = null;
  private _chosen: string | null = null;
  private _ready = false;
  private _visible = false;
  private _disposed = false;
  private _changed = new Signal<this, void>(this);
}

export namespace Model {
  export interface IOptions {
    api: IApi;
    kernels: IActiveKernels;
    /** Milliseconds of the present; for tests. */
    now?: () => number;
    /** Whether to begin polling at once. */
    auto?: boolean;
  }
}
