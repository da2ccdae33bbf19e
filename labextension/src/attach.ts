/** The form of a cluster that runs elsewhere, as the body of a dialog. */
import type { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { ApiError } from './api';
import type { ClusterAttach } from './wire';
import { problemWords } from './words';

type Field =
  'address' | 'name' | 'tls.ca_file' | 'tls.cert_file' | 'tls.key_file';

const TLS: readonly Field[] = ['tls.ca_file', 'tls.cert_file', 'tls.key_file'];
let forms = 0;

/** Checks only that nothing is missing; the server says of each field what is wrong with it. */
export class AttachForm
  extends Widget
  implements Dialog.IBodyWidget<ClusterAttach | null>
{
  constructor(private readonly _trans: TranslationBundle) {
    super();
    const trans = this._trans;
    const id = `jp-Coiled-attach-${forms++}`;
    this.addClass('jp-Coiled-form');
    const add = (
      field: Field,
      text: string,
      placeholder: string,
      parent: HTMLElement
    ) => {
      const label = document.createElement('label');
      const input = document.createElement('input');
      const problem = document.createElement('span');
      input.type = 'text';
      input.spellcheck = false;
      input.autocomplete = 'off';
      input.placeholder = placeholder;
      input.dataset.field = field;
      problem.id = `${id}-${field}`;
      problem.className = 'jp-Coiled-problem';
      problem.setAttribute('role', 'alert');
      input.setAttribute('aria-describedby', problem.id);
      label.append(text, input);
      parent.append(label, problem);
      this._inputs.set(field, input);
      this._problems.set(field, problem);
    };
    add(
      'address',
      trans.__('Address of the scheduler'),
      'tcp://10.0.0.7:8786',
      this.node
    );
    add(
      'name',
      trans.__('Name (optional)'),
      trans.__('its host and port'),
      this.node
    );
    const legend = document.createElement('legend');
    legend.textContent = trans.__(
      'Certificate files (PEM) on the server, for tls:// addresses'
    );
    this._tls.append(legend);
    const path = trans.__('absolute path');
    add('tls.ca_file', trans.__('Authority (CA)'), path, this._tls);
    add('tls.cert_file', trans.__('Certificate'), path, this._tls);
    add('tls.key_file', trans.__('Key'), path, this._tls);
    this._summary.className = 'jp-Coiled-summary';
    this._summary.setAttribute('aria-live', 'polite');
    this.node.append(this._tls, this._summary);
    this._update();
  }

  /** The body to send, or null where a field is missing. */
  getValue(): ClusterAttach | null {
    this._clear();
    const needed: readonly Field[] = this._encrypted()
      ? ['address', ...TLS]
      : ['address'];
    for (const field of needed) {
      if (!this._value(field)) {
        this._mark(
          field,
          field === 'address'
            ? this._trans.__('Give the address, such as tcp://10.0.0.7:8786')
            : this._trans.__('Give the path of this file')
        );
        return null;
      }
    }
    const name = this._value('name');
    return {
      address: this._value('address'),
      ...(name && { name }),
      ...(this._encrypted() && {
        tls: {
          ca_file: this._value('tls.ca_file'),
          cert_file: this._value('tls.cert_file'),
          key_file: this._value('tls.key_file')
        }
      })
    };
  }

  /** Show why the server refused, at the field that it names. */
  refuse(error: ApiError): void {
    const { text, hint } = problemWords(error, this._trans);
    const words = [text, hint].filter(Boolean).join('. ');
    const field = error.field === 'tls' ? TLS[0] : error.field;
    if (this._inputs.has(field as Field)) {
      this._mark(field as Field, words);
    } else {
      this._summary.textContent = words;
      this._summary.classList.add('jp-Coiled-wrong');
    }
  }

  handleEvent(event: Event): void {
    if (event.target instanceof Node && this.node.contains(event.target)) {
      this._clear();
    }
  }

  protected onAfterAttach(): void {
    this.node.addEventListener('input', this);
  }

  protected onBeforeDetach(): void {
    this.node.removeEventListener('input', this);
  }

  private _clear(): void {
    for (const [field, input] of this._inputs) {
      input.setAttribute('aria-invalid', 'false');
      this._problems.get(field)!.textContent = '';
    }
    this._update();
  }

  private _mark(field: Field, words: string): void {
    const input = this._input(field);
    input.setAttribute('aria-invalid', 'true');
    this._problems.get(field)!.textContent = words;
    this._tls.hidden = this._tls.hidden && !TLS.includes(field);
    input.focus();
  }

  private _update(): void {
    this._tls.hidden = !this._encrypted();
    this._summary.classList.remove('jp-Coiled-wrong');
    this._summary.textContent = this._trans.__(
      'Its nodes are read and compared with the notebook. Nothing on it is changed, and it goes on when you detach it.'
    );
  }

  private _encrypted(): boolean {
    return /^\s*(tls|wss):/i.test(this._input('address').value);
  }

  private _value(field: Field): string {
    return this._input(field).value.trim();
  }

  private _input(field: Field): HTMLInputElement {
    return this._inputs.get(field)!;
  }

  private readonly _inputs = new Map<Field, HTMLInputElement>();
  private readonly _problems = new Map<Field, HTMLElement>();
  private readonly _tls = document.createElement('fieldset');
  private readonly _summary = document.createElement('p');
}
