/** The colours and patterns of what is drawn, from the lab's variables, so that they fit its theme. */
import { ACTIONS } from './spans';
import type { Action } from './spans';

/** Hues that differ in every theme of the lab; red is what has failed. */
const HUES = [
  'var(--jp-brand-color1)',
  'var(--jp-warn-color0)',
  'var(--jp-success-color1)',
  'color-mix(in srgb, var(--jp-brand-color1), var(--jp-error-color1))',
  'var(--jp-info-color1)',
  'var(--jp-ui-font-color2)'
];
const VARIABLES = {
  background: 'var(--jp-layout-color0)',
  row: 'var(--jp-layout-color2)',
  line: 'var(--jp-border-color1)',
  text: 'var(--jp-ui-font-color1)',
  failed: 'var(--jp-error-color1)',
  warning: 'var(--jp-warn-color0)',
  managed: 'var(--jp-brand-color1)'
};
type Name = keyof typeof VARIABLES;

/** How an area of a hue is filled. */
const TEXTURES = ['solid', 'stripes', 'dots'] as const;
/** So many prefixes look different; then they begin anew. */
export const STYLES = HUES.length * TEXTURES.length;

/** What is drawn beside the computing of tasks has a pattern of its own. */
const BANDS: Partial<Record<Action, Texture>> = {
  transfer: 'back',
  'disk-read': 'checks',
  'disk-write': 'checks',
  deserialize: 'bars'
};

type Texture = (typeof TEXTURES)[number] | 'back' | 'checks' | 'bars' | 'cross';
export type Fill = string | CanvasPattern;

/** The sides of a tile in pixels. */
const TILE = 6;

export class Palette {
  constructor(private readonly _node: HTMLElement) {}

  /** Read the theme again; return whether it is another one. */
  refresh(): boolean {
    const ratio = pixelRatio();
    const probe = document.createElement('span');
    this._node.appendChild(probe);
    const resolved = [...HUES, ...Object.values(VARIABLES)].map(color => {
      probe.style.color = color;
      return getComputedStyle(probe).color;
    });
    const font = getComputedStyle(this._node);
    probe.remove();
    const read = JSON.stringify([resolved, font.fontFamily, ratio]);
    if (read === this._read) {
      return false;
    }
    this._read = read;
    this._hues = resolved.slice(0, HUES.length);
    this._fills.clear();
    this.font = `11px ${font.fontFamily || 'sans-serif'}`;
    const names = Object.keys(VARIABLES) as Name[];
    names.forEach((name, index) => {
      this.colors[name] = resolved[HUES.length + index];
    });
    return true;
  }

  readonly colors = { ...VARIABLES } as Record<Name, string>;
  font = '11px sans-serif';

  /** The fill of a prefix. */
  style(context: CanvasRenderingContext2D, number: number): Fill {
    const hue = number % HUES.length;
    const texture =
      TEXTURES[Math.floor(number / HUES.length) % TEXTURES.length];
    return this._fill(context, this._hues[hue], texture);
  }

  /** The fill of what was done for a task of a prefix. */
  action(
    context: CanvasRenderingContext2D,
    action: number,
    style: number
  ): Fill {
    const name = ACTIONS[action];
    const band = BANDS[name];
    return name === 'erred'
      ? this.texture(context, 'failed', 'cross')
      : band
        ? this.texture(context, 'text', band)
        : this.style(context, style);
  }

  texture(
    context: CanvasRenderingContext2D,
    name: Name,
    texture: Texture
  ): Fill {
    return this._fill(context, this.colors[name], texture);
  }

  private _fill(
    context: CanvasRenderingContext2D,
    color: string,
    texture: Texture
  ): Fill {
    if (texture === 'solid') {
      return color;
    }
    const key = `${texture} ${color}`;
    const known = this._fills.get(key);
    if (known) {
      return known;
    }
    const made = this._tile(context, color, texture) ?? color;
    this._fills.set(key, made);
    return made;
  }

  private _tile(
    context: CanvasRenderingContext2D,
    color: string,
    texture: Texture
  ): CanvasPattern | null {
    const ratio = pixelRatio();
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = TILE * ratio;
    const tile = canvas.getContext('2d');
    if (!tile) {
      return null;
    }
    tile.scale(ratio, ratio);
    tile.fillStyle = this.colors.background;
    tile.fillRect(0, 0, TILE, TILE);
    tile.fillStyle = tile.strokeStyle = color;
    tile.lineWidth = 1.5;
    const line = (...points: number[]) => {
      tile.beginPath();
      tile.moveTo(points[0], points[1]);
      tile.lineTo(points[2], points[3]);
      tile.stroke();
    };
    const slope = (up: boolean) => {
      for (const by of [-TILE, 0, TILE]) {
        line(by, up ? TILE : 0, by + TILE, up ? 0 : TILE);
      }
    };
    if (texture === 'stripes' || texture === 'dots') {
      tile.globalAlpha = texture === 'dots' ? 0.25 : 0.4;
      tile.fillRect(0, 0, TILE, TILE);
      tile.globalAlpha = 1;
    }
    switch (texture) {
      case 'stripes':
        tile.lineWidth = 2;
        slope(true);
        break;
      case 'back':
        slope(false);
        break;
      case 'dots':
        tile.beginPath();
        tile.arc(TILE / 2, TILE / 2, 1.6, 0, 7);
        tile.fill();
        break;
      case 'checks':
        tile.fillRect(0, 0, TILE / 2, TILE / 2);
        tile.fillRect(TILE / 2, TILE / 2, TILE / 2, TILE / 2);
        break;
      case 'bars':
        tile.fillRect(0, 0, 1.5, TILE);
        tile.fillRect(TILE / 2, 0, 1.5, TILE);
        break;
      case 'cross':
        tile.fillRect(0, 0, TILE, TILE);
        tile.strokeStyle = this.colors.background;
        tile.lineWidth = 1;
        slope(true);
        slope(false);
        break;
    }
    const pattern = context.createPattern(canvas, 'repeat');
    pattern?.setTransform(new DOMMatrix().scale(1 / ratio));
    return pattern;
  }

  private _hues: readonly string[] = HUES;
  private _read = '';
  private readonly _fills = new Map<string, Fill>();
}

/** Pixels of the screen for one of the page; more than two are not seen. */
export function pixelRatio(): number {
  return Math.min(Math.max(window.devicePixelRatio || 1, 1), 2);
}
