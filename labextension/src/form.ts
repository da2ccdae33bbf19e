/** The form of a new cluster, as the body of a dialog. */
import type { TranslationBundle } from '@jupyterlab/translation';

import { coresLeft } from './components/cores';
import { memoryOf, pythonOf, requirementsOf, variablesOf } from './entered';
import {
  CheckedForm,
  count,
  labelled,
  linesField,
  NAME_LENGTH,
  numberField,
  textField
} from './fields';
import type { Finding } from './fields';
import type { IActiveKernel } from './kernels';
import { DEFAULTS } from './preferences';
import type { INewCluster } from './preferences';
import type { Adaptive, ClusterCreate, Usage } from './wire';

type Source = 'kernel' | 'interpreter' | 'server' | 'requirements';

export class CreateForm extends CheckedForm<ClusterCreate> {
  constructor(
    private readonly _kernel: IActiveKernel | null,
    private readonly _usage: Usage | null,
    trans: TranslationBundle,
    first: INewCluster = DEFAULTS.newCluster
  ) {
    super(trans);
    this._workers = numberField(first.workers, 1);
    this._threads = numberField(first.threadsPerWorker, 1);
    this._name = textField('', trans.__('chosen for you'));
    this._memory = textField(
      first.memoryLimit,
      trans.__('its share of the machine')
    );
    this._python = textField('', trans.__("the Jupyter server's"));
    const sources: [Source, string][] = [
      ['server', trans.__("Jupyter server's environment")],
      ['requirements', trans.__('a list of requirements')]
    ];
    if (_kernel?.id) {
      sources.unshift(
        ['kernel', trans.__("this notebook's packages")],
        ['interpreter', trans.__("this notebook's interpreter as it stands")]
      );
    }
    for (const [value, label] of sources) {
      const chosen = value === first.packagesFrom;
      this._packages.append(new Option(label, value, chosen, chosen));
    }
    this._workers.required = true;
    this._threads.required = true;
    this._listed.append(
      labelled(
        trans.__('Requirements, one a line'),
        this._requirements,
        'requirements'
      ),
      labelled(trans.__('Python version (optional)'), this._python, 'python')
    );
    this.node.append(
      labelled(trans.__('Name (optional)'), this._name, 'name'),
      labelled(trans.__('Workers'), this._workers, 'workers'),
      labelled(
        trans.__('Threads per worker'),
        this._threads,
        'threads_per_worker'
      ),
      labelled(trans.__('Packages from'), this._packages),
      this._listed,
      this._more()
    );
    this.complete();
  }

  protected value(): ClusterCreate {
    const { trans } = this;
    const name = this._name.value.trim();
    const memory = memoryOf(this._memory.value, trans).value;
    const environ = variablesOf(this._environ.value, trans).value;
    return {
      workers: this._workers.valueAsNumber,
      threads_per_worker: this._threads.valueAsNumber,
      ...(name && { name }),
      ...(memory && { memory_limit: memory }),
      ...(this._scaled() && { adaptive: this._adaptive() }),
      ...(environ && Object.keys(environ).length > 0 && { environ }),
      ...this._software()
    };
  }

  protected problems(): readonly Finding[] {
    const { trans } = this;
    const listed = this._source() === 'requirements';
    this._listed.hidden = !listed;
    const name = this._name.value.trim();
    return [
      [
        this._name,
        name.length > NAME_LENGTH
          ? trans.__('At most %1 characters', NAME_LENGTH)
          : ''
      ],
      [this._workers, this._workersProblem()],
      [
        this._threads,
        count(this._threads) === null
          ? trans.__('Threads: a whole number from 1')
          : ''
      ],
      [
        this._requirements,
        listed ? requirementsOf(this._requirements.value, trans).problem : ''
      ],
      [this._python, listed ? pythonOf(this._python.value, trans).problem : ''],
      [this._memory, memoryOf(this._memory.value, trans).problem],
      ...this._adaptiveProblems(),
      [this._environ, variablesOf(this._environ.value, trans).problem]
    ];
  }

  protected words(): string {
    const { trans } = this;
    const threads = this._threads.valueAsNumber;
    const wanted = this._workers.valueAsNumber * threads;
    const left = this._left();
    const cores =
      left === null
        ? trans._n('%1 core.', '%1 cores.', wanted)
        : trans._n(
            '%1 of the %2 cores left.',
            '%1 of the %2 cores left.',
            wanted,
            left
          );
    const variables = Object.keys(
      variablesOf(this._environ.value, trans).value ?? {}
    ).length;
    return [
      trans.__('Starts a scheduler and workers on this machine:'),
      cores,
      this._scaled() ? this._growth(threads, left) : '',
      this._memory.value.trim() &&
        trans.__('Up to %1 for each worker.', this._memory.value.trim()),
      variables > 0
        ? trans._n(
            '%1 variable is set for its workers.',
            '%1 variables are set for its workers.',
            variables
          )
        : '',
      this._origin()
    ]
      .filter(Boolean)
      .join(' ');
  }

