/** What the model knows, in words: every sentence that more than one part of the page says. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { ApiError } from '../api/client';
import { goesOn } from '../model/capabilities';
import { freshness } from '../model/model';
import type { Reason } from '../model/model';
import type { Outcome } from '../model/workerRequest';
import type {
  ChangedCluster,
  Cluster,
  Diff,
  DiffGroup,
  Explanation,
  Row,
  Source,
  Step
} from '../api/wire';

/** A sentence and, where there is one, what to do about it. */
export interface IWords {
  readonly text: string;
  readonly hint: string;
}

export function problemWords(
  error: ApiError,
  trans: TranslationBundle
): IWords {
  switch (error.kind) {
    case 'missing':
      return {
        text: trans.__('the server extension is missing'),
        hint: trans.__(
          'Install coiled-jupyter where the Jupyter server runs (pip install coiled-jupyter) and restart the server.'
        )
      };
    case 'connection':
      return {
        text: trans.__('connection to the Jupyter server lost'),
        hint: trans.__('Retrying…')
      };
    case 'outdated':
      return {
        text: trans.__('this page and the server have different versions'),
        hint: trans.__(
          'Reload the page; if that is not enough, restart the Jupyter server.'
        )
      };
    case 'unreadable':
      return {
        text: trans.__('the answer of the server could not be read'),
        hint: error.message
      };
    default:
      return { text: error.message, hint: error.hint };
  }
}

/** A problem as one sentence or two. */
export function refusalWords(
  error: ApiError,
  trans: TranslationBundle
): string {
  const { text, hint } = problemWords(error, trans);
  return [text, hint].filter(Boolean).join('. ');
}

export function reasonWords(reason: Reason, trans: TranslationBundle): IWords {
  switch (reason.kind) {
    case 'problem':
      return problemWords(reason.error, trans);
    case 'reading':
      return { text: trans.__('reading…'), hint: '' };
    case 'no_notebook':
      return {
        text: trans.__('no notebook is open'),
        hint: trans.__('Open a notebook or console to compare its packages.')
      };
    case 'no_kernel':
      return {
        text: trans.__('no kernel runs for %1', reason.label),
        hint: trans.__('Start its kernel to compare its packages.')
      };
    case 'kernel_starting':
      return {
        text: trans.__('kernel is starting'),
        hint: ''
      };
    case 'kernel_dead':
      return {
        text: trans.__('the kernel of %1 has died', reason.label),
        hint: trans.__('Restart it to compare its packages.')
      };
    case 'no_cluster':
      return { text: trans.__('no cluster yet'), hint: '' };
    case 'no_choice':
      return {
        text: trans.__('which cluster does this notebook use?'),
        hint: trans.__('Choose it above, or connect to it.')
      };
    case 'cluster_not_ready':
      return {
        text:
          reason.cluster.status === 'starting'
            ? trans.__('the cluster %1 is starting', reason.cluster.name)
            : trans.__('the cluster %1 is stopping', reason.cluster.name),
        hint: ''
      };
    case 'stale':
      return {
        text: trans.__(
          'the last reading is %1 s old',
          Math.floor(reason.seconds)
        ),
        hint: ''
      };
    case 'syncing':
      return {
        text: trans.__('a sync is running'),
        hint: trans.__('Its nodes are read again after it.')
      };
    case 'unread':
      return unreadWords(reason.diff, trans);
  }
}

/** How many nodes are missing in a comparison. */
export function unreadCountWords(diff: Diff, trans: TranslationBundle): string {
  return trans._n(
    '%1 node could not be read',
    '%1 nodes could not be read',
    diff.unread.length
  );
}

