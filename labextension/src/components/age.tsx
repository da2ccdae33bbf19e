/** How old a reading is, counting while it is shown. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { agoWords } from '../words';

/** Draw again each second; for the few parts that show time. */
export function useSeconds(): void {
  const [, tick] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    const timer = window.setInterval(tick, 1000);
    return () => window.clearInterval(timer);
  }, []);
}

export interface IAgeProps {
  /** Seconds since the reading, asked anew each second; null if there is none. */
  age: () => number | null;
  trans: TranslationBundle;
}

export function Age({ age, trans }: IAgeProps): JSX.Element | null {
  useSeconds();
  const seconds = age();
  return seconds === null ? null : (
    <span className="jp-Coiled-age">
      {trans.__('read %1', agoWords(seconds, trans))}
    </span>
  );
}
