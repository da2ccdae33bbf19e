/** The first line of the panel: what the comparison means, in words with an icon. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IJudgement } from '../model';
import type { Diff } from '../wire';
import { reasonWords, severityWords } from '../words';

export interface IVerdictProps {
  judgement: IJudgement;
  /** The comparison that the judgement is about, if there is one. */
  diff: Diff | null;
  trans: TranslationBundle;
}

export interface ICheckingProps {
  diff: Diff;
  trans: TranslationBundle;
}

/** What isn't known yet though the verdict stands: the files behind equal versions. */
export function Checking({ diff, trans }: ICheckingProps): JSX.Element | null {
  return diff.level === 'all' && !diff.checked.content ? (
    <div className="jp-Coiled-sub jp-Coiled-checking" data-checking="content">
      {trans.__('Comparing file contents…')}
    </div>
  ) : null;
}

export const VERDICT_ICONS: Record<Diff['verdict'], string> = {
  breaks: '✕',
  differs: '!',
  equal: '✓',
  unknown: '?'
};

export function Verdict(props: IVerdictProps): JSX.Element {
  const { verdict } = props.judgement;
  return (
    <div aria-live="polite" aria-atomic="true" className="jp-Coiled-live">
      <div className="jp-Coiled-verdict" data-verdict={verdict}>
        <span className="jp-Coiled-icon" aria-hidden="true">
          {VERDICT_ICONS[verdict]}
        </span>
        <span className="jp-Coiled-grow">{verdictWords(props)}</span>
      </div>
    </div>
  );
}

/** The verdict in a few words. */
export function verdictWords({
  judgement,
  diff,
  trans
}: IVerdictProps): string {
  const { verdict, reason } = judgement;
  if (reason || !diff || verdict === 'unknown') {
    // An old reading's age would be read aloud each second; the age stands below.
    return reason && reason.kind !== 'stale'
      ? trans.__('Unknown: %1', reasonWords(reason, trans).text)
      : trans.__('Unknown: %1', trans.__('the last reading is too old'));
  }
  const { block, warn, note } = diff.severities;
  if (verdict === 'breaks') {
    const breaks = severityWords('block', block, trans);
    return warn
      ? trans.__('%1, %2', breaks, severityWords('warn', warn, trans))
      : breaks;
  }
  if (verdict === 'differs') {
    return warn
      ? severityWords('warn', warn, trans)
      : severityWords('note', note, trans);
  }
  return trans.__('Equal');
}
