/** The rows of a comparison, with filters; of a long list only what can be seen is drawn. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { useVirtualizer } from '@tanstack/react-virtual';
import * as React from 'react';

import type { IReveal } from '../model';
import type { Diff, Row, Rules } from '../wire';
import { severityWords } from '../words';
import { PackageRow, SEVERITIES, SEVERITY_ICONS } from './row';
import type { IRowActions } from './row';

export interface ISoftwareTableProps {
  diff: Diff;
  rules: Rules | null;
  actions: IRowActions;
  /** Why no package can be synced now, '' where it can. */
  blocked: string;
  /** The row to open and scroll to. */
  reveal: IReveal | null;
  trans: TranslationBundle;
}

type Severity = Row['severity'];

/** By name, or null as the server gives them: what matters most first. */
type Order = 'ascending' | 'descending' | null;

/** What a press on the heading leads to. */
const NEXT = { ascending: 'descending', descending: null } as const;
const ARROWS = { ascending: '▲', descending: '▼' };

/** Pixels of a closed row, until it is measured. */
const ROW_HEIGHT = 42;
/** Rows drawn beyond those that can be seen: what one tabs to or searches for is mostly there. */
const OVERSCAN = 30;
/** Seen before there is a layout, and by tests without one. */
const FIRST = { width: 320, height: 900 };

/** Wishes that have been met: neither another comparison nor another table meets them again. */
const done = new WeakSet<IReveal>();

/** Drawn anew only for another comparison: it can have hundreds of rows. */
export const SoftwareTable = React.memo(function SoftwareTable(
  props: ISoftwareTableProps
): JSX.Element {
  const { diff, reveal, rules, trans } = props;
  const [shown, setShown] = React.useState<readonly Severity[]>(SEVERITIES);
  const [all, setAll] = React.useState(false);
  const [text, setText] = React.useState('');
  const [order, setOrder] = React.useState<Order>(null);
  const [open, setOpen] = React.useState<readonly string[]>([]);
  const wanted = text.trim().toLowerCase();
  const named = diff.rows.filter(row =>
    row.name.toLowerCase().includes(wanted)
  );
  const rows = named.filter(
    row => shown.includes(row.severity) && (all || row.status !== 'same')
  );
  const hidden = named.length - rows.length;
  React.useEffect(() => {
    const row = diff.rows.find(({ name }) => name === reveal?.name);
    if (row && reveal && !done.has(reveal)) {
      setText('');
      setShown(before =>
        before.includes(row.severity) ? before : [...before, row.severity]
      );
      setAll(before => before || row.status === 'same');
      setOpen(before =>
        before.includes(row.name) ? before : [...before, row.name]
      );
    }
  }, [reveal]);
  return (
    <div>
      <div
        className="jp-Coiled-row"
        role="group"
        aria-label={trans.__('Show packages by severity')}
      >
        {SEVERITIES.map(severity => (
          <button
            key={severity}
            className="jp-Coiled-pill"
            data-severity={severity}
            aria-pressed={shown.includes(severity)}
            onClick={() => setShown(toggled(shown, severity))}
          >
            <span className="jp-Coiled-icon" aria-hidden="true">
              {SEVERITY_ICONS[severity]}
            </span>{' '}
            {severityWords(severity, diff.severities[severity], trans)}
          </button>
        ))}
      </div>
      <input
        className="jp-Coiled-filter"
        type="search"
        value={text}
        placeholder={trans.__('Filter packages')}
        aria-label={trans.__('Filter packages')}
        onChange={event => setText(event.target.value)}
      />
      <label className="jp-Coiled-check">
        <input
          type="checkbox"
          checked={!all}
          onChange={event => setAll(!event.target.checked)}
        />
        {trans.__('Differences only')}
      </label>
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
      {rows.length > 0 && (
        <Rows
          {...props}
          rows={ordered(rows, order)}
          order={order}
          onOrder={() => setOrder(order === null ? 'ascending' : NEXT[order])}
          open={open}
          onToggle={name => setOpen(toggled(open, name))}
        />
      )}
      {rows.length === 0 && (wanted || !all) && !(wanted && hidden) && (
        <div className="jp-Coiled-sub">
          {wanted ? trans.__('No matches') : trans.__('No differences')}
        </div>
      )}
      {wanted && hidden > 0 && (
        <div className="jp-Coiled-row">
          <span className="jp-Coiled-sub">
            {trans._n('%1 more is hidden', '%1 more are hidden', hidden)}
          </span>
          <button
            className="jp-Coiled-button"
            onClick={() => {
              setShown(SEVERITIES);
              setAll(true);
            }}
          >
            {trans.__('Show all')}
          </button>
        </div>
      )}
    </div>
  );
});

interface IRowsProps extends ISoftwareTableProps {
  rows: readonly Row[];
  order: Order;
  onOrder: () => void;
  open: readonly string[];
  onToggle: (name: string) => void;
}

