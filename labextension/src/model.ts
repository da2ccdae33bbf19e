/** What the panel shows: state and signals. It never compares versions; the server decides what a difference means. */
import type { IDisposable } from '@lumino/disposable';
import { Debouncer, Poll } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { ApiError } from './api';
import type { IApi, ILogQuery } from './api';
import type { IActiveKernel, IActiveKernels } from './kernels';
import { Syncs } from './syncs';
import type {
  ChangedCluster,
  Cluster,
  ClusterAttach,
  ClusterChange,
  ClusterCreate,
  ClusterRestart,
  Diff,
  Doctor,
  Explanation,
  Logs,
  Row,
  Rules,
  RulesChange,
  Sync,
  Usage
} from './wire';

/** After this many seconds without a new answer a figure is marked. */
export const AGING_SECONDS = 10;
/** After this many seconds without a new answer nothing is claimed any more. */
export const STALE_SECONDS = 30;

export type Freshness = 'fresh' | 'stale' | 'unknown';

/** After this many seconds without a word from the server the page asks by itself. */
const SILENT_SECONDS = 8;

/** Core usage is remembered for so many seconds. */
export const HISTORY_SECONDS = 300;

/** Core usage as it was read, by the clock of this page in milliseconds. */
export interface ISample {
  readonly at: number;
  readonly busy: number;
}

/** What a figure of this age is still good for; null, where nothing was read, is no age. */
export function freshness(seconds: number | null): Freshness {
  if (seconds === null || seconds <= AGING_SECONDS) {
    return 'fresh';
  }
  return seconds <= STALE_SECONDS ? 'stale' : 'unknown';
}

const ENDED: readonly Cluster['status'][] = ['stopped', 'failed', 'lost'];

/** Whether a cluster is no more, and only its record is left. */
export function hasEnded(cluster: Cluster): boolean {
  return ENDED.includes(cluster.status);
}

/** Why there is nothing to claim; `kind` says it to programs, the panel says it in words. */
export type Reason =
  | { readonly kind: 'reading' }
  | { readonly kind: 'problem'; readonly error: ApiError }
  | { readonly kind: 'no_notebook' }
  | { readonly kind: 'no_kernel'; readonly label: string }
  | { readonly kind: 'kernel_starting'; readonly label: string }
  | { readonly kind: 'kernel_dead'; readonly label: string }
  | { readonly kind: 'no_cluster' }
  | { readonly kind: 'cluster_not_ready'; readonly cluster: Cluster }
  | { readonly kind: 'stale'; readonly seconds: number }
  | { readonly kind: 'syncing'; readonly sync: Sync }
  | { readonly kind: 'unread'; readonly diff: Diff };

/** The verdict that may be shown now; `reason` is there where it is `unknown`. */
export interface IJudgement {
  readonly verdict: Diff['verdict'];
  readonly reason: Reason | null;
}

/** Where choices are remembered. */
export interface IMemory {
  fetch(key: string): Promise<unknown>;
  save(key: string, value: string): Promise<unknown>;
}

/** A wish to see the row of a package; each wish is an object of its own. */
export interface IReveal {
  readonly name: string;
}

/** The state of the panel. State first, then signal. */
export class Model implements IDisposable {
  constructor(options: Model.IOptions) {
    this._api = options.api;
    this._kernels = options.kernels;
    this._memory = options.memory ?? null;
    this._now = options.now ?? Date.now;
    this.syncs = new Syncs(options);
    this.syncs.changed.connect(() => this._changed.emit());
    this.syncs.ended.connect(this._onSynced, this);
    this._kernel = this._kernels.current;
    this._kernels.changed.connect(this._onKernel, this);
    this._kernels.restarted.connect(this._onRestart, this);
    this._soon = new Debouncer(() => this.invalidate(), 250);
    this._poll = new Poll({
      auto: options.auto ?? true,
      factory: async () => {
        if (this._asked || !this._told) {
          await this.refresh();
        }
      },
      frequency: frequency(5),
      standby: () =>
        this._visible || (this._watched && (this._asked || this._lapsed))
          ? 'when-hidden'
          : true,
      name: 'coiled-jupyter'
    });
    void this._recall();
  }

  readonly syncs: Syncs;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get clusters(): readonly Cluster[] {
    return this._clusters;
  }

  /** The clusters that can be compared with. */
  get candidates(): readonly Cluster[] {
    return this._clusters.filter(cluster => !hasEnded(cluster));
  }

  get usage(): Usage | null {
    return this._usage;
  }

  get kernel(): IActiveKernel | null {
    return this._kernel;
  }

