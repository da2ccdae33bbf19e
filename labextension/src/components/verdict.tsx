/** The first line of the panel: what the comparison means, in words with an icon. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Diff } from '../wire';

export interface IVerdictProps {
  /** The comparison, or null with the reason why there is none. */
  diff: Diff | null;
  /** Why nothing can be claimed, where that is so. */
  reason: string | null;
  trans: TranslationBundle;
}

const ICONS = { breaks: '✕', differs: '!', equal: '✓', unknown: '?' };

export function Verdict({ diff, reason, trans }: IVerdictProps): JSX.Element {
  const verdict = reason !== null || !diff ? 'unknown' : diff.verdict;
  return (
    <div aria-live="polite" className="jp-Coiled-live">
      <div className="jp-Coiled-verdict" data-verdict={verdict}>
        <span aria-hidden="true">{ICONS[verdict]}</span>
        <span>{words(verdict, diff, reason, trans)}</span>
      </div>
    </div>
  );
}

function words(
  verdict: Diff['verdict'],
  diff: Diff | null,
  reason: string | null,
  trans: TranslationBundle
): string {
  if (!diff || verdict === 'unknown') {
    const why = reason ?? diff?.unread[0]?.reason ?? '';
    return why ? trans.__('Unknown: %1', why) : trans.__('Unknown');
  }
  const { block, warn, note } = diff.severities;
  if (verdict === 'breaks') {
    return trans._n(
      '%1 package will break tasks',
      '%1 packages will break tasks',
      block
    );
  }
  if (verdict === 'differs') {
    return trans._n('%1 package differs', '%1 packages differ', warn + note);
  }
  return trans.__('Equal: everything that tasks use matches');
}
