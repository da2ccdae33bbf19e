/** The age of a reading, updated while it is shown. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { freshness } from '../model/model';
import { ageWords, durationWords } from '../words/words';
import { clock, Icon } from './icons';

/** Render each second; for the few components that show time. */
export function useSeconds(): void {
  const [, tick] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    const timer = window.setInterval(tick, 1000);
    return () => window.clearInterval(timer);
  }, []);
}

export interface IAgeProps {
  /** Seconds since the reading, null if there is none. */
  seconds: number | null;
  /** Whether to hide a fresh age, and to be short about an old one, which stands in a line with figures. */
  quiet?: boolean;
  trans: TranslationBundle;
}

export function Age({ seconds, quiet, trans }: IAgeProps): JSX.Element | null {
  const state = freshness(seconds);
  if (seconds === null || (quiet && state === 'fresh')) {
    return null;
  }
  return (
    <span
      className="jp-Coiled-age"
      data-age={state}
      title={ageWords(seconds, trans)}
    >
      {state !== 'fresh' && <Icon icon={clock} />}
      {quiet
        ? trans.__('%1 old', durationWords(seconds, trans))
        : ageWords(seconds, trans)}
    </span>
  );
}
