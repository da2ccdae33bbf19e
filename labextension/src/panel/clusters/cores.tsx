/** Core usage against the limit. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { HISTORY_SECONDS, STALE_SECONDS } from '../../model/model';
import type { ISample } from '../../model/model';
import type { Usage } from '../../api/wire';
import { coresLeft } from '../../model/capabilities';

export interface ICoreMeterProps {
  usage: Usage;
  /** Earlier readings, oldest first. */
  history: readonly ISample[];
  trans: TranslationBundle;
}

const GIB = 1024 ** 3;

export function CoreMeter(props: ICoreMeterProps): JSX.Element {
  const { history, usage, trans } = props;
  const { busy, allocated, requested, limit } = usage.cores;
  const idle = Math.max(allocated - busy, 0);
  const words = trans.__(
    '%1 busy · %2 idle · %3 free',
    busy,
    idle,
    coresLeft(usage)
  );
  const part = (cores: number) =>
    `${limit ? Math.min((100 * cores) / limit, 100) : 0}%`;
  const { used, limit: most } = usage.memory;
  const { running, queued, done_per_second: rate } = usage.tasks;
  return (
    <div>
      <div
        className="jp-Coiled-meter"
        role="meter"
        aria-label={trans.__('Cores')}
        aria-valuemin={0}
        aria-valuemax={limit}
        aria-valuenow={allocated}
        aria-valuetext={trans.__('%1 of %2: %3', allocated, limit, words)}
      >
        <span className="jp-Coiled-meterBusy" style={{ width: part(busy) }} />
        <span className="jp-Coiled-meterIdle" style={{ width: part(idle) }} />
      </div>
      <div className="jp-Coiled-sub">{words}</div>
      <History history={history} trans={trans} />
      {requested > allocated && (
        <div className="jp-Coiled-sub">
          {trans.__('%1 more requested', requested - allocated)}
        </div>
      )}
      <div className="jp-Coiled-sub">
        {most
          ? trans.__('Memory %1 of %2 GiB', gib(used), gib(most))
          : trans.__('Memory %1 GiB', gib(used))}
        {' · '}
        {trans._n('%1 task running', '%1 tasks running', running)}
        {queued > 0 && ` · ${trans.__('%1 queued', queued)}`}
        {rate !== null &&
          ` · ${trans.__('%1/s', rate.toFixed(rate < 10 ? 1 : 0))}`}
      </div>
    </div>
  );
}

const WIDTH = 300;
const HEIGHT = 24;

/** A sparkline of busy cores in the last minutes, relative to their maximum; nothing if there are none. */
function History(
  props: Pick<ICoreMeterProps, 'history' | 'trans'>
): JSX.Element | null {
  const { history, trans } = props;
  const busy = history.map(it => it.busy);
  const most = Math.max(...busy);
  if (history.length < 2 || most === 0) {
    return null;
  }
  const end = history[history.length - 1].at;
  const points = history.map(({ at, busy }, index) => {
    const x = WIDTH * (1 - (end - at) / (HISTORY_SECONDS * 1000));
    const y = HEIGHT - 1 - ((HEIGHT - 2) * busy) / most;
    // While the panel was hidden, nothing was read: the line has a gap.
    const gap = index === 0 || at - history[index - 1].at > STALE_SECONDS * 1e3;
    return `${gap ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return (
    <svg
      className="jp-Coiled-history"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={trans.__(
        'Busy cores in the last %1 minutes: %2 to %3',
        HISTORY_SECONDS / 60,
        Math.min(...busy),
        most
      )}
    >
      <path d={points.join('')} />
    </svg>
  );
}

function gib(bytes: number): string {
  return (bytes / GIB).toFixed(1);
}
