/** The task stream: each thread of each worker is a row, time goes to the right. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { actionWords, tookWords } from '../words/activity';
import { Drawing, fitted } from './drawing';
import type { IMeaning } from './drawing';
import type { ActivityFeed } from './feed';
import {
  BESIDE,
  ERRED,
  Window,
  drawSpans,
  rowHeightFor,
  rowsOf,
  spanAt,
  ticksOf
} from './geometry';
import type { IRow, IView } from './geometry';
import { STYLES } from './palette';
import { ACTIONS, UNITS, totalsOf } from './spans';
import type { IPrefixTotals } from './spans';

/** Pixels of the axis, and of the names at the left, if there is room for these. */
const AXIS = 22;
const NAMES = 110;
const ROOM = 240;
/** How far a key or a button moves, as a part of what is seen, and how much one of them zooms. */
const STEP = 0.2;
export const ZOOM = 1.5;
/** Prefixes of which the legend tells. */
const TOLD = 12;

export class StreamDrawing extends Drawing {
  constructor(
    private readonly _feed: ActivityFeed,
    private readonly _trans: TranslationBundle
  ) {
    super();
    const { canvas, node } = this;
    canvas.addEventListener('wheel', event => this._onWheel(event), {
      passive: false
    });
    canvas.addEventListener('pointerdown', event => {
      if (event.button === 0) {
        this._dragged = { x: event.clientX, y: event.clientY };
        canvas.setPointerCapture(event.pointerId);
      }
    });
    canvas.addEventListener('pointermove', event => this._onDrag(event));
    for (const end of ['pointerup', 'pointercancel'] as const) {
      canvas.addEventListener(end, () => {
        this._dragged = null;
      });
    }
    node.addEventListener('keydown', event => this._onKey(event));
  }

  /** Emitted when it begins or stops to follow the present. */
  get moved(): ISignal<this, void> {
    return this._moved;
  }

  get follows(): boolean {
    return this._window.follows;
  }

  set follows(follows: boolean) {
    this._window.follows = follows;
    this._follow();
    this._touched();
  }

  /** The prefixes by the time that their tasks took. */
  get totals(): readonly IPrefixTotals[] {
    const { spans } = this._feed;
    if (this._summed !== spans.revision) {
      this._summed = spans.revision;
      this._totals = totalsOf(spans);
    }
    return this._totals;
  }

  /** What the colours and patterns mean of which there are some. */
  get meanings(): readonly IMeaning[] {
    const { totals } = this;
    const rest = totals.length - TOLD;
    const done = ACTIONS.filter(
      action =>
        action !== 'compute' &&
        action !== 'disk-write' &&
        totals.some(
          ({ erred, seconds }) =>
            seconds[action] > 0 ||
            (action === 'erred' && erred > 0) ||
            (action === 'disk-read' && seconds['disk-write'] > 0)
        )
    );
    return [
      ...totals.slice(0, TOLD).map(({ prefix, tasks }) => ({
        key: `prefix ${prefix.name}`,
        words: this._trans.__('%1 (%2)', prefix.name, tasks),
        mark: (context: CanvasRenderingContext2D) => {
          context.fillStyle = this.palette.style(context, prefix.style);
          context.fillRect(0, 0, 14, 12);
        }
      })),
      ...(rest > 0
        ? [
            {
              key: 'rest',
              words: this._trans._n('and %1 more', 'and %1 more', rest),
              mark: () => undefined
            }
          ]
        : []),
      ...done.map(action => ({
        key: `action ${action}`,
        words:
          action === 'disk-read'
            ? this._trans.__('Read from or written to disk')
            : actionWords(action, this._trans),
        mark: (context: CanvasRenderingContext2D) =>
          this._mark(context, ACTIONS.indexOf(action))
      }))
    ];
  }

  /** Take what the feed has now. */
  update(): void {
    const { activity, spans } = this._feed;
    this._rows = rowsOf(spans, activity?.workers ?? []);
    this._cut.clear();
    this._names = new Map(this._rows.map(({ name, worker }) => [worker, name]));
    if (spans.base !== this._base) {
      this._base = spans.base;
      this._window.follows = true;
      this._moved.emit();
    }
    this._follow();
    this.request();
  }

