import { cellAt, cellsOf, partsOf } from '../../activity/cells';
import { sortedWorkers } from '../../activity/columns';
import { csv, prefixesCsv, spansCsv, workersCsv } from '../../activity/csv';
import { Spans } from '../../activity/spans';
import { activeWorker, activity, stream } from '../fakes';

describe('sortedWorkers', () => {
  const workers = [
    activeWorker('b', { name: 'w-10', cpu: 5, limit: null }),
    activeWorker('a', { name: 'w-9', cpu: 90, limit: 4 }),
    activeWorker('c', { name: 'w-1', cpu: 5, limit: 8 })
  ];
  const names = (...[by, down]: ['name' | 'cpu' | 'limit', boolean]) =>
    sortedWorkers(workers, { by, down }).map(({ name }) => name);

  it('sorts names as people count, and figures by size', () => {
    expect(names('name', false)).toEqual(['w-1', 'w-9', 'w-10']);
    expect(names('name', true)).toEqual(['w-10', 'w-9', 'w-1']);
    expect(names('cpu', true)).toEqual(['w-9', 'w-1', 'w-10']);
  });

  it('has what is not known last, either way', () => {
    expect(names('limit', false)).toEqual(['w-9', 'w-1', 'w-10']);
    expect(names('limit', true)).toEqual(['w-1', 'w-9', 'w-10']);
  });
});

describe('csv', () => {
  it('quotes what needs it, and has no formula of a cluster', () => {
    expect(csv([['a,b', 'say "x"', 1.5, null, 'two\nlines']])).toBe(
      '"a,b","say ""x""",1.5,,"two\nlines"\r\n'
    );
    expect(csv([['=HYPERLINK("http://x")', '+1', '@x', '-lambda']])).toBe(
      `"'=HYPERLINK(""http://x"")",'+1,'@x,'-lambda\r\n`
    );
  });

  it('has each span that is kept', () => {
    const spans = new Spans();
    spans.add(
      stream(
        [
          ['tcp://h:1/7', 'inc', 'compute', 5_000, 12_345],
          ['tcp://h:1/7', 'inc', 'erred', 20_000, 0]
        ],
        { base: 1_772_000_000 }
      )
    );
    expect(spansCsv(spans).split('\r\n')).toEqual([
      'worker,thread,prefix,action,begin,seconds',
      'tcp://h:1,7,inc,compute,2026-02-25T06:13:20.500Z,1.2345',
      'tcp://h:1,7,inc,erred,2026-02-25T06:13:22.000Z,0',
      ''
    ]);
  });

  it('has each prefix and each worker', () => {
    const shown = activity({
      prefixes: [{ name: 'inc', states: { memory: 3, erred: 1 } }],
      workers: [activeWorker('tcp://h:1', { name: 'one', limit: null })]
    });
    expect(prefixesCsv(shown)).toBe(
      'prefix,memory,released,processing,waiting,queued,no-worker,erred\r\n' +
        'inc,3,0,0,0,0,0,1\r\n'
    );
    expect(workersCsv(shown).split('\r\n')[1]).toMatch(
      /^tcp:\/\/h:1,one,running,1,0,0,0,0,,0/
    );
  });
});

describe('cellsOf', () => {
  it.each([
    [1, 800, 600],
    [3, 300, 900],
    [50, 1200, 400],
    [500, 900, 500],
    [500, 40, 100],
    [7, 0, 0]
  ])('has %i cells in a width of %i that lie apart', (count, width, height) => {
    const { cells, height: total } = cellsOf(count, width, height);
    expect(cells).toHaveLength(count);
    cells.forEach((cell, place) => {
      expect(cell.width).toBeGreaterThan(0);
      expect(cell.height).toBeGreaterThan(0);
      expect(cell.y + cell.height).toBeLessThanOrEqual(total);
      expect(cellAt(cells, cell.x + cell.width / 2, cell.y + 1)).toBe(place);
    });
    if (width > 40) {
      const right = Math.max(...cells.map(cell => cell.x + cell.width));
      expect(right).toBeLessThanOrEqual(width);
    }
  });

  it('fills the room, where all of them fit', () => {
    expect(cellsOf(50, 1200, 400).height).toBeLessThanOrEqual(400);
    expect(cellsOf(500, 900, 500).height).toBeLessThanOrEqual(500);
  });
});

describe('partsOf', () => {
  it('never fills more than all of it', () => {
    const parts = (memory: number, managed: number, limit: number | null) =>
      partsOf(activeWorker('w', { memory, managed, limit }));
    expect(parts(50, 20, 100)).toEqual({ managed: 0.2, unmanaged: 0.3 });
    expect(parts(150, 120, 100)).toEqual({ managed: 1, unmanaged: 0 });
    expect(parts(10, 30, 100)).toEqual({ managed: 0.1, unmanaged: 0 });
    expect(parts(9, 5, null)).toEqual({ managed: 0, unmanaged: 0 });
    expect(parts(9, 5, 0)).toEqual({ managed: 0, unmanaged: 0 });
  });
});
