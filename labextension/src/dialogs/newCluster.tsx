/** The dialog that starts a cluster. */
import { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { ApiError } from '../api/client';
import type {
  ClusterCreate,
  Factory,
  Offers,
  Option,
  Usage
} from '../api/wire';
import { coresLeft } from '../model/capabilities';
import type { IActiveKernel } from '../model/kernel';
import { DEFAULTS } from '../model/preferences';
import type { INewCluster } from '../model/preferences';
import type { IDialogContext } from './context';
import { ask } from './form';
import type { Form, IFormOptions } from './form';
import { Platforms } from './platforms';
import { refusalWords } from '../words/words';

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
  /** Where it runs: the name of a factory. */
  readonly factory: string;
  readonly [option: OptionField]: string;
};

type OptionField = `options.${string}`;

const LOCAL = 'local';
const REMEMBERED = 'coiled-jupyter:new-cluster';
const NONE = new Platforms([], () => Promise.reject(new Error()));

export async function createCluster({
  model,
  preferences,
  trans
}: IDialogContext): Promise<void> {
  const { kernel } = model;
  const first = preferences().newCluster;
  const factories = (await model.factories()).filter(
    it => it.absent.length === 0
  );
  const last = lastOf(await model.remembered(REMEMBERED));
  // The panel reads only while it is visible.
  model.invalidate();
  const platforms = new Platforms(factories, (...it) => model.offers(...it));
  await ask({
    ...newClusterForm(kernel, () => model.usage, trans, first, platforms, last),
    source: model,
    title: trans.__('New cluster'),
    accept: Dialog.okButton({ label: trans.__('Create') }),
    focus: 'input',
    act: async values => {
      await model.create(requestOf(values, kernel?.id ?? '', platforms));
      model.remember(REMEMBERED, JSON.stringify(placeOf(values)));
    }
  });
}

/** Return where the last cluster ran, with its options: what `placeOf` returned. */
function lastOf(text: string | null): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(text ?? '{}'));
  } catch {
    return {};
  }
}

/** Return the values that the next form begins with. */
function placeOf(values: Values): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(values).filter(
      ([name]) => name === 'factory' || name.startsWith('options.')
    )
  );
}