  zoom(factor: number, place = 0.5): void {
    this._window.zoom(factor, place);
    this._follow();
    this._touched();
  }

  /** Move in time by a part of what is seen. */
  pan(part: number): void {
    const { from, to } = this._window;
    this._window.pan((to - from) * part);
    this._touched();
  }

  /** Show everything that is kept. */
  fit(): void {
    const { begin, end } = this._feed.spans;
    if (begin !== null && end !== null) {
      this._window.fit(begin, end);
      this._touched();
    }
  }

  dispose(): void {
    super.dispose();
    Signal.clearData(this);
  }

  protected get total(): number {
    return this._rows.length * this._rowHeight + AXIS;
  }

  protected tellAt(x: number, y: number): readonly string[] | null {
    const { spans } = this._feed;
    const { _trans: trans } = this;
    const view = this._view;
    const left = x - this._left;
    if (this._dragged || left < 0 || y >= view.height) {
      const row = left < 0 && this._rows[this._rowAt(y)];
      return row && y < view.height ? [row.name, row.worker] : null;
    }
    const hit = spanAt(spans, this._rows, view, left, y);
    if (!hit) {
      return null;
    }
    const { worker, thread } = spans.lanes[spans.lane[hit.span]];
    const begin = spans.base + spans.start[hit.span] / UNITS;
    return [
      spans.prefixes[spans.prefix[hit.span]].name,
      actionWords(ACTIONS[spans.action[hit.span]], trans),
      trans.__('Worker: %1', this._names.get(worker) ?? worker),
      trans.__('Thread: %1', thread),
      trans.__('Begin: %1', clock(begin, 0.001)),
      trans.__('Time: %1', tookWords(spans.length[hit.span] / UNITS, trans)),
      ...(hit.more
        ? [trans._n('and %1 more here', 'and %1 more here', hit.more)]
        : [])
    ];
  }

  protected paint(
    context: CanvasRenderingContext2D,
    width: number,
    height: number
  ): void {
    const rows = this._rows;
    const left = width >= ROOM ? this._namesWidth(context) : 0;
    if (left !== this._left) {
      this._left = left;
      this._cut.clear();
    }
    this._rowHeight = rowHeightFor(rows.length, height - AXIS);
    this._view = {
      from: this._window.from,
      to: this._window.to,
      width: Math.max(Math.floor(width - this._left), 1),
      height: height - AXIS,
      top: Math.min(this.node.scrollTop, Math.max(this.total - height, 0)),
      rowHeight: this._rowHeight
    };
    this._paintRows(context);
    this._paintAxis(context, height);
    context.save();
    context.translate(this._left, 0);
    this._paintSpans(context);
    context.restore();
    this.canvas.setAttribute('aria-label', this._summary());
  }

  private _paintRows(context: CanvasRenderingContext2D): void {
    const { height, rowHeight, top, width } = this._view;
    const { colors } = this.palette;
    const heads = this._rows.flatMap((row, number) =>
      row.first ? [{ ...row, y: number * rowHeight - top }] : []
    );
    heads.forEach(({ of, y }, number) => {
      const upper = Math.max(y, 0);
      const lower = Math.min(y + of * rowHeight, height);
      if (number % 2 === 0 && lower > upper) {
        context.globalAlpha = 0.45;
        context.fillStyle = colors.row;
        context.fillRect(0, upper, this._left + width, lower - upper);
        context.globalAlpha = 1;
      }
    });
    let free = 6;
    context.fillStyle = colors.text;
    for (const { name, of, y } of this._left ? heads : []) {
      // In the middle of what can be seen of it.
      const upper = Math.max(y, 0);
      const lower = Math.min(y + of * rowHeight, height);
      const middle = (upper + lower) / 2;
      if (lower > upper && middle >= free && middle < height - 5) {
        context.fillText(this._fitted(context, name), 6, middle);
        free = middle + 13;
      }
    }
  }

