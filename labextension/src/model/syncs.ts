/** The syncs of clusters: running ones, the last results, and which of these were dismissed. */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { ApiError } from '../api/client';
import type { IAnswer, IApi } from '../api/client';
import { Resource } from '../api/resource';
import type { Layer, Plan, PlanCreate, Sync } from '../api/wire';

/** Newest lines of a log that are kept. */
export const KEPT = 2000;

/** Seconds between polls: while a sync runs, the same with only the verdict visible, after a failure, and otherwise. */
const LIVELY = 1;
const WATCHED = 5;
const FAILING = 5;
/** Change notices announce new syncs; this poll is for a missed one. */
const CALM = 60;

const ENDED: readonly Sync['state'][] = ['done', 'failed', 'cancelled', 'lost'];

/** Whether a sync runs, including one that goes back. */
export function isRunning({ state }: Sync): boolean {
  return !ENDED.includes(state);
}

/** The part of the API that syncs need. */
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

/** Persists which results were dismissed. */
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
  /** Without it, dismissals last until the page is closed. */
  memory?: ISeen | null;
  /** The present time in milliseconds; for tests. */
  now?: () => number;
  /** Whether to start polling at once. */
  auto?: boolean;
}

/** State first, then signal. */
export class Syncs implements IDisposable {
  constructor(options: ISyncsOptions) {
    this._api = options.api;
    this._memory = options.memory ?? null;
    this._resource = new Resource({
      ...options,
      name: 'syncs',
      read: last => this._read(last)
    });
    this._resource.changed.connect(this._onRead, this);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted with the id of a cluster whose sync has ended: earlier readings of it no longer count. */
  get ended(): ISignal<this, string> {
    return this._ended;
  }

  /** Newest first. */
  get list(): readonly Sync[] {
    return this._resource.value ?? [];
  }

  /** The error of the last poll, or null. */
  get error(): ApiError | null {
    return this._resource.error;
  }

  /** Seconds since the last answered poll was sent, or null. */
  get age(): number | null {
    return this._resource.age();
  }

  get isDisposed(): boolean {
    return this._resource.isDisposed;
  }

  /** Whether the panel is visible; otherwise nothing is polled. */
  set visible(visible: boolean) {
    const before = this._visible;
    this._visible = visible;
    this._pace();
    if (visible && !before) {
      this.invalidate();
    }
  }

  /** Whether the verdict is shown outside of the panel. */
  set watched(watched: boolean) {
    this._watched = watched;
    this._pace();
  }

  /** The running sync of a cluster, or null. */
  running(cluster: string): Sync | null {
    return (
      this.list.find(sync => sync.cluster === cluster && isRunning(sync)) ??
      null
    );
  }

  /** The sync to show for a cluster: the running one, else the last until its result is dismissed. */
  shown(cluster: string): Sync | null {
    const last =
      this.running(cluster) ??
      this.list.find(sync => sync.cluster === cluster) ??
      null;
    return last && (isRunning(last) || this._unseen(last)) ? last : null;
  }

  /** The sync that would be undone: the last that wasn't, and that left an earlier state. */
  undoable(cluster: string): Sync | null {
    return this.running(cluster)
      ? null
      : (this.list.find(
          sync =>
            sync.cluster === cluster &&
            sync.direction === 'to_cluster' &&
            sync.state === 'done' &&
            sync.undoable &&
            sync.undone_by === null
        ) ?? null);
  }

  /** The read lines of a sync's log. */
  lines(id: string): readonly string[] {
    return (this._logs.get(id) ?? NOTHING).lines;
  }

  /** Read the log of an ended sync; that of a running one is polled. */
  async readLog(id: string): Promise<void> {
    await this._readOne(id);
    if (!this.isDisposed) {
      this._changed.emit();
    }
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

  /** All states that clusters had, most recently used first. */
  async layers(): Promise<readonly Layer[]> {
    const layers = await this._api.layers();
    return [...layers].sort((one, other) =>
      other.used_at.localeCompare(one.used_at)
    );
  }

  /** The states that a cluster can go back to, most recently used first. */
  async layersOf(cluster: string): Promise<readonly Layer[]> {
    const layers = await this.layers();
    return layers.filter(({ known_by }) => known_by.includes(cluster));
  }

  /** Remove the layers of a state from disk. */
  removeLayer(id: string): Promise<void> {
    return this._api.removeLayer(id);
  }

  /** Dismiss the result of a sync. */
  dismiss({ cluster, id }: Sync): void {
    this._seen.set(cluster, id);
    this._changed.emit();
    // Persistence is a convenience: without it, the result is shown once more.
    this._memory?.save(key(cluster), id).catch(() => undefined);
  }

  /** Poll at once. */
  invalidate(): void {
    this._resource.invalidate();
  }

  refresh(): Promise<void> {
    return this._resource.refresh();
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._resource.dispose();
      Signal.clearData(this);
    }
  }

  /** Read all syncs, and the progress and logs of running ones. */
  private async _read(
    last: IAnswer<readonly Sync[]> | null
  ): Promise<IAnswer<readonly Sync[]>> {
    const answer = await this._api.syncs(last);
    await this._recall(answer.value);
    const list = await Promise.all(
      answer.value.map(sync =>
        isRunning(this._later(sync)) ? this._readOne(sync.id) : sync
      )
    );
    const value = list.filter(sync => sync !== null);
    return { ...answer, value: value.map(sync => this._later(sync)) };
  }

  /** Read one sync with its log; null if it no longer exists. */
  private async _readOne(id: string): Promise<Sync | null> {
    const before = this._logs.get(id) ?? null;
    let sync: Sync;
    try {
      sync = await this._api.sync(id, before && before.next);
    } catch (reason) {
      if (reason instanceof ApiError && reason.kind === 'not_found') {
        return null;
      }
      throw reason;
    }
    const { lines, next } = before ?? NOTHING;
    // Two answers for the same range would duplicate lines.
    if ((this._logs.get(id)?.next ?? 0) === next) {
      this._logs.set(id, {
        lines: [...lines, ...sync.log.lines].slice(-KEPT),
        next: sync.log.next
      });
    }
    return sync;
  }

  private _added(sync: Sync): Sync {
    this._resource.put(list =>
      list.some(({ id }) => id === sync.id)
        ? list.map(it => (it.id === sync.id ? this._later(sync) : it))
        : [sync, ...list]
    );
    return sync;
  }

  /** Return the later of the known sync and an answer: answers can arrive out of order. */
  private _later(sync: Sync): Sync {
    const known = this.list.find(({ id }) => id === sync.id);
    return known && known.revision > sync.revision ? known : sync;
  }

  private _onRead(): void {
    this._pace();
    const before = this._before;
    const { list } = this;
    // Syncs that had ended before the first answer need no signal.
    const ended = list.filter(sync => {
      const known = before?.find(({ id }) => id === sync.id);
      return !isRunning(sync) && (known ? isRunning(known) : before !== null);
    });
    const gone = (before ?? []).filter(
      sync => isRunning(sync) && !list.some(({ id }) => id === sync.id)
    );
    this._before = this._resource.value;
    for (const cluster of new Set([...ended, ...gone].map(it => it.cluster))) {
      this._ended.emit(cluster);
    }
    this._changed.emit();
  }

  private _pace(): void {
    const running = this.list.some(isRunning);
    this._resource.seconds =
      !this._visible && !this._watched
        ? null
        : this.error
          ? FAILING
          : running
            ? this._visible
              ? LIVELY
              : WATCHED
            : CALM;
  }

  private _unseen({ cluster, id }: Sync): boolean {
    return this._seen.get(cluster) !== id;
  }

  /** Load the dismissals of these clusters before their syncs are shown. */
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

  private readonly _api: ISyncApi;
  private readonly _memory: ISeen | null;
  private readonly _resource: Resource<readonly Sync[]>;
  private readonly _logs = new Map<string, ILog>();
  /** The last dismissed sync of each cluster. */
  private readonly _seen = new Map<string, string>();
  /** The states before the last answer. */
  private _before: readonly Sync[] | null = null;
  private _visible = false;
  private _watched = false;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _ended = new Signal<this, string>(this);
}

function key(cluster: string): string {
  return `coiled-jupyter:sync-seen:${cluster}`;
}
