import { ApiError } from '../../api/client';
import type { IAnswer } from '../../api/client';
import { isRunning, KEPT, Syncs } from '../../model/syncs';
import type { Sync } from '../../api/wire';
import { answer, FakeApi, layer, NOW, plan, settle, sync } from '../fakes';

describe('Syncs', () => {
  let api: FakeApi;
  let store: Map<string, string>;
  let now: number;
  let syncs: Syncs;
  let ended: string[];

  const make = () => {
    syncs = new Syncs({
      api,
      memory: {
        fetch: async key => store.get(key),
        save: async (key, value) => store.set(key, value)
      },
      now: () => now,
      auto: false
    });
    ended = [];
    syncs.ended.connect((_, id) => ended.push(id));
    return syncs;
  };

  beforeEach(() => {
    api = new FakeApi();
    store = new Map();
    now = NOW;
    make();
  });

  afterEach(() => {
    syncs.dispose();
    jest.useRealTimers();
  });

  it.each([
    ['planned', true],
    ['building', true],
    ['rolling', true],
    ['verifying', true],
    ['rolling_back', true],
    ['done', false],
    ['failed', false],
    ['cancelled', false],
    ['lost', false]
  ] as const)('%s runs: %p', (state, expected) => {
    expect(isRunning(sync('s', { state }))).toBe(expected);
  });

  it('shows what runs, also where it was begun elsewhere', async () => {
    api.synced = [
      sync('s3', { cluster: 'c2', state: 'done' }),
      sync('s2'),
      sync('s1', { state: 'done' })
    ];
    await syncs.refresh();
    expect(syncs.running('c1')?.id).toBe('s2');
    expect(syncs.shown('c1')?.id).toBe('s2');
    expect(syncs.running('c2')).toBeNull();
    expect(syncs.shown('c2')?.id).toBe('s3');
    expect(syncs.shown('c3')).toBeNull();
    // Nothing has ended while one looked.
    expect(ended).toEqual([]);
  });

  it('says once that one has ended, after its state', async () => {
    api.synced = [sync('s1')];
    await syncs.refresh();
    const states: (string | undefined)[] = [];
    syncs.ended.connect(() => states.push(syncs.shown('c1')?.state));
    api.advance('s1', { state: 'verifying' });
    await syncs.refresh();
    expect(ended).toEqual([]);
    api.advance('s1', { state: 'done' });
    await syncs.refresh();
    await syncs.refresh();
    expect(ended).toEqual(['c1']);
    expect(states).toEqual(['done']);
  });

  it('says that one has ended which was never seen at work', async () => {
    await syncs.refresh();
    api.synced = [sync('s1', { state: 'done' })];
    syncs.invalidate();
    await syncs.refresh();
    expect(ended).toEqual(['c1']);
  });

  it('says that one has ended whose record went', async () => {
    api.synced = [sync('s1')];
    await syncs.refresh();
    api.synced = [];
    await syncs.refresh();
    expect(syncs.running('c1')).toBeNull();
    expect(ended).toEqual(['c1']);
  });

  it('keeps a result until it was seen, and remembers that', async () => {
    api.synced = [sync('s1', { state: 'failed' })];
    await syncs.refresh();
    syncs.dismiss(syncs.shown('c1')!);
    expect(syncs.shown('c1')).toBeNull();
    syncs.dispose();
    make();
    await syncs.refresh();
    expect(syncs.shown('c1')).toBeNull();
    api.synced = [sync('s2', { state: 'done' }), ...api.synced];
    await syncs.refresh();
    expect(syncs.shown('c1')?.id).toBe('s2');
  });

  it('does not show what was seen before it is known to be', async () => {
    store.set('coiled-jupyter:sync-seen:c1', 's1');
    api.synced = [sync('s1', { state: 'done' })];
    const shown: unknown[] = [];
    syncs.changed.connect(() => shown.push(syncs.shown('c1')));
    await syncs.refresh();
    expect(shown).toEqual([null]);
  });

  it('works without a memory that works', async () => {
    syncs.dispose();
    syncs = new Syncs({
      api,
      memory: {
        fetch: () => Promise.reject(new Error('full')),
        save: () => Promise.reject(new Error('full'))
      },
      auto: false
    });
    api.synced = [sync('s1', { state: 'done' })];
    await syncs.refresh();
    syncs.dismiss(syncs.shown('c1')!);
    await settle();
    expect(syncs.shown('c1')).toBeNull();
  });

  it('undoes the last one that stands, and none while another runs', async () => {
    api.synced = [
      sync('s3', { state: 'failed' }),
      sync('s2', { state: 'done', undone_by: 'x' }),
      sync('in place', { state: 'done', undoable: false }),
      sync('s1', { state: 'done' }),
      sync('k', { state: 'done', direction: 'to_kernel' })
    ];
    await syncs.refresh();
    expect(syncs.undoable('c1')?.id).toBe('s1');
    api.synced = [sync('s4'), ...api.synced];
    await syncs.refresh();
    expect(syncs.undoable('c1')).toBeNull();
  });

  it('collects the lines of the log, and asks only for new ones', async () => {
    api.synced = [sync('s1', { log: { lines: ['a', 'b'], next: 7 } })];
    await syncs.refresh();
    expect(syncs.lines('s1')).toEqual(['a', 'b']);
    api.advance('s1', { log: { lines: ['a', 'b', 'c'], next: 8 } });
    await syncs.refresh();
    expect(syncs.lines('s1')).toEqual(['a', 'b', 'c']);
    expect(api.syncQueries.slice(-1)).toEqual([['s1', 7]]);
  });

  it('doubles no line when it is asked twice at once', async () => {
    const lines = ['a', 'b'];
    api.synced = [sync('s1', { state: 'done', log: { lines, next: 2 } })];
    await syncs.refresh();
    await Promise.all([syncs.readLog('s1'), syncs.readLog('s1')]);
    expect(syncs.lines('s1')).toEqual(lines);
  });

  it('keeps no more lines than are of use', async () => {
    const lines = Array.from({ length: KEPT + 5 }, (_, at) => String(at));
    api.synced = [sync('s1', { log: { lines, next: lines.length } })];
    await syncs.refresh();
    expect(syncs.lines('s1')).toHaveLength(KEPT);
    expect(syncs.lines('s1')[0]).toBe('5');
  });

  it('takes no step back by an answer that was overtaken', async () => {
    api.synced = [sync('s1', { state: 'building', revision: 3 })];
    await syncs.refresh();
    const late = api.synced[0];
    api.advance('s1', { state: 'rolling' });
    await syncs.refresh();
    api.synced = [late];
    await syncs.refresh();
    expect(syncs.running('c1')?.state).toBe('rolling');
  });

  it('loses no sync to a list that was asked for before it', async () => {
    await syncs.refresh();
    let respond: (list: IAnswer<readonly Sync[]>) => void = () => undefined;
    jest.spyOn(api, 'syncs').mockReturnValueOnce(
      new Promise(resolve => {
        respond = resolve;
      })
    );
    const asked = syncs.refresh();
    await settle();
    const begun = await syncs.start(plan());
    const seen: (string | undefined)[] = [];
    syncs.changed.connect(() => seen.push(syncs.running('c1')?.id));
    respond(answer([]));
    await asked;
    expect(new Set(seen)).toEqual(new Set([begun.id]));
    expect(ended).toEqual([]);
  });

  it('shows what it begins, undoes and cancels at once', async () => {
    await syncs.refresh();
    const begun = await syncs.start(plan({ id: 'p7' }));
    expect(api.started).toEqual(['p7']);
    expect(syncs.running('c1')?.state).toBe('planned');
    await syncs.cancel(begun.id);
    expect(syncs.running('c1')?.state).toBe('rolling_back');
    api.advance(begun.id, { state: 'cancelled' });
    await syncs.refresh();
    expect(syncs.running('c1')).toBeNull();
    await syncs.undo('s0');
    expect(syncs.running('c1')?.undo_of).toBe('s0');
  });

  it('tells the age of what it knows', async () => {
    expect(syncs.age).toBeNull();
    await syncs.refresh();
    now += 12000;
    expect(syncs.age).toBe(12);
    api.syncFailure = new ApiError('connection', 'gone');
    await expect(syncs.refresh()).rejects.toBe(api.syncFailure);
    expect(syncs.age).toBe(12);
    expect(syncs.error).toBe(api.syncFailure);
    api.syncFailure = null;
    await syncs.refresh();
    expect([syncs.age, syncs.error]).toEqual([0, null]);
  });

  it('keeps what it knows while nobody answers', async () => {
    api.synced = [sync('s1')];
    await syncs.refresh();
    jest.spyOn(api, 'sync').mockRejectedValueOnce(new Error('x'));
    await expect(syncs.refresh()).rejects.toThrow('x');
    expect(syncs.running('c1')?.id).toBe('s1');
    expect(ended).toEqual([]);
  });

  it('knows the states that a cluster can go back to, last used first', async () => {
    api.layered = [
      layer('base', { used_at: '2026-03-01T09:00:00.000Z' }),
      layer('other', { known_by: ['c2'] }),
      layer('l1', { used_at: '2026-03-01T11:00:00.000Z' })
    ];
    const found = await syncs.layersOf('c1');
    expect(found.map(({ id }) => id)).toEqual(['l1', 'base']);
  });

  describe('asks', () => {
    const later = (seconds: number) =>
      jest.advanceTimersByTimeAsync(seconds * 1000);

    beforeEach(() => {
      syncs.dispose();
      jest.useFakeTimers();
      make();
    });

    it('each second while one runs, rarely else, and never unseen', async () => {
      await later(120);
      expect(api.syncQueries).toEqual([]);
      syncs.visible = true;
      await later(50);
      expect(api.syncQueries).toEqual(['all']);
      api.synced = [sync('s1')];
      syncs.invalidate();
      await later(0.1);
      api.syncQueries.length = 0;
      await later(5);
      expect(api.syncQueries.filter(it => it === 'all')).toHaveLength(5);
      expect(api.syncQueries.filter(it => it !== 'all')).toHaveLength(5);
      api.advance('s1', { state: 'done' });
      await later(2);
      api.syncQueries.length = 0;
      await later(50);
      expect(api.syncQueries).toEqual([]);
      api.synced = [sync('s2')];
      syncs.visible = false;
      syncs.invalidate();
      await later(50);
      expect(api.syncQueries).toEqual([]);
      syncs.visible = true;
      await later(0.1);
      expect(syncs.running('c1')?.id).toBe('s2');
    });

    it('again soon after a failure', async () => {
      api.syncFailure = new ApiError('connection', 'gone');
      syncs.visible = true;
      await later(1);
      expect(syncs.error).not.toBeNull();
      api.syncFailure = null;
      api.synced = [sync('s1')];
      await later(30);
      expect(syncs.running('c1')?.id).toBe('s1');
    });
  });
});
