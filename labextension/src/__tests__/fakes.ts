/** Fakes of the ports, and examples of the wire shapes. */
import { Signal } from '@lumino/signaling';
import { act } from 'react';

import { ApiError, SCHEMA } from '../api/client';
import type { IAnswer, IApi, ILogQuery } from '../api/client';
import type { IActiveKernel, IActiveKernels } from '../model/kernel';
import type {
  About,
  Activity,
  ActivityStream,
  ActivityWorker,
  ChangedCluster,
  ClientCode,
  Cluster,
  ClusterAttach,
  ClusterChange,
  ClusterCreate,
  ClusterRestart,
  Diff,
  Doctor,
  ExplainRequest,
  Explanation,
  Layer,
  LogLine,
  Logs,
  Offers,
  Plan,
  PlanCreate,
  Row,
  Rules,
  RulesChange,
  Sync,
  Usage
} from '../api/wire';

export const NOW = Date.parse('2026-03-01T12:00:00.000Z');

export function kernel(
  id: string | null = 'k1',
  path = 'a.ipynb',
  state: IActiveKernel['state'] = id === null ? 'none' : 'alive',
  usesDask = true
): IActiveKernel {
  return { id, label: path, path, state, usesDask };
}

export class FakeKernels implements IActiveKernels {
  readonly changed = new Signal<this, void>(this);
  readonly restarted = new Signal<this, void>(this);
  readonly inserted: string[] = [];
  current: IActiveKernel | null = kernel();
  isDisposed = false;

  change(next: IActiveKernel | null): void {
    this.current = next;
    this.changed.emit();
  }

  insert(code: string): void {
    this.inserted.push(code);
  }

  failure(): string | null {
    return null;
  }

  holds(node: Node): boolean {
    return document.body.contains(node);
  }

  dispose(): void {
    this.isDisposed = true;
  }
}

export function cluster(id: string, more: Partial<Cluster> = {}): Cluster {
  return {
    id,
    name: id,
    source: 'managed',
    opened_by: null,
    factory: 'local',
    status: 'idle',
    since: '2026-03-01T11:46:00.000Z',
    reason: null,
    steps: [],
    desired: {
      workers: 2,
      adaptive: null,
      lease_seconds: 600,
      kept: false
    },
    workers: [],
    scheduler: null,
    cores: { busy: 0, allocated: 2, requested: 2 },
    memory: { used: 0, limit: null },
    tasks: null,
    environment: {
      software: null,
      layer: null,
      python: '3.11.7',
      prefix: '/opt/env',
      sealed: false
    },
    lease_until: null,
    clients: 0,
    kernels: [],
    other_clients: [],
    counted: true,
    joined: false,
    warnings: [],
    created_at: '2026-03-01T11:46:00.000Z',
    seen_at: null,
    revision: 1,
    ...more
  };
}

export function row(name: string, more: Partial<Row> = {}): Row {
  return {
    name,
    kernel: { version: '1.0', loaded: null, source: null },
    groups: [{ group: 'g1', version: '1.0', loaded: [], source: null }],
    software: null,
    status: 'same',
    severity: 'same',
    use: '',
    needed_by: '',
    condition: false,
    why: '',
    modules: [],
    fix: '',
    matters: ['breaks', 'risky'].includes(more.severity ?? 'same'),
    ...more
  };
}

export function diff(more: Partial<Diff> = {}): Diff {
  return {
    schema: SCHEMA,
    verdict: 'equal',
    deciding: 0,
    level: 'all',
    kernel: { id: 'k1', label: 'a.ipynb', python: '3.11.7', digest: 'd' },
    cluster: {
      id: 'c1',
      name: 'c1',
      groups: [
        {
          id: 'g1',
          role: 'worker',
          host: 'h',
          prefix: '/opt/env',
          python: '3.11.7',
          digest: 'd',
          nodes: ['w1', 'w2']
        }
      ]
    },
    counts: {},
    severities: { breaks: 0, risky: 0, minor: 0, same: 0 },
    unread: [],
    checked: { content: true },
    rows: [],
    taken_at: '2026-03-01T12:00:00.000Z',
    unsealed: false,
    ...more
  };
}

