/** The syncs of clusters: which run, how the last ones ended, and what of that has been seen. */
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { ApiError } from './api';
import type { IApi } from './api';
import type { Layer, Plan, PlanCreate, Sync } from './wire';

/** So many lines of a log are kept, the newest. */
export const KEPT = 2000;

/** Milliseconds between two readings while a sync runs, after a failure, and while nothing happens. */
const LIVELY = 1000;
const FAILING = 5000;
/** Events tell what begins; this is for one that was missed. */
const CALM = 60000;

const ENDED: readonly Sync['state'][] = ['done', 'failed', 'cancelled', 'lost'];

/** Whether it is still at work, if only at going back. */
export function isRunning({ state }: Sync): boolean {
  return !ENDED.includes(state);
}

/** What the syncs ask for; the whole API can do it. */
export type ISyncApi = Pick<
  IApi,
  | 'plan'
  | 'planOf'
  | 'syncs'
  | 'sync'
  | 'startSync'
  | 'cancelSync'
  | 'undoSync'
  | 'layers'
  | 'removeLayer'
>;

/** Where it is remembered which results were seen. */
export interface ISeen {
  fetch(key: string): Promise<unknown>;
  save(key: string, value: string): Promise<unknown>;
}

interface ILog {
  readonly lines: readonly string[];
  readonly next: number;
}

const NOTHING: ILog = { lines: [], next: 0 };

export interface ISyncsOptions {
  api: ISyncApi;
  /** Without it what was seen is known only while the page is open. */
  memory?: ISeen | null;
  /** Milliseconds of the present; for tests. */
  now?: () => number;
  /** Whether to begin polling at once. */
  auto?: boolean;
}