export function newClusterForm(
  kernel: IActiveKernel | null,
  usage: () => Usage | null,
  trans: TranslationBundle,
  first: INewCluster = DEFAULTS.newCluster,
  platforms: Platforms = NONE,
  last: Readonly<Record<string, unknown>> = {}
): IFormOptions<Values> {
  const { factories } = platforms;
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
  const said = (name: string, otherwise: string): string =>
    typeof last[name] === 'string' ? last[name] : otherwise;
  const options = factories.flatMap(it => Object.entries(it.options));
  // A platform decides itself which packages its nodes have.
  const speaking = sources.filter(([source]) => SPEAKING.includes(source));
  const place = said('factory', LOCAL);
  return {
    initial: {
      ...Object.fromEntries(
        options.map(([name, { default: value }]) => [
          `options.${name}`,
          said(`options.${name}`, value === null ? '' : String(value))
        ])
      ),
      factory: factories.some(it => it.name === place) ? place : LOCAL,
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
    fields: form => {
      const chosen = placeIn(form.values, kernel?.id ?? '', platforms);
      const { asking, factory, joined, packages } = chosen;
      if (factory) {
        platforms.look(factory, asking, offers => {
          form.set(offered(form.values, offers, said));
        });
      }
      return (
        <>
          {factories.length > 1 &&
            form.select(
              'factory',
              trans.__('Where'),
              factories.map(({ name, title }) => [name, title] as const)
            )}
          {factory?.asks && joinField(form, chosen, platforms, trans)}
          {optionFields(form, factory, true, trans)}
          {!joined &&
            form.number('workers', trans.__('Workers'), { required: true })}
          {factory?.asks
            ? form.select(
                'packages',
                trans.__('Python that speaks to it'),
                speaking
              )
            : form.select('packages', trans.__('Packages from'), sources)}
          {packages === 'requirements' && (
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
            {!joined && optionFields(form, factory, false, trans)}
            {form.text('name', trans.__('Name (optional)'), {
              placeholder: trans.__('auto')
            })}
            {takes(factory, 'threads_per_worker') &&
              form.number(
                'threads_per_worker',
                trans.__('Threads per worker'),
                {
                  required: true
                }
              )}
            {takes(factory, 'memory_limit') &&
              form.text(
                'memory_limit',
                trans.__('Memory per worker (optional)'),
                {
                  placeholder: trans.__('auto')
                }
              )}
            {!joined && (
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
            )}
            {takes(factory, 'environ') &&
              form.lines(
                'environ',
                trans.__(
                  'Environment variables, one NAME=value per line (optional)'
                ),
                { rows: 3 }
              )}
          </details>
        </>
      );
    },
    effect: values => {
      const chosen = placeIn(values, kernel?.id ?? '', platforms);
      return chosen.factory?.asks
        ? offerWords(chosen.factory, chosen, platforms, trans)
        : effectWords(values, kernel, usage(), chosen.factory, trans);
    },
    trans
  };
}

/** The sources of a Python that is there already. */
const SPEAKING = ['interpreter', 'server'];

interface IPlace {
  /** The chosen factory with all of its options; undefined before the server has told of any. */
  readonly factory: Factory | undefined;
  /** The source of its packages. */
  readonly packages: string;
  /** The kernel whose Python asks its platform; null is the server's. */
  readonly asking: string | null;
  /** The cluster to join; empty for a new one. */
  readonly joined: string;
}

function placeIn(values: Values, kernel: string, platforms: Platforms): IPlace {
  const found = platforms.factories.find(it => it.name === values.factory);
  const own = kernel ? 'interpreter' : 'server';
  const packages =
    found?.asks && !SPEAKING.includes(values.packages) ? own : values.packages;
  const asking = packages === 'server' ? null : kernel || null;
  return {
    factory: found && platforms.whole(found, asking),
    packages,
    asking,
    joined: found?.asks ? values['options.join'] : ''
  };
}

/** Return the values that a platform's offers begin with, where nothing was entered. */
function offered(
  values: Values,
  offers: Offers | null,
  said: (name: string, otherwise: string) => string
): Partial<Values> {
  if (offers === null) {
    return {};
  }
  const names = offers.clusters.map(({ name }) => name);
  const first = Object.entries(offers.options).map(
    ([name, { default: value }]): [OptionField, string] => [
      `options.${name}`,
      values[`options.${name}`] ??
        said(`options.${name}`, value === null ? '' : String(value))
    ]
  );
  const { 'options.join': join } = values;
  return {
    ...Object.fromEntries(first),
    'options.join': names.includes(join) ? join : ''
  };
}

/** Which of the clusters that run there is joined, or none. */
function joinField(
  form: Form<Values>,
  { asking, factory }: IPlace,
  platforms: Platforms,
  trans: TranslationBundle
): React.ReactNode {
  const answer = factory ? platforms.answer(factory, asking) : null;
  const running = answer && 'clusters' in answer ? answer.clusters : [];
  return form.select('options.join', trans.__('Cluster'), [
    ['', trans.__('a new one')],
    ...running.map(
      ({ name, status }) =>
        [name, trans.__('%1 (%2), joined', name, status)] as const
    )
  ]);
}

/** The effect where a platform decides how large workers are, and what it is waited for or refused by. */
function offerWords(
  factory: Factory,
  { asking, joined }: IPlace,
  platforms: Platforms,
  trans: TranslationBundle
): string {
  const answer = platforms.answer(factory, asking);
  if (answer === null) {
    return trans.__('Asking %1 what it offers…', factory.title);
  }
  if (answer instanceof ApiError) {
    return refusalWords(answer, trans);
  }
  return joined
    ? trans.__(
        'Joins %1 in the size that it has. When you detach it, it goes on.',
        joined
      )
    : trans.__(
        '%1: %2. The cores of its workers count for your limit once they are there.',
        factory.title,
        factory.description
      );
}

/** Whether clusters of the chosen factory can be told a field. */
function takes(factory: Factory | undefined, field: string): boolean {
  return factory?.takes.includes(field) ?? true;
}

/** The fields of a factory's options: those without which it can't start, or the others. */
function optionFields(
  form: Form<Values>,
  factory: Factory | undefined,
  required: boolean,
  trans: TranslationBundle
): React.ReactNode {
  return Object.entries(factory?.options ?? {})
    .filter(([, option]) => option.required === required)
    .filter(([name]) => !(factory?.asks && name === 'join'))
    .map(([name, option]) =>
      optionField(form, `options.${name}`, option, trans)
    );
}

function optionField(
  form: Form<Values>,
  field: OptionField,
  option: Option,
  trans: TranslationBundle
): React.ReactNode {
  const { choices, description, required, type } = option;
  const words = description.charAt(0).toUpperCase() + description.slice(1);
  const label =
    required || type === 'boolean' ? words : trans.__('%1 (optional)', words);
  if (type === 'boolean') {
    return form.select(field, label, [
      ['false', trans.__('no')],
      ['true', trans.__('yes')]
    ]);
  }
  if (choices.length > 0) {
    const none = required ? [] : ([['', trans.__('auto')]] as const);
    return form.select(field, label, [
      ...none,
      ...choices.map(it => [it, it] as const)
    ]);
  }
  return type === 'string'
    ? form.text(field, label, { required })
    : form.number(field, label, { required });
}

/** Return the options that differ from the factory's defaults, in their types. */
function optionsOf(
  values: Values,
  factory: Factory,
  join: string
): ClusterCreate['options'] {
  if (join) {
    return { join };
  }
  const entries = Object.entries(factory.options).map(
    ([name, { type }]): [string, string | number | boolean] => {
      const text = values[`options.${name}`] ?? '';
      const whole = text.trim();
      switch (type) {
        case 'boolean':
          return [name, whole === 'true'];
        case 'string':
          return [name, whole];
        default:
          return [name, whole && Number(whole)];
      }
    }
  );
  return Object.fromEntries(
    entries.filter(
      ([name, value]) => value !== '' && value !== factory.options[name].default
    )
  );
}

/** Return the body of the request. */
export function requestOf(
  values: Values,
  kernel: string,
  platforms: Platforms = NONE
): ClusterCreate {
  const { factory, joined, packages } = placeIn(values, kernel, platforms);
  const options = factory ? optionsOf(values, factory, joined) : null;
  const { name, python } = values;
  const minimum = joined ? '' : values['adaptive.minimum'];
  const maximum = joined ? '' : values['adaptive.maximum'];
  const told = (field: string) => takes(factory, field);
  const memory = told('memory_limit') ? values.memory_limit.trim() : '';
  const environ = told('environ') ? variablesOf(values.environ) : {};
  const software: Record<string, ClusterCreate> = {
    kernel: { kernel },
    interpreter: { interpreter: { kernel } },
    requirements: {
      requirements: requirementsOf(values.requirements),
      ...(python.trim() && { python: python.trim() })
    }
  };
  return {
    ...(!joined && { workers: Number(values.workers) }),
    ...(told('threads_per_worker') && {
      threads_per_worker: Number(values.threads_per_worker)
    }),
    ...(factory && factory.name !== LOCAL && { factory: factory.name }),
    ...(options && Object.keys(options).length > 0 && { options }),
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
  factory: Factory | undefined,
  trans: TranslationBundle
): string {
  const elsewhere = factory && factory.name !== LOCAL ? factory : null;
  const threads = Number(values.threads_per_worker);
  const cores = Number(values.workers) * threads;
  const left = usage && coresLeft(usage);
  const minimum = values['adaptive.minimum'];
  const maximum = values['adaptive.maximum'];
  const memory = values.memory_limit.trim();
  const variables = Object.keys(variablesOf(values.environ)).length;
  return [
    elsewhere
      ? trans.__('%1: %2.', elsewhere.title, elsewhere.description)
      : trans.__('Starts a scheduler and workers on this machine:'),
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
    originWords(values.packages, kernel?.label ?? '', trans),
    elsewhere && missingWords(values.packages, elsewhere, trans)
  ]
    .filter(Boolean)
    .join(' ');
}

/** What the chosen packages lack for a factory, as far as that is known before they are read. */
function missingWords(
  source: string,
  factory: Factory,
  trans: TranslationBundle
): string {
  if (source === 'server' && factory.missing.length > 0) {
    return trans.__(
      "%1 isn't in the Jupyter server's environment: install it there, or choose packages that have it.",
      factory.missing.join(', ')
    );
  }
  return factory.requires.length > 0
    ? trans.__('Its packages must have %1.', factory.requires.join(', '))
    : '';
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
