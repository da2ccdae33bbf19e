/** The form of dialogs: its fields, the action on accepting, and the server's field errors. */
import { Dialog, ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';
import * as React from 'react';

import { ApiError } from '../api/client';
import { refusalWords } from '../words/words';
import { StayingDialog } from './dialog';

/** The entered values, by the server's name of the field: text, or the checked options. */
export type Values = { readonly [name: string]: string | readonly string[] };

type Named<V, T> = { [K in keyof V]: V[K] extends T ? K : never }[keyof V] &
  string;

export interface IFormOptions<V extends Values> {
  /** The initial values. */
  initial: V;
  fields: (form: Form<V>) => React.ReactNode;
  /** What accepting does, in sentences. */
  effect: (values: V) => string;
  /** What is shown depends on this too, and is drawn again when it changes. */
  source?: { readonly changed: ISignal<unknown, unknown> };
  trans: TranslationBundle;
}

interface IChoice {
  value: string;
  label: string;
  disabled?: boolean;
  /** Further lines below the label. */
  lines?: readonly string[];
}

interface IFieldOptions {
  placeholder?: string;
  required?: boolean;
}

/** The server validates values and names a wrong field; only missing values are detected here. */
export class Form<V extends Values>
  extends ReactWidget
  implements Dialog.IBodyWidget<V | null>
{
  constructor(private readonly _options: IFormOptions<V>) {
    super();
    this._values = _options.initial;
    _options.source?.changed.connect(this._onSource, this);
    this.id = `jp-Coiled-form-${forms++}`;
    this.addClass('jp-Coiled-form');
  }

  get values(): V {
    return this._values;
  }

  /** Return the entered values, or null if one is missing, which its field or the effect points out. */
  getValue(): V | null {
    const missing = [
      ...this.node.querySelectorAll<HTMLInputElement>('[data-field]')
    ].find(
      it =>
        !it.validity.valid ||
        (it.matches('[aria-required=true]') && !it.value.trim())
    );
    if (missing) {
      // A new one each time, so that its field is shown again.
      this.refuse(
        new ApiError(
          'invalid',
          missing.validity.badInput
            ? this._options.trans.__('Give a number')
            : this._options.trans.__('This is missing'),
          '',
          missing.dataset.field
        )
      );
    }
    const none = Object.values(this._values).some(
      it => it.length === 0 && typeof it !== 'string'
    );
    return missing || none ? null : this._values;
  }

  /** Show a server error at the field that it names. */
  refuse(error: ApiError): void {
    this._refusal = error;
    this._changed.emit();
  }

  set(change: Partial<V>): void {
    this._values = { ...this._values, ...change };
    this._refusal = null;
    this._changed.emit();
  }

  text(name: Named<V, string>, label: string, options: IFieldOptions = {}) {
    return this._labelled(name, label, field => (
      <input type="text" autoComplete="off" {...asked(options)} {...field} />
    ));
  }

  number(name: Named<V, string>, label: string, options: IFieldOptions = {}) {
    return this._labelled(name, label, field => (
      <input type="number" step="any" {...asked(options)} {...field} />
    ));
  }

  /** Lines of plain text, without a spell checker because they can contain secrets. */
  lines(
    name: Named<V, string>,
    label: string,
    options: IFieldOptions & { rows: number }
  ) {
    return this._labelled(name, label, field => (
      <textarea autoComplete="off" {...asked(options)} {...field} />
    ));
  }

  select(
    name: Named<V, string>,
    label: string,
    choices: readonly (readonly [value: string, label: string])[]
  ) {
    return this._labelled(name, label, field => (
      <HTMLSelect {...field}>
        {choices.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </HTMLSelect>
    ));
  }

  /** One of several. */
  radio(name: Named<V, string>, choices: readonly IChoice[]) {
    return choices.map(choice => (
      <Choice
        key={choice.value}
        {...choice}
        type="radio"
        group={`${this.id}-${name}`}
        checked={this._values[name] === choice.value}
        onChange={() => this._enter(name, choice.value)}
      />
    ));
  }

  /** Any of several; at least one is required. */
  checkboxes(
    name: Named<V, readonly string[]>,
    legend: string,
    choices: readonly IChoice[]
  ) {
    const checked = this._values[name] as readonly string[];
    return (
      <fieldset>
        <legend>{legend}</legend>
        <div className="jp-Coiled-list">
          {choices.map(choice => (
            <Choice
              key={choice.value}
              {...choice}
              type="checkbox"
              checked={checked.includes(choice.value)}
              onChange={on =>
                this._enter(
                  name,
                  on
                    ? [...checked, choice.value]
                    : checked.filter(it => it !== choice.value)
                )
              }
            />
          ))}
        </div>
      </fieldset>
    );
  }

  protected render(): JSX.Element {
    return (
      <UseSignal signal={this._changed}>{() => this._content()}</UseSignal>
    );
  }

  private _content(): JSX.Element {
    const { effect, fields, trans } = this._options;
    this._drawn.clear();
    const shown = fields(this);
    const refused = this._refused();
    // At the field if that is shown.
    const below = refused !== null && !this._drawn.has(refused);
    return (
      <>
        {shown}
        <p
          className={`jp-Coiled-summary${below ? ' jp-Coiled-wrong' : ''}`}
          aria-live="polite"
        >
          {below ? refusalWords(this._refusal!, trans) : effect(this._values)}
        </p>
      </>
    );
  }

  private _labelled(
    name: string,
    label: string,
    field: (attributes: IFieldAttributes) => JSX.Element
  ): JSX.Element {
    const { trans } = this._options;
    this._drawn.add(name);
    const problem =
      this._refused() === name ? refusalWords(this._refusal!, trans) : '';
    const id = `${this.id}-${name}-problem`;
    return (
      <React.Fragment key={name}>
        <label>
          {label}
          {field({
            className: 'jp-mod-styled',
            'data-field': name,
            'aria-invalid': problem !== '',
            'aria-describedby': id,
            spellCheck: false,
            value: this._values[name] as string,
            onChange: event => this._enter(name, event.target.value)
          })}
        </label>
        <Problem id={id} text={problem} turn={this._refusal} />
      </React.Fragment>
    );
  }

  private _onSource(): void {
    this._changed.emit();
  }

  private _enter(name: string, value: string | readonly string[]): void {
    this.set({ [name]: value } as Partial<V>);
  }

  /** The field with a server error, '' for the whole request, null for none. */
  private _refused(): string | null {
    if (!this._refusal) {
      return null;
    }
    const named = this._refusal.field ?? '';
    const names = Object.keys(this._values);
    return (
      names.find(it => it === named) ??
      // An item of a field, such as requirements[2], or a group of fields, such as tls.
      names.find(it => named.startsWith(`${it}[`)) ??
      names.find(it => it.startsWith(`${named}.`)) ??
      ''
    );
  }

  private _values: V;
  private _refusal: ApiError | null = null;
  private readonly _drawn = new Set<string>();
  private readonly _changed = new Signal<this, void>(this);
}

let forms = 0;

/** Without the browser's own check: the lab would disable the button that says what is missing. */
function asked({ required, ...options }: IFieldOptions) {
  return { ...options, 'aria-required': required };
}

interface IFieldAttributes {
  className: string;
  'data-field': string;
  'aria-invalid': boolean;
  'aria-describedby': string;
  spellCheck: false;
  value: string;
  onChange: (event: { target: { value: string } }) => void;
}

interface IProblemProps {
  id: string;
  text: string;
  /** What refused it: another one is shown again. */
  turn: unknown;
}

/** The error of the preceding field, which is unfolded, focused and brought into view. */
function Problem({ id, text, turn }: IProblemProps): JSX.Element {
  const node = React.useRef<HTMLSpanElement>(null);
  React.useEffect(() => {
    if (text && node.current) {
      node.current.closest('details')?.setAttribute('open', '');
      node.current.previousElementSibling
        ?.querySelector<HTMLElement>('[data-field]')
        ?.focus();
      node.current.scrollIntoView?.({ block: 'nearest' });
    }
  }, [text, turn]);
  return (
    <span ref={node} id={id} className="jp-Coiled-problem" role="alert">
      {text}
    </span>
  );
}

interface IChoiceProps extends IChoice {
  type: 'radio' | 'checkbox';
  /** Radio buttons with the same name exclude each other. */
  group?: string;
  checked: boolean;
  onChange: (on: boolean) => void;
}

function Choice(props: IChoiceProps): JSX.Element {
  const { checked, disabled, group, label, lines = [], type, value } = props;
  return (
    <label className="jp-Coiled-choice" data-choice={value}>
      <input
        type={type}
        name={group}
        value={value}
        checked={checked}
        disabled={disabled}
        onChange={event => props.onChange(event.target.checked)}
      />
      {label}
      {lines.map((line, index) => (
        <span key={index} className="jp-Coiled-sub">
          {line}
        </span>
      ))}
    </label>
  );
}

export interface IAskOptions<V extends Values> extends IFormOptions<V> {
  title: string;
  accept: Dialog.IButton;
  /** Selector of the element that is focused initially. */
  focus: string;
  /** Carry out the action; an `ApiError` is shown in the form, which stays open. */
  act: (values: V) => unknown;
}

/** Show a form until its action succeeds or the user cancels. */
export async function ask<V extends Values>(
  options: IAskOptions<V>
): Promise<void> {
  const { accept, act, focus, title, trans } = options;
  const body = new Form(options);
  const attempt = async () => {
    const values = body.getValue();
    if (values === null) {
      return false;
    }
    try {
      await act(values);
      return true;
    } catch (reason) {
      if (!(reason instanceof ApiError)) {
        throw reason;
      }
      body.refuse(reason);
      return false;
    }
  };
  // A dialog that was launched disposes of itself when it closes.
  // eslint-disable-next-line jupyter/require-disposable-ownership
  const dialog = new StayingDialog(
    {
      title,
      body,
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), accept],
      focusNodeSelector: focus
    },
    attempt
  );
  await dialog.launch();
}
