/** The logs of a cluster, as they come; text only, of a long one only what can be seen is drawn. */
import '../../labextension/style/logs.css';

import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { useVirtualizer } from '@tanstack/react-virtual';
import * as React from 'react';

import type { ILine, LogFeed } from './feed';
import { logNodeWords, problemWords } from '../words/words';

export interface ILogViewProps {
  feed: LogFeed;
  /** Of the cluster. */
  name: string;
  /** Put text on the clipboard. */
  copy: (text: string) => void;
  trans: TranslationBundle;
}

/** Pixels of a line, until it is measured. */
const LINE_HEIGHT = 18;
/** Milliseconds for which a touch, a wheel or a key is why it scrolls. */
const TOUCHED = 1000;
const OVERSCAN = 20;
/** Seen before there is a layout, and by tests without one. */
const FIRST = { width: 800, height: 600 };

export function LogView(props: ILogViewProps): JSX.Element {
  const { copy, feed, name, trans } = props;
  const [follow, setFollow] = React.useState(true);
  const [text, setText] = React.useState('');
  const wanted = text.trim().toLowerCase();
  const lines = wanted
    ? feed.lines.filter(line => line.text.toLowerCase().includes(wanted))
    : feed.lines;
  // One that has gone can still be the one chosen.
  const nodes = [...new Set([...feed.nodes, feed.node ?? ''])].filter(Boolean);
  return (
    <>
      <div className="jp-Coiled-row jp-Coiled-logBar">
        <label className="jp-Coiled-select">
          {trans.__('Node')}
          <select
            value={feed.node ?? ''}
            onChange={event => {
              feed.node = event.target.value || null;
            }}
          >
            <option value="">{trans.__('all')}</option>
            {nodes.map(node => (
              <option key={node} value={node}>
                {logNodeWords(node, trans)}
              </option>
            ))}
          </select>
        </label>
        <input
          className="jp-Coiled-filter jp-Coiled-grow"
          type="search"
          value={text}
          placeholder={trans.__('Search the lines')}
          aria-label={trans.__('Search the lines')}
          onChange={event => setText(event.target.value)}
        />
        <label className="jp-Coiled-check">
          <input
            type="checkbox"
            checked={follow}
            onChange={event => setFollow(event.target.checked)}
          />
          {trans.__('Follow')}
        </label>
        <button
          className="jp-Coiled-button"
          aria-label={trans.__('Copy the lines shown')}
          disabled={lines.length === 0}
          onClick={() => copy(lines.map(asText).join('\n'))}
        >
          {trans.__('Copy')}
        </button>
        <span className="jp-Coiled-sub">
          {wanted
            ? trans.__('%1 of %2 lines', lines.length, feed.lines.length)
            : trans._n('%1 line', '%1 lines', lines.length)}
        </span>
      </div>
      <LogProblem feed={feed} trans={trans} />
      <Lines
        lines={lines}
        follow={follow}
        filter={wanted}
        onScrollUp={() => setFollow(false)}
        label={trans.__('Logs of %1', name)}
        empty={emptyWords(feed, wanted, trans)}
        trans={trans}
      />
    </>
  );
}

interface ILogProblemProps {
  feed: LogFeed;
  trans: TranslationBundle;
}

function LogProblem({ feed, trans }: ILogProblemProps): JSX.Element {
  const words = feed.error && problemWords(feed.error, trans);
  return (
    <div className="jp-Coiled-problem" role="status">
      {words &&
        [trans.__('Not read: %1', words.text), words.hint]
          .filter(Boolean)
          .join('. ')}
    </div>
  );
}

interface ILinesProps {
  lines: readonly ILine[];
  follow: boolean;
  /** What the lines were searched for. */
  filter: string;
  onScrollUp: () => void;
  label: string;
  /** Said where there is no line. */
  empty: string;
  trans: TranslationBundle;
}

