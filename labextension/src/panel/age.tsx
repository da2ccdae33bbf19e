/** The age of a reading, updated while it is shown. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { freshness } from '../model/model';
import type { Freshness } from '../model/model';
import { ageWords } from '../words/words';

/** Render each second; for the few components that show time. */
export function useSeconds(): void {
  const [, tick] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    const timer = window.setInterval(tick, 1000);
    return () => window.clearInterval(timer);
  }, []);
}

const ICONS: Record<Freshness, string> = {
  fresh: '',
  stale: '◷',
  unknown: '?'
};

export interface IAgeProps {
  /** Seconds since the reading, null if there is none. */
  seconds: number | null;
  /** Whether to hide a fresh age. */
  quiet?: boolean;
  trans: TranslationBundle;
}

export function Age({ seconds, quiet, trans }: IAgeProps): JSX.Element | null {
  const state = freshness(seconds);
  if (seconds === null || (quiet && state === 'fresh')) {
    return null;
  }
  return (
    <span className="jp-Coiled-age" data-age={state}>
      {ICONS[state] && (
        <span className="jp-Coiled-icon" aria-hidden="true">
          {ICONS[state]}
        </span>
      )}
      {ageWords(seconds, trans)}
    </span>
  );
}