export function usage(more: Partial<Usage['cores']> = {}): Usage {
  return {
    cores: { busy: 1, allocated: 2, requested: 2, limit: 100, ...more },
    memory: { used: 3 * 1024 ** 3, limit: 16 * 1024 ** 3 },
    tasks: { running: 1, queued: 0, done_per_second: null, in_memory: 0 },
    clusters: [],
    taken_at: '2026-03-01T12:00:00.000Z'
  };
}

export function plan(more: Partial<Plan> = {}): Plan {
  return {
    id: 'p1',
    digest: 'd1',
    cluster: 'c1',
    direction: 'to_cluster',
    how: 'roll',
    actions: [
      {
        kind: 'upgrade',
        name: 'numpy',
        before: '1.26.4',
        after: '2.3.1',
        group: 'g1',
        why: 'The notebook has it',
        cause: 'told',
        severity: 'minor',
        details: ''
      }
    ],
    rolls: [{ group: 'g1', workers: ['tcp://h:1', 'tcp://h:2'], batch: 1 }],
    restarts: [],
    lost: { futures: 0, scattered: 0, running: 0, actors: 0, why: '' },
    others: [],
    seconds: 8,
    needs: [],
    layer: 'l1',
    created_at: '2026-03-01T12:00:00.000Z',
    expires_at: '2026-03-01T12:10:00.000Z',
    temporary: false,
    scheduler: [],
    waits: [],
    remaining: [],
    totals: {
      change: 1,
      install: 0,
      remove: 0,
      refuse: 0,
      extra: 0,
      outside: 0
    },
    ...more
  };
}

export function sync(id: string, more: Partial<Sync> = {}): Sync {
  return {
    id,
    plan: 'p1',
    cluster: 'c1',
    direction: 'to_cluster',
    state: 'rolling',
    steps: [
      {
        name: 'Build',
        state: 'done',
        group: null,
        seconds: 1.1,
        text: '',
        started_at: null
      },
      {
        name: 'Move',
        state: 'running',
        group: null,
        seconds: 0,
        text: '',
        started_at: '2026-03-01T11:59:52.000Z'
      }
    ],
    log: { lines: [], next: 0 },
    result: null,
    undo_of: null,
    undone_by: null,
    started_at: '2026-03-01T11:59:50.000Z',
    ended_at: null,
    layer: 'l1',
    layer_before: null,
    changes: 1,
    undoable: true,
    revision: 1,
    ...more
  };
}

export function layer(id: string, more: Partial<Layer> = {}): Layer {
  return {
    id,
    packages: 12,
    places: [],
    clusters: [],
    known_by: ['c1'],
    created_at: '2026-03-01T10:00:00.000Z',
    used_at: '2026-03-01T11:00:00.000Z',
    ...more
  };
}

/** A span for `stream`: lane, prefix, action, start in units since the base, and length in units. */
export type Span = readonly [string, string, string, number, number];

/** What is told of spans, as the server does; lanes are `worker/thread`. */
export function stream(
  spans: readonly Span[],
  more: Partial<ActivityStream> = {}
): ActivityStream {
  const number = (names: readonly string[]) => (name: string) =>
    names.indexOf(name);
  const lanes = [...new Set(spans.map(([lane]) => lane))];
  const prefixes = [...new Set(spans.map(([, prefix]) => prefix))];
  const actions: ActivityStream['actions'] = [
    'compute',
    'transfer',
    'disk-read',
    'disk-write',
    'deserialize',
    'erred'
  ];
  return {
    base: 1_772_000_000,
    lanes: lanes.map(lane => {
      const end = lane.lastIndexOf('/');
      return { worker: lane.slice(0, end), thread: lane.slice(end + 1) };
    }),
    prefixes,
    actions,
    lane: spans.map(([lane]) => number(lanes)(lane)),
    prefix: spans.map(([, prefix]) => number(prefixes)(prefix)),
    action: spans.map(([, , action]) => number(actions)(action)),
    start: spans.map(
      ([, , , start], index) => start - (index ? spans[index - 1][3] : 0)
    ),
    length: spans.map(([, , , , length]) => length),
    missed: 0,
    more: false,
    ...more
  };
}

