import { ApiError } from '../../api/client';
import type { IAnswer } from '../../api/client';
import { freshness, Model, STALE_SECONDS } from '../../model/model';
import type { Cluster } from '../../api/wire';
import {
  answer,
  cluster,
  FakeApi,
  FakeKernels,
  kernel,
  NOW,
  settle,
  sync
} from '../fakes';

describe('Model', () => {
  let api: FakeApi;
  let kernels: FakeKernels;
  let model: Model;
  let now: number;
  let saved: Map<string, string>;

  const make = () =>
    new Model({
      api,
      kernels,
      now: () => now,
      auto: false,
      memory: {
        fetch: async key => saved.get(key),
        save: async (key, value) => saved.set(key, value)
      }
    });

  beforeEach(() => {
    api = new FakeApi();
    kernels = new FakeKernels();
    now = NOW;
    saved = new Map();
    model = make();
  });

  afterEach(() => model.dispose());

  it('says that it is reading before the first answer', () => {
    expect(model.judge()).toEqual({
      verdict: 'unknown',
      reason: { kind: 'reading' }
    });
  });

  it('compares the active kernel with the live cluster', async () => {
    api.list = [cluster('old', { status: 'stopped' }), cluster('c1')];
    await model.refresh();
    expect(api.asked).toEqual([['k1', 'c1']]);
    expect(model.judge()).toEqual({ verdict: 'equal', reason: null });
  });

  it('remembers the core usage of the last five minutes', async () => {
    for (let reading = 0; reading < 4; reading++) {
      await model.refresh();
      now += 120_000;
    }
    expect(
      model.history.map(({ at, busy }) => [(at - NOW) / 1000, busy])
    ).toEqual([
      [120, 1],
      [240, 1],
      [360, 1]
    ]);
  });

  describe('drops a late answer', () => {
    it('for another kernel, and asks for the present one', async () => {
      api.hold = true;
      const asked = model.refresh();
      await settle();
      kernels.change(kernel('k2', 'b.ipynb'));
      api.pending[0].answer();
      await settle();
      expect(model.diff).toBeNull();
      expect(model.judge().verdict).toBe('unknown');
      expect(api.pending[1].kernel).toBe('k2');
      api.pending[1].answer();
      await asked;
      expect(model.diff?.kernel.id).toBe('k2');
    });

    it('for another cluster', async () => {
      api.list = [cluster('c1'), cluster('c2')];
      api.hold = true;
      model.choose('c1');
      const asked = model.refresh();
      await settle();
      const first = api.pending[0].cluster;
      const other = first === 'c1' ? 'c2' : 'c1';
      model.choose(other);
      api.pending[0].answer();
      await settle();
      expect(model.diff).toBeNull();
      api.pending[1].answer();
      await asked;
      expect(model.diff?.cluster.id).toBe(other);
    });

    it('from before a restart of the same kernel', async () => {
      api.hold = true;
      const asked = model.refresh();
      await settle();
      kernels.restarted.emit();
      api.pending[0].answer();
      await settle();
      expect(model.diff).toBeNull();
      api.pending[1].answer();
      await asked;
      expect(model.diff).not.toBeNull();
    });

    it('that failed for another kernel', async () => {
      api.hold = true;
      const asked = model.refresh();
      await settle();
      kernels.change(kernel(null, 'b.ipynb'));
      api.pending[0].fail(new ApiError('timeout', 'The kernel is silent'));
      await asked;
      expect(model.judge().reason).toEqual({
        kind: 'no_kernel',
        label: 'b.ipynb'
      });
    });

    it('after it was disposed', async () => {
      api.hold = true;
      const asked = model.refresh();
      await settle();
      model.dispose();
      api.pending[0].answer();
      await asked;
      expect(model.diff).toBeNull();
    });
  });

  it('forgets the comparison when the kernel changes', async () => {
    await model.refresh();
    kernels.change(kernel('k2'));
    expect(model.diff).toBeNull();
    expect(model.judge().reason?.kind).toBe('reading');
  });

  it('claims nothing from an old answer', async () => {
    await model.refresh();
    now += STALE_SECONDS * 1000;
    expect(model.judge().verdict).toBe('equal');
    now += 1000;
    expect(model.judge()).toEqual({
      verdict: 'unknown',
      reason: { kind: 'stale', seconds: STALE_SECONDS + 1 }
    });
  });

  it('counts the age from the question, not from the answer', async () => {
    api.hold = true;
    const asked = model.refresh();
    await settle();
    now += 20_000;
    api.pending[0].answer();
    await asked;
    expect(model.age).toBe(20);
  });

  it('counts the age of what the server itself read long ago', async () => {
    api.list = [cluster('c1', { seen_at: '2026-03-01T11:59:48.000Z' })];
    await model.refresh();
    // This clock is behind the server's, which doesn't matter.
    now += 1000;
    expect(model.clusterAge(model.clusters[0])).toBe(13);
    expect(model.usageAge).toBe(1);
    expect(model.clusterAge(cluster('old', { status: 'stopped' }))).toBeNull();
  });

  it('marks figures with their age', () => {
    expect([null, 10, 10.1, 30, 30.1].map(freshness)).toEqual([
      'fresh',
      'fresh',
      'stale',
      'stale',
      'unknown'
    ]);
  });

  it('compares with a cluster once it is attached', async () => {
    await model.refresh();
    await model.attach({ address: 'tcp://h:1' });
    expect(api.attached).toEqual([{ address: 'tcp://h:1' }]);
    expect(model.cluster?.id).toBe('there');
  });

  it('explains with what is compared, or not at all', async () => {
    await model.refresh();
    await model.explain('Traceback');
    expect(api.explained).toEqual([
      { kernel: 'k1', cluster: 'c1', text: 'Traceback' }
    ]);
    kernels.change(null);
    expect(await model.explain('Traceback')).toBeNull();
  });

  it('ignores a package beside others, and takes it back', async () => {
    api.ruled = { ...api.ruled, ignores: ['toolz'] };
    await model.ignore('My_Lib', true);
    expect(model.rules?.ignores).toEqual(['toolz', 'my-lib']);
    await model.ignore('My_Lib', false);
    expect(model.rules?.ignores).toEqual(['toolz']);
  });

  it('rates a package otherwise, and takes it back', async () => {
    await model.rate('numpy', 'minor');
    expect(model.rules?.overrides).toEqual({ numpy: 'minor' });
    await model.rate('numpy', null);
    expect(model.rules?.overrides).toEqual({});
  });

  it('claims nothing after the connection went, and recovers', async () => {
    await model.refresh();
    api.failure = new ApiError('connection', 'gone');
    await expect(model.refresh()).rejects.toBe(api.failure);
    expect(model.judge()).toEqual({
      verdict: 'unknown',
      reason: { kind: 'problem', error: api.failure }
    });
    api.failure = null;
    await model.refresh();
    expect(model.judge().verdict).toBe('equal');
  });

  it('claims nothing when the comparison fails', async () => {
    await model.refresh();
    api.diffFailure = new ApiError('timeout', 'The kernel is silent');
    await expect(model.refresh()).rejects.toBe(api.diffFailure);
    expect(model.error).toBeNull();
    expect(model.diff).toBeNull();
    expect(model.judge().reason).toEqual({
      kind: 'problem',
      error: api.diffFailure
    });
  });

  it('does not ask less often because a kernel has gone', async () => {
    api.diffFailure = new ApiError('not_found', 'There is no kernel k1');
    await model.refresh();
    expect(model.judge().verdict).toBe('unknown');
  });

  it('tells an unknown verdict of the server with its comparison', async () => {
    api.verdict = 'unknown';
    await model.refresh();
    expect(model.judge().reason?.kind).toBe('unread');
  });

  it.each([
    ['no_notebook', null, ['c1']],
    ['no_kernel', kernel(null), ['c1']],
    ['kernel_dead', kernel('k1', 'a.ipynb', 'dead'), ['c1']],
    ['kernel_starting', kernel('k1', 'a.ipynb', 'starting'), ['c1']],
    ['no_cluster', kernel(), []]
  ])('says %s', async (kind, current, ids) => {
    kernels.change(current);
    api.list = ids.map(id => cluster(id));
    await model.refresh();
    expect(model.judge().reason?.kind).toBe(kind);
    expect(api.asked).toEqual([]);
  });

  it('does not ask about a cluster that starts', async () => {
    api.list = [cluster('c1', { status: 'starting' })];
    await model.refresh();
    expect(api.asked).toEqual([]);
    expect(model.judge().reason?.kind).toBe('cluster_not_ready');
  });

  describe('which cluster', () => {
    const old = cluster('c1', { created_at: '2026-03-01T10:00:00.000Z' });
    const young = cluster('c2', { created_at: '2026-03-01T11:00:00.000Z' });

    it('is the only one, for a notebook that uses Dask', async () => {
      api.list = [old];
      kernels.change(kernel('k1', 'a.ipynb', 'alive', false));
      await model.refresh();
      expect(model.cluster).toBeNull();
      expect(model.concerned).toBe(false);
      expect(model.judge().reason?.kind).toBe('no_choice');
      kernels.change(kernel('k1', 'a.ipynb', 'alive', true));
      expect(model.cluster?.id).toBe('c1');
      expect(model.concerned).toBe(true);
    });

    it('is asked for where several run and none is known to be its own', async () => {
      api.list = [young, old];
      await model.refresh();
      expect(model.cluster).toBeNull();
      expect(model.concerned).toBe(true);
      expect(model.judge().reason?.kind).toBe('no_choice');
      expect(api.asked).toEqual([]);
      model.choose('c1');
      expect(model.cluster?.id).toBe('c1');
    });

    it('is not asked for where none runs', async () => {
      api.list = [{ ...old, status: 'stopped' }];
      await model.refresh();
      expect(model.judge().reason?.kind).toBe('no_cluster');
    });

    it('stays while a newer one appears', async () => {
      api.list = [old];
      await model.refresh();
      api.list = [old, young];
      await model.refresh();
      expect(model.cluster?.id).toBe('c1');
    });

    it("is the one that the notebook's kernel has a client of, until another is chosen", async () => {
      api.list = [old, young];
      await model.refresh();
      api.list = [{ ...old, kernels: ['k0', 'k1'] }, young];
      await model.refresh();
      expect(model.cluster?.id).toBe('c1');
      model.choose('c2');
      expect(model.cluster?.id).toBe('c2');
      // Of several that a kernel has clients of, the newest; what another kernel uses is not this one's.
      kernels.change(kernel('k0', 'other.ipynb'));
      expect(model.cluster?.id).toBe('c1');
      kernels.change(kernel('k2', 'third.ipynb'));
      expect(model.cluster).toBeNull();
    });

    it('is the one chosen, remembered for the notebook', async () => {
      api.list = [old, young];
      await model.refresh();
      model.choose('c1');
      expect(model.cluster?.id).toBe('c1');
      model.dispose();
      model = make();
      await settle();
      await model.refresh();
      expect(model.cluster?.id).toBe('c1');
      kernels.change(kernel('k2', 'other.ipynb'));
      expect(model.cluster).toBeNull();
    });

    it('is the only other one when the chosen one has ended', async () => {
      api.list = [old, young];
      await model.refresh();
      model.choose('c1');
      api.list = [{ ...old, status: 'lost' }, young];
      await model.refresh();
      expect(model.diff?.cluster.id).toBe('c2');
    });

    it('is the one just made', async () => {
      await model.refresh();
      await model.create({ workers: 1 });
      expect(model.cluster?.id).toBe('made');
      expect(model.judge().reason?.kind).toBe('cluster_not_ready');
    });
  });

  describe('a change', () => {
    it('shows at once', async () => {
      await model.refresh();
      const changed = await model.change('c1', { workers: 5 });
      expect(changed.granted).toBeNull();
      expect(model.clusters[0].desired.workers).toBe(5);
    });

    it('is not undone by a list that was asked for before it', async () => {
      await model.refresh();
      const [before] = api.list;
      let respond: (list: IAnswer<readonly Cluster[]>) => void = () =>
        undefined;
      const late = new Promise<IAnswer<readonly Cluster[]>>(resolve => {
        respond = resolve;
      });
      const asks = jest.spyOn(api, 'clusters').mockReturnValueOnce(late);
      const asked = model.refresh();
      await settle();
      await model.change('c1', { name: 'other' });
      const names: string[] = [];
      model.changed.connect(() => names.push(model.clusters[0].name));
      respond(answer([before]));
      await asked;
      expect(new Set(names)).toEqual(new Set(['other']));
      expect(asks.mock.calls.length).toBeGreaterThan(1);
    });

    it('yields to a later one whose answer was faster', async () => {
      await model.refresh();
      const slow = await api.change('c1', { workers: 3 });
      jest.spyOn(api, 'change').mockReturnValueOnce(
        (async () => {
          await settle();
          return slow;
        })()
      );
      const first = model.change('c1', { workers: 3 });
      await model.change('c1', { workers: 4 });
      await first;
      expect(model.clusters[0].desired.workers).toBe(4);
    });

    it('of a cluster that has gone brings it back in no list', async () => {
      await model.refresh();
      const answer = await api.change('c1', { workers: 3 });
      api.list = [];
      await model.refresh();
      jest.spyOn(api, 'change').mockResolvedValueOnce(answer);
      await model.change('c1', { workers: 3 });
      expect(model.clusters).toEqual([]);
    });

    it('restarts at once', async () => {
      await model.refresh();
      await model.restart('c1', 'cluster');
      expect(api.restarts).toEqual([['c1', 'cluster']]);
      expect(model.clusters[0].status).toBe('starting');
    });
  });

  describe('while a sync runs', () => {
    beforeEach(async () => {
      api.synced = [sync('s1')];
      await model.syncs.refresh();
      await model.refresh();
    });

    it('nothing is called equal', () => {
      expect(model.judge()).toMatchObject({
        verdict: 'unknown',
        reason: { kind: 'syncing' }
      });
      expect(model.diff?.verdict).toBe('equal');
    });

    it('nothing is said to break: workers that come back are read after it', async () => {
      api.verdict = 'breaks';
      await model.refresh();
      expect(model.judge()).toMatchObject({
        verdict: 'unknown',
        reason: { kind: 'syncing' }
      });
    });

    it('that of another cluster matters nothing', async () => {
      api.synced = [sync('s1', { cluster: 'c2' })];
      await model.syncs.refresh();
      await model.refresh();
      expect(model.judge().verdict).toBe('equal');
    });

    it('its end makes nothing green: only a reading from after it does', async () => {
      api.hold = true;
      const before = model.refresh();
      await settle();
      api.advance('s1', { state: 'done' });
      await model.syncs.refresh();
      expect(model.judge()).toEqual({
        verdict: 'unknown',
        reason: { kind: 'reading' }
      });
      // What was asked for before the end doesn't count.
      api.pending[0].answer();
      await settle();
      expect(model.judge().reason?.kind).toBe('reading');
      // The rows stay meanwhile.
      expect(model.diff).not.toBeNull();
      api.pending[1].answer();
      await before;
      expect(model.judge()).toEqual({ verdict: 'equal', reason: null });
    });
  });

  it('emits after the state, once everything is known', async () => {
    const seen: string[] = [];
    model.changed.connect(() => seen.push(model.judge().verdict));
    await model.refresh();
    expect(seen[seen.length - 1]).toBe('equal');
  });

  it('keeps the bounds of the poll', () => {
    model.refreshSeconds = 60;
    expect(model.refreshSeconds).toBe(60);
  });
});

