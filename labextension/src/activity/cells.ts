/** Where the workers of a cluster map are drawn: numbers only, without a canvas. */
import type { ActivityWorker } from '../api/wire';

export interface ICell {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** How wide a cell is beside its height, where it can be so. */
const SHAPE = 1.6;
const GAP = 4;
const LARGEST = 160;
const SMALLEST = 10;

/** Where so many cells are in a container of this width and height; they may be higher together than it is. */
export function cellsOf(
  count: number,
  width: number,
  height: number
): { readonly cells: readonly ICell[]; readonly height: number } {
  let columns = 1;
  // The fewest columns with which they fit, so that they are as large as can be.
  const most = Math.max(
    1,
    Math.floor((width - GAP) / (SMALLEST * SHAPE + GAP))
  );
  const wide = (among: number) =>
    Math.max(Math.min((width - GAP) / among - GAP, LARGEST * SHAPE), SMALLEST);
  const high = (among: number) => Math.floor(wide(among) / SHAPE);
  while (
    columns < most &&
    Math.ceil(count / columns) * (high(columns) + GAP) + GAP > height
  ) {
    columns++;
  }
  // No larger with fewer columns.
  const wider = Math.floor((width - GAP) / (Math.floor(wide(columns)) + GAP));
  columns = Math.max(columns, Math.min(wider, count));
  const size = { width: Math.floor(wide(columns)), height: high(columns) };
  const cells = Array.from({ length: count }, (_, number) => ({
    ...size,
    x: GAP + (number % columns) * (size.width + GAP),
    y: GAP + Math.floor(number / columns) * (size.height + GAP)
  }));
  return {
    cells,
    height: GAP + Math.ceil(count / columns) * (size.height + GAP)
  };
}

/** Which cell is at a point, -1 for none. */
export function cellAt(cells: readonly ICell[], x: number, y: number): number {
  return cells.findIndex(
    cell =>
      x >= cell.x &&
      x < cell.x + cell.width &&
      y >= cell.y &&
      y < cell.y + cell.height
  );
}

/** What parts of the limit a worker's memory takes, from 0 to 1 together; without a limit there is nothing to fill. */
export function partsOf(worker: ActivityWorker): {
  readonly managed: number;
  readonly unmanaged: number;
} {
  const { limit, managed, memory } = worker;
  const most = limit || Infinity;
  const used = Math.min(memory / most, 1);
  const part = Math.min(managed / most, used);
  return { managed: part, unmanaged: used - part };
}
