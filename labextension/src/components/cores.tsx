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
      {requested > allocated && (
        <div className="jp-Coiled-sub">
          {trans.__('%1 more asked for', requested - allocated)}
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

/** Cores that can still be asked for. */
export function coresLeft(usage: Usage): number {
  const { allocated, requested, limit } = usage.cores;
  return Math.max(limit - Math.max(allocated, requested), 0);
}

function gib(bytes: number): string {
  return (bytes / GIB).toFixed(1);
}
