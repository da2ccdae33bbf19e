/** What the processes of one cluster print: read on while somebody looks, and never more than is of use kept. */
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { asApiError } from '../api/client';
import type { ApiError } from '../api/client';
import type { ILogQuery } from '../api/client';
import type { LogLine, Logs } from '../api/wire';

/** So many lines are kept, the newest. */
export const KEPT = 5000;

/** A line; keys count up by one. */
export interface ILine extends LogLine {
  readonly key: number;
}

export class LogFeed implements IDisposable {
  constructor(private readonly _ask: (query: ILogQuery) => Promise<Logs>) {
    this._poll = new Poll({
      auto: false,
      factory: () => this._read(),
      frequency: { interval: 1000, backoff: true, max: 30000 },
      standby: 'when-hidden',
      name: 'coiled-jupyter:logs'
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get lines(): readonly ILine[] {
    return this._lines;
  }

  /** The nodes that print. */
  get nodes(): readonly string[] {
    return this._nodes;
  }

  /** The node whose lines these are, null for all. */
  get node(): string | null {
    return this._node;
  }

  set node(node: string | null) {
    if (node !== this._node) {
      this._node = node;
      this._lines = [];
      // What was read of one isn't what was read of all.
      this._next = null;
      this._ready = false;
      this._turn++;
      this._changed.emit();
      if (this._visible) {
        void this._poll.refresh();
      }
    }
  }

  /** Whether there was an answer for this node. */
  get ready(): boolean {
    return this._ready;
  }

  /** Why the last question wasn't answered, or null. */
  get error(): ApiError | null {
    return this._error;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Whether somebody looks; nothing is asked for while nobody does. */
  set visible(visible: boolean) {
    if (visible !== this._visible && !this.isDisposed) {
      this._visible = visible;
      void (visible ? this._poll.refresh() : this._poll.stop());
    }
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._turn++;
      this._poll.dispose();
      Signal.clearData(this);
    }
  }

  private async _read(): Promise<void> {
    // Only the last question counts: two answers to the same one would double its lines.
    const turn = ++this._turn;
    try {
      const answer = await this._ask({ node: this._node, after: this._next });
      if (turn === this._turn) {
        this._take(answer);
      }
    } catch (reason) {
      if (turn === this._turn) {
        this._error = asApiError(reason);
        this._changed.emit();
        throw reason;
      }
    }
  }

  private _take({ lines, nodes, next }: Logs): void {
    const same =
      this._ready &&
      this._error === null &&
      lines.length === 0 &&
      nodes.join() === this._nodes.join();
    this._next = next;
    this._nodes = nodes;
    this._error = null;
    this._ready = true;
    const fresh = lines.map(line => ({ ...line, key: this._key++ }));
    this._lines = [...this._lines, ...fresh].slice(-KEPT);
    if (!same) {
      this._changed.emit();
    }
  }

  private readonly _poll: Poll;
  private readonly _changed = new Signal<this, void>(this);
  private _lines: readonly ILine[] = [];
  private _nodes: readonly string[] = [];
  private _node: string | null = null;
  private _next: string | null = null;
  private _error: ApiError | null = null;
  private _key = 0;
  private _turn = 0;
  private _ready = false;
  private _visible = false;
}
