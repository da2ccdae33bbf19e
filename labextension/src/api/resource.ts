/** Something of the server that is read again and again: its last answer, why there is no newer one, and its age. */
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { asApiError } from './client';
import type { ApiError, IAnswer } from './client';

/** A reading that was younger than this when it was sent, in milliseconds, is as old as the answer says. */
const CURRENT = 10_000;

export interface IResourceOptions<T> {
  name: string;
  /** Read it; `last` is the answer that may still hold. Null means that there is nothing to read now. */
  read: (last: IAnswer<T> | null) => Promise<IAnswer<T> | null>;
  /** Milliseconds of the present; for tests. */
  now?: () => number;
  /** Whether to begin polling at once; for tests. */
  auto?: boolean;
}

/** State first, then signal. One reading at a time; what was asked for before a change is dropped and asked for again. */
export class Resource<T> implements IDisposable {
  constructor(private readonly _options: IResourceOptions<T>) {
    this._now = _options.now ?? Date.now;
    this._poll = new Poll({
      auto: _options.auto ?? true,
      factory: () => this.refresh(),
      standby: () => (this._seconds === null ? true : 'when-hidden'),
      name: `coiled-jupyter:${_options.name}`
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** What the server answered last, or null. */
  get value(): T | null {
    return this._answer?.value ?? null;
  }

  /** Why the last request was not answered, or null. */
  get error(): ApiError | null {
    return this._error;
  }

  /** Whether the value is from before something that changes it. */
  get superseded(): boolean {
    return this._superseded;
  }

  /** When the server was asked for the last answer, by the clock of this page in milliseconds. */
  get askedAt(): number {
    return this._askedAt;
  }

  /** Milliseconds that the server's clock is ahead of this page's. */
  get ahead(): number {
    return this._answer ? this._answer.held - this._askedAt : 0;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Seconds between two readings; null reads nothing. */
  set seconds(seconds: number | null) {
    const before = this._seconds;
    this._seconds = seconds;
    if (seconds !== null && !this.isDisposed) {
      const interval = seconds * 1000;
      const max = Math.max(20_000, interval);
      this._poll.frequency = { interval, backoff: true, max };
      if (before === null) {
        this.invalidate();
      }
    }
  }

  /** Seconds since a reading that is in the answer was taken, or since the oldest that was current; null without an answer. */
  age(time: string | null = null): number | null {
    if (!this._answer) {
      return null;
    }
    const { age, held, sent } = this._answer;
    const read = time === null ? sent : Date.parse(time);
    const then = sent - read < CURRENT ? age : held - read;
    return Math.max(0, this._now() - this._askedAt + then) / 1000;
  }

  /** Read it anew at once; also when an answer is on its way that may not know of a change. */
  invalidate(): void {
    if (!this.isDisposed) {
      this._again = this._reading !== null;
      void this._poll.refresh();
    }
  }

  /** Change the value as an answer to a change tells; a reading tells the rest. */
  put(change: (value: T) => T): void {
    if (this._answer && !this.isDisposed) {
      this._edition++;
      this._answer = {
        ...this._answer,
        value: change(this._answer.value),
        tag: null
      };
      this._changed.emit();
    }
    this.invalidate();
  }

  /** What was read before now, or is on its way, no longer tells anything; the value stays until there is a better one. */
  supersede(): void {
    this._edition++;
    this._superseded = this._answer !== null;
    this.invalidate();
  }

  /** It is something else from now on. */
  clear(): void {
    this._edition++;
    this._answer = null;
    this._error = null;
    this._superseded = false;
    this.invalidate();
  }

  /** Read it, once more if something changed meanwhile. */
  refresh(): Promise<void> {
    this._reading ??= this._read().finally(() => {
      this._reading = null;
    });
    return this._reading;
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._poll.dispose();
      Signal.clearData(this);
    }
  }

  private async _read(): Promise<void> {
    let known = true;
    do {
      this._again = false;
      known = await this._readOnce();
    } while ((this._again || !known) && !this.isDisposed);
  }

  /** Return whether the answer is about what is shown. */
  private async _readOnce(): Promise<boolean> {
    const edition = this._edition;
    const asked = this._now();
    let answer: IAnswer<T> | null = null;
    let reason: unknown = null;
    try {
      answer = await this._options.read(this._answer);
    } catch (error) {
      reason = error;
    }
    if (this.isDisposed) {
      return true;
    }
    if (edition !== this._edition) {
      return false;
    }
    this._error = reason === null ? null : asApiError(reason);
    if (!this._error) {
      this._answer = answer;
      this._askedAt = asked;
      this._superseded = false;
    }
    this._changed.emit();
    // What has just gone is no reason to ask less often.
    if (this._error && this._error.kind !== 'not_found') {
      throw reason;
    }
    return true;
  }

  private readonly _now: () => number;
  private readonly _poll: Poll;
  private readonly _changed = new Signal<this, void>(this);
  private _answer: IAnswer<T> | null = null;
  private _askedAt = 0;
  private _error: ApiError | null = null;
  private _superseded = false;
  private _seconds: number | null = null;
  private _reading: Promise<void> | null = null;
  private _again = false;
  /** Counts the changes that answers on their way don't know of. */
  private _edition = 0;
}