  /** Pixels for the names of the workers; of many, the first ones tell how long they are. */
  private _namesWidth(context: CanvasRenderingContext2D): number {
    const longest = this._rows
      .slice(0, 400)
      .reduce(
        (most, { name }) => (name.length > most.length ? name : most),
        ''
      );
    const wide = context.measureText(longest.slice(0, 40)).width;
    return Math.min(Math.ceil(wide) + 14, NAMES);
  }

  /** A name as far as there is room for it. */
  private _fitted(context: CanvasRenderingContext2D, name: string): string {
    const known = this._cut.get(name);
    if (known !== undefined) {
      return known;
    }
    const made = fitted(context, name, this._left - 12);
    this._cut.set(name, made);
    return made;
  }

  private _paintAxis(context: CanvasRenderingContext2D, height: number): void {
    const { from, to, width } = this._view;
    const { colors } = this.palette;
    const base = this._base;
    const { at, step } = ticksOf(
      base + from / UNITS,
      base + to / UNITS,
      width,
      100
    );
    const bottom = height - AXIS;
    context.fillStyle = colors.line;
    context.fillRect(0, bottom, this._left + width, 1);
    context.textAlign = 'center';
    for (const time of at) {
      const x =
        this._left + (((time - base) * UNITS - from) / (to - from)) * width;
      // In a theme of high contrast a whole line would be as strong as what it measures.
      context.globalAlpha = 0.4;
      context.fillStyle = colors.line;
      context.fillRect(Math.round(x), 0, 1, bottom);
      context.globalAlpha = 1;
      context.fillRect(Math.round(x), bottom, 1, 4);
      const words = clock(time, step);
      const half = context.measureText(words).width / 2;
      if (x - half > 2 && x + half < this._left + width) {
        context.fillStyle = colors.text;
        context.fillText(words, x, bottom + AXIS / 2 + 2);
      }
    }
    context.textAlign = 'start';
  }

  private _paintSpans(context: CanvasRenderingContext2D): void {
    const { spans } = this._feed;
    const { colors } = this.palette;
    const boxes = this._boxes;
    boxes.forEach(box => (box.length = 0));
    const { action, prefix } = spans;
    const styles = spans.prefixes.map(({ style }) => style % STYLES);
    drawSpans(spans, this._rows, this._view, (x, y, width, height, span) => {
      const kind = action[span];
      const box =
        boxes[
          kind === ERRED || BESIDE[kind] ? STYLES + kind : styles[prefix[span]]
        ];
      // Two tasks, one after the other, are two.
      box.push(x, y, width >= 3 ? width - 0.75 : width, height);
    });
    boxes.forEach((box, number) => {
      const kind = number - STYLES;
      if (kind < 0) {
        context.fillStyle = this.palette.style(context, number);
        fill(context, box, 0);
        return;
      }
      // With an edge, since it lies upon others.
      context.fillStyle = kind === ERRED ? colors.text : colors.background;
      fill(context, box, kind === ERRED ? 0 : 1);
      context.fillStyle = this.palette.action(context, kind, 0);
      fill(context, box, kind === ERRED ? -1 : 0);
    });
  }

  private _mark(context: CanvasRenderingContext2D, action: number): void {
    const { colors } = this.palette;
    context.fillStyle = action === ERRED ? colors.text : colors.row;
    context.fillRect(0, 0, 14, 12);
    context.fillStyle = this.palette.action(context, action, 0);
    if (action === ERRED) {
      context.fillRect(1, 1, 12, 10);
    } else {
      context.fillRect(0, 5, 14, 7);
    }
  }

  private _summary(): string {
    const { spans } = this._feed;
    const trans = this._trans;
    const [first] = this.totals;
    const threads = this._rows.length;
    return [
      trans._n('%1 row of a thread', '%1 rows of threads', threads),
      trans._n('%1 span', '%1 spans', spans.count),
      first && trans.__('most time for %1', first.prefix.name)
    ]
      .filter(Boolean)
      .join(', ');
  }

