/** The dialog that starts a cluster. */
import { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { ClusterCreate, Usage } from '../api/wire';
import { coresLeft } from '../model/capabilities';
import type { IActiveKernel } from '../model/kernel';
import { DEFAULTS } from '../model/preferences';
import type { INewCluster } from '../model/preferences';
import type { IDialogContext } from './context';
import { ask } from './form';
import type { IFormOptions } from './form';

type Values = {
  readonly name: string;
  readonly workers: string;
  readonly threads_per_worker: string;
  readonly packages: string;
  readonly requirements: string;
  readonly python: string;
  readonly memory_limit: string;
  readonly 'adaptive.minimum': string;
  readonly 'adaptive.maximum': string;
  readonly environ: string;
};

export async function createCluster({
  model,
  preferences,
  trans
}: IDialogContext): Promise<void> {
  const { kernel, usage } = model;
  const first = preferences().newCluster;
  await ask({
    ...newClusterForm(kernel, usage, trans, first),
    title: trans.__('New cluster'),
    accept: Dialog.okButton({ label: trans.__('Create') }),
    focus: 'input',
    act: values => model.create(requestOf(values, kernel?.id ?? ''))
  });
}

export function newClusterForm(
  kernel: IActiveKernel | null,
  usage: Usage | null,
  trans: TranslationBundle,
  first: INewCluster = DEFAULTS.newCluster
): IFormOptions<Values> {
  const sources = [
    ...(kernel?.id
      ? ([
          ['kernel', trans.__("this notebook's packages")],
          ['interpreter', trans.__("the notebook's Python environment, shared")]
        ] as const)
      : []),
    ['server', trans.__("Jupyter server's environment")],
    ['requirements', trans.__('a list of requirements')]
  ] as const;
  const known = sources.some(([source]) => source === first.packagesFrom);
  return {
    initial: {
      name: '',
      workers: String(first.workers),
      threads_per_worker: String(first.threadsPerWorker),
      packages: known ? first.packagesFrom : sources[0][0],
      requirements: '',
      python: '',
      memory_limit: first.memoryLimit,
      'adaptive.minimum': '',
      'adaptive.maximum': '',
      environ: ''
    },
    fields: form => (
      <>
        {form.text('name', trans.__('Name (optional)'), {
          placeholder: trans.__('chosen for you')
        })}
        {form.number('workers', trans.__('Workers'), { required: true })}
        {form.number('threads_per_worker', trans.__('Threads per worker'), {
          required: true
        })}
        {form.select('packages', trans.__('Packages from'), sources)}
        {form.values.packages === 'requirements' && (
          <>
            {form.lines(
              'requirements',
              trans.__('Requirements, one per line'),
              {
                rows: 4,
                required: true
              }
            )}
            {form.text('python', trans.__('Python version (optional)'), {
              placeholder: trans.__("the Jupyter server's")
            })}
          </>
        )}
        <details>
          <summary>{trans.__('More options')}</summary>
          {form.text('memory_limit', trans.__('Memory per worker (optional)'), {
            placeholder: trans.__('auto')
          })}
          <div className="jp-Coiled-pair">
            {form.number(
              'adaptive.minimum',
              trans.__('Adaptive minimum (optional)')
            )}
            {form.number(
              'adaptive.maximum',
              trans.__('Adaptive maximum (optional)')
            )}
          </div>
          {form.lines(
            'environ',
            trans.__('Environment variables, one NAME=value a line (optional)'),
            { rows: 3 }
          )}
        </details>
      </>
    ),
    effect: values => effectWords(values, kernel, usage, trans),
    trans
  };
}

/** Return the body of the request. */
export function requestOf(values: Values, kernel: string): ClusterCreate {
  const { name, packages, python } = values;
  const minimum = values['adaptive.minimum'];
  const maximum = values['adaptive.maximum'];
  const memory = values.memory_limit.trim();
  const environ = variablesOf(values.environ);
  const software: Record<string, ClusterCreate> = {
    kernel: { kernel },
    interpreter: { interpreter: { kernel } },
    requirements: {
      requirements: requirementsOf(values.requirements),
      ...(python.trim() && { python: python.trim() })
    }
  };
  return {
    workers: Number(values.workers),
    threads_per_worker: Number(values.threads_per_worker),
    ...(name.trim() && { name: name.trim() }),
    ...(memory && { memory_limit: memory }),
    ...((minimum || maximum) && {
      adaptive: { minimum: Number(minimum), maximum: Number(maximum) }
    }),
    ...(Object.keys(environ).length > 0 && { environ }),
    ...software[packages]
  };
}

/** Parse variables, one NAME=value per line. */
function variablesOf(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    text
      .split('\n')
      .filter(line => line.trim())
      .map(line => {
        const [, name, value = ''] = /^([^=]*)=?(.*)$/.exec(line) ?? [];
        return [name.trim(), value];
      })
  );
}

/** Parse requirements, one per line, without comments. */
function requirementsOf(text: string): readonly string[] {
  return text
    .split('\n')
    .map(line => line.replace(/(^|\s)#.*$/, '').trim())
    .filter(Boolean);
}

function effectWords(
  values: Values,
  kernel: IActiveKernel | null,
  usage: Usage | null,
  trans: TranslationBundle
): string {
  const threads = Number(values.threads_per_worker);
  const cores = Number(values.workers) * threads;
  const left = usage && coresLeft(usage);
  const minimum = values['adaptive.minimum'];
  const maximum = values['adaptive.maximum'];
  const memory = values.memory_limit.trim();
  const variables = Object.keys(variablesOf(values.environ)).length;
  return [
    trans.__('Starts a scheduler and workers on this machine:'),
    left === null
      ? trans._n('%1 core.', '%1 cores.', cores)
      : cores > left
        ? trans._n(
            'It needs %1 core; only %2 remain.',
            'It needs %1 cores; only %2 remain.',
            cores,
            left
          )
        : trans._n(
            'It uses %1 core; %2 remain.',
            'It uses %1 cores; %2 remain.',
            cores,
            left - cores
          ),
    maximum &&
      growthWords(Number(minimum), Number(maximum), threads, left, trans),
    memory && trans.__('Up to %1 for each worker.', memory),
    variables > 0 &&
      trans._n(
        '%1 variable is set for its workers.',
        '%1 variables are set for its workers.',
        variables
      ),
    originWords(values.packages, kernel?.label ?? '', trans)
  ]
    .filter(Boolean)
    .join(' ');
}

/** The effect of adaptive scaling on cores. */
function growthWords(
  minimum: number,
  maximum: number,
  threads: number,
  left: number | null,
  trans: TranslationBundle
): string {
  const most = maximum * threads;
  const grows = trans.__(
    'Then %1 to %2 workers, as the work needs them: at most %3 cores.',
    minimum,
    maximum,
    most
  );
  return left !== null && most > left
    ? `${grows} ${trans.__('Of those only %1 are left now.', left)}`
    : grows;
}

/** The effect of the source of packages. */
function originWords(
  source: string,
  label: string,
  trans: TranslationBundle
): string {
  switch (source) {
    case 'kernel':
      return trans.__(
        'An environment with the packages of %1 will be built (or reused if unchanged).',
        label
      );
    case 'interpreter':
      return trans.__(
        'It runs in the environment of %1, which stays as it is.',
        label
      );
    case 'requirements':
      return trans.__(
        'An environment with these requirements will be built (or reused if unchanged).'
      );
    default:
      return trans.__(
        'It runs in the environment of the Jupyter server, which stays as it is.'
      );
  }
}
