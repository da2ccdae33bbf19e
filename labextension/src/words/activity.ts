/** Sentences about what a cluster is doing. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Activity, ActivityStream, ActivityWorker } from '../api/wire';
import { bytesWords, workerStatusWords } from './words';

/** What a pane shows. */
export type PaneKind = 'task-stream' | 'progress' | 'workers' | 'cluster-map';

export function paneWords(
  kind: PaneKind,
  name: string,
  trans: TranslationBundle
): string {
  return {
    'task-stream': trans.__('Task stream of %1', name),
    progress: trans.__('Progress of %1', name),
    workers: trans.__('Workers of %1', name),
    'cluster-map': trans.__('Cluster map of %1', name)
  }[kind];
}

/** What there is of a cluster, in one line. */
export function countsWords(
  { no_worker, processing, queued, tasks, workers }: Activity,
  trans: TranslationBundle
): string {
  return [
    trans._n('%1 worker', '%1 workers', workers.length),
    trans._n('%1 task', '%1 tasks', tasks),
    processing > 0 && trans.__('%1 processing', processing),
    queued > 0 && trans.__('%1 queued', queued),
    no_worker > 0 &&
      trans._n(
        '%1 that no worker may run',
        '%1 that no worker may run',
        no_worker
      )
  ]
    .filter(Boolean)
    .join(' · ');
}

/** That not everything is shown; '' where everything is. */
export function missedWords(missed: number, trans: TranslationBundle): string {
  return missed > 0
    ? trans._n(
        '%1 task ended without being shown: more ended than could be read',
        '%1 tasks ended without being shown: more ended than could be read',
        missed
      )
    : '';
}

/** Why a pane is empty. */
export function emptyPaneWords(
  kind: PaneKind,
  trans: TranslationBundle
): string {
  return {
    'task-stream': trans.__(
      'No task has ended since somebody began to look at this cluster.'
    ),
    progress: trans.__('The scheduler knows of no task.'),
    workers: trans.__('The cluster has no worker.'),
    'cluster-map': trans.__('The cluster has no worker.')
  }[kind];
}

/** What a thread did. */
export function actionWords(
  action: ActivityStream['actions'][number],
  trans: TranslationBundle
): string {
  return {
    compute: trans.__('Computed'),
    transfer: trans.__('Transfer between workers'),
    'disk-read': trans.__('Read from disk'),
    'disk-write': trans.__('Written to disk'),
    deserialize: trans.__('Deserialized'),
    erred: trans.__('Failed')
  }[action];
}

/** A state of tasks; what isn't known here is called so. */
export function taskStateWords(
  state: string,
  trans: TranslationBundle
): string {
  const words: Readonly<Record<string, string>> = {
    memory: trans.__('In memory'),
    released: trans.__('Released'),
    processing: trans.__('Processing'),
    waiting: trans.__('Waiting'),
    queued: trans.__('Queued'),
    'no-worker': trans.__('No worker'),
    erred: trans.__('Failed')
  };
  return Object.hasOwn(words, state) ? words[state] : state;
}

/** How long something took, to three digits. */
export function tookWords(seconds: number, trans: TranslationBundle): string {
  if (seconds < 1) {
    const shown = 1000 * seconds;
    return trans.__('%1 ms', shown.toFixed(shown < 10 ? 1 : 0));
  }
  if (seconds < 100) {
    return trans.__('%1 s', seconds.toFixed(seconds < 10 ? 2 : 1));
  }
  const whole = Math.round(seconds);
  if (seconds < 3600) {
    return trans.__('%1 min %2 s', Math.floor(whole / 60), whole % 60);
  }
  const minutes = Math.round(seconds / 60);
  return trans.__('%1 h %2 min', Math.floor(minutes / 60), minutes % 60);
}

/** How much per second. */
export function rateWords(bytes: number, trans: TranslationBundle): string {
  return trans.__('%1/s', bytesWords(bytes, trans));
}

/** A worker's memory, and its parts. */
export function memoryWords(
  worker: ActivityWorker,
  trans: TranslationBundle
): string {
  const { limit, managed, memory, spilled } = worker;
  const used = bytesWords(memory, trans);
  return [
    limit === null
      ? used
      : trans.__('%1 of %2', used, bytesWords(limit, trans)),
    trans.__('managed %1', bytesWords(managed, trans)),
    trans.__('unmanaged %1', bytesWords(Math.max(memory - managed, 0), trans)),
    spilled > 0 && trans.__('on disk %1', bytesWords(spilled, trans))
  ]
    .filter(Boolean)
    .join(' · ');
}

/** Everything of a worker that a cell of a map has no room for, in lines. */
export function workerLines(
  worker: ActivityWorker,
  trans: TranslationBundle
): string[] {
  return [
    worker.name,
    ...(worker.name === worker.id ? [] : [worker.id]),
    trans.__('Status: %1', workerStatusWords(worker.status, trans)),
    trans.__('Memory: %1', memoryWords(worker, trans)),
    trans._n(
      'CPU: %2 % of %1 thread',
      'CPU: %2 % of %1 threads',
      worker.threads,
      worker.cpu
    ),
    trans.__(
      'Tasks: %1 executing, %2 processing, %3 stored',
      worker.executing,
      worker.processing,
      worker.stored
    ),
    trans.__(
      'Network: %1 received, %2 sent',
      rateWords(worker.received, trans),
      rateWords(worker.sent, trans)
    )
  ];
}
