import { ApiError } from '../../api/client';
import { PlanReview } from '../../model/planReview';
import { Syncs } from '../../model/syncs';
import type { Plan } from '../../api/wire';
import { FakeApi, plan, settle, sync } from '../fakes';

describe('PlanReview', () => {
  const body = { cluster: 'c1', kernel: 'k1' };
  const lost = { ...plan().lost, futures: 3, why: 'The scheduler restarts' };
  const costly = (more: Partial<Plan> = {}) =>
    plan({ how: 'replace', lost, needs: ['lost_results'], ...more });
  let api: FakeApi;
  let syncs: Syncs;
  let preview: PlanReview;

  beforeEach(() => {
    api = new FakeApi();
    syncs = new Syncs({ api, auto: false });
    preview = new PlanReview({ syncs, body });
  });

  afterEach(() => {
    preview.dispose();
    syncs.dispose();
  });

  const shown = () => {
    const { stage } = preview;
    if (stage.kind !== 'shown') {
      throw new Error(`Nothing is shown: ${stage.kind}`);
    }
    return stage;
  };

  it('shows a plan, and begins nothing by itself', async () => {
    expect(preview.ready).toBe(false);
    await preview.plan();
    expect(shown().plan.id).toBe('p1');
    expect(preview.ready).toBe(true);
    expect(api.started).toEqual([]);
    await syncs.refresh();
    expect(await preview.apply()).toBe(true);
    expect(api.started).toEqual(['p1']);
    expect(syncs.running('c1')?.plan).toBe('p1');
  });

  it.each(['nothing', 'refused'] as const)(
    'does not begin a plan of %s',
    async how => {
      api.plans = [plan({ how })];
      await preview.plan();
      expect(preview.ready).toBe(false);
      expect(await preview.apply()).toBe(false);
      expect(api.started).toEqual([]);
    }
  );

  it('begins nothing before it was agreed to', async () => {
    api.plans = [costly()];
    await preview.plan();
    expect(preview.needs).toEqual(['lost_results']);
    expect(await preview.apply()).toBe(false);
    preview.agree('lost_results', true);
    expect(preview.ready).toBe(true);
    preview.agree('lost_results', false);
    expect(preview.ready).toBe(false);
    expect(api.planned).toHaveLength(1);
  });

  it('plans with what was agreed to, and begins that', async () => {
    api.plans = [costly(), costly({ id: 'p2', digest: 'd2', needs: [] })];
    await preview.plan();
    preview.agree('lost_results', true);
    expect(await preview.apply()).toBe(true);
    expect(api.planned[1]).toEqual({ ...body, confirm: ['lost_results'] });
    expect(api.started).toEqual(['p2']);
  });

  it('begins nothing where more would be lost than was agreed to', async () => {
    const more = { ...lost, futures: 300 };
    api.plans = [costly(), costly({ id: 'p2', lost: more, needs: [] })];
    await preview.plan();
    preview.agree('lost_results', true);
    expect(await preview.apply()).toBe(false);
    expect(api.started).toEqual([]);
    expect(shown()).toMatchObject({ note: 'changed', plan: { id: 'p2' } });
    // It was agreed to for another plan.
    expect(preview.needs).toEqual(['lost_results']);
    expect(preview.ready).toBe(false);
    preview.agree('lost_results', true);
    expect(await preview.apply()).toBe(true);
    expect(api.started).toEqual(['p2']);
  });

  it('shows the fresh plan where the world has changed', async () => {
    api.held.set('p9', plan({ id: 'p9', layer: 'l9' }));
    api.startFailure = new ApiError('conflict', 'Stale', '', null, 'p9');
    await preview.plan();
    expect(await preview.apply()).toBe(false);
    expect(shown()).toMatchObject({ note: 'stale', plan: { id: 'p9' } });
    expect(api.started).toEqual(['p1']);
    api.startFailure = null;
    expect(await preview.apply()).toBe(true);
    expect(api.started).toEqual(['p1', 'p9']);
  });

  it('begins a fresh plan that does just what was agreed to, but once', async () => {
    api.held.set('p9', plan({ id: 'p9', digest: 'd9', seconds: 3 }));
    const stale = new ApiError('conflict', 'Stale', '', null, 'p9');
    const start = jest.spyOn(api, 'startSync').mockRejectedValueOnce(stale);
    await preview.plan();
    expect(await preview.apply()).toBe(true);
    expect(start.mock.calls).toEqual([['p1'], ['p9']]);
    start.mockReset().mockRejectedValue(stale);
    await preview.plan();
    expect(await preview.apply()).toBe(false);
    expect(start.mock.calls).toEqual([['p1'], ['p9']]);
    expect(shown()).toMatchObject({ note: 'stale', plan: { id: 'p9' } });
  });

  it('begins no fresh plan that needs more than was agreed to', async () => {
    api.held.set('p9', plan({ id: 'p9', needs: ['plain_connection'] }));
    api.startFailure = new ApiError('conflict', 'Stale', '', null, 'p9');
    await preview.plan();
    expect(await preview.apply()).toBe(false);
    expect(api.started).toEqual(['p1']);
    expect(preview.needs).toEqual(['plain_connection']);
    expect(preview.ready).toBe(false);
  });

  it('plans anew where the fresh plan did not last either', async () => {
    api.startFailure = new ApiError('conflict', 'Stale', '', null, 'gone');
    await preview.plan();
    expect(await preview.apply()).toBe(false);
    expect(shown().note).toBe('stale');
    expect(api.planned).toHaveLength(2);
  });

  it('gives way to a sync that runs already', async () => {
    api.synced = [sync('other')];
    api.startFailure = new ApiError('conflict', 'One runs');
    await preview.plan();
    expect(await preview.apply()).toBe(true);
    expect(preview.overtaken).toBe(true);
    expect(syncs.running('c1')?.id).toBe('other');
  });

  it('tells another conflict', async () => {
    api.startFailure = new ApiError('conflict', 'Used already');
    await preview.plan();
    expect(await preview.apply()).toBe(false);
    expect(preview.stage).toEqual({ kind: 'problem', error: api.startFailure });
    expect(preview.overtaken).toBe(false);
  });

  it('plans anew where the plan has expired', async () => {
    api.startFailure = new ApiError('not_found', 'There is no plan p1');
    await preview.plan();
    expect(await preview.apply()).toBe(false);
    expect(shown().note).toBe('expired');
  });

  it('tells why there is no plan, and can ask again', async () => {
    const error = new ApiError('impossible', 'No wheel for this platform');
    api.plans = [error, plan()];
    await preview.plan();
    expect(preview.stage).toEqual({ kind: 'problem', error });
    expect(preview.ready).toBe(false);
    await preview.plan();
    expect(preview.ready).toBe(true);
  });

  it('drops the answer to an older question', async () => {
    let answer: (plan: Plan) => void = () => undefined;
    jest.spyOn(api, 'plan').mockReturnValueOnce(
      new Promise(resolve => {
        answer = resolve;
      })
    );
    const first = preview.plan();
    preview.drain = 600;
    await settle();
    answer(plan({ id: 'late' }));
    await first;
    expect(shown().plan.id).toBe('p1');
    expect(api.planned).toEqual([{ ...body, drain_seconds: 600 }]);
    expect(preview.drain).toBe(600);
  });

  it('plans with the losses that one agrees to beforehand, and keeps them with those that the plan needs', async () => {
    preview.insists = true;
    await settle();
    expect(preview.insists).toBe(true);
    expect(api.planned).toEqual([{ ...body, confirm: ['lost_results'] }]);
    api.plans = [
      costly({ needs: ['plain_connection'] }),
      costly({ id: 'p2', needs: [] })
    ];
    await preview.plan();
    preview.agree('plain_connection', true);
    await preview.apply();
    expect(api.planned.at(-1)).toEqual({
      ...body,
      confirm: ['lost_results', 'plain_connection']
    });
    preview.insists = false;
    await settle();
    expect(preview.insists).toBe(false);
  });

  it('begins nothing after it was left while it asked', async () => {
    api.plans = [costly(), costly({ id: 'p2', needs: [] })];
    await preview.plan();
    preview.agree('lost_results', true);
    const applied = preview.apply();
    preview.dispose();
    expect(await applied).toBe(false);
    expect(api.started).toEqual([]);
  });

  it('begins once where it is pressed twice', async () => {
    await preview.plan();
    await Promise.all([preview.apply(), preview.apply()]);
    expect(api.started).toEqual(['p1']);
  });

  it('begins in its own way where nobody had to agree', async () => {
    const begun: string[] = [];
    const own = () =>
      new PlanReview({
        syncs,
        body,
        begin: ({ id }) => {
          begun.push(id);
          return syncs.undo('s0');
        }
      });
    const free = own();
    await free.plan();
    await free.apply();
    expect([begun, api.started]).toEqual([['p1'], []]);
    api.plans = [costly(), costly({ needs: [] })];
    const dear = own();
    await dear.plan();
    dear.agree('lost_results', true);
    await dear.apply();
    expect([begun, api.started]).toEqual([['p1'], ['p1']]);
  });
});
