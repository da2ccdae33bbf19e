/** Core usage against the limit. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Usage } from '../wire';

export interface ICoreMeterProps {
  usage: Usage;
  trans: TranslationBundle;
}

const GIB = 1024 ** 3;

export function CoreMeter({ usage, trans }: ICoreMeterProps): JSX.Element {
  const { busy, allocated, requested, limit } = usage.cores;
  const idle = Math.max(allocated - busy, 0);
  const free = Math.max(limit - Math.max(allocated, requested), 0);
  const words = trans.__('%1 busy · %2 idle · %3 free', busy, idle, free);
  const part = (cores: number) =>
    `${limit ? Math.min((100 * cores) / limit, 100) : 0}%`;
  const { used, limit: most } = usage.memory;
  return (
    <div>
      <div
        className="jp-Coiled-meter"
        role="meter"
        aria-label={trans.__('Cores')}
        aria-valuemin={0}
        aria-valuemax={limit}
        aria-valuenow={allocated}
        aria-valuetext={words}
      >
        <span className="jp-Coiled-meterBusy" style={{ width: part(busy) }} />
        <span className="jp-Coiled-meterIdle" style={{ width: part(idle) }} />
      </div>
      <div className="jp-Coiled-sub">{words}</div>
      <div className="jp-Coiled-sub">
        {most
          ? trans.__(
              'Memory %1 of %2 GiB',
              (used / GIB).toFixed(1),
              (most / GIB).toFixed(1)
            )
          : trans.__('Memory %1 GiB', (used / GIB).toFixed(1))}
        {' · '}
        {trans._n(
          '%1 task running',
          '%1 tasks running',
          usage.tasks.running ?? 0
        )}
      </div>
    </div>
  );
}