function unreadWords(diff: Diff, trans: TranslationBundle): IWords {
  const [first, ...more] = diff.unread;
  if (first) {
    return {
      text: more.length
        ? unreadCountWords(diff, trans)
        : trans.__('%1: %2', first.node, first.reason),
      hint: ''
    };
  }
  if (diff.level === 'versions') {
    return {
      text: trans.__("only Dask's own ten versions could be read"),
      hint: ''
    };
  }
  if (diff.level === 'none') {
    return { text: trans.__('nothing could be read'), hint: '' };
  }
  const unknown = diff.rows.find(row => row.status === 'unknown');
  if (unknown) {
    return { text: trans.__('%1 could not be read', unknown.name), hint: '' };
  }
  return {
    text: diff.checked.content
      ? trans.__('the reading is too old')
      : trans.__('files are being compared'),
    hint: ''
  };
}

export function clusterStatusWords(
  status: Cluster['status'],
  trans: TranslationBundle
): string {
  return {
    starting: trans.__('Starting'),
    running: trans.__('Running'),
    idle: trans.__('Idle'),
    degraded: trans.__('Degraded'),
    unreachable: trans.__('Unreachable'),
    stopping: trans.__('Stopping'),
    stopped: trans.__('Stopped'),
    failed: trans.__('Failed'),
    lost: trans.__('Lost')
  }[status];
}

/** What is worth saying of a cluster's state beside its icon; '' where it is at work as it should be. */
export function clusterStateWords(
  cluster: Cluster,
  known: boolean,
  trans: TranslationBundle
): string {
  const words = clusterStatusWords(cluster.status, trans);
  if (!known) {
    return trans.__('Unknown, was %1', words);
  }
  const step = cluster.steps.find(({ state }) => state === 'running');
  if (cluster.status === 'starting' && step) {
    return `${words}: ${stepWords(step.name, trans)}`;
  }
  if (cluster.status === 'running' || cluster.status === 'idle') {
    return '';
  }
  return cluster.reason ? `${words}: ${cluster.reason}` : words;
}

/** Where a cluster comes from. */
export function clusterSourceWords(
  cluster: Pick<Cluster, 'factory' | 'joined' | 'opened_by' | 'source'>,
  trans: TranslationBundle
): string {
  switch (cluster.source) {
    case 'managed':
      return cluster.joined
        ? trans.__('joined (%1)', cluster.factory)
        : trans.__('started by you (%1)', cluster.factory);
    case 'attached':
      return trans.__('attached');
    case 'discovered':
      return cluster.opened_by
        ? trans.__('opened by %1', cluster.opened_by)
        : trans.__('opened elsewhere');
  }
}

/** How many workers there are, of how many that are wished. */
export function sizeWords(
  cluster: Cluster,
  wished: number,
  trans: TranslationBundle
): string {
  const present = cluster.workers.length;
  const { adaptive } = cluster.desired;
  if (cluster.source !== 'managed') {
    return trans._n('%1 worker', '%1 workers', present);
  }
  return adaptive
    ? trans._n(
        '%1 worker, adaptive %2 to %3',
        '%1 workers, adaptive %2 to %3',
        present,
        adaptive.minimum,
        adaptive.maximum
      )
    : present > wished
      ? trans._n(
          '%1 worker, %2 of them leaves',
          '%1 workers, %2 of them leave',
          present,
          present - wished
        )
      : present === wished
        ? trans._n('%1 worker', '%1 workers', present)
        : trans._n('%2 of %1 worker', '%2 of %1 workers', wished, present);
}

/** Clusters that have ended, and how many of them not by request. */
export function pastWords(
  clusters: readonly Cluster[],
  trans: TranslationBundle
): string {
  const bad = clusters.filter(({ status }) => status !== 'stopped').length;
  const words = trans._n(
    '%1 cluster has ended',
    '%1 clusters have ended',
    clusters.length
  );
  return bad > 0
    ? trans._n('%2, %1 by a fault', '%2, %1 by a fault', bad, words)
    : words;
}

/** What a scheduler says of a worker; what isn't known here is called so. */
export function workerStatusWords(
  status: string,
  trans: TranslationBundle
): string {
  const words: Readonly<Record<string, string>> = {
    init: trans.__('starting'),
    running: trans.__('running'),
    paused: trans.__('paused: its memory is full'),
    closing: trans.__('ending'),
    closing_gracefully: trans.__('ending')
  };
  return Object.hasOwn(words, status) ? words[status] : status;
}

