/** The pane of workers: a table that sorts, of which only what can be seen is drawn. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { useVirtualizer } from '@tanstack/react-virtual';
import * as React from 'react';

import type { Activity, ActivityWorker } from '../api/wire';
import { memoryWords, rateWords } from '../words/activity';
import { agoWords, bytesWords, workerStatusWords } from '../words/words';
import { partsOf } from './cells';
import { sortedWorkers } from './columns';
import type { Column, IOrder } from './columns';
import { workersCsv } from './csv';
import { Pane } from './pane';
import type { IPaneOptions } from './pane';

const ROW_HEIGHT = 34;
const OVERSCAN = 10;
/** Seen before there is a layout, and by tests without one. */
const FIRST = { width: 800, height: 600 };

export class WorkersPane extends Pane {
  constructor(options: IPaneOptions) {
    super('workers', options);
  }

  isEmpty({ workers }: Activity): boolean {
    return workers.length === 0;
  }

  view({ workers }: Activity): JSX.Element {
    return (
      <WorkerTable
        workers={workers}
        label={this.label}
        age={this.feed.age ?? 0}
        trans={this.trans}
      />
    );
  }

  protected csv(activity: Activity): string {
    return workersCsv(activity);
  }
}

export interface IWorkerTableProps {
  workers: readonly ActivityWorker[];
  label: string;
  /** Seconds since they were read. */
  age: number;
  trans: TranslationBundle;
}

export function WorkerTable(props: IWorkerTableProps): JSX.Element {
  const { age, label, trans, workers } = props;
  const [order, setOrder] = React.useState<IOrder>({ by: 'name', down: false });
  const sorted = sortedWorkers(workers, order);
  const outer = React.useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer<HTMLDivElement, HTMLTableRowElement>({
    count: sorted.length,
    getScrollElement: () => outer.current,
    getItemKey: index => sorted[index].id,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
    scrollMargin: ROW_HEIGHT,
    initialRect: FIRST,
    useFlushSync: false
  });
  const columns: readonly (readonly [Column, string])[] = [
    ['name', trans.__('Name')],
    ['status', trans.__('Status')],
    ['threads', trans.__('Threads')],
    ['cpu', trans.__('CPU')],
    ['memory', trans.__('Memory')],
    ['spilled', trans.__('On disk')],
    ['received', trans.__('Received')],
    ['sent', trans.__('Sent')],
    ['processing', trans.__('Processing')],
    ['stored', trans.__('Stored')],
    ['seen', trans.__('Heartbeat')]
  ];
  const items = virtual.getVirtualItems();
  const before = items.length ? items[0].start - ROW_HEIGHT : 0;
  const after = items.length
    ? virtual.getTotalSize() - (items[items.length - 1].end - ROW_HEIGHT)
    : 0;
  return (
    <>
      <ul
        className="jp-Coiled-paneLegend"
        aria-label={trans.__('What the bars of memory mean')}
        tabIndex={0}
      >
        {(
          [
            ['managed', trans.__('Managed: results of tasks')],
            ['unmanaged', trans.__('Unmanaged: everything else')],
            ['spilled', trans.__('Below: results on disk')]
          ] as const
        ).map(([part, words]) => (
          <li key={part}>
            <span className="jp-Coiled-panePart" data-part={part} />
            {words}
          </li>
        ))}
      </ul>
      <div
        ref={outer}
        className="jp-Coiled-paneScroll"
        role="region"
        aria-label={label}
        tabIndex={0}
      >
        <table
          className="jp-Coiled-paneFigures jp-Coiled-paneEven"
          aria-label={label}
          aria-rowcount={1 + sorted.length}
        >
          <thead>
            <tr aria-rowindex={1}>
              {columns.map(([column, words]) => (
                <th
                  key={column}
                  scope="col"
                  data-column={column}
                  aria-sort={
                    order.by !== column
                      ? 'none'
                      : order.down
                        ? 'descending'
                        : 'ascending'
                  }
                >
                  <button
                    className="jp-Coiled-paneSort"
                    onClick={() => setOrder(nextOrder(order, column))}
                  >
                    {words}
                    <span aria-hidden="true">
                      {order.by === column ? (order.down ? ' ▼' : ' ▲') : ''}
                    </span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <Gap height={before} columns={columns.length} />
          <tbody>
            {items.map(({ index, key }) => (
              <WorkerRow
                key={key}
                worker={sorted[index]}
                rowIndex={index + 2}
                age={age}
                trans={trans}
              />
            ))}
          </tbody>
          <Gap height={after} columns={columns.length} />
        </table>
      </div>
    </>
  );
}

interface IWorkerRowProps {
  worker: ActivityWorker;
  rowIndex: number;
  age: number;
  trans: TranslationBundle;
}

function WorkerRow(props: IWorkerRowProps): JSX.Element {
  const { age, rowIndex, trans, worker } = props;
  const { limit, memory } = worker;
  return (
    <tr aria-rowindex={rowIndex} data-worker={worker.id}>
      <th scope="row" title={`${worker.name} ${worker.id}`}>
        {worker.name}
      </th>
      <td data-status={worker.status} title={worker.status}>
        {workerStatusWords(worker.status, trans)}
      </td>
      <td>{worker.threads}</td>
      <td>{trans.__('%1 %', worker.cpu)}</td>
      <td title={memoryWords(worker, trans)}>
        {limit === null
          ? bytesWords(memory, trans)
          : trans.__(
              '%1 of %2',
              bytesWords(memory, trans),
              bytesWords(limit, trans)
            )}
        <MemoryBar worker={worker} />
      </td>
      <td>{worker.spilled > 0 ? bytesWords(worker.spilled, trans) : 0}</td>
      <td>{rateWords(worker.received, trans)}</td>
      <td>{rateWords(worker.sent, trans)}</td>
      <td>{worker.processing}</td>
      <td>{worker.stored}</td>
      <td>{agoWords(worker.seen + age, trans)}</td>
    </tr>
  );
}

function MemoryBar({ worker }: { worker: ActivityWorker }): JSX.Element {
  const { managed, unmanaged } = partsOf(worker);
  const spilled = Math.min(worker.spilled / (worker.limit || Infinity), 1);
  const part = (name: string, size: number) => (
    <span
      className="jp-Coiled-panePart"
      data-part={name}
      style={{ width: `${100 * size}%` }}
    />
  );
  return (
    <span aria-hidden="true">
      <span className="jp-Coiled-paneBar">
        {part('managed', managed)}
        {part('unmanaged', unmanaged)}
      </span>
      {spilled > 0 && (
        <span className="jp-Coiled-paneSpilled">
          {part('spilled', spilled)}
        </span>
      )}
    </span>
  );
}

/** The space of rows that aren't drawn. */
function Gap(props: { height: number; columns: number }): JSX.Element | null {
  const { columns, height } = props;
  return height > 0 ? (
    <tbody aria-hidden="true">
      <tr>
        <td colSpan={columns} style={{ height, padding: 0, border: 0 }} />
      </tr>
    </tbody>
  ) : null;
}

/** By another column: names begin with the first, figures with the largest. */
function nextOrder(order: IOrder, by: Column): IOrder {
  return order.by === by
    ? { by, down: !order.down }
    : { by, down: by !== 'name' && by !== 'status' };
}