  private _follow(): void {
    const { activity, spans } = this._feed;
    if (!activity) {
      return;
    }
    const now = (activity.now - spans.base) * UNITS;
    // A cluster at rest shows what it did last.
    const { begin, end } = spans;
    this._window.follow(
      begin,
      activity.processing > 0 || end === null ? now : Math.min(end, now)
    );
  }

  private _touched(): void {
    this._moved.emit();
    this.request();
  }

  private _rowAt(y: number): number {
    return Math.floor((y + this._view.top) / this._view.rowHeight);
  }

  private _onWheel(event: WheelEvent): void {
    const sideways = event.deltaX !== 0 && !event.shiftKey;
    const by = event.deltaY || event.deltaX;
    const pixels = event.deltaMode === 0 ? by : by * 30;
    event.preventDefault();
    if (event.shiftKey) {
      this.node.scrollTop += pixels;
    } else if (sideways && Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.pan(event.deltaX / this._view.width);
    } else {
      const place = (event.offsetX - this._left) / this._view.width;
      this.zoom(
        Math.exp(Math.min(Math.max(pixels, -200), 200) / 400),
        Math.min(Math.max(place, 0), 1)
      );
    }
  }

  private _onDrag(event: PointerEvent): void {
    const from = this._dragged;
    if (from) {
      const [x, y] = [event.clientX - from.x, event.clientY - from.y];
      this._dragged = { x: event.clientX, y: event.clientY };
      this.node.scrollTop -= y;
      if (x) {
        this.pan(-x / this._view.width);
      }
    }
  }

  private _onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const page = this._view.height * 0.8;
    const act = {
      ArrowLeft: () => this.pan(-STEP),
      ArrowRight: () => this.pan(STEP),
      ArrowUp: () => (this.node.scrollTop -= 3 * this._rowHeight),
      ArrowDown: () => (this.node.scrollTop += 3 * this._rowHeight),
      PageUp: () => (this.node.scrollTop -= page),
      PageDown: () => (this.node.scrollTop += page),
      '+': () => this.zoom(1 / ZOOM),
      '=': () => this.zoom(1 / ZOOM),
      '-': () => this.zoom(ZOOM),
      Home: () => this.fit(),
      End: () => (this.follows = true)
    }[event.key];
    if (act) {
      event.preventDefault();
      event.stopPropagation();
      act();
    }
  }

  private readonly _moved = new Signal<this, void>(this);
  private readonly _window = new Window();
  private readonly _boxes = Array.from(
    { length: STYLES + ACTIONS.length },
    (): number[] => []
  );
  private _rows: readonly IRow[] = [];
  private _names: ReadonlyMap<string, string> = new Map();
  private readonly _cut = new Map<string, string>();
  private _base = 0;
  private _left = 0;
  private _rowHeight = 1;
  private _view: IView = {
    from: 0,
    to: 1,
    width: 1,
    height: 0,
    top: 0,
    rowHeight: 1
  };
  private _dragged: { readonly x: number; readonly y: number } | null = null;
  private _totals: readonly IPrefixTotals[] = [];
  private _summed = -1;
}

/** Fill boxes of four numbers, made larger on each side by so much where they stay visible. */
function fill(
  context: CanvasRenderingContext2D,
  boxes: readonly number[],
  more: number
): void {
  for (let at = 0; at < boxes.length; at += 4) {
    const width = boxes[at + 2];
    const by = more < 0 && width < 4 ? 0 : more;
    context.fillRect(
      boxes[at] - by,
      boxes[at + 1] - by,
      width + 2 * by,
      boxes[at + 3] + 2 * by
    );
  }
}

/** The time of day here, as exactly as a step of so many seconds asks for. */
function clock(seconds: number, step: number): string {
  const time = new Date(seconds * 1000);
  if (Number.isNaN(time.getTime())) {
    return '';
  }
  const whole = time.toTimeString().slice(0, 8);
  return step < 1
    ? `${whole}.${String(time.getMilliseconds()).padStart(3, '0')}`
    : whole;
}
