/** Where the spans of a task stream are drawn: numbers only, without a canvas. */
import type { ActivityWorker } from '../api/wire';
import { ACTIONS } from './spans';
import type { Spans } from './spans';

/** A line of the stream: a thread of a worker, or one of which nothing is known (`lane` is -1). */
export interface IRow {
  readonly worker: string;
  /** How the worker is called. */
  readonly name: string;
  readonly lane: number;
  /** Whether it is the first one of its worker, and how many that has. */
  readonly first: boolean;
  readonly of: number;
}

/** What can be seen: times in units since the base of the spans, everything else in pixels. */
export interface IView {
  readonly from: number;
  readonly to: number;
  readonly width: number;
  readonly height: number;
  /** How far it is scrolled down. */
  readonly top: number;
  readonly rowHeight: number;
}

/** Takes a rectangle, of a span that stands for all of them that are in it. */
export type Draw = (
  x: number,
  y: number,
  width: number,
  height: number,
  span: number
) => void;

/** Whether an action is done beside the computing of tasks, and so drawn as a thin band at the foot of its row. */
export const BESIDE = ACTIONS.map(it => it !== 'compute' && it !== 'erred');
export const ERRED = ACTIONS.indexOf('erred');

/** The part of a row that a thin band takes. */
const BAND = 0.4;
/** Pixels between two rows, where they are so high. */
const GAP = 1;
const GAP_FROM = 4;

/** The rows of the stream: the workers by name, each with its threads; those that have gone while spans of them are left. */
export function rowsOf(
  spans: Spans,
  workers: readonly ActivityWorker[]
): IRow[] {
  const { offsets } = spans.index;
  const lanes = new Map<string, number[]>();
  for (const { id } of workers) {
    lanes.set(id, []);
  }
  spans.lanes.forEach(({ worker }, lane) => {
    if (offsets[lane] < offsets[lane + 1]) {
      const own = lanes.get(worker) ?? [];
      own.push(lane);
      lanes.set(worker, own);
    }
  });
  const known = new Map(workers.map(it => [it.id, it]));
  const order = new Intl.Collator(undefined, { numeric: true });
  const named = [...lanes].map(([worker, own]) => {
    const { name = worker, threads = 0 } = known.get(worker) ?? {};
    // One without a span is a row too; of a machine with thousands, not more than are of use.
    const idle = Math.max(0, Math.min(threads, 64) - own.length);
    return { worker, name, own: [...own, ...Array<number>(idle).fill(-1)] };
  });
  return named
    .sort((one, other) => order.compare(one.name, other.name))
    .flatMap(({ worker, name, own }) =>
      own.map((lane, place) => ({
        worker,
        name,
        lane,
        first: place === 0,
        of: own.length
      }))
    );
}

/** The height of a row: so many as fit, within what can be told apart and what is worth looking at. */
export function rowHeightFor(rows: number, height: number): number {
  return Math.min(Math.max(Math.floor(height / Math.max(rows, 1)), 6), 36);
}

/**
 * Draw the spans of a view. What is narrower than a pixel is drawn together with its neighbours in the same pixel: none
 * is lost, none lies outside, and there are never more rectangles than pixels and spans.
 */
export function drawSpans(
  spans: Spans,
  rows: readonly IRow[],
  view: IView,
  draw: Draw
): void {
  const { from, height, rowHeight, to, top, width } = view;
  const { action, length, prefix, start } = spans;
  const { longest, offsets, order } = spans.index;
  const scale = width / (to - from);
  const gap = rowHeight >= GAP_FROM ? GAP : 0;
  const first = Math.max(0, Math.floor(top / rowHeight));
  const last = Math.min(rows.length, Math.ceil((top + height) / rowHeight));
  // Of the whole row, and of the band: a rectangle that isn't drawn yet, and who stands for it.
  const begin = [0, 0];
  const end = [0, 0];
  const chosen = [-1, -1];
  let y = 0;
  let tall = 0;
  const flush = (band: number) => {
    const high = band ? tall * BAND : tall;
    const upper = Math.max(y + tall - high, 0);
    const lower = Math.min(y + tall, height);
    if (lower > upper && end[band] > begin[band]) {
      const wide = end[band] - begin[band];
      draw(begin[band], upper, wide, lower - upper, chosen[band]);
    }
    end[band] = begin[band];
  };
  for (let number = first; number < last; number++) {
    const { lane } = rows[number];
    if (lane < 0) {
      continue;
    }
    y = number * rowHeight - top;
    tall = rowHeight - gap;
    const stop = offsets[lane + 1];
    // The first that may reach into the view.
    let low = offsets[lane];
    let high = stop;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (start[order[middle]] < from - longest[lane]) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (let place = low; place < stop; place++) {
      const span = order[place];
      const begun = start[span];
      if (begun >= to) {
        break;
      }
      const ended = begun + length[span];
      if (ended < from || (ended === from && begun < from)) {
        continue;
      }
      const band = Number(BESIDE[action[span]]);
      const left = Math.max((begun - from) * scale, 0);
      const right = Math.min((ended - from) * scale, width);
      if (right - left >= 1) {
        flush(band);
        begin[band] = left;
        end[band] = right;
        chosen[band] = span;
        flush(band);
        continue;
      }
      const pixel = Math.min(Math.floor(left), width - 1);
      const open = end[band] > begin[band];
      const before = chosen[band];
      const alike =
        open &&
        prefix[before] === prefix[span] &&
        action[before] === action[span];
      if (alike && pixel <= end[band]) {
        end[band] = pixel + 1;
      } else if (open && pixel < end[band]) {
        // Two kinds in a pixel: what failed is seen before all else, else what took longest.
        if (stronger(spans, span, before)) {
          end[band] = pixel;
          flush(band);
          begin[band] = pixel;
          end[band] = pixel + 1;
          chosen[band] = span;
        }
      } else {
        flush(band);
        begin[band] = pixel;
        end[band] = pixel + 1;
        chosen[band] = span;
      }
    }
    flush(0);
    flush(1);
  }
}

