/** A canvas in a container that scrolls, drawn anew only when something has changed, with a text beside the pointer. */
import type { IDisposable } from '@lumino/disposable';

import { Palette, pixelRatio } from './palette';

/** Pixels between the pointer and its text. */
const ASIDE = 12;

export abstract class Drawing implements IDisposable {
  constructor() {
    this.node = document.createElement('div');
    this.node.className = 'jp-Coiled-paneStage';
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'group');
    this._room = document.createElement('div');
    this.canvas = document.createElement('canvas');
    this.canvas.setAttribute('role', 'img');
    this._tip = document.createElement('div');
    this._tip.className = 'jp-Coiled-paneTip';
    // What it tells is in the table too.
    this._tip.setAttribute('aria-hidden', 'true');
    this._tip.hidden = true;
    this._room.append(this.canvas);
    this.node.append(this._room, this._tip);
    this.palette = new Palette(this.node);
    this.node.addEventListener('scroll', () => this.request());
    this.canvas.addEventListener('pointermove', event => {
      this._pointer = { x: event.offsetX, y: event.offsetY };
      this._tell();
    });
    this.canvas.addEventListener('pointerleave', () => {
      this._pointer = null;
      this._tell();
    });
    if (typeof ResizeObserver !== 'undefined') {
      this._observer = new ResizeObserver(() => this.request());
      this._observer.observe(this.node);
    }
  }

  readonly node: HTMLDivElement;
  readonly canvas: HTMLCanvasElement;
  readonly palette: Palette;

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Pixels of what can be seen. */
  get size(): { readonly width: number; readonly height: number } {
    return { width: this.node.clientWidth, height: this.node.clientHeight };
  }

  /** Draw at the next frame. */
  request(): void {
    if (!this._frame && !this._disposed) {
      this._frame = requestAnimationFrame(() => {
        this._frame = 0;
        this._draw();
      });
    }
  }

  /** Draw if the theme is another one by now. */
  checkTheme(): void {
    // What is behind others is looked at when it comes to the front.
    if (this.node.offsetParent && this.palette.refresh()) {
      this.request();
    }
  }

  /** Paint a picture with a title above it and the meaning of the colours below it. */
  picture(title: string): HTMLCanvasElement {
    const { width, height } = this.size;
    const { colors, font } = this.palette;
    const marks = this.meanings;
    const ratio = pixelRatio();
    const made = document.createElement('canvas');
    const columns = Math.max(Math.floor(width / 220), 1);
    const below = marks.length ? Math.ceil(marks.length / columns) * 18 + 8 : 0;
    made.width = width * ratio;
    made.height = (28 + height + below) * ratio;
    const context = made.getContext('2d');
    if (!context) {
      return made;
    }
    context.scale(ratio, ratio);
    context.fillStyle = colors.background;
    context.fillRect(0, 0, width, 28 + height + below);
    context.font = `bold ${font}`;
    context.fillStyle = colors.text;
    context.textBaseline = 'middle';
    context.fillText(title, 8, 14, width - 16);
    context.drawImage(this.canvas, 0, 28, width, height);
    context.font = font;
    marks.forEach(({ mark, words }, index) => {
      const x = 8 + (index % columns) * 220;
      const y = 28 + height + 8 + Math.floor(index / columns) * 18;
      context.save();
      context.translate(x, y);
      mark(context);
      context.restore();
      context.fillStyle = colors.text;
      context.fillText(words, x + 20, y + 6, 190);
    });
    return made;
  }

  dispose(): void {
    this._disposed = true;
    cancelAnimationFrame(this._frame);
    this._observer?.disconnect();
  }

  /** Paint everything; the transform is that of the page's pixels. */
  protected abstract paint(
    context: CanvasRenderingContext2D,
    width: number,
    height: number
  ): void;

  /** How high it would be without scrolling. */
  protected abstract get total(): number;

  /** What is at a point of the canvas, in lines of text, or null. */
  protected abstract tellAt(x: number, y: number): readonly string[] | null;

  /** What each of the colours and patterns means that there are. */
  abstract get meanings(): readonly IMeaning[];

  private _draw(): void {
    const { width, height } = this.size;
    const context = width && height ? this.canvas.getContext('2d') : null;
    if (!context) {
      return;
    }
    if (!this._themed) {
      this._themed = true;
      this.palette.refresh();
    }
    const room = `${Math.max(this.total, height)}px`;
    if (this._room.style.height !== room) {
      this._room.style.height = room;
    }
    const ratio = pixelRatio();
    if (
      this.canvas.width !== width * ratio ||
      this.canvas.height !== height * ratio
    ) {
      this.canvas.width = width * ratio;
      this.canvas.height = height * ratio;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = this.palette.colors.background;
    context.fillRect(0, 0, width, height);
    context.font = this.palette.font;
    context.textBaseline = 'middle';
    this.paint(context, width, height);
    this._tell();
  }

  private _tell(): void {
    const at = this._pointer;
    const lines = at && this.tellAt(at.x, at.y);
    this._tip.hidden = !lines;
    if (!at || !lines) {
      return;
    }
    const text = lines.join('\n');
    if (this._tip.textContent !== text) {
      this._tip.textContent = text;
    }
    const { width, height } = this.size;
    const { offsetHeight, offsetWidth } = this._tip;
    const left =
      at.x + ASIDE + offsetWidth < width
        ? at.x + ASIDE
        : at.x - ASIDE - offsetWidth;
    const top =
      at.y + ASIDE + offsetHeight < height
        ? at.y + ASIDE
        : at.y - ASIDE - offsetHeight;
    this._tip.style.left = `${Math.max(left, 0)}px`;
    this._tip.style.top = `${this.node.scrollTop + Math.max(top, 0)}px`;
  }

  private readonly _room: HTMLDivElement;
  private readonly _tip: HTMLDivElement;
  private _pointer: { readonly x: number; readonly y: number } | null = null;
  private _observer: ResizeObserver | null = null;
  private _themed = false;
  private _frame = 0;
  private _disposed = false;
}

/** Paints a mark of 14 by 12 pixels at the origin. */
export type Mark = (context: CanvasRenderingContext2D) => void;

/** What a colour or a pattern means. */
export interface IMeaning {
  readonly key: string;
  readonly words: string;
  readonly mark: Mark;
}

/** A name as far as it fits into a width: its end, by which those of workers differ. */
export function fitted(
  context: CanvasRenderingContext2D,
  text: string,
  width: number
): string {
  const wide = (part: string) => context.measureText(part).width;
  if (wide(text) <= width) {
    return text;
  }
  let low = 0;
  let high = Math.min(text.length, 200);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (wide(`…${text.slice(-middle)}`) <= width) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low ? `…${text.slice(-low)}` : '';
}
