/** What one cluster is doing: asked each second while somebody looks, more seldom while nothing happens, and not at all while nobody looks. */
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { asApiError } from '../api/client';
import type { ApiError } from '../api/client';
import type { Activity } from '../api/wire';
import { Spans } from './spans';

/** The most answers that are asked for at once, where one doesn't have everything. */
const PARTS = 8;
/** The most seconds between two questions, while nothing happens. */
const CALM_SECONDS = 5;

/** Asks what has happened since an earlier answer's cursor; null for what is known. */
export type Ask = (after: string | null) => Promise<Activity>;

/** State first, then signal. */
export class ActivityFeed implements IDisposable {
  constructor(
    private readonly _ask: Ask,
    private readonly _now: () => number = Date.now
  ) {
    this._poll = new Poll({
      auto: false,
      factory: () => this._read(),
      frequency: frequency(1),
      standby: 'when-hidden',
      name: 'coiled-jupyter:activity'
    });
  }

  readonly spans = new Spans();

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The last answer, or null; its stream is only what was new. */
  get activity(): Activity | null {
    return this._activity;
  }

  /** Why the last question wasn't answered, or null. */
  get error(): ApiError | null {
    return this._error;
  }

  /** Seconds since what is shown was asked for, or null. */
  get age(): number | null {
    return this._activity && Math.max(0, this._now() - this._askedAt) / 1000;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Whether somebody is looking; each says so for itself. */
  look(viewer: object, looks: boolean): void {
    const before = this._viewers.size;
    if (looks) {
      this._viewers.add(viewer);
    } else {
      this._viewers.delete(viewer);
    }
    if (Boolean(before) !== Boolean(this._viewers.size) && !this.isDisposed) {
      void (before ? this._poll.stop() : this._poll.refresh());
    }
  }

  /** Ask at once. */
  refresh(): void {
    if (this._viewers.size && !this.isDisposed) {
      void this._poll.refresh();
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
    // Only the last question counts: two answers to the same one would double its spans.
    const turn = ++this._turn;
    try {
      for (let part = 0; part < PARTS; part++) {
        const asked = this._now();
        const answer = await this._ask(this._activity?.cursor ?? null);
        if (turn !== this._turn) {
          return;
        }
        this._calm = isCalm(this._activity, answer) ? this._calm + 1 : 0;
        this._askedAt = asked;
        this._activity = answer;
        this._error = null;
        this.spans.add(answer.stream);
        if (!answer.stream.more) {
          break;
        }
      }
      this._poll.frequency = frequency(Math.min(1 + this._calm, CALM_SECONDS));
      this._changed.emit();
    } catch (reason) {
      if (turn === this._turn) {
        this._error = asApiError(reason);
        this._changed.emit();
        throw reason;
      }
    }
  }

  private readonly _poll: Poll;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _viewers = new Set<object>();
  private _activity: Activity | null = null;
  private _error: ApiError | null = null;
  private _askedAt = 0;
  /** How many answers in a row told of nothing. */
  private _calm = 0;
  private _turn = 0;
}

function frequency(seconds: number) {
  return { interval: seconds * 1000, backoff: true, max: 30000 };
}

/** Whether nothing ran and nothing came or went since the answer before. */
function isCalm(before: Activity | null, now: Activity): boolean {
  const counts = (it: Activity | null) =>
    it && [it.tasks, it.queued, it.no_worker, it.workers.length].join();
  return (
    now.processing === 0 &&
    now.stream.action.length === 0 &&
    counts(before) === counts(now)
  );
}

/** The feeds of all clusters: one for all panes of a cluster, as long as there is one. */
export class ActivityFeeds {
  constructor(
    private readonly _ask: (
      cluster: string,
      after: string | null
    ) => Promise<Activity>
  ) {}

  /** Return the feed of a cluster; who takes it gives it back. */
  take(cluster: string): ActivityFeed {
    const held = this._held.get(cluster) ?? {
      feed: new ActivityFeed(after => this._ask(cluster, after)),
      holders: 0
    };
    held.holders++;
    this._held.set(cluster, held);
    return held.feed;
  }

  giveBack(cluster: string): void {
    const held = this._held.get(cluster);
    if (held && --held.holders === 0) {
      held.feed.dispose();
      this._held.delete(cluster);
    }
  }

  private readonly _held = new Map<
    string,
    { readonly feed: ActivityFeed; holders: number }
  >();
}