export function activity(more: Partial<Activity> = {}): Activity {
  return {
    cluster: 'c1',
    cursor: 'a.0',
    taken_at: '2026-03-01T12:00:00.000Z',
    now: 1_772_000_060,
    stream: stream([]),
    workers: [],
    prefixes: [],
    tasks: 0,
    queued: 0,
    no_worker: 0,
    processing: 0,
    ...more
  };
}

export function activeWorker(
  id: string,
  more: Partial<ActivityWorker> = {}
): ActivityWorker {
  return {
    id,
    name: id,
    status: 'running',
    threads: 1,
    cpu: 0,
    memory: 0,
    managed: 0,
    spilled: 0,
    limit: null,
    received: 0,
    sent: 0,
    executing: 0,
    processing: 0,
    stored: 0,
    seen: 0,
    ...more
  };
}

interface IPending {
  readonly kernel: string;
  readonly cluster: string;
  answer(): void;
  fail(reason: Error): void;
}

/** Answers at once, or with `hold` when the test says so. */
/** An answer that was sent now, with readings of now. */
export function answer<T>(
  value: T,
  more: Partial<IAnswer<T>> = {}
): IAnswer<T> {
  return { value, path: '', tag: null, sent: NOW, held: NOW, age: 0, ...more };
}

export class FakeApi implements IApi {
  list: Cluster[] = [cluster('c1')];
  failure: Error | null = null;
  diffFailure: Error | null = null;
  verdict: Diff['verdict'] = 'equal';
  unsealed = false;
  rows: readonly Row[] = [];
  hold = false;
  readonly pending: IPending[] = [];
  readonly asked: [string, string][] = [];
  readonly created: ClusterCreate[] = [];
  readonly attached: ClusterAttach[] = [];
  readonly removed: string[] = [];
  readonly explained: ExplainRequest[] = [];
  ruled: Rules = { ignores: [], overrides: {}, rules: [], faults: [] };

  /** What the server's folders or versions keep it from. */
  problem: About['problem'] = null;

  async about(): Promise<IAnswer<About>> {
    return answer({
      version: '0.1.0',
      schema: SCHEMA,
      uv: null,
      limits: { cores: 100, workers: 100, clusters: 10 },
      factories: [],
      problem: this.problem
    });
  }

  async clusters(): Promise<IAnswer<readonly Cluster[]>> {
    if (this.failure) {
      throw this.failure;
    }
    return answer(this.list);
  }

  async offers(): Promise<Offers> {
    return { options: {}, clusters: [] };
  }

  async create(body: ClusterCreate): Promise<Cluster> {
    this.created.push(body);
    const made = cluster('made', { status: 'starting' });
    this.list = [...this.list, made];
    return made;
  }

  async attach(body: ClusterAttach): Promise<Cluster> {
    this.attached.push(body);
    const made = cluster('there', { source: 'attached' });
    this.list = [...this.list, made];
    return made;
  }

  /** The next changes are granted only so far, by a limit in cores. */
  grant: { granted: number; limit: number } | null = null;
  changeFailure: Error | null = null;
  readonly changes: [string, ClusterChange][] = [];
  readonly restarts: [string, ClusterRestart['what']][] = [];
  /** What is printed from now on; each answer takes it all. */
  printed: LogLine[] = [];
  nodes: string[] = ['supervisor', 'scheduler', '0'];
  logsFailure: Error | null = null;
  readonly logQueries: ILogQuery[] = [];

  async change(id: string, body: ClusterChange): Promise<ChangedCluster> {
    this.changes.push([id, body]);
    if (this.changeFailure) {
      throw this.changeFailure;
    }
    const before = this.list.find(it => it.id === id)!;
    const desired = { ...before.desired };
    if (body.workers !== undefined) {
      desired.workers = this.grant?.granted ?? body.workers;
      desired.adaptive = null;
    }
    if (body.adaptive !== undefined) {
      desired.adaptive = body.adaptive;
    }
    if (body.lease_seconds !== undefined) {
      desired.lease_seconds = body.lease_seconds;
      desired.kept = true;
    }
    const after = {
      ...before,
      name: body.name ?? before.name,
      desired,
      revision: before.revision + 1
    };
    this._put(after);
    return {
      ...after,
      granted: this.grant?.granted ?? null,
      limit: this.grant?.limit ?? null
    };
  }

