import {
  losesNothing,
  partsOf,
  refusalsOf,
  restartsOf,
  samePlan
} from '../../model/planContents';
import { choosable, offerOf } from '../../model/syncOffer';
import type { IJudgement } from '../../model/model';
import type { PlanAction } from '../../api/wire';
import { diff, plan, row, sync } from '../fakes';

const fine: IJudgement = { verdict: 'breaks', reason: null };
const rows = [
  row('numpy', { status: 'differs', severity: 'breaks' }),
  row('polars', { status: 'only_kernel', severity: 'minor' }),
  row('ignored', { status: 'differs', severity: 'same' }),
  row('hidden', { status: 'unknown', severity: 'risky' }),
  row('toolz'),
  row('helpers', {
    status: 'only_kernel',
    severity: 'risky',
    kernel: {
      version: '',
      loaded: null,
      source: { kind: 'module', url: 'helpers.py', commit: null }
    }
  })
];

describe('offerOf', () => {
  it('counts the packages that differ and matter, and all that differ', () => {
    const known = [
      ...rows,
      row('used', { status: 'differs', severity: 'minor', matters: true }),
      row('extra', { status: 'only_cluster', severity: 'minor' })
    ];
    expect(offerOf(fine, diff({ rows: known }), null)).toEqual({
      packages: 2,
      everything: 3,
      python: false,
      blocked: null
    });
  });

  it('counts Python apart', () => {
    const python = row('python', { status: 'differs', severity: 'breaks' });
    expect(offerOf(fine, diff({ rows: [python] }), null)).toEqual({
      packages: 0,
      everything: 0,
      python: true,
      blocked: null
    });
  });

  it.each([
    ['no comparison', fine, null, null, 'reading'],
    ['nothing differs', fine, diff(), null, 'nothing'],
    [
      'no reading but of versions',
      fine,
      diff({ rows, level: 'versions' }),
      null,
      'unread'
    ],
    [
      'a reason to claim nothing',
      { verdict: 'unknown', reason: { kind: 'stale', seconds: 31 } },
      diff({ rows }),
      null,
      'stale'
    ],
    ['another sync', fine, diff({ rows }), sync('s1'), 'syncing']
  ] as const)(
    'offers nothing with %s',
    (_, judgement, known, running, kind) => {
      const { blocked } = offerOf(judgement, known, running);
      expect(blocked?.kind).toBe(kind);
    }
  );

  it('says how many differ where none of them matters', () => {
    const minor = [row('polars', { status: 'differs', severity: 'minor' })];
    expect(offerOf(fine, diff({ rows: minor }), null).blocked).toEqual({
      kind: 'nothing',
      others: 1
    });
  });

  it('offers also where a node was not read', () => {
    const known = diff({ rows, unread: [{ node: 'w1', reason: 'silent' }] });
    const unread: IJudgement = {
      verdict: 'unknown',
      reason: { kind: 'unread', diff: known }
    };
    expect(offerOf(unread, known, null).blocked).toBeNull();
  });

  it('lets one choose what is not rated too', () => {
    const names = choosable(diff({ rows })).map(({ name }) => name);
    expect(names).toEqual(['numpy', 'polars', 'ignored']);
    expect(choosable(null)).toEqual([]);
  });
});

const action = (more: Partial<PlanAction>): PlanAction => ({
  ...plan().actions[0],
  ...more
});

describe('a plan', () => {
  it('tells groups for which it does the same as one', () => {
    const made = plan({
      actions: [
        action({ group: 'g1' }),
        action({ group: 'g2' }),
        action({ group: 'g3', before: '1.0' }),
        action({ group: 'g1', kind: 'refuse', name: 'dask', why: 'Not ours' })
      ]
    });
    expect(partsOf(made).map(({ groups }) => groups)).toEqual([
      ['g1', 'g2'],
      ['g3']
    ]);
    expect(refusalsOf(made).map(it => it.actions[0].name)).toEqual(['dask']);
  });

  it('counts workers and batches over all groups', () => {
    const rolls = [
      { group: 'g1', workers: ['a', 'b'], batch: 1 },
      { group: 'g2', workers: ['c'], batch: 1 },
      { group: 'g1', workers: ['d'], batch: 2 }
    ];
    expect(restartsOf(plan({ rolls }))).toEqual({ workers: 4, batches: 2 });
  });

  it.each(['futures', 'scattered', 'running', 'actors'] as const)(
    'loses something with one of %s',
    kind => {
      const { lost } = plan();
      expect(losesNothing({ lost })).toBe(true);
      expect(losesNothing({ lost: { ...lost, [kind]: 1 } })).toBe(false);
    }
  );

  it('claims no loss of nothing where there is something to say', () => {
    const lost = { ...plan().lost, why: 'Not known' };
    expect(losesNothing({ lost })).toBe(false);
  });

  it('is the same under another name', () => {
    const other = plan({
      id: 'p2',
      digest: 'd2',
      needs: ['lost_results'],
      seconds: 9,
      created_at: '2026-03-01T12:01:00.000Z',
      expires_at: '2026-03-01T12:11:00.000Z'
    });
    expect(samePlan(plan(), other)).toBe(true);
  });

  it.each([
    ['cluster', { cluster: 'c2' }],
    ['way', { how: 'replace' }],
    ['versions', { actions: [action({ after: '9' })] }],
    ['workers', { rolls: [] }],
    ['restarts', { restarts: ['The scheduler'] }],
    ['loss', { lost: { ...plan().lost, futures: 1 } }],
    ['others', { others: [{ client: 'c', host: null, opened_by: null }] }],
    ['layer', { layer: 'l2' }]
  ] as const)('is not the same with other %s', (_, more) => {
    expect(samePlan(plan(), plan(more))).toBe(false);
  });
});