function Rows(props: IRowsProps): JSX.Element {
  const { diff, rows, open, order, reveal, trans } = props;
  const table = React.useRef<HTMLTableElement>(null);
  const [margin, setMargin] = React.useState(0);
  const virtual = useVirtualizer<Element, HTMLTableSectionElement>({
    count: rows.length,
    getScrollElement: () => scroller(table.current),
    getItemKey: index => rows[index].name,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
    scrollMargin: margin,
    // Room for what stays at the top while one scrolls.
    scrollPaddingStart: ROW_HEIGHT,
    initialRect: FIRST,
    useFlushSync: false
  });
  React.useLayoutEffect(() => {
    const outer = scroller(table.current);
    const head = table.current?.tHead;
    if (head && outer) {
      const top =
        head.getBoundingClientRect().bottom -
        outer.getBoundingClientRect().top +
        outer.scrollTop;
      // What is above grows and shrinks; a pixel more or less is no reason to draw again.
      if (Math.abs(top - margin) > 1) {
        setMargin(top);
      }
    }
  });
  const focus = (index: number) => {
    virtual.scrollToIndex(index, { align: 'auto' });
    // It is drawn some frames after it was scrolled to.
    const draw = (frames: number) =>
      requestAnimationFrame(() => {
        const name = table.current?.querySelector<HTMLElement>(
          `[data-index="${index}"] .jp-Coiled-name`
        );
        if (name) {
          name.focus();
        } else if (frames > 0) {
          draw(frames - 1);
        }
      });
    draw(30);
  };
  React.useEffect(() => {
    const index = rows.findIndex(({ name }) => name === reveal?.name);
    if (index >= 0 && reveal && !done.has(reveal)) {
      done.add(reveal);
      focus(index);
    }
  });
  // A row whose rating was changed moves to where such rows are; who changed it is still busy with it.
  const followed = React.useRef<{ name: string; index: number } | null>(null);
  React.useEffect(() => {
    const row = followed.current;
    const index = rows.findIndex(({ name }) => name === row?.name);
    if (row && index >= 0 && index !== row.index) {
      row.index = index;
      focus(index);
    }
  });
  const onKeyDown = (event: React.KeyboardEvent) => {
    const target = event.target as HTMLElement;
    const index = Number(
      target.closest('.jp-Coiled-name') &&
        target.closest('[data-index]')?.getAttribute('data-index')
    );
    const next = {
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      Home: 0,
      End: rows.length - 1
    }[event.key];
    if (
      next !== undefined &&
      target.closest('.jp-Coiled-name') &&
      next >= 0 &&
      next < rows.length
    ) {
      event.preventDefault();
      focus(next);
    }
  };
  const items = virtual.getVirtualItems();
  const before = items.length ? items[0].start - margin : 0;
  const after = items.length
    ? virtual.getTotalSize() - (items[items.length - 1].end - margin)
    : 0;
  // An open row is two rows.
  const more = (end: number) =>
    rows.slice(0, end).filter(({ name }) => open.includes(name)).length;
  return (
    <table
      ref={table}
      className="jp-Coiled-table"
      aria-label={trans.__('Packages of the kernel and the cluster')}
      aria-rowcount={1 + rows.length + more(rows.length)}
      onKeyDown={onKeyDown}
    >
      <thead>
        <tr aria-rowindex={1}>
          <th scope="col" aria-sort={order ?? 'none'}>
            <button
              className="jp-Coiled-sort"
              title={
                order === 'descending'
                  ? trans.__('Sort by severity')
                  : trans.__('Sort by name')
              }
              onClick={props.onOrder}
            >
              {trans.__('Package')}{' '}
              <span aria-hidden="true">{order && ARROWS[order]}</span>
            </button>
          </th>
          <th scope="col">{trans.__('Kernel')}</th>
          <th scope="col">{trans.__('Cluster')}</th>
        </tr>
      </thead>
      <Gap height={before} />
      {items.map(({ index, key }) => {
        const row = rows[index];
        return (
          <tbody key={key} ref={virtual.measureElement} data-index={index}>
            <PackageRow
              row={row}
              kernel={diff.kernel}
              groups={diff.cluster.groups}
              rules={props.rules}
              actions={props.actions}
              blocked={props.blocked}
              open={open.includes(row.name)}
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

/** The room of the rows that aren't drawn. */
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
  return order === null
    ? rows
    : [...rows].sort((one, other) => sign * one.name.localeCompare(other.name));
}

function scroller(table: Element | null): Element | null {
  return table?.closest('#coiled-jupyter-panel') ?? null;
}

function toggled<T>(list: readonly T[], item: T): T[] {
  return list.includes(item)
    ? list.filter(other => other !== item)
    : [...list, item];
}