  /** What keeps the clusters from being read, or null. */
  get error(): ApiError | null {
    return this._error;
  }

  /** Whether the clusters have been read. */
  get ready(): boolean {
    return this._ready;
  }

  /**
   * The cluster that is compared: the one chosen for this notebook, else the one compared so far (a new cluster
   * doesn't change what the panel speaks of), else the newest.
   */
  get cluster(): Cluster | null {
    const path = this._kernel?.path ?? '';
    const candidates = this.candidates;
    const lasting = candidates.filter(({ status }) => status !== 'stopping');
    return (
      candidates.find(({ id }) => id === this._choices.get(path)) ??
      lasting.find(({ id }) => id === this._compared.get(path)) ??
      lasting.reduce<Cluster | null>(newer, null) ??
      candidates.reduce<Cluster | null>(newer, null)
    );
  }

  /** The last comparison of the present kernel and cluster; whether it still holds says `judge`. */
  get diff(): Diff | null {
    return this._diff;
  }

  /** Age of the last comparison in seconds, or null. */
  get age(): number | null {
    return this._age(this._diffAt, this._diff?.taken_at ?? null, this._diff);
  }

  /** The last core usages, the oldest first; there are none of the time when nobody looked. */
  get history(): readonly ISample[] {
    return this._history;
  }

  /** Age of the core usage in seconds, or null. */
  get usageAge(): number | null {
    return this._age(this._polledAt, null, this._usage);
  }

  /** Milliseconds of the present by the server's clock, by which its times are told. */
  get now(): number {
    return this._now() + this._ahead;
  }

  /** Age of what is shown of a cluster in seconds; null if there is none, as with one that has ended. */
  clusterAge(cluster: Cluster): number | null {
    return hasEnded(cluster)
      ? null
      : this._age(this._polledAt, cluster.seen_at, this._clusters);
  }

  /** What this user ignores or rates otherwise, once it was asked for. */
  get rules(): Rules | null {
    return this._rules;
  }