/** How often workers were replaced, '' for never. */
export function restartsWords(
  cluster: Cluster,
  trans: TranslationBundle
): string {
  const restarts = cluster.workers.reduce((sum, it) => sum + it.restarts, 0);
  return restarts ? trans._n('%1 restart', '%1 restarts', restarts) : '';
}

/** When a cluster that nobody holds ends; '' while somebody does. */
export function leaseWords(
  cluster: Cluster,
  now: number,
  trans: TranslationBundle
): string {
  if (cluster.lease_until === null) {
    return '';
  }
  const left = Math.max(Date.parse(cluster.lease_until) - now, 0) / 1000;
  return trans.__(
    'stops in %1 unless somebody uses it',
    durationWords(left, trans)
  );
}

/** What is granted where that is less than what was asked for, else ''. */
export function grantWords(
  changed: ChangedCluster,
  asked: number,
  trans: TranslationBundle
): string {
  const { granted, limit } = changed;
  if (granted === null || granted >= asked) {
    return '';
  }
  return limit === null
    ? trans.__('%1 of %2 workers: no more fit', granted, asked)
    : trans.__(
        '%1 of %2 workers: the limit of %3 cores allows no more',
        granted,
        asked,
        limit
      );
}

/** Why a wish for workers wasn't met in full. */
export function outcomeWords(
  outcome: Outcome,
  trans: TranslationBundle
): string {
  if (outcome.kind === 'granted') {
    return grantWords(outcome.changed, outcome.asked, trans);
  }
  return refusalWords(outcome.error, trans);
}

/** What stopping means for a cluster: what isn't ours goes on. */
export function stopWords(
  cluster: Cluster,
  trans: TranslationBundle
): { readonly label: string; readonly name: string } {
  return goesOn(cluster)
    ? {
        label: trans.__('Detach'),
        name: trans.__('Detach %1, which goes on', cluster.name)
      }
    : { label: trans.__('Stop'), name: trans.__('Stop %1', cluster.name) };
}

/** A step by its name, which the server gives; one that isn't known here is called so. */
export function stepWords(name: string, trans: TranslationBundle): string {
  const words: Readonly<Record<string, string>> = {
    'Resolve packages': trans.__('Resolve packages'),
    'Build environment': trans.__('Build environment'),
    'Start scheduler': trans.__('Start scheduler'),
    'Start workers': trans.__('Start workers'),
    Connect: trans.__('Connect'),
    'Build the environment': trans.__('Build the environment'),
    'Test start': trans.__('Test start'),
    'Move the workers': trans.__('Move the workers'),
    'Restart the cluster': trans.__('Restart the cluster'),
    'Restart the workers': trans.__('Restart the workers'),
    Verify: trans.__('Verify'),
    'Go back': trans.__('Go back')
  };
  return Object.hasOwn(words, name) ? words[name] : name;
}

export function stepStateWords(
  state: Step['state'],
  trans: TranslationBundle
): string {
  return {
    waiting: trans.__('waiting'),
    running: trans.__('running'),
    done: trans.__('done'),
    failed: trans.__('failed'),
    cancelled: trans.__('cancelled')
  }[state];
}

/** Which differences a failure comes from, as surely as that is known. */
export function hintWords(
  basis: Explanation['basis'],
  names: readonly string[],
  trans: TranslationBundle
): string {
  const shown = names.slice(0, 3).join(', ') + (names.length > 3 ? '…' : '');
  switch (basis) {
    case 'named':
      return trans.__('Explained by a difference: %1', shown);
    case 'fits':
      return trans.__('A difference can lead to this: %1', shown);
    default:
      return trans.__('Look at the differences: %1', shown);
  }
}

/** That these packages of a notebook will break. */
export function alarmWords(
  rows: readonly Row[],
  { cluster, kernel }: Diff,
  trans: TranslationBundle
): string {
  const names = rows.slice(0, 3).map(({ name }) => name);
  const more = rows.length - names.length;
  return trans._n(
    '%2 on %3: %1 package will break: %4',
    '%2 on %3: %1 packages will break: %4',
    rows.length,
    kernel.label,
    cluster.name,
    names.join(', ') + (more > 0 ? '…' : '')
  );
}

