/** The state of the panel, with signals. It never compares versions; the server decides what a difference means. */
import type { IDisposable } from '@lumino/disposable';
import { Debouncer } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { ApiError, IApi, ILogQuery } from '../api/client';
import { Resource } from '../api/resource';
import type { IActiveKernel, IActiveKernels } from './kernel';
import type { IReviewed } from './planReview';
import { Syncs } from './syncs';
import type {
  About,
  ChangedCluster,
  ClientCode,
  Cluster,
  ClusterAttach,
  ClusterChange,
  ClusterCreate,
  ClusterRestart,
  Diff,
  Doctor,
  Explanation,
  Logs,
  Offers,
  Row,
  Rules,
  RulesChange,
  Sync,
  Usage
} from '../api/wire';

/** Seconds without a new answer after which a figure is marked as stale. */
export const AGING_SECONDS = 10;
/** Seconds without a new answer after which the verdict is unknown. */
export const STALE_SECONDS = 30;

export type Freshness = 'fresh' | 'stale' | 'unknown';

/** Seconds between polls while only the verdict is shown, outside of the panel: fewer than until it is stale. */
const WATCHED_SECONDS = 20;

/** `about` changes rarely: it is read once per so many polls. */
const ABOUT_EVERY = 12;

/** Seconds of core usage that are kept. */
export const HISTORY_SECONDS = 300;

/** A reading of core usage; times are in milliseconds by this page's clock. */
export interface ISample {
  readonly at: number;
  readonly busy: number;
}

/** Rate an age in seconds; null means that nothing was read. */
export function freshness(seconds: number | null): Freshness {
  if (seconds === null || seconds <= AGING_SECONDS) {
    return 'fresh';
  }
  return seconds <= STALE_SECONDS ? 'stale' : 'unknown';
}

const ENDED: readonly Cluster['status'][] = ['stopped', 'failed', 'lost'];

/** Whether only the record of a cluster is left. */
export function hasEnded(cluster: Cluster): boolean {
  return ENDED.includes(cluster.status);
}

/** Why there is no verdict; `words/` turns the `kind` into a sentence. */
export type Reason =
  | { readonly kind: 'reading' }
  | { readonly kind: 'problem'; readonly error: ApiError }
  | { readonly kind: 'no_notebook' }
  | { readonly kind: 'no_kernel'; readonly label: string }
  | { readonly kind: 'kernel_starting'; readonly label: string }
  | { readonly kind: 'kernel_dead'; readonly label: string }
  | { readonly kind: 'no_cluster' }
  | { readonly kind: 'no_choice' }
  | { readonly kind: 'cluster_not_ready'; readonly cluster: Cluster }
  | { readonly kind: 'stale'; readonly seconds: number }
  | { readonly kind: 'syncing'; readonly sync: Sync }
  | { readonly kind: 'unread'; readonly diff: Diff };

/** The verdict to show now; with `reason` if it is `unknown`. */
export interface IJudgement {
  readonly verdict: Diff['verdict'];
  readonly reason: Reason | null;
}

/** Persists choices. */
export interface IMemory {
  fetch(key: string): Promise<unknown>;
  save(key: string, value: string): Promise<unknown>;
}

/** A request to show the row of a package; each request is a new object. */
export interface IReveal {
  readonly name: string;
}

/** The state of the panel, read from the server. State first, then signal. */
export class Model implements IDisposable {
  constructor(options: Model.IOptions) {
    this._api = options.api;
    this._kernels = options.kernels;
    this._memory = options.memory ?? null;
    this._now = options.now ?? Date.now;
    const { api } = options;
    this._about = new Resource({
      ...options,
      name: 'about',
      read: last => api.about(last)
    });
    this._clusters = new Resource({
      ...options,
      name: 'clusters',
      read: async last => {
        // An event that can't be decoded is ignored.
        if (!this._about.value) {
          await this._about.refresh();
        }
        return api.clusters(last);
      }
    });
    this._usage = new Resource({
      ...options,
      name: 'usage',
      read: last => api.usage(last)
    });
    this._diff = new Resource({
      ...options,
      name: 'diff',
      read: async last => {
        const compared = this._comparable();
        return compared && api.diff(compared.kernel, compared.cluster, last);
      }
    });
    this.syncs = new Syncs(options);
    this._clusters.changed.connect(this._onClusters, this);
    this._usage.changed.connect(this._onUsage, this);
    this._diff.changed.connect(this._onDiff, this);
    for (const { changed } of [...this._resources, this.syncs]) {
      changed.connect(() => this._changed.emit());
    }
    this.syncs.ended.connect(this._onSynced, this);
    this._kernel = this._kernels.current;
    this._kernels.changed.connect(this._onKernel, this);
    this._kernels.restarted.connect(() => this._diff.clear(), this);
    this._soon = new Debouncer(() => this.invalidate(), 250);
    void this._recall();
  }

