/** What all panes have in common: whose activity it is, how old it is, what isn't shown, and why there is none. */
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  ToolbarButton,
  ToolbarButtonComponent,
  addToolbarButtonClass
} from '@jupyterlab/ui-components';
import type { LabIcon } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';
import * as React from 'react';

import type { Activity } from '../api/wire';
import { useSeconds } from '../panel/age';
import {
  countsWords,
  emptyPaneWords,
  missedWords,
  paneWords
} from '../words/activity';
import type { PaneKind } from '../words/activity';
import { agoWords, refusalWords } from '../words/words';
import type { Drawing, IMeaning, Mark } from './drawing';
import type { ActivityFeed } from './feed';

/** Seconds from which on the age is told. */
const OLD = 3;

export interface IPaneOptions {
  cluster: string;
  feed: ActivityFeed;
  /** How the cluster is called now. */
  name: () => string;
  /** Give the feed back. */
  release: () => void;
  /** Hand a file to the browser. */
  save: (name: string, content: Blob) => void;
  trans: TranslationBundle;
}

/** What a pane is, to be opened again after a reload. */
export interface IPaneArgs {
  readonly [key: string]: string;
  readonly cluster: string;
  readonly kind: PaneKind;
  readonly name: string;
}

interface IActionOptions {
  icon?: LabIcon;
  label?: string;
  tooltip: string;
  onClick: () => void;
}

/** A button that isn't pressed or released, as the lab's `ToolbarButton` always is. */
export function action(options: IActionOptions): Widget {
  return addToolbarButtonClass(
    ReactWidget.create(<ToolbarButtonComponent {...options} />)
  );
}

export abstract class Pane extends ReactWidget {
  constructor(
    readonly kind: PaneKind,
    protected readonly options: IPaneOptions
  ) {
    super();
    this.addClass('jp-Coiled-pane');
    this.node.dataset.pane = kind;
  }

  get args(): IPaneArgs {
    const { cluster } = this.options;
    return { cluster, kind: this.kind, name: this.name };
  }

  get feed(): ActivityFeed {
    return this.options.feed;
  }

  /** Of the cluster. */
  get name(): string {
    return this.options.name();
  }

  get trans(): TranslationBundle {
    return this.options.trans;
  }

  /** What it shows, and of which cluster. */
  get label(): string {
    return paneWords(this.kind, this.name, this.trans);
  }

  /** Its buttons, by name. */
  buttons(): Record<string, Widget> {
    const { trans } = this;
    return {
      csv: action({
        label: trans.__('CSV'),
        tooltip: trans.__('Save what is known as CSV'),
        onClick: () => {
          const { activity } = this.feed;
          if (activity) {
            const content = new Blob([this.csv(activity)], {
              type: 'text/csv'
            });
            this.options.save(this.fileName('csv'), content);
          }
        }
      })
    };
  }

  dispose(): void {
    if (!this.isDisposed) {
      this.feed.look(this, false);
      this.options.release();
      Signal.clearData(this);
      super.dispose();
    }
  }

  /** What it shows, of the last answer. */
  abstract view(activity: Activity): JSX.Element;

  /** Whether there is nothing to show. */
  abstract isEmpty(activity: Activity): boolean;

  protected abstract csv(activity: Activity): string;

  protected fileName(extension: string): string {
    const name = this.name.replace(/[^\w.-]+/g, '_').slice(0, 80) || 'cluster';
    return `${name}-${this.kind}.${extension}`;
  }

  protected render(): JSX.Element {
    return (
      <UseSignal signal={this.feed.changed}>
        {() => <Frame pane={this} />}
      </UseSignal>
    );
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.feed.look(this, this.isVisible);
  }

  protected onAfterShow(): void {
    this.feed.look(this, true);
  }

  protected onAfterHide(): void {
    this.feed.look(this, false);
  }

  protected onBeforeDetach(message: Message): void {
    this.feed.look(this, false);
    super.onBeforeDetach(message);
  }
}

/** A pane with a picture, and a table of what is in it. */
export abstract class DrawnPane<D extends Drawing> extends Pane {
  constructor(
    kind: PaneKind,
    options: IPaneOptions,
    protected readonly drawing: D
  ) {
    super(kind, options);
  }

  /** Whether the table can be seen; whoever doesn't see can always read it. */
  get tabled(): boolean {
    return this._tabled;
  }

