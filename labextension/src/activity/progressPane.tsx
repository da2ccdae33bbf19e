/** The pane of progress: the tasks of each prefix by their states. */
import * as React from 'react';

import type { Activity, ActivityPrefix } from '../api/wire';
import { taskStateWords } from '../words/activity';
import { STATES, prefixesCsv } from './csv';
import { Pane } from './pane';
import type { IPaneOptions } from './pane';

/** In a bar from the left, what is done first. */
const BAR = [
  'memory',
  'released',
  'erred',
  'processing',
  'queued',
  'waiting',
  'no-worker'
] as const;

export class ProgressPane extends Pane {
  constructor(options: IPaneOptions) {
    super('progress', options);
  }

  isEmpty({ prefixes }: Activity): boolean {
    return prefixes.length === 0;
  }

  view({ prefixes }: Activity): JSX.Element {
    const { trans } = this;
    const shown = STATES.filter(
      state =>
        state !== 'no-worker' ||
        prefixes.some(({ states }) => states['no-worker'])
    );
    return (
      <div
        className="jp-Coiled-paneScroll"
        role="region"
        aria-label={this.label}
        tabIndex={0}
      >
        <table className="jp-Coiled-paneFigures" aria-label={this.label}>
          <thead>
            <tr>
              <th scope="col">{trans.__('Tasks')}</th>
              <th scope="col">{trans.__('Done')}</th>
              {shown.map(state => (
                <th key={state} scope="col">
                  <span
                    className="jp-Coiled-paneState"
                    data-state={state}
                    aria-hidden="true"
                  />
                  {taskStateWords(state, trans)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {prefixes.map(prefix => (
              <tr key={prefix.name} data-prefix={prefix.name}>
                <th scope="row">
                  <span title={prefix.name}>{prefix.name}</span>
                  <Bar prefix={prefix} />
                </th>
                <td>{trans.__('%1 of %2', doneOf(prefix), totalOf(prefix))}</td>
                {shown.map(state => (
                  <td key={state} data-state={state}>
                    {prefix.states[state] ?? 0}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    );
  }

  protected csv(activity: Activity): string {
    return prefixesCsv(activity);
  }
}

function Bar({ prefix }: { prefix: ActivityPrefix }): JSX.Element {
  const total = Math.max(totalOf(prefix), 1);
  return (
    <span className="jp-Coiled-paneBar" aria-hidden="true">
      {BAR.filter(state => prefix.states[state]).map(state => (
        <span
          key={state}
          className="jp-Coiled-paneState"
          data-state={state}
          style={{ width: `${(100 * prefix.states[state]) / total}%` }}
        />
      ))}
    </span>
  );
}

function totalOf({ states }: ActivityPrefix): number {
  return Object.values(states).reduce((sum, count) => sum + count, 0);
}

/** What has been computed, whether or not its result is still held. */
function doneOf({ states }: ActivityPrefix): number {
  return (states.memory ?? 0) + (states.released ?? 0);
}
