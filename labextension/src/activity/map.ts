/** The cluster map: each worker is a cell that its memory fills from below. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { ActivityWorker } from '../api/wire';
import { workerLines } from '../words/activity';
import { bytesWords, workerStatusWords } from '../words/words';
import { cellAt, cellsOf, partsOf } from './cells';
import type { ICell } from './cells';
import { sortedWorkers } from './columns';
import { Drawing, fitted } from './drawing';
import type { IMeaning, Mark } from './drawing';
import type { ActivityFeed } from './feed';

/** Cells of this size have their names, where these fit, and the figures too. */
const NAMED = { width: 44, height: 24 };
const TOLD = { width: 90, height: 58 };

/** What is known of a status; everything else is drawn as what ends. */
type Look = 'running' | 'paused' | 'other';

export class MapDrawing extends Drawing {
  constructor(
    private readonly _feed: ActivityFeed,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.node.addEventListener('keydown', event => {
      const page = this.size.height * 0.8;
      const by = { PageUp: -page, PageDown: page, ArrowUp: -40, ArrowDown: 40 }[
        event.key
      ];
      if (by !== undefined) {
        event.preventDefault();
        this.node.scrollTop += by;
      }
    });
  }

  /** Take what the feed has now. */
  update(): void {
    const workers = this._feed.activity?.workers ?? [];
    this._workers = sortedWorkers(workers, { by: 'name', down: false });
    this.request();
  }

  protected get total(): number {
    const { height, width } = this.size;
    return cellsOf(this._workers.length, width, height).height;
  }

  protected tellAt(x: number, y: number): readonly string[] | null {
    const place = cellAt(this._cells, x, y + this._top);
    const worker = this._workers[place];
    return worker ? workerLines(worker, this._trans) : null;
  }

  get meanings(): readonly IMeaning[] {
    const trans = this._trans;
    const area =
      (name: 'managed' | 'unmanaged'): Mark =>
      context => {
        context.fillStyle = this._memory(context, name);
        context.fillRect(0, 0, 14, 12);
      };
    const edge =
      (look: Look): Mark =>
      context =>
        this._outline(context, { x: 1, y: 1, width: 12, height: 10 }, look);
    const looks = new Set(this._workers.map(({ status }) => lookOf(status)));
    return [
      {
        key: 'managed',
        words: trans.__('Managed memory'),
        mark: area('managed')
      },
      {
        key: 'unmanaged',
        words: trans.__('Unmanaged memory'),
        mark: area('unmanaged')
      },
      ...(
        [
          ['running', trans.__('Running')],
          ['paused', trans.__('Paused: its memory is full')],
          ['other', trans.__('Starting or ending')]
        ] as const
      )
        .filter(([look]) => looks.has(look))
        .map(([look, words]) => ({ key: look, words, mark: edge(look) }))
    ];
  }

  protected paint(
    context: CanvasRenderingContext2D,
    width: number,
    height: number
  ): void {
    const { cells, height: total } = cellsOf(
      this._workers.length,
      width,
      height
    );
    this._cells = cells;
    this._top = Math.min(this.node.scrollTop, Math.max(total - height, 0));
    cells.forEach((cell, place) => {
      const y = cell.y - this._top;
      if (y < height && y + cell.height > 0) {
        this._paintCell(context, { ...cell, y }, this._workers[place]);
      }
    });
    this.canvas.setAttribute('aria-label', this._summary());
  }

  private _paintCell(
    context: CanvasRenderingContext2D,
    cell: ICell,
    worker: ActivityWorker
  ): void {
    const { colors } = this.palette;
    const { height, width, x, y } = cell;
    const { managed, unmanaged } = partsOf(worker);
    context.fillStyle = colors.row;
    context.fillRect(x, y, width, height);
    const [low, high] = [height * managed, height * unmanaged];
    context.fillStyle = this._memory(context, 'unmanaged');
    context.fillRect(x, y + height - low - high, width, high);
    context.fillStyle = this._memory(context, 'managed');
    context.fillRect(x, y + height - low, width, low);
    this._outline(context, cell, lookOf(worker.status));
    if (width >= NAMED.width && height >= NAMED.height) {
      const told = width >= TOLD.width && height >= TOLD.height;
      const percent = Math.round(100 * (managed + unmanaged));
      const lines = told
        ? [
            worker.name,
            workerStatusWords(worker.status, this._trans),
            worker.limit === null
              ? this._trans.__(
                  '%1 · %2 processing',
                  bytesWords(worker.memory, this._trans),
                  worker.processing
                )
              : this._trans.__(
                  '%1 % memory · %2 processing',
                  percent,
                  worker.processing
                )
          ]
        : [worker.name].filter(
            // Upon a small cell a part of a name hides more than it tells.
            it => context.measureText(it).width <= width - 16
          );
      lines.forEach((line, index) => {
        this._label(context, line, x + 5, y + 12 + 15 * index, width - 10);
      });
    }
  }

  /** Text that can be read upon any filling. */
  private _label(
    context: CanvasRenderingContext2D,
    text: string,
    x: number,
    y: number,
    width: number
  ): void {
    const { colors } = this.palette;
    const shown = fitted(context, text, width - 6);
    if (shown) {
      context.fillStyle = colors.background;
      context.fillRect(x - 1, y - 7, context.measureText(shown).width + 6, 14);
      context.fillStyle = colors.text;
      context.fillText(shown, x + 2, y);
    }
  }

  private _memory(
    context: CanvasRenderingContext2D,
    name: 'managed' | 'unmanaged'
  ): string | CanvasPattern {
    return name === 'managed'
      ? this.palette.colors.managed
      : this.palette.texture(context, 'managed', 'stripes');
  }

  private _outline(
    context: CanvasRenderingContext2D,
    { height, width, x, y }: ICell,
    look: Look
  ): void {
    const { colors } = this.palette;
    context.strokeStyle = look === 'paused' ? colors.warning : colors.text;
    context.lineWidth = look === 'paused' ? 3 : 1;
    context.setLineDash({ running: [], paused: [6, 3], other: [2, 2] }[look]);
    const inset = look === 'paused' ? 1.5 : 0.5;
    context.strokeRect(
      x + inset,
      y + inset,
      width - 2 * inset,
      height - 2 * inset
    );
    context.setLineDash([]);
  }

  private _summary(): string {
    const looks = this._workers.map(({ status }) => lookOf(status));
    const count = (look: Look) => looks.filter(it => it === look).length;
    const trans = this._trans;
    return [
      trans._n('%1 worker', '%1 workers', looks.length),
      count('paused') > 0 &&
        trans._n('%1 is paused', '%1 are paused', count('paused')),
      count('other') > 0 &&
        trans._n('%1 starts or ends', '%1 start or end', count('other'))
    ]
      .filter(Boolean)
      .join(', ');
  }

  private _workers: readonly ActivityWorker[] = [];
  private _cells: readonly ICell[] = [];
  private _top = 0;
}

function lookOf(status: string): Look {
  return status === 'running' || status === 'paused' ? status : 'other';
}
