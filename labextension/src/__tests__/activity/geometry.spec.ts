import {
  BESIDE,
  Window,
  drawSpans,
  rowHeightFor,
  rowsOf,
  spanAt,
  ticksOf
} from '../../activity/geometry';
import type { IRow, IView } from '../../activity/geometry';
import { ACTIONS, Spans } from '../../activity/spans';
import { activeWorker, stream } from '../fakes';
import type { Span } from '../fakes';

interface IRectangle {
  x: number;
  y: number;
  width: number;
  height: number;
  span: number;
}

function drawn(spans: Spans, rows: readonly IRow[], view: IView): IRectangle[] {
  const found: IRectangle[] = [];
  drawSpans(spans, rows, view, (x, y, width, height, span) =>
    found.push({ x, y, width, height, span })
  );
  return found;
}

/** Numbers that look random and are the same each time, from 0 to 1. */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

function many(seed: number, count: number): Spans {
  const random = chance(seed);
  const spans = new Spans(count);
  const made = Array.from({ length: count }, (): Span => {
    const long = random() < 0.02 ? 50_000 : random() < 0.5 ? 400 : 3;
    return [
      `w${Math.floor(random() * 7)}/${Math.floor(random() * 3)}`,
      `p${Math.floor(random() * 5)}`,
      ACTIONS[Math.floor(random() * ACTIONS.length)],
      Math.floor(random() * 100_000),
      Math.floor(random() * long)
    ];
  });
  spans.add(stream(made));
  return spans;
}

describe('drawSpans', () => {
  it.each([1, 2, 3, 4, 5, 6])(
    'loses no span of the view, and draws none outside (%i)',
    seed => {
      const random = chance(97 * seed);
      const spans = many(seed, 1500);
      const rows = rowsOf(spans, []);
      for (let turn = 0; turn < 6; turn++) {
        const from = random() * 90_000;
        const view: IView = {
          from,
          to: from + 10 ** (1 + 4 * random()),
          width: 1 + Math.floor(random() * 900),
          height: 10 + random() * 200,
          top: random() * 150,
          rowHeight: 1 + Math.floor(random() * 20)
        };
        const found = drawn(spans, rows, view);
        for (const { height, width, x, y } of found) {
          expect(x).toBeGreaterThanOrEqual(0);
          expect(y).toBeGreaterThanOrEqual(0);
          expect(width).toBeGreaterThan(0);
          expect(height).toBeGreaterThan(0);
          expect(x + width).toBeLessThanOrEqual(view.width + 1e-9);
          expect(y + height).toBeLessThanOrEqual(view.height + 1e-9);
        }
        expect(found.length).toBeLessThanOrEqual(spans.count);
        const lost: number[] = [];
        const scale = view.width / (view.to - view.from);
        const tall = view.rowHeight - (view.rowHeight >= 4 ? 1 : 0);
        const kind = (span: number) =>
          2 * spans.lane[span] + Number(BESIDE[spans.action[span]]);
        for (let span = 0; span < spans.count; span++) {
          const begun = spans.start[span];
          const ended = begun + spans.length[span];
          const number = rows.findIndex(it => it.lane === spans.lane[span]);
          const top = number * view.rowHeight - view.top;
          // A band is at the foot of its row.
          const head = top + (BESIDE[spans.action[span]] ? tall * 0.6 : 0);
          if (
            ended <= view.from ||
            begun >= view.to ||
            top + tall <= 0 ||
            head >= view.height - 1e-9
          ) {
            continue;
          }
          const left = Math.max((begun - view.from) * scale, 0);
          const right = Math.min((ended - view.from) * scale, view.width);
          const covered = found.some(
            it =>
              kind(it.span) === kind(span) &&
              it.x <= left + 1e-6 &&
              it.x + it.width >= (right - left < 1 ? left : right) - 1e-6
          );
          if (!covered) {
            lost.push(span);
          }
        }
        expect(lost).toEqual([]);
      }
    }
  );

  it('draws at most one of each kind for a pixel', () => {
    const spans = new Spans();
    spans.add(
      stream(
        Array.from({ length: 20_000 }, (_, index): Span => [
          'w/1',
          `p${index % 2}`,
          'compute',
          index,
          1
        ])
      )
    );
    const view = {
      from: 0,
      to: 20_000,
      width: 100,
      height: 50,
      top: 0,
      rowHeight: 20
    };
    expect(drawn(spans, rowsOf(spans, []), view).length).toBeLessThan(101);
  });

  it('shows the one that failed among thousands', () => {
    const spans = new Spans();
    spans.add(
      stream(
        Array.from({ length: 5000 }, (_, index): Span => [
          'w/1',
          'p',
          index === 3210 ? 'erred' : 'compute',
          10 * index,
          9
        ])
      )
    );
    const view = {
      from: 0,
      to: 50_000,
      width: 300,
      height: 50,
      top: 0,
      rowHeight: 20
    };
    const failed = drawn(spans, rowsOf(spans, []), view).filter(
      ({ span }) => ACTIONS[spans.action[span]] === 'erred'
    );
    expect(failed).toHaveLength(1);
    expect(Math.floor(failed[0].x)).toBe(Math.floor((32_100 / 50_000) * 300));
  });
});