  async restart(id: string, what: ClusterRestart['what']): Promise<Cluster> {
    this.restarts.push([id, what]);
    const before = this.list.find(it => it.id === id)!;
    const after: Cluster = {
      ...before,
      status: what === 'cluster' ? 'starting' : before.status,
      revision: before.revision + 1
    };
    this._put(after);
    return after;
  }

  async logs(_: string, query: ILogQuery): Promise<Logs> {
    this.logQueries.push(query);
    if (this.logsFailure) {
      throw this.logsFailure;
    }
    const lines = this.printed.splice(0);
    return { lines, nodes: this.nodes, next: `n${this.logQueries.length}` };
  }

  /** What clusters are told to do; the last one for all that follow. */
  activities: (Activity | Error)[] = [activity()];
  readonly activityQueries: [string, string | null][] = [];

  async activity(id: string, after: string | null): Promise<Activity> {
    this.activityQueries.push([id, after]);
    const next =
      this.activities.length > 1
        ? this.activities.shift()!
        : this.activities[0];
    if (next instanceof Error) {
      throw next;
    }
    return { ...next, cluster: id };
  }

  private _put(after: Cluster): void {
    this.list = this.list.map(it => (it.id === after.id ? after : it));
  }

  /** What was asked to be sealed. */
  readonly sealed: [string, string, boolean][] = [];

  coded: ClientCode = { code: 'client = Client("tcp://h:1")', missing: null };
  readonly codes: [string, string | null][] = [];

  async clientCode(
    cluster: string,
    kernel: string | null
  ): Promise<ClientCode> {
    this.codes.push([cluster, kernel]);
    return this.coded;
  }

  async tellImports(): Promise<void> {}

  async seal(kernel: string, cluster: string, sealed: boolean): Promise<void> {
    this.sealed.push([kernel, cluster, sealed]);
  }

  async explain(body: ExplainRequest): Promise<Explanation> {
    this.explained.push(body);
    return { basis: 'none', causes: [], text: 'Nothing', verdict: 'equal' };
  }

  doctored: (string | null)[] = [];
  doctorFailure: Error | null = null;

  async doctor(kernel: string | null): Promise<Doctor> {
    this.doctored.push(kernel);
    if (this.doctorFailure) {
      throw this.doctorFailure;
    }
    return { contents: ['versions <b>of</b> Python'] } as unknown as Doctor;
  }

  async rules(): Promise<Rules> {
    return this.ruled;
  }

  async changeRules(body: RulesChange): Promise<Rules> {
    const overrides = { ...this.ruled.overrides };
    for (const [name, severity] of Object.entries(body.overrides ?? {})) {
      if (severity) {
        overrides[name] = severity;
      } else {
        delete overrides[name];
      }
    }
    const ignores = body.ignores ?? this.ruled.ignores;
    this.ruled = { ...this.ruled, ignores, overrides };
    return this.ruled;
  }

  async remove(id: string): Promise<void> {
    this.removed.push(id);
  }

  async usage(): Promise<IAnswer<Usage>> {
    return answer(usage());
  }

  /** What the server has of syncs, newest first. */
  synced: Sync[] = [];
  /** What the next plans are, the last one for all that follow; an error refuses. */
  plans: (Plan | Error)[] = [plan()];
  held = new Map<string, Plan>();
  layered: Layer[] = [];
  /** The states that can't be removed. */
  readonly layerFailures = new Map<string, Error>();
  syncFailure: Error | null = null;
  startFailure: Error | null = null;
  readonly planned: PlanCreate[] = [];
  readonly started: string[] = [];
  readonly undone: string[] = [];
  readonly cancelled: string[] = [];
  /** What was asked of the syncs: all, or one and the lines after so many. */
  readonly syncQueries: ('all' | [string, number | null])[] = [];

  async plan(body: PlanCreate): Promise<Plan> {
    this.planned.push(body);
    const next = this.plans.length > 1 ? this.plans.shift()! : this.plans[0];
    if (next instanceof Error) {
      throw next;
    }
    return next;
  }

