/** The pane of the cluster map. */
import * as React from 'react';

import type { Activity } from '../api/wire';
import { bytesWords, workerStatusWords } from '../words/words';
import { sortedWorkers } from './columns';
import { workersCsv } from './csv';
import { MapDrawing } from './map';
import { DrawnPane, Legend, Stage, TableBehind } from './pane';
import type { IPaneOptions } from './pane';

export class MapPane extends DrawnPane<MapDrawing> {
  constructor(options: IPaneOptions) {
    super('cluster-map', options, new MapDrawing(options.feed, options.trans));
    options.feed.changed.connect(this._take, this);
    this._take();
  }

  isEmpty({ workers }: Activity): boolean {
    return workers.length === 0;
  }

  view({ workers }: Activity): JSX.Element {
    const { drawing, trans } = this;
    return (
      <>
        <Stage
          drawing={drawing}
          label={this.label}
          keys={trans.__('Up and down scroll the workers.')}
        />
        <Legend
          meanings={drawing.meanings}
          label={trans.__('What colours and outlines mean')}
        />
        <TableBehind
          shown={this.tabled}
          label={trans.__('Workers with their memory')}
        >
          <thead>
            <tr>
              <th scope="col">{trans.__('Name')}</th>
              <th scope="col">{trans.__('Status')}</th>
              <th scope="col">{trans.__('Memory')}</th>
              <th scope="col">{trans.__('Limit')}</th>
              <th scope="col">{trans.__('Processing')}</th>
              <th scope="col">{trans.__('Stored')}</th>
            </tr>
          </thead>
          <tbody>
            {sortedWorkers(workers, { by: 'name', down: false }).map(worker => (
              <tr key={worker.id}>
                <th scope="row">{worker.name}</th>
                <td>{workerStatusWords(worker.status, trans)}</td>
                <td>{bytesWords(worker.memory, trans)}</td>
                <td>
                  {worker.limit === null ? '' : bytesWords(worker.limit, trans)}
                </td>
                <td>{worker.processing}</td>
                <td>{worker.stored}</td>
              </tr>
            ))}
          </tbody>
        </TableBehind>
      </>
    );
  }

  protected csv(activity: Activity): string {
    return workersCsv(activity);
  }

  private _take(): void {
    this.drawing.update();
  }
}
