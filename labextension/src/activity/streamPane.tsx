/** The pane of the task stream. */
import { ToolbarButton } from '@jupyterlab/ui-components';
import type { LabIcon } from '@jupyterlab/ui-components';
import type { Widget } from '@lumino/widgets';
import * as React from 'react';

import { tookWords } from '../words/activity';
import { spansCsv } from './csv';
import {
  earlierIcon,
  fitIcon,
  laterIcon,
  presentIcon,
  zoomInIcon,
  zoomOutIcon
} from './icons';
import { DrawnPane, Legend, Stage, TableBehind, action } from './pane';
import type { IPaneOptions } from './pane';
import { StreamDrawing, ZOOM } from './stream';

/** Prefixes in the table. */
const ROWS = 100;

export class StreamPane extends DrawnPane<StreamDrawing> {
  constructor(options: IPaneOptions) {
    super(
      'task-stream',
      options,
      new StreamDrawing(options.feed, options.trans)
    );
    options.feed.changed.connect(this._take, this);
    this._take();
  }

  buttons(): Record<string, Widget> {
    const { drawing, trans } = this;
    const button = (icon: LabIcon, tooltip: string, onClick: () => void) =>
      action({ icon, tooltip, onClick });
    const follow = new ToolbarButton({
      icon: presentIcon,
      tooltip: trans.__('Follow the present'),
      onClick: () => {
        drawing.follows = !drawing.follows;
      }
    });
    const press = () => {
      follow.pressed = drawing.follows;
    };
    drawing.moved.connect(press);
    press();
    return {
      follow,
      earlier: button(earlierIcon, trans.__('Earlier'), () =>
        drawing.pan(-0.25)
      ),
      later: button(laterIcon, trans.__('Later'), () => drawing.pan(0.25)),
      zoomIn: button(zoomInIcon, trans.__('Zoom in'), () =>
        drawing.zoom(1 / ZOOM)
      ),
      zoomOut: button(zoomOutIcon, trans.__('Zoom out'), () =>
        drawing.zoom(ZOOM)
      ),
      fit: button(fitIcon, trans.__('Show all that is kept'), () =>
        drawing.fit()
      ),
      ...super.buttons()
    };
  }

  isEmpty(): boolean {
    return this.feed.spans.count === 0;
  }

  view(): JSX.Element {
    const { drawing, trans } = this;
    const { meanings, totals } = drawing;
    const rest = totals.length - ROWS;
    return (
      <>
        <Stage
          drawing={drawing}
          label={this.label}
          keys={trans.__(
            'Left and right move in time, plus and minus zoom, up and down scroll the threads, Home shows all, End follows the present. The wheel zooms, with Shift it scrolls; dragging moves.'
          )}
        />
        <Legend
          meanings={meanings}
          label={trans.__('What colours and patterns mean')}
        />
        <TableBehind
          shown={this.tabled}
          label={trans.__('Time by tasks of a name')}
        >
          <thead>
            <tr>
              <th scope="col">{trans.__('Tasks')}</th>
              <th scope="col">{trans.__('Ended')}</th>
              <th scope="col">{trans.__('Failed')}</th>
              <th scope="col">{trans.__('Computed')}</th>
              <th scope="col">{trans.__('Transfer')}</th>
              <th scope="col">{trans.__('Disk')}</th>
              <th scope="col">{trans.__('Deserialized')}</th>
            </tr>
          </thead>
          <tbody>
            {totals.slice(0, ROWS).map(({ erred, prefix, seconds, tasks }) => (
              <tr key={prefix.name}>
                <th scope="row">{prefix.name}</th>
                <td>{tasks}</td>
                <td>{erred}</td>
                <td>{tookWords(seconds.compute + seconds.erred, trans)}</td>
                <td>{tookWords(seconds.transfer, trans)}</td>
                <td>
                  {tookWords(
                    seconds['disk-read'] + seconds['disk-write'],
                    trans
                  )}
                </td>
                <td>{tookWords(seconds.deserialize, trans)}</td>
              </tr>
            ))}
            {rest > 0 && (
              <tr>
                <td colSpan={7}>
                  {trans._n('and %1 more', 'and %1 more', rest)}
                </td>
              </tr>
            )}
          </tbody>
        </TableBehind>
      </>
    );
  }

  protected csv(): string {
    return spansCsv(this.feed.spans);
  }

  private _take(): void {
    this.drawing.update();
  }
}