  async planOf(id: string): Promise<Plan> {
    const found = this.held.get(id);
    if (!found) {
      throw new ApiError('not_found', `There is no plan ${id}`);
    }
    return found;
  }

  async syncs(): Promise<IAnswer<readonly Sync[]>> {
    this.syncQueries.push('all');
    if (this.syncFailure) {
      throw this.syncFailure;
    }
    return answer(this.synced);
  }

  async sync(id: string, after: number | null): Promise<Sync> {
    this.syncQueries.push([id, after]);
    const found = this.synced.find(it => it.id === id);
    if (!found) {
      throw new ApiError('not_found', `There is no sync ${id}`);
    }
    const { lines, next } = found.log;
    const from = after === null ? 0 : after - (next - lines.length);
    return { ...found, log: { lines: lines.slice(Math.max(from, 0)), next } };
  }

  async startSync(id: string): Promise<Sync> {
    this.started.push(id);
    if (this.startFailure) {
      throw this.startFailure;
    }
    return this._begun(sync('s-started', { plan: id, state: 'planned' }));
  }

  async undoSync(id: string): Promise<Sync> {
    this.undone.push(id);
    return this._begun(sync('s-undo', { undo_of: id, state: 'planned' }));
  }

  async cancelSync(id: string): Promise<Sync> {
    this.cancelled.push(id);
    return this.advance(id, { state: 'rolling_back' });
  }

  async layers(): Promise<readonly Layer[]> {
    return this.layered;
  }

  async removeLayer(id: string): Promise<void> {
    if (this.layerFailures.has(id)) {
      throw this.layerFailures.get(id)!;
    }
    this.layered = this.layered.filter(it => it.id !== id);
  }

  /** A sync goes on. */
  advance(id: string, more: Partial<Sync>): Sync {
    this.synced = this.synced.map(it =>
      it.id === id ? { ...it, revision: it.revision + 1, ...more } : it
    );
    return this.synced.find(it => it.id === id)!;
  }

  private _begun(made: Sync): Sync {
    this.synced = [made, ...this.synced];
    return made;
  }

  diff(kernelId: string, clusterId: string): Promise<IAnswer<Diff>> {
    this.asked.push([kernelId, clusterId]);
    const base = diff();
    const made = answer({
      ...base,
      verdict: this.verdict,
      unsealed: this.unsealed,
      rows: this.rows,
      kernel: { ...base.kernel, id: kernelId },
      cluster: { ...base.cluster, id: clusterId, name: clusterId }
    });
    if (this.hold) {
      return new Promise((resolve, reject) => {
        this.pending.push({
          kernel: kernelId,
          cluster: clusterId,
          answer: () => resolve(made),
          fail: reject
        });
      });
    }
    return this.diffFailure
      ? Promise.reject(this.diffFailure)
      : Promise.resolve(made);
  }
}

/** Let everything that waits only for promises go on. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) {
    await Promise.resolve();
  }
}

/** Let React draw what has changed outside of an event. */
export async function drawn(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    await new Promise(resolve => setTimeout(resolve, 0));
    await settle();
  }
}

/** Open all that can be unfolded, with the parts that come late. */
export async function openAll(
  node: HTMLElement,
  folded = '[aria-expanded=false]'
): Promise<void> {
  await act(async () => {
    node.querySelectorAll<HTMLElement>(folded).forEach(it => it.click());
    node.querySelectorAll('details').forEach(it => {
      it.open = true;
    });
    // Its event comes later.
    await new Promise(resolve => setTimeout(resolve, 0));
    await Promise.all([
      import('../panel/packages/details'),
      import('../panel/sync/card'),
      import('../panel/clusters/details')
    ]);
    await settle();
  });
}

/** Type or choose as a user does: React hears of a value only what the browser's own setter tells. */
export function enter(
  node: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement,
  value: string
): void {
  const { prototype } = node.constructor as { prototype: object };
  Object.getOwnPropertyDescriptor(prototype, 'value')!.set!.call(node, value);
  const event = node instanceof HTMLSelectElement ? 'change' : 'input';
  node.dispatchEvent(new Event(event, { bubbles: true }));
}
