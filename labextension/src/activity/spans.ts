/** What the threads of a cluster did lately, in columns; so much is kept, the newest. The server's numbers are checked here. */
import type { ActivityStream } from '../api/wire';

/** Spans that are kept. */
export const KEPT = 100_000;
/** Units of time in a second. */
export const UNITS = 10_000;

/** What a thread did; columns hold places in this list. */
export const ACTIONS = [
  'compute',
  'transfer',
  'disk-read',
  'disk-write',
  'deserialize',
  'erred'
] as const;

export type Action = (typeof ACTIONS)[number];

/** So many names that no span has any more are let be. */
const UNUSED = 2_000;

/** A thread of a worker, by the worker's address. */
export interface ILane {
  readonly worker: string;
  readonly thread: string;
}

/** A name that tasks share, with the number of its style; the first has 0. */
export interface IPrefix {
  readonly name: string;
  readonly style: number;
}

/** The spans of each lane in the order of their starts: those of lane `n` are `order[offsets[n]]` up to `offsets[n + 1]`. */
export interface ISpanIndex {
  readonly order: Int32Array;
  readonly offsets: Int32Array;
  /** The longest span of each lane. */
  readonly longest: Float64Array;
  /** The first start, and the last end. */
  readonly begin: number;
  readonly end: number;
}

/** Names that columns refer to by number. */
class Names<T> {
  readonly all: T[] = [];

  number(key: string, make: () => T): number {
    const known = this._numbers.get(key);
    if (known !== undefined) {
      return known;
    }
    this._numbers.set(key, this.all.length);
    this._keys.push(key);
    return this.all.push(make()) - 1;
  }

  /** Keep those that are used; return the new number of each. */
  keep(used: Uint8Array): Int32Array {
    const [all, keys] = [this.all.splice(0), this._keys.splice(0)];
    this._numbers.clear();
    return Int32Array.from(all, (it, number) =>
      used[number] ? this.number(keys[number], () => it) : -1
    );
  }

  clear(): void {
    this.all.length = 0;
    this._keys.length = 0;
    this._numbers.clear();
  }

  private readonly _numbers = new Map<string, number>();
  private readonly _keys: string[] = [];
}

export class Spans {
  constructor(readonly capacity = KEPT) {
    this.start = new Float64Array(capacity);
    this.length = new Float64Array(capacity);
    this.lane = new Int32Array(capacity);
    this.prefix = new Int32Array(capacity);
    this.action = new Uint8Array(capacity);
  }

  /** In units since `base`. */
  readonly start: Float64Array;
  /** In units. */
  readonly length: Float64Array;
  readonly lane: Int32Array;
  readonly prefix: Int32Array;
  readonly action: Uint8Array;

  /** From when starts count, in seconds since 1970 by the clock of the scheduler. */
  base = 0;
  /** How many spans there are; they are in the places below it. */
  count = 0;
  /** Tasks that ended and were not told. */
  missed = 0;
  /** Changes with each change. */
  revision = 0;

  get lanes(): readonly ILane[] {
    return this._lanes.all;
  }

  get prefixes(): readonly IPrefix[] {
    return this._prefixes.all;
  }

  /** The span that came at this place, 0 being the oldest. */
  at(index: number): number {
    return (this._next - this.count + index + this.capacity) % this.capacity;
  }

  /** The end of the span that ends last, in units; null without any. */
  get end(): number | null {
    return this.count ? this.index.end : null;
  }

  /** The start of the first span, in units; null without any. */
  get begin(): number | null {
    return this.count ? this.index.begin : null;
  }

  /** Add what was told; where it counts from another time on, it is another cluster, and what was before is forgotten. */
  add(stream: ActivityStream): void {
    const { action, base, lane, length, missed, prefix, start } = stream;
    if (base !== this.base) {
      this._clear(base);
    }
    if (missed > 0) {
      this.missed += missed;
      this.revision++;
    }
    const lanes = stream.lanes.map(({ worker, thread }) =>
      this._lanes.number(JSON.stringify([worker, thread]), () => ({
        worker,
        thread
      }))
    );
    const prefixes = stream.prefixes.map(name =>
      this._prefixes.number(name, () => ({ name, style: this._styles++ }))
    );
    const actions = stream.actions.map(it => Math.max(ACTIONS.indexOf(it), 0));
    let at = 0;
    for (let row = 0; row < start.length; row++) {
      at += start[row];
      const span = this._next;
      const [one, two] = [lanes[lane[row]], prefixes[prefix[row]]];
      if (one === undefined || two === undefined || !Number.isFinite(at)) {
        continue;
      }
      this.start[span] = at;
      this.length[span] = Math.max(length[row], 0) || 0;
      this.lane[span] = one;
      this.prefix[span] = two;
      this.action[span] = actions[action[row]] ?? 0;
      this._next = (span + 1) % this.capacity;
      this.count = Math.min(this.count + 1, this.capacity);
    }
    if (start.length) {
      this.revision++;
      this._tidy();
    }
  }

