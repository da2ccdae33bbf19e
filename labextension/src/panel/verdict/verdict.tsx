/** The verdict in words: one line for all places that show it, and what it is due to. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IJudgement } from '../../model/model';
import type { Diff } from '../../api/wire';
import {
  capitalized,
  reasonWords,
  severityWords,
  stepWords
} from '../../words/words';

export interface IVerdictProps {
  judgement: IJudgement;
  /** The comparison of the verdict, if there is one. */
  diff: Diff | null;
  trans: TranslationBundle;
}

/** What is known to be so, and doesn't leave open what can't be told. */
const PLAIN = [
  'no_cluster',
  'no_choice',
  'no_notebook',
  'no_kernel',
  'kernel_starting',
  'kernel_dead',
  'cluster_not_ready',
  'problem'
];

/** The verdict as one line, which names the cluster. */
export function verdictWords(props: IVerdictProps): string {
  return [headWords(props), countWords(props)].filter(Boolean).join(' · ');
}

/** The same without the count of what doesn't matter. */
export function headWords({ judgement, diff, trans }: IVerdictProps): string {
  const { verdict, reason } = judgement;
  if (reason?.kind === 'syncing') {
    // Its growing time is among the steps below: here a screen reader would announce each second.
    const step = reason.sync.steps.find(({ state }) => state === 'running');
    return step
      ? trans.__('Syncing: %1…', stepWords(step.name, trans))
      : trans.__('Syncing…');
  }
  if (reason || !diff || verdict === 'unknown') {
    // Without the age, which a screen reader would announce each second; it is shown below.
    const why =
      reason && reason.kind !== 'stale'
        ? reasonWords(reason, trans).text
        : trans.__('the last reading is too old');
    return reason && PLAIN.includes(reason.kind)
      ? capitalized(why)
      : trans.__("Can't tell yet: %1", why);
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
    compatible: trans.__('No known problem on %1', cluster.name),
    equal: trans.__('Same packages on %1', cluster.name)
  }[verdict];
}

function countWords({ judgement, diff, trans }: IVerdictProps): string {
  return judgement.verdict === 'compatible' && diff?.deciding
    ? trans._n('%1 package differs', '%1 packages differ', diff.deciding)
    : '';
}

/** What a verdict is due to, or what to do where there is none. */
export function becauseWords(props: IVerdictProps): string {
  const { diff, judgement, trans } = props;
  const { reason, verdict } = judgement;
  if (reason?.kind === 'syncing') {
    return trans.__('Rows show what was read last');
  }
  if (reason || !diff) {
    return reason ? reasonWords(reason, trans).hint : '';
  }
  const { kernel, rows } = diff;
  if (verdict === 'compatible') {
    const used = rows.some(
      row => row.severity === 'minor' && !row.condition && row.use
    );
    return [
      countWords(props),
      !used && diff.deciding && trans.__('this notebook uses none of them')
    ]
      .filter(Boolean)
      .join('; ');
  }
  if (verdict === 'equal') {
    return readWords(diff, trans);
  }
  const due = rows.filter(row => row.severity === verdict);
  const imported = due.filter(row => row.use === 'imported').length;
  if (imported === 0) {
    return due
      .slice(0, 3)
      .map(({ name }) => name)
      .join(', ');
  }
  return imported === due.length
    ? trans._n('%2 imports it', '%2 imports them', imported, kernel.label)
    : trans.__('%1 imports %2 of them', kernel.label, imported);
}

/** Who was read. */
function readWords(diff: Diff, trans: TranslationBundle): string {
  const { groups } = diff.cluster;
  const workers = groups
    .filter(group => group.role === 'worker')
    .reduce((sum, group) => sum + group.nodes.length, 0);
  return groups.some(group => group.role === 'scheduler')
    ? trans._n(
        'Read on %1 worker and the scheduler',
        'Read on %1 workers and the scheduler',
        workers
      )
    : trans._n('Read on %1 worker', 'Read on %1 workers', workers);
}

/** The verdict in a word or two, for where its whole sentence is in the title. */
export function briefWords({ judgement, diff, trans }: IVerdictProps): string {
  const { verdict, reason } = judgement;
  const count = diff?.deciding ?? 0;
  return {
    breaks: trans._n('%1 will break', '%1 will break', count),
    risky: severityWords('risky', count, trans),
    compatible: trans.__('No known problem'),
    equal: trans.__('Same packages'),
    unknown:
      reason?.kind === 'no_cluster'
        ? trans.__('No cluster')
        : reason?.kind === 'no_choice'
          ? trans.__('Which cluster?')
          : reason?.kind === 'syncing'
            ? trans.__('Syncing…')
            : trans.__('Unknown')
  }[verdict];
}