function Lines(props: ILinesProps): JSX.Element {
  const { filter, follow, lines, trans } = props;
  const outer = React.useRef<HTMLDivElement>(null);
  const top = React.useRef(0);
  const touched = React.useRef(-TOUCHED);
  const virtual = useVirtualizer<HTMLDivElement, HTMLDivElement>({
    // Lines that are let go of don't move those that one reads.
    anchorTo: 'end',
    count: lines.length,
    getScrollElement: () => outer.current,
    getItemKey: index => lines[index].key,
    estimateSize: () => LINE_HEIGHT,
    overscan: OVERSCAN,
    scrollEndThreshold: LINE_HEIGHT,
    initialRect: FIRST,
    useFlushSync: false
  });
  const newest = lines[lines.length - 1]?.key;
  React.useLayoutEffect(() => {
    if (follow) {
      virtual.scrollToEnd();
    }
  }, [filter, follow, newest]);
  const touch = ({ timeStamp }: React.SyntheticEvent) => {
    touched.current = timeStamp;
  };
  const onScroll = (event: React.UIEvent<HTMLDivElement>) => {
    const { clientHeight, scrollHeight, scrollTop } = event.currentTarget;
    const up = scrollTop < top.current;
    top.current = scrollTop;
    // What comes and what is measured scrolls too: that is nobody's wish.
    if (
      follow &&
      up &&
      event.timeStamp - touched.current < TOUCHED &&
      scrollHeight - clientHeight - scrollTop > LINE_HEIGHT
    ) {
      props.onScrollUp();
    }
  };
  return (
    <div
      ref={outer}
      className="jp-Coiled-log"
      role="log"
      // One that prints much would drown everything else that is read out.
      aria-live="off"
      aria-label={props.label}
      tabIndex={0}
      onScroll={onScroll}
      onWheel={touch}
      onKeyDown={touch}
      onPointerDown={touch}
      onTouchMove={touch}
    >
      {lines.length === 0 && (
        <div className="jp-Coiled-empty">{props.empty}</div>
      )}
      <div
        className="jp-Coiled-logLines"
        style={{ height: virtual.getTotalSize() }}
      >
        {virtual.getVirtualItems().map(({ index, key, start }) => {
          const { at, node, text } = lines[index];
          return (
            <div
              key={key}
              ref={virtual.measureElement}
              className="jp-Coiled-logLine"
              data-index={index}
              data-node={node}
              style={{ transform: `translateY(${start}px)` }}
            >
              <time dateTime={at ?? undefined} title={at ?? undefined}>
                {clock(at)}
              </time>{' '}
              <span>{logNodeWords(node, trans)}</span>{' '}
              <span className="jp-Coiled-logText">{text}</span>
            </div>
          );
        })}
      </div>
    </div>
  );
}

function emptyWords(
  feed: LogFeed,
  wanted: string,
  trans: TranslationBundle
): string {
  if (!feed.ready) {
    return feed.error ? '' : trans.__('Reading…');
  }
  return wanted && feed.lines.length > 0
    ? trans.__('No matches')
    : trans.__('Nothing was printed yet');
}

/** The time of day here. */
function clock(at: string | null): string {
  const time = new Date(at ?? '');
  return Number.isNaN(time.getTime()) ? '' : time.toTimeString().slice(0, 8);
}

function asText({ at, node, text }: ILine): string {
  return [at ?? '', node, text].join('\t');
}

export interface ILogPanelOptions extends Omit<ILogViewProps, 'name'> {
  /** The name that the cluster has now. */
  name: () => string;
}

/** The content of a tab; what is behind others isn't read. */
export class LogPanel extends ReactWidget {
  constructor(private readonly _options: ILogPanelOptions) {
    super();
    this.addClass('jp-Coiled-logs');
  }

  get name(): string {
    return this._options.name();
  }

  dispose(): void {
    this._options.feed.dispose();
    super.dispose();
  }

  protected render(): JSX.Element {
    return (
      <UseSignal signal={this._options.feed.changed}>
        {() => <LogView {...this._options} name={this.name} />}
      </UseSignal>
    );
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._options.feed.visible = this.isVisible;
  }

  protected onAfterShow(): void {
    this._options.feed.visible = true;
  }

  protected onAfterHide(): void {
    this._options.feed.visible = false;
  }

  protected onBeforeDetach(message: Message): void {
    this._options.feed.visible = false;
    super.onBeforeDetach(message);
  }
}