  /** The row that was last asked to be seen, or null. */
  get reveal(): IReveal | null {
    return this._reveal;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  get refreshSeconds(): number {
    return this._poll.frequency.interval / 1000;
  }

  set refreshSeconds(seconds: number) {
    this._poll.frequency = frequency(seconds);
  }

  /** Whether the panel can be seen; while it can't, nothing is asked for at regular times. */
  set visible(visible: boolean) {
    this._visible = visible;
    this.syncs.visible = visible;
    if (visible) {
      this.invalidate();
    }
  }

  /** Whether the verdict is shown outside of the panel: then what changes is asked for while the panel is hidden, too. */
  set watched(watched: boolean) {
    const before = this._watched;
    this._watched = watched;
    this.syncs.watched = watched;
    if (watched && !before) {
      this.invalidate();
    }
  }

  /** The server tells that the answers with these tags held `age` milliseconds ago. */
  hear(tags: readonly string[], age: number): void {
    const at = this._now() - age;
    const answers = this._answers;
    for (const answer of answers) {
      const mark = this._api.mark(answer);
      if (mark && tags.includes(mark.tag)) {
        this._heard.set(answer, at);
      }
    }
    if (answers.some(answer => this._heard.get(answer) !== at)) {
      this.invalidateSoon();
    } else if (this._usage) {
      this._remember(at, this._usage);
    }
  }

  /** Return what may be said now. An old answer, or one from before the connection went, claims nothing. */
  judge(): IJudgement {
    const reason = this._reason();
    if (reason) {
      return { verdict: 'unknown', reason };
    }
    const diff = this._diff;
    if (!diff || this._superseded) {
      return { verdict: 'unknown', reason: { kind: 'reading' } };
    }
    const sync = this.syncs.running(diff.cluster.id);
    if (sync && diff.verdict === 'equal') {
      // Some nodes have been moved and others not, and those that restart weren't read.
      return { verdict: 'unknown', reason: { kind: 'syncing', sync } };
    }
    return diff.verdict === 'unknown'
      ? { verdict: 'unknown', reason: { kind: 'unread', diff } }
      : { verdict: diff.verdict, reason: null };
  }

  /** Ask anew, at once; also when an answer is on its way that may not know of the change. */
  invalidate(): void {
    if (!this._disposed) {
      this._asked = true;
      this._again = this._running;
      void this._poll.refresh();
    }
  }

  /** Ask anew, soon: events come in bursts. */
  invalidateSoon(): void {
    if (!this._disposed) {
      this._soon.invoke().catch(() => undefined);
    }
  }

  /** Compare with this cluster, and remember it for this notebook. */
  choose(id: string): void {
    const path = this._kernel?.path ?? '';
    this._choices.set(path, id);
    this._forget();
    this._changed.emit();
    this.invalidate();
    if (path) {
      // Memory is a convenience: without it the newest cluster is compared.
      this._memory?.save(key(path), id).catch(() => undefined);
    }
  }

  async create(body: ClusterCreate): Promise<Cluster> {
    return this._added(await this._api.create(body));
  }

  async attach(body: ClusterAttach): Promise<Cluster> {
    return this._added(await this._api.attach(body));
  }

  /** Change a cluster's size, name or lease; what was granted is in the answer. */
  async change(id: string, body: ClusterChange): Promise<ChangedCluster> {
    return this._updated(await this._api.change(id, body));
  }

  /** Begin to start a cluster's workers, or all of it, anew. */
  async restart(id: string, what: ClusterRestart['what']): Promise<Cluster> {
    return this._updated(await this._api.restart(id, what));
  }

  /** Ask what the processes of a cluster printed. */
  logs(id: string, query: ILogQuery): Promise<Logs> {
    return this._api.logs(id, query);
  }

  async remove(id: string): Promise<void> {
    await this._api.remove(id);
    this.invalidate();
  }

  /** Ask which rows of the present comparison explain a failure's text; null if there is nothing to compare. */
  async explain(text: string): Promise<Explanation | null> {
    const kernel = this._kernel?.id;
    const cluster = this.cluster?.id;
    return kernel && cluster
      ? this._api.explain({ kernel, cluster, text })
      : null;
  }

  /** Gather what a report of a problem with the present kernel needs. */
  doctor(): Promise<Doctor> {
    return this._api.doctor(this._kernel?.id ?? null);
  }

  /** Show the row of a package. */
  show(name: string): void {
    this._reveal = { name };
    this._changed.emit();
  }

  /** Read the rules: another page or an editor may have changed them. */
  async readRules(): Promise<void> {
    this._ruled(await this._api.rules());
  }

  /** Ignore a package, or stop to; the server rates its row anew. */
  async ignore(name: string, ignored: boolean): Promise<void> {
    const plain = normalName(name);
    const { ignores } = await this._api.rules();
    const others = ignores.filter(other => other !== plain);
    await this._change({ ignores: ignored ? [...others, plain] : others });
  }

  /** Rate a package otherwise than the rules do; null takes that back. */
  async rate(name: string, severity: Row['severity'] | null): Promise<void> {
    await this._change({ overrides: { [normalName(name)]: severity } });
  }

  /** Ask for everything that is shown, once more if something changed meanwhile. */
  async refresh(): Promise<void> {
    if (this._running) {
      this._again = true;
      return;
    }
    this._running = true;
    try {
      do {
        this._again = false;
        await this._refresh();
      } while (this._again && !this._disposed);
    } finally {
      this._running = false;
      if (!this._disposed) {
        this._changed.emit();
      }
    }
  }

  dispose(): void {
    if (this._disposed) {
      return;
    }
    this._disposed = true;
    this.syncs.dispose();
    this._soon.dispose();
    this._poll.dispose();
    Signal.clearData(this);
  }

  private _added(cluster: Cluster): Cluster {
    if (!this._disposed) {
      this._edition++;
      this._clusters = [
        ...this._clusters.filter(other => other.id !== cluster.id),
        cluster
      ];
      this.choose(cluster.id);
    }
    return cluster;
  }

  /** Show a cluster as an answer has it, unless a later one was there before it. */
  private _updated<T extends Cluster>(cluster: T): T {
    if (!this._disposed) {
      this._edition++;
      this._clusters = this._clusters.map(other =>
        other.id === cluster.id && other.revision <= cluster.revision
          ? cluster
          : other
      );
      this._changed.emit();
      this.invalidate();
    }
    return cluster;
  }

  private async _change(body: RulesChange): Promise<void> {
    this._ruled(await this._api.changeRules(body));
    this.invalidate();
  }

  private _ruled(rules: Rules): void {
    if (!this._disposed) {
      this._rules = rules;
      this._changed.emit();
    }
  }

  /** Seconds since an answer was asked for, or since the server read what is in it, whichever is longer. */
  private _age(
    asked: number | null,
    read: string | null,
    answer: object | null
  ): number | null {
    if (asked === null) {
      return null;
    }
    const now = this._now();
    const there = read === null ? 0 : now + this._ahead - Date.parse(read);
    // What the server has confirmed since is as old as that.
    const confirmed = now - (this._confirmed(answer) ?? -Infinity);
    return Math.max(0, Math.min(confirmed, Math.max(now - asked, there))) / 1e3;
  }

  /** What is shown now, as the server answered it. */
  private get _answers(): readonly object[] {
    return [this._clusters, this._usage, this._diff].filter(
      answer => answer !== null
    );
  }

  /** When the server last saw that an answer still holds, or null. */
  private _confirmed(answer: object | null): number | null {
    if (!answer) {
      return null;
    }
    const told = this._api.mark(answer)?.confirmed ?? null;
    const heard = this._heard.get(answer) ?? null;
    return told === null || (heard !== null && heard > told) ? heard : told;
  }

  /** Whether the server tells by itself that all that is shown still holds. */
  private get _told(): boolean {
    return (
      this._error === null &&
      this._diffError === null &&
      !this._superseded &&
      this._usage !== null &&
      this._answers.every(
        answer =>
          this._now() - (this._heard.get(answer) ?? -Infinity) <
          SILENT_SECONDS * 1e3
      )
    );
  }

  /** Whether what is known is too old to say anything. */
  private get _lapsed(): boolean {
    return this._reason()?.kind === 'stale';
  }

  private _remember(at: number, usage: Usage): void {
    this._history = [
      ...this._history.filter(it => at - it.at < HISTORY_SECONDS * 1e3),
      { at, busy: usage.cores.busy }
    ];
  }

  private async _refresh(): Promise<void> {
    const asked = this._now();
    const edition = this._edition;
    this._asked = false;
    try {
      if (!this._known) {
        await this._api.about();
        this._known = true;
      }
      const [clusters, usage] = await Promise.all([
        this._api.clusters(),
        this._api.usage()
      ]);
      if (this._disposed) {
        return;
      }
      if (edition !== this._edition) {
        // The list may be from before what was changed meanwhile.
        this._again = true;
        return;
      }
      this._clusters = clusters;
      this._usage = usage;
      this._remember(asked, usage);
      this._polledAt = asked;
      if (this._api.mark(usage)?.confirmed == null) {
        this._ahead = Date.parse(usage.taken_at) - asked;
      }
      this._error = null;
      this._ready = true;
    } catch (reason) {
      if (!this._disposed) {
        this._error = problem(reason);
        // What answers next may be another version.
        this._known = false;
        this._asked = true;
      }
      throw reason;
    }
    await this._compare();
  }

  private async _compare(): Promise<void> {
    const kernel = this._kernel;
    const cluster = this.cluster;
    if (this._diff && this._diff.cluster.id !== cluster?.id) {
      this._forget();
    }
    if (!kernel?.id || !cluster || this._reason(true)) {
      return;
    }
    // The clusters are known, the comparison can take longer.
    this._changed.emit();
    const asked = this._now();
    const generation = this._generation;
    try {
      const diff = await this._api.diff(kernel.id, cluster.id);
      if (this._current(generation, kernel.id, cluster.id)) {
        this._compared.set(kernel.path, cluster.id);
        this._diff = diff;
        this._superseded = false;
        this._diffAt = asked;
        this._diffError = null;
      }
    } catch (reason) {
      if (this._current(generation, kernel.id, cluster.id)) {
        this._forget();
        this._diffError = problem(reason);
        // A kernel or cluster that has just gone is no reason to ask less often.
        if (this._diffError.kind !== 'not_found') {
          throw reason;
        }
      }
    }
  }

  /** Whether an answer is for what is shown now; a late one for another kernel or cluster is dropped. */
  private _current(
    generation: number,
    kernel: string,
    cluster: string
  ): boolean {
    const same =
      generation === this._generation &&
      kernel === this._kernel?.id &&
      cluster === this.cluster?.id;
    this._again = this._again || !same;
    return same && !this._disposed;
  }

  /** Why there can be no verdict; `before` leaves out what asking anew can mend. */
  private _reason(before = false): Reason | null {
    if (this._error) {
      return { kind: 'problem', error: this._error };
    }
    if (!this._ready) {
      return { kind: 'reading' };
    }
    const kernel = this._kernel;
    if (!kernel) {
      return { kind: 'no_notebook' };
    }
    const cluster = this.cluster;
    if (!cluster) {
      return { kind: 'no_cluster' };
    }
    if (!kernel.id) {
      return { kind: 'no_kernel', label: kernel.label };
    }
    if (kernel.state === 'dead') {
      return { kind: 'kernel_dead', label: kernel.label };
    }
    if (kernel.state === 'starting') {
      return { kind: 'kernel_starting', label: kernel.label };
    }
    if (cluster.status === 'starting' || cluster.status === 'stopping') {
      return { kind: 'cluster_not_ready', cluster };
    }
    if (before) {
      return null;
    }
    if (this._diffError) {
      return { kind: 'problem', error: this._diffError };
    }
    const age = this.age;
    if (age !== null && age > STALE_SECONDS) {
      return { kind: 'stale', seconds: age };
    }
    return null;
  }

  private _onKernel(): void {
    const last = this._kernel;
    const next = this._kernels.current;
    this._kernel = next;
    if (next?.path !== last?.path) {
      void this._recall();
    }
    if (
      next?.id !== last?.id ||
      next?.path !== last?.path ||
      next?.state !== last?.state
    ) {
      this._forget();
      this.invalidate();
    }
    this._changed.emit();
  }

  private _onRestart(): void {
    this._forget();
    this.invalidate();
    this._changed.emit();
  }

  /** A sync has ended: what was read before tells nothing, though its rows stay until there is something better. */
  private _onSynced(_: Syncs, cluster: string): void {
    if (cluster === this._diff?.cluster.id) {
      this._superseded = true;
    }
    // The answer to a question from before is dropped.
    this._generation++;
    this.invalidate();
  }

  private async _recall(): Promise<void> {
    const path = this._kernel?.path;
    if (!path || !this._memory || this._choices.has(path)) {
      return;
    }
    const id = await this._memory.fetch(key(path)).catch(() => undefined);
    if (this._disposed || typeof id !== 'string' || this._choices.has(path)) {
      return;
    }
    const before = this.cluster?.id;
    this._choices.set(path, id);
    if (this.cluster?.id !== before) {
      this._forget();
      this.invalidate();
      this._changed.emit();
    }
  }

  /** Drop the comparison, and the answer to one that is on its way. */
  private _forget(): void {
    this._generation++;
    this._diff = null;
    this._superseded = false;
    this._diffAt = null;
    this._diffError = null;
  }

  private readonly _api: IApi;
  private readonly _kernels: IActiveKernels;
  private readonly _memory: IMemory | null;
  private readonly _now: () => number;
  private readonly _poll: Poll;
  private readonly _soon: Debouncer;
  private readonly _choices = new Map<string, string>();
  private readonly _compared = new Map<string, string>();
  private _kernel: IActiveKernel | null;
  private _clusters: readonly Cluster[] = [];
  private _usage: Usage | null = null;
  private _history: readonly ISample[] = [];
  private _diff: Diff | null = null;
  /** Whether the comparison is from before the end of a sync. */
  private _superseded = false;
  private _diffAt: number | null = null;
  private _diffError: ApiError | null = null;
  private _rules: Rules | null = null;
  private _reveal: IReveal | null = null;
  private _polledAt: number | null = null;
  /** Milliseconds that the server's clock is ahead of this one's. */
  private _ahead = 0;
  private _error: ApiError | null = null;
  private _generation = 0;
  /** Counts the answers to changes. */
  private _edition = 0;
  private _known = false;
  private _running = false;
  private _again = false;
  private _ready = false;
  private _visible = false;
  private _watched = false;
  /** Whether something is known to have changed since the last question. */
  private _asked = true;
  /** When the server told by itself that an answer still holds, by this page's clock. */
  private readonly _heard = new WeakMap<object, number>();
  private _disposed = false;
  private _changed = new Signal<this, void>(this);
}

export namespace Model {
  export interface IOptions {
    api: IApi;
    kernels: IActiveKernels;
    /** Where the choice of a cluster is remembered; without it only while the page is open. */
    memory?: IMemory | null;
    /** Milliseconds of the present; for tests. */
    now?: () => number;
    /** Whether to begin polling at once. */
    auto?: boolean;
  }
}

function frequency(seconds: number): Poll['frequency'] {
  const interval = seconds * 1000;
  return { interval, backoff: true, max: Math.max(20000, interval) };
}

function key(path: string): string {
  return `coiled-jupyter:cluster:${path}`;
}

/** A name as the rules spell it (PEP 503). */
export function normalName(name: string): string {
  return name
    .trim()
    .replace(/[-_.]+/g, '-')
    .toLowerCase();
}

function newer(one: Cluster | null, other: Cluster): Cluster {
  return one && one.created_at > other.created_at ? one : other;
}

function problem(reason: unknown): ApiError {
  return reason instanceof ApiError
    ? reason
    : new ApiError('unreadable', String(reason));
}