  buttons(): Record<string, Widget> {
    const { trans } = this;
    const table: ToolbarButton = new ToolbarButton({
      label: trans.__('Table'),
      tooltip: trans.__('Show the figures in a table'),
      onClick: () => {
        this._tabled = !this._tabled;
        table.pressed = this._tabled;
        this.update();
      }
    });
    const png = action({
      label: trans.__('PNG'),
      tooltip: trans.__('Save the picture as PNG'),
      onClick: () =>
        this.drawing.picture(this.label).toBlob(content => {
          if (content) {
            this.options.save(this.fileName('png'), content);
          }
        })
    });
    return { table, png, ...super.buttons() };
  }

  dispose(): void {
    this.drawing.dispose();
    super.dispose();
  }

  protected onAfterShow(): void {
    super.onAfterShow();
    this.drawing.request();
  }

  private _tabled = false;
}

function Frame({ pane }: { pane: Pane }): JSX.Element {
  const { feed, kind, trans } = pane;
  const { activity, error } = feed;
  const empty = activity && pane.isEmpty(activity);
  return (
    <>
      <div className="jp-Coiled-paneCaption">
        <b>{pane.name}</b>
        {activity && <span>{countsWords(activity, trans)}</span>}
        <Age feed={feed} trans={trans} />
      </div>
      <div className="jp-Coiled-problem" role="status">
        {error && trans.__('Not read: %1', refusalWords(error, trans))}
      </div>
      {kind === 'task-stream' && feed.spans.missed > 0 && (
        <p className="jp-Coiled-paneMissed">
          {missedWords(feed.spans.missed, trans)}
        </p>
      )}
      {!activity && !error && (
        <p className="jp-Coiled-paneEmpty">{trans.__('Reading…')}</p>
      )}
      {empty && (
        <p className="jp-Coiled-paneEmpty" data-empty={kind}>
          {emptyPaneWords(kind, trans)}
        </p>
      )}
      {activity && !empty && pane.view(activity)}
    </>
  );
}

interface IAgeProps {
  feed: ActivityFeed;
  trans: TranslationBundle;
}

/** How old it is, where that isn't next to nothing. */
function Age({ feed, trans }: IAgeProps): JSX.Element | null {
  useSeconds();
  const { age } = feed;
  return age !== null && age > OLD ? (
    <span className="jp-Coiled-age" data-age="stale">
      {trans.__('read %1', agoWords(age, trans))}
    </span>
  ) : null;
}

export interface IStageProps {
  drawing: Drawing;
  label: string;
  /** Which keys do what. */
  keys: string;
}

/** The place of a drawing in the page. */
export function Stage({ drawing, keys, label }: IStageProps): JSX.Element {
  const place = React.useRef<HTMLDivElement>(null);
  const hint = React.useId();
  useSeconds();
  React.useLayoutEffect(() => {
    place.current?.append(drawing.node);
    drawing.request();
    return () => drawing.node.remove();
  }, [drawing]);
  React.useEffect(() => {
    drawing.node.setAttribute('aria-label', label);
    drawing.node.setAttribute('aria-describedby', hint);
    drawing.checkTheme();
  });
  return (
    <>
      <div ref={place} className="jp-Coiled-paneStagePlace" />
      <p id={hint} className="jp-Coiled-hidden">
        {keys}
      </p>
    </>
  );
}

export interface ILegendProps {
  meanings: readonly IMeaning[];
  label: string;
}

/** What colours and patterns mean. */
export function Legend({ label, meanings }: ILegendProps): JSX.Element {
  return (
    <ul className="jp-Coiled-paneLegend" aria-label={label} tabIndex={0}>
      {meanings.map(({ key, mark, words }) => (
        <li key={key}>
          <Swatch mark={mark} />
          {words}
        </li>
      ))}
    </ul>
  );
}

export function Swatch({ mark }: { mark: Mark }): JSX.Element {
  const canvas = React.useRef<HTMLCanvasElement>(null);
  React.useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (context) {
      context.setTransform(2, 0, 0, 2, 0, 0);
      context.clearRect(0, 0, 14, 12);
      mark(context);
    }
  });
  return <canvas ref={canvas} width={28} height={24} aria-hidden="true" />;
}

export interface ITableBehindProps {
  shown: boolean;
  label: string;
  children: React.ReactNode;
}

/** A table of what is drawn; hidden from the eye unless it is asked for. */
export function TableBehind(props: ITableBehindProps): JSX.Element {
  const { children, label, shown } = props;
  return (
    <div
      className={shown ? 'jp-Coiled-paneTable' : 'jp-Coiled-hidden'}
      role="region"
      aria-label={label}
      tabIndex={shown ? 0 : undefined}
    >
      <table className="jp-Coiled-paneFigures" aria-label={label}>
        {children}
      </table>
    </div>
  );
}