describe('spanAt', () => {
  const spans = new Spans();
  spans.add(
    stream([
      ['w/1', 'inc', 'compute', 1000, 1000],
      ['w/1', 'inc', 'transfer', 1200, 300],
      ['w/2', 'sum', 'erred', 1500, 2]
    ])
  );
  const rows = rowsOf(spans, []);
  const view = {
    from: 0,
    to: 4000,
    width: 400,
    height: 40,
    top: 0,
    rowHeight: 20
  };
  const action = (x: number, y: number) => {
    const hit = spanAt(spans, rows, view, x, y);
    return hit && [ACTIONS[spans.action[hit.span]], hit.more];
  };

  it('tells what is under the pointer', () => {
    expect(action(130, 3)).toEqual(['compute', 1]);
    expect(action(130, 17)).toEqual(['transfer', 1]);
    expect(action(190, 17)).toEqual(['compute', 0]);
    expect(action(150, 30)).toEqual(['erred', 0]);
    expect(action(50, 3)).toBeNull();
    expect(action(130, 90)).toBeNull();
  });
});

describe('rowsOf', () => {
  it('has a row for each thread, those of workers by name', () => {
    const spans = new Spans();
    spans.add(
      stream([
        ['t://b/1', 'p', 'compute', 0, 1],
        ['t://gone/1', 'p', 'compute', 0, 1],
        ['t://b/2', 'p', 'compute', 0, 1]
      ])
    );
    const rows = rowsOf(spans, [
      activeWorker('t://b', { name: 'w-10', threads: 2 }),
      activeWorker('t://a', { name: 'w-9', threads: 2 })
    ]);
    expect(rows.map(({ first, name, of }) => [name, first, of])).toEqual([
      ['t://gone', true, 1],
      ['w-9', true, 2],
      ['w-9', false, 2],
      ['w-10', true, 2],
      ['w-10', false, 2]
    ]);
    expect(rows.filter(({ lane }) => lane === -1)).toHaveLength(2);
  });

  it('is as high as there is room for, and not too small to be seen', () => {
    expect(rowHeightFor(2, 400)).toBe(36);
    expect(rowHeightFor(40, 400)).toBe(10);
    expect(rowHeightFor(1000, 400)).toBe(6);
  });
});

describe('ticksOf', () => {
  it.each([
    [0, 60, 900],
    [1_772_000_000.2, 1_772_000_000.9, 300],
    [5, 90_000, 1200]
  ])('has marks that are apart, within %d to %d', (from, to, width) => {
    const { at, step } = ticksOf(from, to, width);
    expect(at.length).toBeGreaterThan(0);
    expect(at.every(time => time >= from && time <= to)).toBe(true);
    expect((step / (to - from)) * width).toBeGreaterThanOrEqual(90);
  });
});

describe('Window', () => {
  it('follows the present until it is moved', () => {
    const window = new Window();
    window.follow(0, 300_000);
    expect(window.from).toBeLessThan(10_000);
    expect(window.to).toBeGreaterThan(300_000);
    const { to } = window;
    window.follow(0, 400_000);
    expect(window.to).toBeGreaterThan(to);
    window.pan(-1000);
    const moved = { ...window };
    window.follow(0, 500_000);
    expect({ ...window }).toEqual(moved);
  });

  it('zooms around a place, and keeps the present while it follows', () => {
    const window = new Window();
    window.fit(0, 100_000);
    const middle = (window.from + window.to) / 2;
    window.zoom(0.5, 0.5);
    expect((window.from + window.to) / 2).toBeCloseTo(middle);
    expect(window.to - window.from).toBeCloseTo(52_000);
    window.follows = true;
    window.follow(0, 100_000);
    const { to } = window;
    window.zoom(0.5, 0.1);
    expect(window.to).toBeCloseTo(to);
    for (let turn = 0; turn < 100; turn++) {
      window.zoom(0.5, 0.5);
    }
    expect(window.to).toBeGreaterThan(window.from);
  });
});
