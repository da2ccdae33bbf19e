/** What all clusters together did in the last minutes, in one strip. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Age } from './age';
import { freshness, HISTORY_SECONDS, STALE_SECONDS } from '../model/model';
import type { ISample } from '../model/model';
import type { Usage } from '../api/wire';
import { bytesWords } from '../words/words';

export interface IActivityStripProps {
  usage: Usage;
  /** Seconds since it was read. */
  age: number | null;
  /** Earlier readings, oldest first. */
  history: readonly ISample[];
  trans: TranslationBundle;
}

const WIDTH = 300;
const HEIGHT = 44;
/** Room for the lines above and below. */
const EDGE = 2;

export function ActivityStrip(props: IActivityStripProps): JSX.Element {
  const { age, history, trans, usage } = props;
  const { allocated, busy, limit } = usage.cores;
  const { limit: most, used } = usage.memory;
  const minutes = HISTORY_SECONDS / 60;
  const values = history.map(it => it.busy);
  // The line of all cores is at the top, unless there have been more.
  const top = Math.max(allocated, 1, ...values);
  const at = (cores: number) =>
    HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * cores) / top;
  const parts = partsOf(history, at);
  return (
    <div>
      <svg
        className="jp-Coiled-history"
        style={{ height: HEIGHT }}
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={trans.__(
          'Busy cores in the last %1 minutes: %2 to %3, of %4',
          minutes,
          Math.min(busy, ...values),
          Math.max(busy, ...values),
          allocated
        )}
      >
        <path
          d={`M0 ${at(allocated)}H${WIDTH}`}
          style={{ stroke: 'var(--jp-border-color1)', strokeDasharray: '3 3' }}
        />
        {parts.map(({ begin, end, line }, index) => (
          // Each reading moves all of them: those that are there are drawn anew.
          <React.Fragment key={index}>
            <path
              d={`M${begin} ${HEIGHT}L${line}L${end} ${HEIGHT}z`}
              style={{
                fill: 'var(--jp-brand-color1)',
                fillOpacity: 0.15,
                stroke: 'none'
              }}
            />
            <path d={`M${line}`} />
          </React.Fragment>
        ))}
      </svg>
      <div className="jp-Coiled-row">
        <span className="jp-Coiled-sub">
          {trans.__('%1 of %2 cores busy', busy, allocated)} ·{' '}
          <span className="jp-Coiled-either">
            <span hidden={freshness(age) !== 'fresh'}>
              {trans.__('limit %1 · last %2 min', limit, minutes)}
            </span>
            <Age seconds={age} quiet={true} trans={trans} />
          </span>
        </span>
        <span className="jp-Coiled-sub" style={{ marginInlineStart: 'auto' }}>
          {[
            usage.tasks.queued > 0 &&
              trans._n('%1 task queued', '%1 tasks queued', usage.tasks.queued),
            most
              ? trans.__(
                  '%1 of %2',
                  bytesWords(used, trans),
                  bytesWords(most, trans)
                )
              : bytesWords(used, trans)
          ]
            .filter(Boolean)
            .join(' · ')}
        </span>
      </div>
    </div>
  );
}

/** The lines between the gaps: while the panel was hidden, nothing was read. */
function partsOf(history: readonly ISample[], at: (cores: number) => number) {
  const last = history[history.length - 1]?.at;
  const parts: { begin: number; end: number; line: string }[] = [];
  history.forEach((sample, index) => {
    const ago = (last - sample.at) / (HISTORY_SECONDS * 1000);
    const x = Math.round(10 * WIDTH * (1 - ago)) / 10;
    const point = `${x} ${at(sample.busy).toFixed(1)}`;
    const before = history[index - 1];
    if (!before || sample.at - before.at > STALE_SECONDS * 1000) {
      parts.push({ begin: x, end: x, line: point });
    } else {
      const part = parts[parts.length - 1];
      part.end = x;
      part.line += `L${point}`;
    }
  });
  return parts;
}
