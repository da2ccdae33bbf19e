/** Core usage against the limit. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Usage } from '../../api/wire';
import { coresLeft } from '../../model/capabilities';
import { Age } from '../age';

export interface ICoreMeterProps {
  usage: Usage;
  /** Seconds since it was read. */
  age: number | null;
  trans: TranslationBundle;
}

export function CoreMeter(props: ICoreMeterProps): JSX.Element {
  const { age, usage, trans } = props;
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
  return (
    <>
      <div
        className="jp-Coiled-meter"
        role="meter"
        aria-label={trans.__('Cores')}
        aria-valuemin={0}
        aria-valuemax={limit}
        aria-valuenow={allocated}
        aria-valuetext={trans.__('%1 of %2: %3', allocated, limit, words)}
        title={trans.__('%1 of all your clusters on this host', words)}
      >
        <span className="jp-Coiled-meterBusy" style={{ width: part(busy) }} />
        <span className="jp-Coiled-meterIdle" style={{ width: part(idle) }} />
      </div>
      <div className="jp-Coiled-ends">
        <span>
          {trans._n('%2 of %1 core', '%2 of %1 cores', limit, allocated)}
          {requested > allocated &&
            ` · ${trans.__('%1 more requested', requested - allocated)}`}
        </span>
        <Age seconds={age} quiet={true} trans={trans} />
        <span>{trans.__('%1 free', coresLeft(usage))}</span>
      </div>
    </>
  );
}
