/** The first line of the panel: the verdict in words, with an icon. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IJudgement } from '../../model/model';
import type { Diff } from '../../api/wire';
import { reasonWords, severityWords } from '../../words/words';

export interface IVerdictProps {
  judgement: IJudgement;
  /** The comparison of the verdict, if there is one. */
  diff: Diff | null;
  trans: TranslationBundle;
}

export const VERDICT_ICONS: Record<Diff['verdict'], string> = {
  breaks: '✕',
  risky: '!',
  compatible: '✓',
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

/** The verdict as one line, which names the cluster. */
export function verdictWords({
  judgement,
  diff,
  trans
}: IVerdictProps): string {
  const { verdict, reason } = judgement;
  if (reason || !diff || verdict === 'unknown') {
    // Without the age, which a screen reader would announce each second; it is shown below.
    const why =
      reason && reason.kind !== 'stale'
        ? reasonWords(reason, trans).text
        : trans.__('the last reading is too old');
    return trans.__('Unknown: %1', why);
  }
  const { deciding, cluster } = diff;
  // How Python was started is no package.
  if (
    verdict === 'risky' &&
    diff.rows.some(row => row.condition && row.severity === 'risky')
  ) {
    return trans._n(
      '%1 difference may give other results on %2',
      '%1 differences may give other results on %2',
      deciding,
      cluster.name
    );
  }
  return {
    breaks: trans._n(
      '%1 package will break on %2',
      '%1 packages will break on %2',
      deciding,
      cluster.name
    ),
    risky: trans._n(
      '%1 package may give other results on %2',
      '%1 packages may give other results on %2',
      deciding,
      cluster.name
    ),
    compatible:
      trans.__('No known problem on %1', cluster.name) +
      (deciding
        ? trans._n(' · %1 package differs', ' · %1 packages differ', deciding)
        : ''),
    equal: trans.__('Same packages on %1', cluster.name)
  }[verdict];
}

/** The verdict in a word or two, for where its whole sentence is in the title. */
export function briefWords({ judgement, diff, trans }: IVerdictProps): string {
  const { verdict, reason } = judgement;
  const count = diff?.deciding ?? 0;
  return {
    breaks: severityWords('breaks', count, trans),
    risky: severityWords('risky', count, trans),
    compatible: trans.__('No known problem'),
    equal: trans.__('Same packages'),
    unknown:
      reason?.kind === 'no_cluster'
        ? trans.__('No cluster')
        : reason?.kind === 'no_choice'
          ? trans.__('Which cluster?')
          : trans.__('Unknown')
  }[verdict];
}