function stronger(spans: Spans, one: number, other: number): boolean {
  const [a, b] = [spans.action[one] === ERRED, spans.action[other] === ERRED];
  return a === b ? spans.length[one] > spans.length[other] : a;
}

/** A span that is under a point, and how many more are within a pixel of it. */
export interface IHit {
  readonly span: number;
  readonly more: number;
}

/** Find what is at a point of the view, or null. */
export function spanAt(
  spans: Spans,
  rows: readonly IRow[],
  view: IView,
  x: number,
  y: number
): IHit | null {
  const { from, rowHeight, to, top, width } = view;
  const row = rows[Math.floor((y + top) / rowHeight)];
  if (!row || row.lane < 0) {
    return null;
  }
  const { longest, offsets, order } = spans.index;
  const units = (to - from) / width;
  const [begin, end] = [from + (x - 1) * units, from + (x + 1) * units];
  const within = (y + top) % rowHeight;
  const inBand = within > rowHeight * (1 - BAND) - 1;
  let best = -1;
  let found = 0;
  for (let place = offsets[row.lane]; place < offsets[row.lane + 1]; place++) {
    const span = order[place];
    const begun = spans.start[span];
    if (begun > end) {
      break;
    }
    if (
      begun < begin - longest[row.lane] ||
      begun + spans.length[span] < begin
    ) {
      continue;
    }
    found++;
    if (best < 0 || nearer(spans, span, best, inBand)) {
      best = span;
    }
  }
  return best < 0 ? null : { span: best, more: found - 1 };
}

function nearer(
  spans: Spans,
  one: number,
  other: number,
  inBand: boolean
): boolean {
  const [a, b] = [BESIDE[spans.action[one]], BESIDE[spans.action[other]]];
  return a === b ? stronger(spans, one, other) : a === inBand;
}

/** Seconds between two marks of the axis. */
const STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60,
  120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400
];

/** The marks of an axis between two times in seconds, not nearer than so many pixels; with how many seconds there are between. */
export function ticksOf(
  from: number,
  to: number,
  width: number,
  apart = 90
): { readonly step: number; readonly at: readonly number[] } {
  const least = ((to - from) * apart) / Math.max(width, 1);
  const step = STEPS.find(it => it >= least) ?? Math.ceil(least);
  const at: number[] = [];
  for (
    let number = Math.ceil(from / step);
    number * step <= to && at.length < 100;
    number++
  ) {
    at.push(number * step);
  }
  return { step, at };
}

/** The shortest and the longest time that is shown, in units. */
const SHORTEST = 10;
const LONGEST = 10_000 * 86_400;

/** How much is shown until somebody chooses, in units. */
const FIRST = { least: 10_000, most: 600_000 };

/** What part of the time is looked at; it follows the present until somebody moves it. */
export class Window {
  from = 0;
  to = 100_000;
  /** Whether it follows. */
  follows = true;

  /** Take the present and the first start, in units; until somebody has chosen a length, it is what there is of the last minute. */
  follow(begin: number | null, end: number): void {
    if (this.follows) {
      const known = begin === null ? 0 : end - begin;
      const length =
        this._chosen ?? Math.min(Math.max(known, FIRST.least), FIRST.most);
      // A little of the future, so that what comes isn't at the edge.
      this.to = end + length * 0.02;
      this.from = this.to - length;
    }
  }

  pan(units: number): void {
    this.follows = false;
    this.from += units;
    this.to += units;
  }

  /** Show more (above 1) or less of the time around a place in it, 0 being its begin and 1 its end. */
  zoom(factor: number, place: number): void {
    const before = this.to - this.from;
    const length = Math.min(Math.max(before * factor, SHORTEST), LONGEST);
    // While it follows the present stays where it is.
    const at = this.follows ? 1 : place;
    this.from += (before - length) * at;
    this.to = this.from + length;
    this._chosen = length;
  }

  /** Show all of this time. */
  fit(begin: number, end: number): void {
    const length = Math.max(end - begin, SHORTEST);
    this.follows = false;
    this.from = begin - length * 0.02;
    this.to = end + length * 0.02;
    this._chosen = this.to - this.from;
  }

  private _chosen: number | null = null;
}
