/** The form of a new cluster, as the body of a dialog. */
import type { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { coresLeft } from './components/cores';
import type { IActiveKernel } from './kernels';
import type { ClusterCreate, Usage } from './wire';

const NAME_LENGTH = 80;

/** Checks as one types: the dialog can't be accepted while a field is `:invalid`. */
export class CreateForm
  extends Widget
  implements Dialog.IBodyWidget<ClusterCreate | null>
{
  constructor(
    private readonly _kernel: IActiveKernel | null,
    private readonly _usage: Usage | null,
    private readonly _trans: TranslationBundle
  ) {
    super();
    const trans = this._trans;
    this.addClass('jp-Coiled-form');
    this._name.type = 'text';
    this._name.placeholder = trans.__('chosen for you');
    this._number(this._workers, 2);
    this._number(this._threads, 1);
    const sources: [string, string][] = [
      ['server', trans.__("Jupyter server's environment")]
    ];
    if (_kernel?.id) {
      sources.unshift(
        ['kernel', trans.__("this notebook's packages")],
        ['interpreter', trans.__("this notebook's interpreter as it stands")]
      );
    }
    for (const [value, label] of sources) {
      this._packages.append(new Option(label, value));
    }
    this._add(trans.__('Name (optional)'), this._name);
    this._add(trans.__('Workers'), this._workers);
    this._add(trans.__('Threads per worker'), this._threads);
    this._add(trans.__('Packages from'), this._packages);
    this._summary.className = 'jp-Coiled-summary';
    this._summary.setAttribute('aria-live', 'polite');
    this.node.append(this._summary);
    this.check();
  }

  /** The body to send, or null where a field is wrong. */
  getValue(): ClusterCreate | null {
    if (!this.check()) {
      return null;
    }
    const name = this._name.value.trim();
    const kernel = this._kernel?.id;
    const packages = this._packages.value;
    return {
      workers: this._workers.valueAsNumber,
      threads_per_worker: this._threads.valueAsNumber,
      ...(name && { name }),
      ...(kernel && packages === 'kernel' && { kernel }),
      ...(kernel && packages === 'interpreter' && { interpreter: { kernel } })
    };
  }

  /** Check all fields and say what would be made, or what is wrong; return whether all is well. */
  check(): boolean {
    const trans = this._trans;
    const name = this._name.value.trim();
    const workers = count(this._workers);
    const threads = count(this._threads);
    const left = this._usage ? coresLeft(this._usage) : null;
    const wanted = (workers ?? 0) * (threads ?? 0);
    const much = left !== null && wanted > left;
    mark(
      this._name,
      name.length > NAME_LENGTH
        ? trans.__('At most %1 characters', NAME_LENGTH)
        : ''
    );
    mark(
      this._threads,
      threads === null ? trans.__('Threads: a whole number from 1') : ''
    );
    mark(
      this._workers,
      workers === null
        ? trans.__('Workers: a whole number from 1')
        : much
          ? trans.__('%1 cores are more than the %2 left', wanted, left)
          : ''
    );
    const wrong = [this._name, this._workers, this._threads]
      .map(field => field.validationMessage)
      .find(Boolean);
    this._summary.textContent = wrong ?? this._words(wanted, left);
    this._summary.classList.toggle('jp-Coiled-wrong', Boolean(wrong));
    return !wrong;
  }

  handleEvent(event: Event): void {
    if (event.target instanceof Node && this.node.contains(event.target)) {
      this.check();
    }
  }

  protected onAfterAttach(): void {
    // The dialog looks for :invalid while the event is still on its way down, so this has to come before it.
    window.addEventListener('input', this, true);
    void Promise.resolve().then(() => {
      if (this.isAttached) {
        this._workers.dispatchEvent(new Event('input', { bubbles: true }));
      }
    });
  }

  protected onBeforeDetach(): void {
    window.removeEventListener('input', this, true);
  }

  /** What accepting the dialog does, exactly. */
  private _words(wanted: number, left: number | null): string {
    const trans = this._trans;
    const from = {
      kernel: trans.__(
        'An environment with the packages of %1 is built or reused for it.',
        this._kernel?.label ?? ''
      ),
      interpreter: trans.__(
        'It runs in the environment of %1, which stays as it is.',
        this._kernel?.label ?? ''
      ),
      server: trans.__(
        'It runs in the environment of the Jupyter server, which stays as it is.'
      )
    }[this._packages.value as 'kernel' | 'interpreter' | 'server'];
    const cores =
      left === null
        ? trans._n('%1 core.', '%1 cores.', wanted)
        : trans._n(
            '%1 of the %2 cores left.',
            '%1 of the %2 cores left.',
            wanted,
            left
          );
    return `${trans.__(
      'Starts a scheduler and workers on this machine:'
    )} ${cores} ${from}`;
  }

  private _number(field: HTMLInputElement, value: number): void {
    field.type = 'number';
    field.min = '1';
    field.step = '1';
    field.required = true;
    field.value = String(value);
  }

  private _add(
    text: string,
    control: HTMLInputElement | HTMLSelectElement
  ): void {
    const label = document.createElement('label');
    label.textContent = text;
    label.append(control);
    this.node.append(label);
  }

  private readonly _name = document.createElement('input');
  private readonly _workers = document.createElement('input');
  private readonly _threads = document.createElement('input');
  private readonly _packages = document.createElement('select');
  private readonly _summary = document.createElement('p');
}

/** A whole number from 1, or null. */
function count(field: HTMLInputElement): number | null {
  const value = Number(field.value);
  return Number.isSafeInteger(value) && value >= 1 ? value : null;
}

function mark(field: HTMLInputElement, problem: string): void {
  field.setCustomValidity(problem);
  field.setAttribute('aria-invalid', String(problem !== ''));
}
