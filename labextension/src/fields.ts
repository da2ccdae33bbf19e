/** Forms in dialogs that are checked as one types, and their fields. */
import type { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { ApiError } from './api';
import { problemWords } from './words';

export type Field = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** A field and what is wrong with it, '' for nothing. */
export type Finding = readonly [Field, string];

export const NAME_LENGTH = 80;

/** The dialog can't be accepted while a field is `:invalid`; below the fields stands what accepting does. */
export abstract class CheckedForm<T>
  extends Widget
  implements Dialog.IBodyWidget<T | null>
{
  constructor(protected readonly trans: TranslationBundle) {
    super();
    this.addClass('jp-Coiled-form');
    this._summary.className = 'jp-Coiled-summary';
    this._summary.setAttribute('aria-live', 'polite');
  }

  /** What was filled in, or null where a field is wrong. */
  getValue(): T | null {
    return this.check() ? this.value() : null;
  }

  /** Check all fields and say what would be done, or what is wrong; return whether all is well. */
  check(): boolean {
    let wrong = '';
    for (const [field, problem] of this.problems()) {
      field.setCustomValidity(problem);
      field.setAttribute('aria-invalid', String(problem !== ''));
      wrong ||= problem;
    }
    this._say(wrong || this.words(), wrong !== '');
    return !wrong;
  }

  /** Show why the server refused, and lead to the field that it names. */
  refuse(error: ApiError): void {
    const { text, hint } = problemWords(error, this.trans);
    this._say([text, hint].filter(Boolean).join('. '), true);
    const named = [...this.node.querySelectorAll<Field>('[data-field]')].find(
      ({ dataset }) =>
        dataset.field === error.field ||
        // One line of several, as in requirements[2].
        error.field?.startsWith(`${dataset.field}[`)
    );
    if (named) {
      named.setAttribute('aria-invalid', 'true');
      named.closest('details')?.setAttribute('open', '');
      named.focus();
    }
  }

  handleEvent(event: Event): void {
    if (event.target instanceof Node && this.node.contains(event.target)) {
      this.check();
    }
  }

  /** What was filled in; asked for only where nothing is wrong. */
  protected abstract value(): T;
  /** All fields with what is wrong with them. */
  protected abstract problems(): readonly Finding[];
  /** What accepting the dialog does, exactly. */
  protected abstract words(): string;

  /** To be called last by a constructor. */
  protected complete(): void {
    this.node.append(this._summary);
    this.check();
  }

  protected onAfterAttach(): void {
    // The dialog looks for :invalid while the event is still on its way down, so this has to come before it.
    window.addEventListener('input', this, true);
    void Promise.resolve().then(() => {
      if (this.isAttached) {
        this.node.dispatchEvent(new Event('input', { bubbles: true }));
      }
    });
  }

  protected onBeforeDetach(): void {
    window.removeEventListener('input', this, true);
  }

  private _say(text: string, wrong: boolean): void {
    this._summary.textContent = text;
    this._summary.classList.toggle('jp-Coiled-wrong', wrong);
  }

  private readonly _summary = document.createElement('p');
}

/** A field with its label; `name` is what the server calls it. */
export function labelled(
  text: string,
  field: Field,
  name?: string
): HTMLLabelElement {
  const label = document.createElement('label');
  if (name) {
    field.dataset.field = name;
  }
  label.append(text, field);
  return label;
}

export function textField(value = '', placeholder = ''): HTMLInputElement {
  const field = document.createElement('input');
  field.type = 'text';
  field.autocomplete = 'off';
  field.spellcheck = false;
  field.value = value;
  field.placeholder = placeholder;
  return field;
}

/** A field for lines of plain text; they can hold secrets, which no spell checker should see. */
export function linesField(rows: number): HTMLTextAreaElement {
  const field = document.createElement('textarea');
  field.rows = rows;
  field.autocomplete = 'off';
  field.spellcheck = false;
  return field;
}

/** A field for a whole number; without a value it may stay empty. */
export function numberField(
  value: number | null,
  minimum: number
): HTMLInputElement {
  const field = document.createElement('input');
  field.type = 'number';
  field.min = String(minimum);
  field.step = '1';
  field.value = value === null ? '' : String(value);
  return field;
}

/** One of several choices; those of one `group` exclude each other. */
export function choice(
  group: string,
  value: string,
  text: string,
  checked: boolean
): { readonly label: HTMLLabelElement; readonly field: HTMLInputElement } {
  const field = document.createElement('input');
  field.type = 'radio';
  field.name = group;
  field.value = value;
  field.checked = checked;
  const label = document.createElement('label');
  label.className = 'jp-Coiled-choice';
  label.append(field, text);
  return { label, field };
}

/** A whole number from a minimum, or null. */
export function count(field: HTMLInputElement, minimum = 1): number | null {
  const value = Number(field.value);
  return field.value !== '' && Number.isSafeInteger(value) && value >= minimum
    ? value
    : null;
}