  /** What few need, folded. */
  private _more(): HTMLElement {
    const { trans } = this;
    const details = document.createElement('details');
    const summary = document.createElement('summary');
    summary.textContent = trans.__('More options');
    const bounds = document.createElement('div');
    bounds.className = 'jp-Coiled-pair';
    bounds.append(
      labelled(
        trans.__('Adaptive minimum (optional)'),
        this._minimum,
        'adaptive.minimum'
      ),
      labelled(
        trans.__('Adaptive maximum (optional)'),
        this._maximum,
        'adaptive.maximum'
      )
    );
    details.append(
      summary,
      labelled(
        trans.__('Memory per worker (optional)'),
        this._memory,
        'memory_limit'
      ),
      bounds,
      labelled(
        trans.__('Environment variables, one NAME=value a line (optional)'),
        this._environ,
        'environ'
      )
    );
    return details;
  }

  private _workersProblem(): string {
    const { trans } = this;
    const workers = count(this._workers);
    const left = this._left();
    const wanted = (workers ?? 0) * (count(this._threads) ?? 0);
    if (workers === null) {
      return trans.__('Workers: a whole number from 1');
    }
    if (left !== null && wanted > left) {
      return trans.__('%1 cores are more than the %2 left', wanted, left);
    }
    const { minimum, maximum } = this._adaptive();
    return this._scaled() &&
      minimum <= maximum &&
      (workers < minimum || workers > maximum)
      ? trans.__(
          'Workers: from %1 to %2, the bounds of adaptive scaling',
          minimum,
          maximum
        )
      : '';
  }

  private _adaptiveProblems(): readonly Finding[] {
    const { trans } = this;
    const least = count(this._minimum, 0);
    const most = count(this._maximum);
    const scaled = this._scaled();
    return [
      [
        this._minimum,
        filled(this._minimum) && least === null
          ? trans.__('Adaptive minimum: a whole number from 0')
          : least !== null && most !== null && least > most
            ? trans.__('The minimum is larger than the maximum')
            : ''
      ],
      [
        this._maximum,
        scaled && most === null
          ? trans.__('Adaptive maximum: a whole number from 1')
          : ''
      ]
    ];
  }

  /** How far it grows; cores are taken only as it does. */
  private _growth(threads: number, left: number | null): string {
    const { trans } = this;
    const { minimum, maximum } = this._adaptive();
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

  /** Where its packages come from, and what that does. */
  private _origin(): string {
    const { trans } = this;
    const label = this._kernel?.label ?? '';
    switch (this._source()) {
      case 'kernel':
        return trans.__(
          'An environment with the packages of %1 is built or reused for it.',
          label
        );
      case 'interpreter':
        return trans.__(
          'It runs in the environment of %1, which stays as it is.',
          label
        );
      case 'server':
        return trans.__(
          'It runs in the environment of the Jupyter server, which stays as it is.'
        );
      case 'requirements':
        return trans.__(
          'An environment with these requirements is built or reused for it.'
        );
    }
  }

  private _software(): ClusterCreate {
    const { trans } = this;
    const kernel = this._kernel?.id ?? '';
    const python = pythonOf(this._python.value, trans).value;
    const requirements = requirementsOf(this._requirements.value, trans).value;
    return {
      kernel: { kernel },
      interpreter: { interpreter: { kernel } },
      server: {},
      requirements: { requirements, ...(python && { python }) }
    }[this._source()];
  }

  private _source(): Source {
    return this._packages.value as Source;
  }

  /** Whether anything was entered for adaptive scaling. */
  private _scaled(): boolean {
    return filled(this._minimum) || filled(this._maximum);
  }

  private _adaptive(): Adaptive {
    return {
      minimum: count(this._minimum, 0) ?? 0,
      maximum: count(this._maximum) ?? 0
    };
  }

  private _left(): number | null {
    return this._usage && coresLeft(this._usage);
  }

  private readonly _name: HTMLInputElement;
  private readonly _memory: HTMLInputElement;
  private readonly _python: HTMLInputElement;
  private readonly _workers: HTMLInputElement;
  private readonly _threads: HTMLInputElement;
  private readonly _minimum = numberField(null, 0);
  private readonly _maximum = numberField(null, 1);
  private readonly _environ = linesField(3);
  private readonly _requirements = linesField(4);
  private readonly _packages = document.createElement('select');
  private readonly _listed = document.createElement('div');
}

/** Whether there is anything in a field; what is no number reads as nothing. */
function filled(field: HTMLInputElement): boolean {
  return field.value !== '' || field.validity.badInput;
}