  readonly syncs: Syncs;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get clusters(): readonly Cluster[] {
    return this._clusters.value ?? [];
  }

  /** Why the server can't read or start clusters, or null. */
  get problem(): About['problem'] {
    return this._about.value?.problem ?? null;
  }

  /** The clusters that can be compared. */
  get candidates(): readonly Cluster[] {
    return this.clusters.filter(cluster => !hasEnded(cluster));
  }

  get usage(): Usage | null {
    return this._usage.value;
  }

  get kernel(): IActiveKernel | null {
    return this._kernel;
  }

  /** Why the clusters couldn't be read, or null. */
  get error(): ApiError | null {
    return this._clusters.error;
  }

  /** Whether the clusters have been read. */
  get ready(): boolean {
    return this._clusters.value !== null;
  }

  /**
   * The cluster that is compared: the one chosen for this notebook, else the newest that its kernel has a client of,
   * else the one compared so far (a new cluster doesn't change the comparison), else the only one, for a notebook that
   * uses Dask. Somebody else's is never compared unasked.
   */
  get cluster(): Cluster | null {
    const { path = '', id: kernel = '' } = this._kernel ?? {};
    const candidates = this.candidates;
    const lasting = candidates.filter(({ status }) => status !== 'stopping');
    return (
      candidates.find(({ id }) => id === this._choices.get(path)) ??
      lasting
        .filter(({ kernels }) => kernels.includes(kernel!))
        .reduce<Cluster | null>(newer, null) ??
      candidates.find(({ id }) => id === this._compared.get(path)) ??
      (this._kernel?.usesDask && candidates.length === 1 ? candidates[0] : null)
    );
  }

  /** Whether the notebook has to do with Dask: no other is told of a cluster's packages unasked. */
  get concerned(): boolean {
    return this.cluster !== null || (this._kernel?.usesDask ?? false);
  }

  /** The last comparison of the present kernel and cluster; `judge` decides whether it still holds. */
  get diff(): Diff | null {
    return this._diff.error ? null : this._diff.value;
  }

  /** Age of the last comparison in seconds, or null. */
  get age(): number | null {
    return this.diff && this._diff.age(this.diff.taken_at);
  }

  /** Recent core usage, oldest first; with gaps while nothing was visible. */
  get history(): readonly ISample[] {
    return this._history;
  }

  /** Age of the core usage in seconds, or null. */
  get usageAge(): number | null {
    return this._usage.age();
  }

  /** The present time in milliseconds, by the server's clock. */
  get now(): number {
    return this._now() + this._clusters.ahead;
  }

  /** Age of a cluster's state in seconds; null if it has none, as after its end. */
  clusterAge(cluster: Cluster): number | null {
    return hasEnded(cluster) ? null : this._clusters.age(cluster.seen_at);
  }

  /** The rules with this user's changes, after the first request. */
  get rules(): Rules | null {
    return this._rules;
  }

  /** The plan that the panel shows, or null. */
  get review(): IReviewed | null {
    return this._review;
  }

  set review(next: IReviewed | null) {
    this._review?.review.dispose();
    this._review = next;
    this._changed.emit();
  }

