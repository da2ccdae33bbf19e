/** The rows of a comparison, with filters; only visible rows of a long list are rendered. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { searchIcon } from '@jupyterlab/ui-components';
import {
  measureElement,
  observeElementRect,
  useVirtualizer
} from '@tanstack/react-virtual';
import * as React from 'react';

import type { IReveal } from '../../model/model';
import type { Diff, Row, Rules } from '../../api/wire';
import { rowStatusWords, severityWords } from '../../words/words';
import { useWords } from '../../words/rows';
import { Icon, IconButton, SEVERITY_ICONS } from '../icons';
import { PackageRow } from './row';
import { DIFFERING } from './shared';
import type { IRowActions, Severity } from './shared';

export interface ISoftwareTableProps {
  diff: Diff;
  rules: Rules | null;
  actions: IRowActions;
  /** Why no package can be synced now, '' if it can. */
  blocked: string;
  /** The row to open and scroll to. */
  reveal: IReveal | null;
  trans: TranslationBundle;
}

/** By name, or '' for the server's order: most severe first. */
type Order = '' | 'ascending' | 'descending';

/** What rows are grouped by, '' for nothing. */
type Grouping = '' | 'status' | 'use';

/** A row, or the heading of a group. */
type Entry =
  { readonly row: Row } | { readonly title: string; readonly count: number };

/** The assumed height of a closed row in pixels, until it is measured. */
const ROW_HEIGHT = 28;
/** Rows rendered beyond the visible ones, for tabbing and the browser's search. */
const OVERSCAN = 30;
/** Frames after which a row that should get the focus is given up. */
const SCROLLS = 300;
/** The assumed viewport before there is a layout, and in tests without one. */
const FIRST = { width: 320, height: 900 };

/**
 * Requests to show a row, by what was done for them: neither a new comparison nor another table does it again.
 * The focus comes where the row is rendered, which can be before or after it was opened.
 */
const opened = new WeakSet<IReveal>();
const focused = new WeakSet<IReveal>();

/** Rendered only for a new comparison: it can have hundreds of rows. */
export const SoftwareTable = React.memo(function SoftwareTable(
  props: ISoftwareTableProps
): JSX.Element {
  const { diff, reveal, rules, trans } = props;
  const [shown, setShown] = React.useState<readonly Severity[]>(DIFFERING);
  const [tools, setTools] = React.useState(false);
  const [text, setText] = React.useState('');
  const [order, setOrder] = React.useState<Order>('');
  const [grouping, setGrouping] = React.useState<Grouping>('');
  const [open, setOpen] = React.useState<readonly string[]>([]);
  // What one works on stays, also where it is rated anew or closed.
  const kept = React.useRef(new Set<string>());
  open.forEach(name => kept.current.add(name));
  const wanted = text.trim().toLowerCase();
  const named = diff.rows.filter(row =>
    row.name.toLowerCase().includes(wanted)
  );
  const rows = named.filter(
    row => shown.includes(row.severity) || kept.current.has(row.name)
  );
  const hidden = named.length - rows.length;
  const { severities } = diff;
  React.useEffect(() => {
    const row = diff.rows.find(({ name }) => name === reveal?.name);
    if (row && reveal && !opened.has(reveal)) {
      opened.add(reveal);
      setText('');
      setOpen(before =>
        before.includes(row.name) ? before : [...before, row.name]
      );
    }
  }, [reveal, diff]);
  const chip = (severity: Severity) => (
    <button
      key={severity}
      className="jp-Coiled-pill"
      data-severity={severity}
      aria-pressed={shown.includes(severity)}
      onClick={() => {
        kept.current.clear();
        setShown(toggled(shown, severity));
      }}
    >
      <Icon icon={SEVERITY_ICONS[severity]} />
      {severityWords(severity, severities[severity], trans)}
    </button>
  );
  const search = trans.__('Search, sort and group');
  return (
    <div className="jp-Coiled-packages">
      <div
        className="jp-Coiled-chips"
        role="group"
        aria-label={trans.__('Show packages by severity')}
      >
        {DIFFERING.filter(it => severities[it] > 0).map(chip)}
        <span className="jp-Coiled-grow" />
        <IconButton
          icon={searchIcon}
          label={search}
          aria-expanded={tools}
          onClick={() => {
            setTools(!tools);
            setText('');
          }}
        />
      </div>
      {tools && (
        <div className="jp-Coiled-tools" role="group" aria-label={search}>
          <input
            className="jp-Coiled-filter"
            type="search"
            autoFocus
            value={text}
            placeholder={trans.__('Filter packages')}
            aria-label={trans.__('Filter packages')}
            onChange={event => setText(event.target.value)}
          />
          {severities.same > 0 && chip('same')}
          <select
            className="jp-Coiled-pick"
            aria-label={trans.__('Sort by')}
            value={order}
            onChange={event => setOrder(event.target.value as Order)}
          >
            <option value="">{trans.__('by severity')}</option>
            <option value="ascending">{trans.__('by name')}</option>
            <option value="descending">{trans.__('by name, Z to A')}</option>
          </select>
          <select
            className="jp-Coiled-pick"
            aria-label={trans.__('Group by')}
            value={grouping}
            onChange={event => setGrouping(event.target.value as Grouping)}
          >
            <option value="">{trans.__('no groups')}</option>
            <option value="status">{trans.__('what differs')}</option>
            <option value="use">{trans.__('use')}</option>
          </select>
        </div>
      )}
      {rules && rules.faults.length > 0 && (
        <ul
          className="jp-Coiled-unread"
          aria-label={trans.__('Rules that can not be used')}
        >
          {rules.faults.map(fault => (
            <li key={fault}>{fault}</li>
          ))}
        </ul>
      )}
      <div className="jp-Coiled-rows">
        {rows.length > 0 && (
          <Rows
            {...props}
            entries={grouped(ordered(rows, order), grouping, trans)}
            order={order}
            open={open}
            onToggle={name => setOpen(toggled(open, name))}
          />
        )}
        {wanted && rows.length + hidden === 0 && (
          <div className="jp-Coiled-sub">{trans.__('No matches')}</div>
        )}
        {wanted && hidden > 0 && (
          <div className="jp-Coiled-row">
            <span className="jp-Coiled-sub">
              {trans._n('%1 more is hidden', '%1 more are hidden', hidden)}
            </span>
            <button
              className="jp-Coiled-button"
              onClick={() => setShown([...DIFFERING, 'same'])}
            >
              {trans.__('Show all')}
            </button>
          </div>
        )}
      </div>
    </div>
  );
});