/** How many rows have a severity, in words. */
export function severityWords(
  severity: Row['severity'],
  count: number,
  trans: TranslationBundle
): string {
  switch (severity) {
    case 'breaks':
      return trans._n('%1 breaks', '%1 break', count);
    case 'risky':
      return trans._n('%1 risky', '%1 risky', count);
    case 'minor':
      return trans._n('%1 minor', '%1 minor', count);
    case 'same':
      // Not only what is equal: also what is ignored or makes no difference.
      return trans._n('%1 same', '%1 same', count);
  }
}

export function rowStatusWords(
  status: Row['status'],
  trans: TranslationBundle
): string {
  return {
    broken: trans.__('damaged installation'),
    unknown: trans.__('not read'),
    split: trans.__('nodes differ'),
    differs: trans.__('versions differ'),
    only_kernel: trans.__('missing on the cluster'),
    only_cluster: trans.__('extra on the cluster'),
    content_differs: trans.__('content differs'),
    restart_needed: trans.__('restart needed'),
    same: trans.__('same')
  }[status];
}

/** A severity as something that a package is rated. */
export function ratingWords(
  severity: Row['severity'],
  trans: TranslationBundle
): string {
  return {
    breaks: trans.__('will break'),
    risky: trans.__('risky'),
    minor: trans.__('minor'),
    same: trans.__('same')
  }[severity];
}

export function roleWords(
  role: DiffGroup['role'],
  trans: TranslationBundle
): string {
  return {
    kernel: trans.__('kernel'),
    scheduler: trans.__('scheduler'),
    worker: trans.__('worker')
  }[role];
}

/** A process that prints; those of workers are numbers. */
export function logNodeWords(node: string, trans: TranslationBundle): string {
  return /^[0-9]+$/.test(node) ? trans.__('worker %1', node) : node;
}

/** Where a package came from when not from an index. */
export function packageSourceWords(
  source: Source,
  trans: TranslationBundle
): string {
  return {
    archive: trans.__('archive'),
    directory: trans.__('folder'),
    editable: trans.__('editable'),
    module: trans.__('local code'),
    vcs: trans.__('VCS')
  }[source.kind];
}

/** How old a figure is, and what that means. */
export function ageWords(seconds: number, trans: TranslationBundle): string {
  const duration = durationWords(seconds, trans);
  return {
    fresh: trans.__('read %1', agoWords(seconds, trans)),
    stale: trans.__('stale, %1 old', duration),
    unknown: trans.__('unknown, %1 old', duration)
  }[freshness(seconds)];
}

/** How long ago something was, coarser with distance. */
export function agoWords(seconds: number, trans: TranslationBundle): string {
  if (seconds < 60) {
    return trans.__('%1 s ago', Math.round(seconds));
  }
  return trans.__('%1 ago', durationWords(seconds, trans));
}

/** An amount of memory or of a disk. */
export function bytesWords(bytes: number, trans: TranslationBundle): string {
  const [kib, mib, gib] = [1024, 1024 ** 2, 1024 ** 3];
  if (bytes < mib) {
    return trans.__('%1 KiB', Math.ceil(bytes / kib));
  }
  return bytes < gib
    ? trans.__('%1 MiB', (bytes / mib).toFixed(bytes < 10 * mib ? 1 : 0))
    : trans.__('%1 GiB', (bytes / gib).toFixed(1));
}

/** How long something has lasted. */
export function durationWords(
  seconds: number,
  trans: TranslationBundle
): string {
  if (seconds < 60) {
    return trans.__('%1 s', Math.round(seconds));
  }
  if (seconds < 3600) {
    return trans.__('%1 min', Math.floor(seconds / 60));
  }
  if (seconds < 86400) {
    return trans.__('%1 h', Math.floor(seconds / 3600));
  }
  return trans._n('%1 day', '%1 days', Math.floor(seconds / 86400));
}

/** A sentence that is also said after others, alone. */
export function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
