import { ACTIONS, Spans, totalsOf } from '../../activity/spans';
import { stream } from '../fakes';
import type { Span } from '../fakes';

/** What is kept, oldest first. */
function kept(spans: Spans): Span[] {
  return Array.from({ length: spans.count }, (_, index) => {
    const span = spans.at(index);
    const { worker, thread } = spans.lanes[spans.lane[span]];
    return [
      `${worker}/${thread}`,
      spans.prefixes[spans.prefix[span]].name,
      ACTIONS[spans.action[span]],
      spans.start[span],
      spans.length[span]
    ];
  });
}

const SOME: readonly Span[] = [
  ['a/1', 'inc', 'compute', 10, 5],
  ['b/1', 'sum', 'transfer', -20, 3],
  ['a/2', 'inc', 'erred', 12, 0]
];

function numbered(from: number, to: number): Span[] {
  return Array.from({ length: to - from }, (_, index) => [
    `w${(from + index) % 3}/t`,
    `p${from + index}`,
    'compute',
    from + index,
    1
  ]);
}

describe('Spans', () => {
  it('sums the starts up, and keeps what the server told', () => {
    const spans = new Spans();
    spans.add(stream(SOME));
    expect(kept(spans)).toEqual(SOME);
    expect(spans.begin).toBe(-20);
    expect(spans.end).toBe(15);
  });

  it('joins the names of one answer and the next', () => {
    const spans = new Spans();
    spans.add(stream(SOME));
    spans.add(stream([['b/1', 'inc', 'compute', 99, 1]]));
    expect(kept(spans)).toEqual([...SOME, ['b/1', 'inc', 'compute', 99, 1]]);
    expect(spans.lanes).toHaveLength(3);
    expect(spans.prefixes.map(({ name, style }) => [name, style])).toEqual([
      ['inc', 0],
      ['sum', 1]
    ]);
  });

  it('keeps the newest, also where one answer has more than that', () => {
    const spans = new Spans(7);
    spans.add(stream(numbered(0, 5)));
    spans.add(stream(numbered(5, 11)));
    expect(kept(spans)).toEqual(numbered(4, 11));
    spans.add(stream(numbered(11, 40)));
    expect(kept(spans)).toEqual(numbered(33, 40));
  });

  it('orders each thread by time, however it came', () => {
    const spans = new Spans(20);
    for (let turn = 0; turn < 9; turn++) {
      spans.add(
        stream(
          [5, 1, 3].map((start, index) => [
            `w${index % 2}/t`,
            'p',
            'compute',
            7 * start - 11 * turn,
            turn
          ])
        )
      );
    }
    const { longest, offsets, order } = spans.index;
    expect([...order].sort((a, b) => a - b)).toEqual([
      ...Array(spans.count).keys()
    ]);
    spans.lanes.forEach((_, lane) => {
      const own = [...order.slice(offsets[lane], offsets[lane + 1])];
      const starts = own.map(span => spans.start[span]);
      expect(starts).toEqual([...starts].sort((a, b) => a - b));
      expect(own.every(span => spans.lane[span] === lane)).toBe(true);
      expect(longest[lane]).toBe(
        Math.max(...own.map(span => spans.length[span]))
      );
    });
  });

  it('counts what was missed, and begins anew with another scheduler', () => {
    const spans = new Spans();
    spans.add(stream(SOME, { missed: 3 }));
    spans.add(stream([], { missed: 4 }));
    expect(spans.missed).toBe(7);
    const before = spans.revision;
    spans.add(stream([['c/1', 'new', 'compute', 1, 1]], { base: 5 }));
    expect(spans.revision).not.toBe(before);
    expect(spans.missed).toBe(0);
    expect(spans.base).toBe(5);
    expect(kept(spans)).toEqual([['c/1', 'new', 'compute', 1, 1]]);
    expect(spans.prefixes).toEqual([{ name: 'new', style: 0 }]);
  });

  it('takes nothing that points nowhere, nor times that are none', () => {
    const spans = new Spans();
    const odd = stream(SOME);
    spans.add({ ...odd, lane: [0, 77, -1] });
    expect(kept(spans)).toEqual([SOME[0]]);
    spans.add({ ...odd, length: [-5, NaN, 0], action: [9, 1, 5] });
    expect(kept(spans).slice(1)).toEqual([
      ['a/1', 'inc', 'compute', 10, 0],
      ['b/1', 'sum', 'transfer', -20, 0],
      SOME[2]
    ]);
  });

  it('lets go of names without end, and those that are left keep their styles', () => {
    const spans = new Spans(50);
    for (let turn = 0; turn < 100; turn++) {
      spans.add(stream(numbered(100 * turn, 100 * turn + 100)));
    }
    expect(kept(spans)).toEqual(numbered(9950, 10_000));
    expect(spans.prefixes.length).toBeLessThan(3000);
    const last = spans.prefix[spans.at(49)];
    expect(spans.prefixes[last]).toEqual({ name: 'p9999', style: 9999 });
  });
});

describe('totalsOf', () => {
  it('sums up by name, most time first', () => {
    const spans = new Spans();
    spans.add(
      stream([
        ['a/1', 'inc', 'compute', 0, 10_000],
        ['a/1', 'inc', 'erred', 0, 5_000],
        ['a/1', 'sum', 'transfer', 0, 90_000],
        ['b/1', 'sum', 'compute', 0, 20_000]
      ])
    );
    const totals = totalsOf(spans);
    expect(totals.map(it => it.prefix.name)).toEqual(['sum', 'inc']);
    expect(totals[0].seconds).toMatchObject({ compute: 2, transfer: 9 });
    expect(totals[1]).toMatchObject({ tasks: 2, erred: 1 });
    expect(totals[1].seconds).toMatchObject({ compute: 1, erred: 0.5 });
  });
});