interface IRowsProps extends ISoftwareTableProps {
  entries: readonly Entry[];
  order: Order;
  open: readonly string[];
  onToggle: (name: string) => void;
}

function Rows(props: IRowsProps): JSX.Element {
  const { diff, entries, open, order, reveal, trans } = props;
  const names = entries.map(nameOf);
  const table = React.useRef<HTMLTableElement>(null);
  const virtual = useVirtualizer<Element, HTMLTableSectionElement>({
    count: entries.length,
    getScrollElement: () => scroller(table.current),
    // No package has such a name.
    getItemKey: index => names[index] ?? `/${index}`,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
    // While it is hidden nothing has a height, and rows keep theirs.
    measureElement: (node, entry, it) =>
      measureElement(node, entry, it) ||
      (it.itemSizeCache.get(names[it.indexFromElement(node)] ?? '') ??
        ROW_HEIGHT),
    initialRect: FIRST,
    // Also while it is hidden, so that the rows are there when it is shown.
    observeElementRect: (it, tell) =>
      observeElementRect(it, rect => tell(rect.height ? rect : FIRST)),
    useFlushSync: false
  });
  // The row is rendered some frames after the scroll, and later on a busy machine.
  const target = React.useRef(-1);
  const focus = (index: number, left = SCROLLS) => {
    const name =
      left < SCROLLS &&
      table.current?.querySelector<HTMLElement>(
        `[data-index="${index}"] .jp-Coiled-name`
      );
    target.current = name || left === 0 ? -1 : index;
    if (name) {
      name.focus();
    } else if (left > 0) {
      // At each frame: rows that have just come have no layout at the first time.
      virtual.scrollToIndex(index, { align: 'auto' });
      requestAnimationFrame(
        () => target.current === index && focus(index, left - 1)
      );
    }
  };
  React.useEffect(() => {
    const index = names.indexOf(reveal?.name ?? '');
    if (index >= 0 && reveal && !focused.has(reveal)) {
      focused.add(reveal);
      focus(index);
    }
  });
  // A row whose severity was changed moves, and the user still works on it.
  const followed = React.useRef<{ name: string; index: number } | null>(null);
  const last = React.useRef(diff);
  React.useEffect(() => {
    const { activeElement: active, body } = document;
    if (active !== body && packageAt(active) !== followed.current?.name) {
      // The user has gone on to something else.
      followed.current = null;
    }
    const row = followed.current;
    const index = names.indexOf(row?.name ?? '');
    if (row && index >= 0 && index !== row.index) {
      row.index = index;
      // Where the user shows other rows, nothing was moved.
      if (last.current !== diff) {
        focus(index);
      }
    }
    last.current = diff;
  });
  const onKeyDown = (event: React.KeyboardEvent) => {
    const target = event.target as HTMLElement;
    const index = Number(
      target.closest('.jp-Coiled-name') &&
        target.closest('[data-index]')?.getAttribute('data-index')
    );
    // Headings are skipped.
    const rows = [...names.keys()].filter(it => names[it] !== null);
    const place = rows.indexOf(index);
    const next = {
      ArrowDown: rows[place + 1],
      ArrowUp: rows[place - 1],
      Home: rows[0],
      End: rows[rows.length - 1]
    }[event.key];
    if (next !== undefined && target.closest('.jp-Coiled-name')) {
      event.preventDefault();
      focus(next);
    }
  };
  const items = virtual.getVirtualItems();
  const before = items.length ? items[0].start : 0;
  const after = items.length
    ? virtual.getTotalSize() - items[items.length - 1].end
    : 0;
  // An open row is two rows.
  const double = names.flatMap((name, index) =>
    name !== null && open.includes(name) ? [index] : []
  );
  const more = (end: number) => double.filter(it => it < end).length;
  return (
    <table
      ref={table}
      role="table"
      className="jp-Coiled-table"
      aria-label={trans.__('Packages of the kernel and the cluster')}
      aria-rowcount={1 + names.length + more(names.length)}
      onKeyDown={onKeyDown}
    >
      <thead role="rowgroup" className="jp-Coiled-hidden">
        <tr role="row" aria-rowindex={1}>
          <th role="columnheader" scope="col" aria-sort={order || 'none'}>
            {trans.__('Package')}
          </th>
          <th role="columnheader" scope="col">
            {trans.__('Kernel')}
          </th>
          <th role="columnheader" scope="col">
            {trans.__('Cluster')}
          </th>
        </tr>
      </thead>
      <Gap height={before} />
      {items.map(({ index, key }) => {
        const entry = entries[index];
        if (!('row' in entry)) {
          return (
            <tbody
              key={key}
              role="rowgroup"
              ref={virtual.measureElement}
              data-index={index}
            >
              <tr role="row" aria-rowindex={index + 2 + more(index)}>
                <th
                  role="rowheader"
                  className="jp-Coiled-group"
                  colSpan={3}
                  scope="rowgroup"
                  data-group={entry.title}
                >
                  {trans.__('%1 (%2)', entry.title, entry.count)}
                </th>
              </tr>
            </tbody>
          );
        }
        const { row } = entry;
        return (
          <tbody
            key={key}
            role="rowgroup"
            ref={virtual.measureElement}
            data-index={index}
          >
            <PackageRow
              row={row}
              kernel={diff.kernel}
              groups={diff.cluster.groups}
              rules={props.rules}
              actions={props.actions}
              blocked={props.blocked}
              open={open.includes(row.name)}
              revealed={row.name === reveal?.name}
              rowIndex={index + 2 + more(index)}
              trans={trans}
              onToggle={() => {
                followed.current = null;
                props.onToggle(row.name);
              }}
              onChange={() => {
                followed.current = { name: row.name, index };
              }}
            />
          </tbody>
        );
      })}
      <Gap height={after} />
    </table>
  );
}