  /** The spans by lane and time. */
  get index(): ISpanIndex {
    if (this._indexed !== this.revision || !this._index) {
      this._indexed = this.revision;
      this._index = this._made();
    }
    return this._index;
  }

  private _clear(base: number): void {
    this.base = base;
    this.count = 0;
    this.missed = 0;
    this._next = 0;
    this._styles = 0;
    this._lanes.clear();
    this._prefixes.clear();
    this.revision++;
  }

  private _made(): ISpanIndex {
    const { capacity, count, lane, length, start } = this;
    const lanes = this.lanes.length;
    const offsets = new Int32Array(lanes + 1);
    const longest = new Float64Array(lanes);
    let begin = Infinity;
    let end = -Infinity;
    for (let span = 0; span < count; span++) {
      begin = Math.min(begin, start[span]);
      end = Math.max(end, start[span] + length[span]);
      offsets[lane[span] + 1]++;
      longest[lane[span]] = Math.max(longest[lane[span]], length[span]);
    }
    for (let number = 0; number < lanes; number++) {
      offsets[number + 1] += offsets[number];
    }
    const order = new Int32Array(count);
    const places = offsets.slice();
    // In the order in which they came, which is nearly that of their starts.
    const first = this.at(0) % capacity;
    for (let index = 0; index < count; index++) {
      const span = (first + index) % capacity;
      order[places[lane[span]]++] = span;
    }
    for (let number = 0; number < lanes; number++) {
      const part = order.subarray(offsets[number], offsets[number + 1]);
      for (let place = 1; place < part.length; place++) {
        if (start[part[place]] < start[part[place - 1]]) {
          part.sort((one, other) => start[one] - start[other]);
          break;
        }
      }
    }
    return { order, offsets, longest, begin, end };
  }

  /** Let go of names that no span has: workers and prefixes come and go without end. */
  private _tidy(): void {
    for (const [names, column] of [
      [this._lanes, this.lane],
      [this._prefixes, this.prefix]
    ] as const) {
      if (names.all.length > UNUSED + this._kept.get(names)!) {
        const used = new Uint8Array(names.all.length);
        for (let span = 0; span < this.count; span++) {
          used[column[span]] = 1;
        }
        const numbers = names.keep(used);
        for (let span = 0; span < this.count; span++) {
          column[span] = numbers[column[span]];
        }
        this._kept.set(names, names.all.length);
      }
    }
  }

  private readonly _lanes = new Names<ILane>();
  private readonly _prefixes = new Names<IPrefix>();
  /** How many names there were when they were last looked through. */
  private readonly _kept = new Map<unknown, number>([
    [this._lanes, 0],
    [this._prefixes, 0]
  ]);
  private _styles = 0;
  private _next = 0;
  private _index: ISpanIndex | null = null;
  private _indexed = -1;
}

/** Seconds that the tasks of a prefix took, by what was done. */
export interface IPrefixTotals {
  readonly prefix: IPrefix;
  /** Tasks that ended, with those that failed. */
  tasks: number;
  erred: number;
  readonly seconds: Record<Action, number>;
}

/** Sum the spans up by prefix, those that took most first. */
export function totalsOf(spans: Spans): IPrefixTotals[] {
  const totals = spans.prefixes.map<IPrefixTotals>(prefix => ({
    prefix,
    tasks: 0,
    erred: 0,
    seconds: {
      compute: 0,
      transfer: 0,
      'disk-read': 0,
      'disk-write': 0,
      deserialize: 0,
      erred: 0
    }
  }));
  for (let span = 0; span < spans.count; span++) {
    const total = totals[spans.prefix[span]];
    const action = ACTIONS[spans.action[span]];
    total.seconds[action] += spans.length[span] / UNITS;
    total.tasks += Number(action === 'compute' || action === 'erred');
    total.erred += Number(action === 'erred');
  }
  const took = ({ seconds }: IPrefixTotals) => seconds.compute + seconds.erred;
  const found = totals.filter(({ seconds, tasks }) =>
    Boolean(tasks || Object.values(seconds).some(Boolean))
  );
  return found.sort((one, other) => took(other) - took(one));
}