/** State first, then signal. */
export class Syncs implements IDisposable {
  constructor(options: ISyncsOptions) {
    this._api = options.api;
    this._memory = options.memory ?? null;
    this._now = options.now ?? Date.now;
    this._poll = new Poll({
      auto: options.auto ?? true,
      factory: () => this.refresh(),
      frequency: { interval: CALM, backoff: true, max: CALM },
      standby: () =>
        this._visible || (this._watched && this._noticed)
          ? 'when-hidden'
          : true,
      name: 'coiled-jupyter:syncs'
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted with the id of a cluster whose sync has ended: what was read of it before no longer tells anything. */
  get ended(): ISignal<this, string> {
    return this._ended;
  }

  /** Newest first. */
  get list(): readonly Sync[] {
    return this._list;
  }

  /** Why the last question wasn't answered, or null. */
  get error(): ApiError | null {
    return this._error;
  }

  /** Seconds since the last answer was asked for, or null. */
  get age(): number | null {
    return this._readAt === null ? null : (this._now() - this._readAt) / 1000;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Whether anybody looks; nothing is asked for while nobody does. */
  set visible(visible: boolean) {
    this._visible = visible;
    if (visible) {
      this.invalidate();
    }
  }

  /** Whether what changes is asked for while nobody looks at the panel, too. */
  set watched(watched: boolean) {
    const before = this._watched;
    this._watched = watched;
    if (watched && !before) {
      this.invalidate();
    }
  }

  /** The sync that a cluster is in, or null. */
  running(cluster: string): Sync | null {
    return (
      this._list.find(sync => sync.cluster === cluster && isRunning(sync)) ??
      null
    );
  }

  /** What there is to show of a cluster: the sync that runs, else how the last one ended, until that was seen. */
  shown(cluster: string): Sync | null {
    const last =
      this.running(cluster) ??
      this._list.find(sync => sync.cluster === cluster) ??
      null;
    return last && (isRunning(last) || this._unseen(last)) ? last : null;
  }

  /** The sync that would be undone: the last one that stands. */
  undoable(cluster: string): Sync | null {
    return this.running(cluster)
      ? null
      : (this._list.find(
          sync =>
            sync.cluster === cluster &&
            sync.direction === 'to_cluster' &&
            sync.state === 'done' &&
            sync.undone_by === null
        ) ?? null);
  }

  /** The lines of a sync's log that were read. */
  lines(id: string): readonly string[] {
    return (this._logs.get(id) ?? NOTHING).lines;
  }

  /** Ask for the log of a sync that has ended; of one that runs it is read anyway. */
  async readLog(id: string): Promise<void> {
    await this._readOne(id);
    this._emit();
  }

  plan(body: PlanCreate): Promise<Plan> {
    return this._api.plan(body);
  }

  planOf(id: string): Promise<Plan> {
    return this._api.planOf(id);
  }

  async start(plan: Plan): Promise<Sync> {
    return this._added(await this._api.startSync(plan.id));
  }

  async undo(id: string): Promise<Sync> {
    return this._added(await this._api.undoSync(id));
  }

  async cancel(id: string): Promise<Sync> {
    return this._added(await this._api.cancelSync(id));
  }

  /** All states that clusters had, last used first. */
  async layers(): Promise<readonly Layer[]> {
    const layers = await this._api.layers();
    return [...layers].sort((one, other) =>
      other.used_at.localeCompare(one.used_at)
    );
  }

  /** The states that a cluster can go back to, last used first. */
  async layersOf(cluster: string): Promise<readonly Layer[]> {
    const layers = await this.layers();
    return layers.filter(({ known_by }) => known_by.includes(cluster));
  }

  /** Remove what was built for a state from the disks where it lies. */
  removeLayer(id: string): Promise<void> {
    return this._api.removeLayer(id);
  }

  /** How a sync ended has been seen. */
  dismiss({ cluster, id }: Sync): void {
    this._seen.set(cluster, id);
    this._changed.emit();
    // Memory is a convenience: without it the result is shown once more.
    this._memory?.save(key(cluster), id).catch(() => undefined);
  }

  /** Something changed: ask for it. */
  notice(id: string): void {
    if (!this._list.some(sync => sync.id === id && isRunning(sync))) {
      this._whole = true;
    }
    this.invalidate();
  }

  /** Ask anew, at once; also when an answer is on its way that may not know of the change. */
  invalidate(): void {
    if (!this.isDisposed) {
      this._noticed = true;
      this._again = this._asking !== null;
      void this._poll.refresh();
    }
  }

  /** Ask for the state of the syncs, once more if something changed meanwhile. */
  refresh(): Promise<void> {
    this._asking ??= this._refresh().finally(() => {
      this._asking = null;
    });
    return this._asking;
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._poll.dispose();
      Signal.clearData(this);
    }
  }

  private async _refresh(): Promise<void> {
    const asked = this._now();
    this._noticed = false;
    try {
      do {
        this._again = false;
        if (this._whole || !this._list.some(isRunning)) {
          await this._readAll();
        }
        const running = this._list.filter(isRunning);
        await Promise.all(running.map(({ id }) => this._readOne(id)));
      } while (this._again && !this.isDisposed);
      this._error = null;
      this._readAt = asked;
      this._pace(this._list.some(isRunning) ? LIVELY : CALM);
    } catch (reason) {
      this._error =
        reason instanceof ApiError
          ? reason
          : new ApiError('unreadable', String(reason));
      // What answers next may know more.
      this._whole = true;
      this._noticed = true;
      this._pace(FAILING);
      throw reason;
    } finally {
      this._emit();
    }
  }

  private async _readAll(): Promise<void> {
    const edition = this._edition;
    this._whole = false;
    const list = await this._api.syncs();
    await this._recall(list);
    if (this.isDisposed) {
      return;
    }
    if (edition !== this._edition) {
      // The list may be from before one that was begun meanwhile.
      this._whole = true;
      this._again = true;
      return;
    }
    this._put(list.map(sync => this._later(sync)));
    this._ready = true;
  }

  private async _readOne(id: string): Promise<void> {
    const before = this._logs.get(id) ?? null;
    let sync: Sync;
    try {
      sync = await this._api.sync(id, before && before.next);
    } catch (reason) {
      if (reason instanceof ApiError && reason.kind === 'not_found') {
        // Its record has gone.
        this._put(this._list.filter(it => it.id !== id));
        this._whole = true;
        return;
      }
      throw reason;
    }
    const { lines, next } = before ?? NOTHING;
    // Two answers to the same question would double the lines.
    if ((this._logs.get(id)?.next ?? 0) === next) {
      this._logs.set(id, {
        lines: [...lines, ...sync.log.lines].slice(-KEPT),
        next: sync.log.next
      });
    }
    this._merge(sync);
  }

  private _added(sync: Sync): Sync {
    if (!this.isDisposed) {
      this._edition++;
      this._whole = true;
      if (!this._list.some(({ id }) => id === sync.id)) {
        this._put([sync, ...this._list]);
      }
      this._merge(sync);
      this._changed.emit();
      this.invalidate();
    }
    return sync;
  }

  private _merge(sync: Sync): void {
    this._put(
      this._list.map(it => (it.id === sync.id ? this._later(sync) : it))
    );
  }

  /** What is later of what is known and of an answer: answers can overtake each other. */
  private _later(sync: Sync): Sync {
    const known = this._list.find(({ id }) => id === sync.id);
    return known && known.revision > sync.revision ? known : sync;
  }

  private _put(list: readonly Sync[]): void {
    const before = this._list;
    this._list = list;
    const ended = list.filter(sync => {
      const known = before.find(({ id }) => id === sync.id);
      return !isRunning(sync) && (known ? isRunning(known) : this._ready);
    });
    const gone = before.filter(
      sync => isRunning(sync) && !list.some(({ id }) => id === sync.id)
    );
    for (const cluster of new Set([...ended, ...gone].map(it => it.cluster))) {
      this._ended.emit(cluster);
    }
  }

  private _unseen({ cluster, id }: Sync): boolean {
    return this._seen.get(cluster) !== id;
  }

  /** Recall what was seen of these clusters, before any of it is shown. */
  private async _recall(list: readonly Sync[]): Promise<void> {
    const clusters = new Set(list.map(({ cluster }) => cluster));
    for (const cluster of clusters) {
      if (this._memory && !this._seen.has(cluster)) {
        const id = await this._memory.fetch(key(cluster)).catch(() => null);
        if (!this._seen.has(cluster)) {
          this._seen.set(cluster, typeof id === 'string' ? id : '');
        }
      }
    }
  }

  private _pace(interval: number): void {
    if (!this.isDisposed) {
      this._poll.frequency = { interval, backoff: true, max: CALM };
    }
  }

  private _emit(): void {
    if (!this.isDisposed) {
      this._changed.emit();
    }
  }

  private readonly _api: ISyncApi;
  private readonly _memory: ISeen | null;
  private readonly _now: () => number;
  private readonly _poll: Poll;
  private readonly _logs = new Map<string, ILog>();
  /** The last sync of each cluster whose end was seen. */
  private readonly _seen = new Map<string, string>();
  private _list: readonly Sync[] = [];
  private _error: ApiError | null = null;
  private _readAt: number | null = null;
  private _asking: Promise<void> | null = null;
  /** Counts the syncs that were begun or changed here. */
  private _edition = 0;
  /** Whether there may be syncs that aren't known here. */
  private _whole = true;
  private _again = false;
  private _ready = false;
  private _visible = false;
  private _watched = false;
  /** Whether something is known to have changed since the last question. */
  private _noticed = true;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _ended = new Signal<this, string>(this);
}

function key(cluster: string): string {
  return `coiled-jupyter:sync-seen:${cluster}`;
}