/** The space of rows that aren't rendered. */
function Gap({ height }: { height: number }): JSX.Element | null {
  return height > 0 ? (
    <tbody aria-hidden="true">
      <tr>
        <td colSpan={3} className="jp-Coiled-gap" style={{ height }} />
      </tr>
    </tbody>
  ) : null;
}

function ordered(rows: readonly Row[], order: Order): readonly Row[] {
  const sign = order === 'descending' ? -1 : 1;
  return order === ''
    ? rows
    : [...rows].sort((one, other) => sign * one.name.localeCompare(other.name));
}

/** Group rows; groups are in the order of their first rows. */
function grouped(
  rows: readonly Row[],
  by: Grouping,
  trans: TranslationBundle
): readonly Entry[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const title =
      by === 'use'
        ? useWords(row.use, trans)
        : by && rowStatusWords(row.status, trans);
    const group = groups.get(title);
    if (group) {
      group.push(row);
    } else {
      groups.set(title, [row]);
    }
  }
  return [...groups].flatMap<Entry>(([title, found]) => [
    ...(by ? [{ title, count: found.length }] : []),
    ...found.map(row => ({ row }))
  ]);
}

function nameOf(entry: Entry): string | null {
  return 'row' in entry ? entry.row.name : null;
}

function scroller(table: Element | null): Element | null {
  return table?.closest('.jp-Coiled-rows') ?? null;
}

/** The package of the row, or of its details, in which an element is. */
function packageAt(node: Element | null): string | undefined {
  const row = node?.closest('tbody')?.querySelector<HTMLElement>('tr');
  return row?.dataset.package;
}

function toggled<T>(list: readonly T[], item: T): T[] {
  return list.includes(item)
    ? list.filter(other => other !== item)
    : [...list, item];
}
