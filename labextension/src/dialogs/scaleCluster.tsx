/** The dialog that changes a cluster's size: a fixed number of workers, or adaptive scaling between two. */
import { Dialog, Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Cluster, ClusterChange, Usage } from '../api/wire';
import { coresFor, threadsOf } from '../model/capabilities';
import { grantWords } from '../words/words';
import type { IDialogContext } from './context';
import { ask } from './form';

type Values = {
  readonly kind: string;
  readonly workers: string;
  readonly 'adaptive.minimum': string;
  readonly 'adaptive.maximum': string;
};

export async function scaleCluster(
  cluster: Cluster,
  { model, trans }: IDialogContext
): Promise<void> {
  const { adaptive, workers } = cluster.desired;
  // The panel reads only while it is visible.
  model.invalidate();
  await ask<Values>({
    title: trans.__('Scale %1', cluster.name),
    initial: {
      kind: adaptive ? 'adaptive' : 'fixed',
      workers: String(workers),
      'adaptive.minimum': String(adaptive?.minimum ?? 0),
      'adaptive.maximum': String(adaptive?.maximum ?? Math.max(workers, 1))
    },
    fields: form => (
      <>
        {form.radio('kind', [
          { value: 'fixed', label: trans.__('A fixed number of workers') },
          {
            value: 'adaptive',
            label: trans.__('As many as the work needs (adaptive)')
          }
        ])}
        {form.values.kind === 'fixed' ? (
          form.number('workers', trans.__('Workers'), { required: true })
        ) : (
          <div className="jp-Coiled-pair">
            {form.number('adaptive.minimum', trans.__('Minimum'), {
              required: true
            })}
            {form.number('adaptive.maximum', trans.__('Maximum'), {
              required: true
            })}
          </div>
        )}
      </>
    ),
    effect: values =>
      effectWords(
        values,
        model.clusters.find(({ id }) => id === cluster.id) ?? cluster,
        model.usage,
        trans
      ),
    source: model,
    accept: Dialog.okButton({ label: trans.__('Scale') }),
    focus: 'input[type=number]',
    act: async values => {
      const body = requestOf(values);
      const changed = await model.change(cluster.id, body);
      const requested = body.adaptive?.maximum ?? body.workers ?? 0;
      const words = grantWords(changed, requested, trans);
      if (words) {
        Notification.warning(words, { autoClose: false });
      }
    },
    trans
  });
}

function requestOf(values: Values): ClusterChange {
  return values.kind === 'fixed'
    ? { workers: Number(values.workers) }
    : {
        adaptive: {
          minimum: Number(values['adaptive.minimum']),
          maximum: Number(values['adaptive.maximum'])
        }
      };
}

function effectWords(
  values: Values,
  cluster: Cluster,
  usage: Usage | null,
  trans: TranslationBundle
): string {
  const { workers = 0, adaptive } = requestOf(values);
  const before = cluster.desired.workers;
  const most = adaptive?.maximum ?? workers;
  const threads = threadsOf(cluster);
  return [
    ...(adaptive
      ? adaptiveWords(cluster, adaptive.minimum, adaptive.maximum, trans)
      : fixedWords(cluster, workers, trans)),
    threads !== null &&
      (adaptive
        ? trans._n('At most %1 core.', 'At most %1 cores.', most * threads)
        : trans._n(
            'That takes %1 core.',
            'That takes %1 cores.',
            most * threads
          )),
    threads !== null &&
      usage &&
      limitWords(coresFor(cluster, usage), threads, most, before, usage, trans)
  ]
    .filter(Boolean)
    .join(' ');
}

function fixedWords(
  { desired, name }: Cluster,
  workers: number,
  trans: TranslationBundle
): readonly string[] {
  const { adaptive, workers: before } = desired;
  return [
    workers === before
      ? trans._n(
          '%2 stays at %1 worker.',
          '%2 stays at %1 workers.',
          workers,
          name
        )
      : trans._n(
          '%2 gets %1 worker instead of %3.',
          '%2 gets %1 workers instead of %3.',
          workers,
          name,
          before
        ),
    adaptive
      ? trans.__(
          'This ends adaptive scaling (%1 to %2).',
          adaptive.minimum,
          adaptive.maximum
        )
      : '',
    workers === 0 && before > 0
      ? trans.__('What only its workers hold is lost.')
      : workers < before
        ? trans.__('Those that end hand what they hold to the others first.')
        : ''
  ];
}

function adaptiveWords(
  { desired, name }: Cluster,
  minimum: number,
  maximum: number,
  trans: TranslationBundle
): readonly string[] {
  return [
    trans.__(
      '%1 has %2 to %3 workers from now on, as its work needs them.',
      name,
      minimum,
      maximum
    ),
    desired.adaptive
      ? trans.__(
          'Until now: %1 to %2.',
          desired.adaptive.minimum,
          desired.adaptive.maximum
        )
      : ''
  ];
}

/** The remaining cores, or how many workers fit. */
function limitWords(
  room: number,
  threads: number,
  workers: number,
  before: number,
  { cores }: Usage,
  trans: TranslationBundle
): string {
  // Running workers stay even above the limit.
  const fit = Math.max(Math.floor(room / threads), Math.min(before, workers));
  return fit < workers
    ? trans._n(
        'Only %1 worker fits: the limit of %2 cores allows no more.',
        'Only %1 workers fit: the limit of %2 cores allows no more.',
        fit,
        cores.limit
      )
    : trans.__(
        '%1 of %2 are left then.',
        Math.max(room - workers * threads, 0),
        cores.limit
      );
}