describe('Model asks', () => {
  let api: FakeApi;
  let model: Model;
  let now: number;
  let asked: number;

  beforeEach(() => {
    jest.useFakeTimers({ now: NOW });
    api = new FakeApi();
    now = NOW;
    asked = 0;
    model = new Model({ api, kernels: new FakeKernels(), now: () => now });
    const clusters = api.clusters.bind(api);
    api.clusters = () => {
      asked++;
      return clusters();
    };
  });

  afterEach(() => {
    model.dispose();
    jest.useRealTimers();
  });

  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      now += 1000;
      await jest.advanceTimersByTimeAsync(1000);
    }
  };
  const during = async (seconds: number) => {
    const before = asked;
    await pass(seconds);
    return asked - before;
  };

  it('for nothing while nobody looks', async () => {
    model.visible = true;
    await pass(1);
    expect(model.judge().verdict).toBe('equal');
    model.visible = false;
    model.invalidate();
    expect(await during(60)).toBe(0);
  });

  it('regularly while the panel is seen, so that nothing gets old', async () => {
    model.visible = true;
    await pass(1);
    expect(await during(60)).toBe(12);
    expect(model.age).toBeLessThanOrEqual(5);
    expect(model.usageAge).toBeLessThanOrEqual(5);
    expect(model.clusterAge(model.clusters[0])).toBeLessThanOrEqual(5);
    model.refreshSeconds = 20;
    await pass(5);
    expect(await during(60)).toBe(3);
  });

  it('on, and what it is not answered gets old', async () => {
    model.visible = true;
    await pass(1);
    api.failure = new ApiError('connection', 'gone');
    expect(await during(15)).toBeGreaterThan(0);
    expect(model.judge().verdict).toBe('unknown');
    const [{ ...shown }] = model.clusters;
    expect(freshness(model.clusterAge(shown))).toBe('stale');
    await pass(20);
    expect(freshness(model.clusterAge(shown))).toBe('unknown');
    api.failure = null;
    await pass(25);
    expect(model.judge().verdict).toBe('equal');
  });

  it('for the verdict alone before it is stale, and at once when something changes', async () => {
    model.watched = true;
    await pass(1);
    expect(model.judge().verdict).toBe('equal');
    const usage = jest.spyOn(api, 'usage');
    for (let second = 0; second < 60; second++) {
      await pass(1);
      expect(model.judge().verdict).toBe('equal');
    }
    expect(asked).toBeLessThanOrEqual(5);
    const before = asked;
    model.invalidateSoon();
    await pass(1);
    expect(asked).toBe(before + 1);
    expect(usage).not.toHaveBeenCalled();
    api.synced = [sync('s1')];
    model.syncs.invalidate();
    await pass(1);
    expect(model.judge().reason?.kind).toBe('syncing');
  });

  it('what keeps the server from working', async () => {
    api.problem = {
      kind: 'unavailable',
      message: 'The folder /x can not be made',
      hint: 'Set another one',
      data: {}
    };
    model.visible = true;
    await pass(1);
    expect(model.problem).toEqual(api.problem);
    api.problem = null;
    await pass(60);
    expect(model.problem).toBeNull();
  });
});
