/** A dialog that has the focus as soon as it is shown, so that no key reaches what is behind it. */
import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import { flushSync } from 'react-dom';

/** JupyterLab sets the focus when the browser is idle; this dialog is rendered synchronously and sets it at once. */
export class FocusedDialog<T> extends Dialog<T> {
  protected onAfterAttach(message: Message): void {
    const parts = [...this.layout!].flatMap(it => [...(it.layout ?? [])]);
    for (const part of parts) {
      if (part instanceof ReactWidget) {
        flushSync(() => part.processMessage(Widget.Msg.UpdateRequest));
        part.renderPromise = undefined;
      }
    }
    super.onAfterAttach(message);
  }
}

/** A dialog that closes only after its action has succeeded, so that an error doesn't lose the input. */
export class StayingDialog<T> extends FocusedDialog<T> {
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
    // JupyterLab's dialogs handle Enter even in a textarea and on buttons in the body.
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
