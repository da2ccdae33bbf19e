/** A dialog that stays until what it asks for has been done. */
import { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Widget } from '@lumino/widgets';

import { ApiError } from './api';

/** Accepting asks first, and closes only where that says so: what was typed isn't lost by a mistake in it. */
export class StayingDialog<T> extends Dialog<T> {
  constructor(
    options: Partial<Dialog.IOptions<T>> & {
      buttons: readonly Dialog.IButton[];
    },
    private readonly _act: () => Promise<boolean>
  ) {
    super(options);
    this._accepts = options.buttons.map(({ accept }) => accept);
  }

  resolve(index: number = this._accepts.length - 1): void {
    if (!this._accepts[index]) {
      super.resolve(index);
    } else if (!this._acting) {
      this._acting = true;
      this.node.setAttribute('aria-busy', 'true');
      void this._act()
        .then(done => {
          if (done && !this.isDisposed) {
            super.resolve(index);
          }
        })
        .finally(() => {
          this._acting = false;
          this.node.removeAttribute('aria-busy');
        });
    }
  }

  handleEvent(event: Event): void {
    // The lab's dialogs take Enter for themselves, also from a text of many lines and from buttons in the body.
    const own =
      event instanceof KeyboardEvent &&
      event.key === 'Enter' &&
      event.target instanceof Element &&
      event.target.matches('.jp-Dialog-body :is(textarea, button, summary)');
    if (!own) {
      super.handleEvent(event);
    }
  }

  private readonly _accepts: readonly boolean[];
  private _acting = false;
}

/** A form: what was filled in, null where something is wrong; and a place for a refusal. */
export interface IAsking<T> extends Widget {
  getValue(): T | null;
  refuse(error: ApiError): void;
}

export interface IAskOptions<T> {
  title: string;
  body: IAsking<T>;
  accept: Dialog.IButton;
  /** Selector of what has the focus first. */
  focus: string;
  /** Does what was filled in; an `ApiError` is shown in the form, which stays. */
  act: (value: T) => Promise<unknown>;
  trans: TranslationBundle;
}

/** Ask with a form, until it was done or is cancelled. */
export async function ask<T>(options: IAskOptions<T>): Promise<void> {
  const { body, trans } = options;
  const act = async () => {
    const value = body.getValue();
    if (value === null) {
      return false;
    }
    try {
      await options.act(value);
      return true;
    } catch (reason) {
      if (!(reason instanceof ApiError)) {
        throw reason;
      }
      body.refuse(reason);
      return false;
    }
  };
  const dialog = new StayingDialog(
    {
      title: options.title,
      body,
      buttons: [
        Dialog.cancelButton({ label: trans.__('Cancel') }),
        options.accept
      ],
      focusNodeSelector: options.focus
    },
    act
  );
  await dialog.launch();
}