  /** The last request to show a row, or null. */
  get reveal(): IReveal | null {
    return this._reveal;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  get refreshSeconds(): number {
    return this._seconds;
  }

  set refreshSeconds(seconds: number) {
    this._seconds = seconds;
    this._pace();
  }

  /** Whether the panel can be seen. */
  set visible(visible: boolean) {
    this._visible = visible;
    this.syncs.visible = visible;
    this._pace();
    if (visible) {
      this.invalidate();
    }
  }

  /** Whether the verdict is shown outside of the panel. */
  set watched(watched: boolean) {
    this._watched = watched;
    this.syncs.watched = watched;
    this._pace();
  }

  /** Return the verdict that holds now: unknown for an old answer, or one from before the connection was lost. */
  judge(): IJudgement {
    const reason = this._reason();
    const { diff } = this;
    const sync = diff && this.syncs.running(diff.cluster.id);
    // Nodes that restart can't be read, so readings age.
    if (reason && !(sync && reason.kind === 'stale')) {
      return { verdict: 'unknown', reason };
    }
    if (sync) {
      // Some nodes have been moved and others not, and restarting ones weren't read: that breaks nothing.
      return { verdict: 'unknown', reason: { kind: 'syncing', sync } };
    }
    if (!diff || this._diff.superseded) {
      return { verdict: 'unknown', reason: { kind: 'reading' } };
    }
    return diff.verdict === 'unknown'
      ? { verdict: 'unknown', reason: { kind: 'unread', diff } }
      : { verdict: diff.verdict, reason: null };
  }

  /** Poll at once, even if an answer, perhaps from before the change, is pending. */
  invalidate(): void {
    this._resources.forEach(resource => resource.invalidate());
  }

  /** Poll soon: events come in bursts. */
  invalidateSoon(): void {
    if (!this._disposed) {
      this._soon.invoke().catch(() => undefined);
    }
  }

  /** Compare with this cluster, and remember it for this notebook. */
  choose(id: string): void {
    const path = this._kernel?.path ?? '';
    this._choices.set(path, id);
    this._follow();
    this._changed.emit();
    if (path) {
      // Persistence is a convenience: without it, the newest cluster is compared.
      this._memory?.save(key(path), id).catch(() => undefined);
    }
  }

  async create(body: ClusterCreate): Promise<Cluster> {
    return this._added(await this._api.create(body));
  }

  /** Return the kinds of clusters that can be created; none where the server can't tell. */
  async factories(): Promise<About['factories']> {
    if (!this._about.value) {
      await this._about.refresh();
    }
    return this._about.value?.factories ?? [];
  }

  /** Return what a factory's platform declares, and which clusters run there. */
  offers(factory: string, kernel: string | null): Promise<Offers> {
    return this._api.offers(factory, kernel);
  }

  /** Return what `remember` was told under a name, also by an earlier page; null if nothing. */
  async remembered(name: string): Promise<string | null> {
    const text = await this._memory?.fetch(name).catch(() => null);
    return typeof text === 'string' ? text : null;
  }

  remember(name: string, text: string): void {
    this._memory?.save(name, text).catch(() => undefined);
  }

  async attach(body: ClusterAttach): Promise<Cluster> {
    return this._added(await this._api.attach(body));
  }

  /** Change a cluster's size, name or lease; the answer has what was granted. */
  async change(id: string, body: ClusterChange): Promise<ChangedCluster> {
    return this._updated(await this._api.change(id, body));
  }

  /** Begin to restart a cluster's workers or the whole cluster. */
  async restart(id: string, what: ClusterRestart['what']): Promise<Cluster> {
    return this._updated(await this._api.restart(id, what));
  }

  /** Read a cluster's logs. */
  logs(id: string, query: ILogQuery): Promise<Logs> {
    return this._api.logs(id, query);
  }

  async remove(id: string): Promise<void> {
    await this._api.remove(id);
    this.invalidate();
  }

  /** Return code that connects the present kernel to a cluster. */
  clientCode(id: string): Promise<ClientCode> {
    return this._api.clientCode(id, this._kernel?.id ?? null);
  }

  /** Have a kernel's clients send sealed graphs to a cluster, and compare again. */
  async seal(kernel: string, cluster: string): Promise<void> {
    await this._api.seal(kernel, cluster, true);
    this.invalidate();
  }

  /** Return the rows of the present comparison that explain the text of a failure; null if nothing is compared. */
  async explain(text: string): Promise<Explanation | null> {
    const kernel = this._kernel?.id;
    const cluster = this.cluster?.id;
    return kernel && cluster
      ? this._api.explain({ kernel, cluster, text })
      : null;
  }

  /** Return the report of a problem with the present kernel. */
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

  /** Ignore a package or stop ignoring it; the server updates its row. */
  async ignore(name: string, ignored: boolean): Promise<void> {
    const plain = normalName(name);
    const { ignores } = await this._api.rules();
    const others = ignores.filter(other => other !== plain);
    await this._change({ ignores: ignored ? [...others, plain] : others });
  }

  /** Override the severity of a package; null removes the override. */
  async rate(name: string, severity: Row['severity'] | null): Promise<void> {
    await this._change({ overrides: { [normalName(name)]: severity } });
  }

  /** Read everything that is shown. */
  async refresh(): Promise<void> {
    await Promise.all([this._clusters.refresh(), this._usage.refresh()]);
    await this._diff.refresh();
  }

  dispose(): void {
    if (this._disposed) {
      return;
    }
    this._disposed = true;
    this._review?.review.dispose();
    this.syncs.dispose();
    this._soon.dispose();
    this._resources.forEach(resource => resource.dispose());
    Signal.clearData(this);
  }

  private get _resources() {
    return [this._about, this._clusters, this._usage, this._diff];
  }

  private _pace(): void {
    const { _seconds: seconds, _visible: visible } = this;
    const watched = this._watched ? Math.max(seconds, WATCHED_SECONDS) : null;
    this._about.seconds = visible ? seconds * ABOUT_EVERY : null;
    this._usage.seconds = visible ? seconds : null;
    this._clusters.seconds = visible ? seconds : watched;
    this._diff.seconds = visible ? seconds : watched;
  }

  private _added(cluster: Cluster): Cluster {
    if (!this._disposed) {
      this._clusters.put(clusters => [
        ...clusters.filter(other => other.id !== cluster.id),
        cluster
      ]);
      this.choose(cluster.id);
    }
    return cluster;
  }

  /** Show a cluster from an answer, unless a later revision is known. */
  private _updated<T extends Cluster>(cluster: T): T {
    this._clusters.put(clusters =>
      clusters.map(other =>
        other.id === cluster.id && other.revision <= cluster.revision
          ? cluster
          : other
      )
    );
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

  private _onClusters(): void {
    if (this._clusters.error) {
      // The server that answers next may have another version.
      this._about.clear();
    }
    this._follow();
  }

  private _onUsage(): void {
    const { askedAt: at, value: usage } = this._usage;
    if (usage && !this._usage.error) {
      this._history = [
        ...this._history.filter(it => at - it.at < HISTORY_SECONDS * 1e3),
        { at, busy: usage.cores.busy }
      ];
    }
  }

  private _onDiff(): void {
    const { diff } = this;
    if (diff && this._kernel) {
      this._compared.set(this._kernel.path, diff.cluster.id);
    }
  }

  /** The kernel and cluster to compare, or null. */
  private _comparable(): { kernel: string; cluster: string } | null {
    const kernel = this._kernel?.id;
    const cluster = this.cluster?.id;
    return kernel && cluster && !this._unready() ? { kernel, cluster } : null;
  }

  /** Drop a comparison of another kernel or cluster. */
  private _follow(): void {
    const followed = JSON.stringify(this._comparable());
    if (followed !== this._followed) {
      this._followed = followed;
      this._diff.clear();
      if (this._review?.review.compares) {
        this.review = null;
      }
    }
  }

  /** Why there is no verdict. */
  private _reason(): Reason | null {
    if (this.error) {
      return { kind: 'problem', error: this.error };
    }
    const unready = this._unready();
    if (unready) {
      return unready;
    }
    if (this._diff.error) {
      return { kind: 'problem', error: this._diff.error };
    }
    const { age } = this;
    return age !== null && age > STALE_SECONDS
      ? { kind: 'stale', seconds: age }
      : null;
  }

  /** Why there is nothing to compare. */
  private _unready(): Reason | null {
    if (!this.ready) {
      return { kind: 'reading' };
    }
    const kernel = this._kernel;
    if (!kernel) {
      return { kind: 'no_notebook' };
    }
    const cluster = this.cluster;
    if (!cluster) {
      return { kind: this.candidates.length ? 'no_choice' : 'no_cluster' };
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
    return null;
  }

  private _onKernel(): void {
    const last = this._kernel;
    const next = this._kernels.current;
    this._kernel = next;
    if (next?.path !== last?.path) {
      void this._recall();
    }
    if (next?.path !== last?.path) {
      // Another notebook with the same kernel has its own choice.
      this._diff.clear();
    }
    this._follow();
    this._changed.emit();
  }

  /** A sync has ended: earlier readings no longer count, but their rows stay until the next. */
  private _onSynced(_: Syncs, cluster: string): void {
    if (cluster === this._diff.value?.cluster.id) {
      this._diff.supersede();
    }
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
    this._choices.set(path, id);
    this._follow();
    this._changed.emit();
  }

  private readonly _api: IApi;
  private readonly _kernels: IActiveKernels;
  private readonly _memory: IMemory | null;
  private readonly _now: () => number;
  private readonly _about: Resource<About>;
  private readonly _clusters: Resource<readonly Cluster[]>;
  private readonly _usage: Resource<Usage>;
  private readonly _diff: Resource<Diff>;
  private readonly _soon: Debouncer;
  private readonly _choices = new Map<string, string>();
  private readonly _compared = new Map<string, string>();
  private _kernel: IActiveKernel | null;
  /** The compared kernel and cluster. */
  private _followed = 'null';
  private _history: readonly ISample[] = [];
  private _rules: Rules | null = null;
  private _reveal: IReveal | null = null;
  private _review: IReviewed | null = null;
  private _seconds = 5;
  private _visible = false;
  private _watched = false;
  private _disposed = false;
  private _changed = new Signal<this, void>(this);
}

export namespace Model {
  export interface IOptions {
    api: IApi;
    kernels: IActiveKernels;
    /** Persists the choice of a cluster; without it, choices last until the page is closed. */
    memory?: IMemory | null;
    /** The present time in milliseconds; for tests. */
    now?: () => number;
    /** Whether to start polling at once. */
    auto?: boolean;
  }
}

function key(path: string): string {
  return `coiled-jupyter:cluster:${path}`;
}

/** Normalize a name (PEP 503). */
export function normalName(name: string): string {
  return name
    .trim()
    .replace(/[-_.]+/g, '-')
    .toLowerCase();
}

function newer(one: Cluster | null, other: Cluster): Cluster {
  return one && one.created_at > other.created_at ? one : other;
}
