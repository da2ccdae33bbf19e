/** Requested numbers of workers, set by a stepper: shown at once, and sent as one request per burst of clicks. */
import type { IDisposable } from '@lumino/disposable';
import { Debouncer } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { asApiError } from '../api/client';
import type { ApiError } from '../api/client';
import type { ChangedCluster, Cluster } from '../api/wire';

/** Milliseconds between the last click and the request. */
export const PAUSE = 500;

/** The outcome of a request that wasn't fully granted. */
export type Outcome =
  | { readonly kind: 'refused'; readonly error: ApiError }
  | {
      readonly kind: 'granted';
      readonly changed: ChangedCluster;
      readonly asked: number;
    };

/** The request for one cluster. */
export interface IWish {
  /** Null if nothing beyond the desired number is requested. */
  readonly workers: number | null;
  readonly outcome: Outcome | null;
}

const NONE: IWish = { workers: null, outcome: null };

export class Wishes implements IDisposable {
  constructor(
    private readonly _change: (
      id: string,
      workers: number
    ) => Promise<ChangedCluster>
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  of(id: string): IWish {
    return this._wishes.get(id) ?? NONE;
  }

  /** Request so many workers more, or fewer. */
  step(cluster: Cluster, by: number): void {
    const { id, desired } = cluster;
    const present = this.of(id).workers ?? desired.workers;
    this._set(id, { workers: Math.max(present + by, 0), outcome: null });
    this._sender(id)
      .invoke()
      .catch(() => undefined);
  }

  /** Dismiss the outcome. */
  dismiss(id: string): void {
    this._set(id, { ...this.of(id), outcome: null });
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      this._senders.forEach(sender => sender.dispose());
      Signal.clearData(this);
    }
  }

  private _sender(id: string): Debouncer {
    const sender =
      this._senders.get(id) ?? new Debouncer(() => this._send(id), PAUSE);
    this._senders.set(id, sender);
    return sender;
  }

  /** Send the latest number, one request at a time. */
  private async _send(id: string): Promise<void> {
    if (this._sending.has(id)) {
      this._again.add(id);
      return;
    }
    this._sending.add(id);
    try {
      do {
        this._again.delete(id);
        await this._ask(id);
      } while (this._again.has(id) && !this._disposed);
    } finally {
      this._sending.delete(id);
    }
  }

  private async _ask(id: string): Promise<void> {
    const asked = this.of(id).workers;
    if (asked === null) {
      return;
    }
    let outcome: Outcome | null = null;
    try {
      const changed = await this._change(id, asked);
      if (changed.granted !== null) {
        outcome = { kind: 'granted', changed, asked };
      }
    } catch (reason) {
      outcome = { kind: 'refused', error: asApiError(reason) };
    }
    // Further clicks may have requested another number by now.
    if (!this._disposed && this.of(id).workers === asked) {
      this._set(id, { workers: null, outcome });
    }
  }

  private _set(id: string, wish: IWish): void {
    this._wishes.set(id, wish);
    this._changed.emit();
  }

  private readonly _wishes = new Map<string, IWish>();
  private readonly _senders = new Map<string, Debouncer>();
  private readonly _sending = new Set<string>();
  private readonly _again = new Set<string>();
  private _disposed = false;
  private readonly _changed = new Signal<this, void>(this);
}
