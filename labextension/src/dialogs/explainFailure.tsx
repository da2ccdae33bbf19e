/** The dialog that shows which differences explain the text of a failure. */
import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { ApiError } from '../api/client';
import type { Explanation } from '../api/wire';
import { reasonWords, refusalWords } from '../words/words';
import type { IDialogContext } from './context';
import { StayingDialog } from './dialog';
import { Icon, SEVERITY_ICONS } from '../panel/icons';

/** The state of the area below the text. */
export type Outcome =
  | { readonly kind: 'none' }
  | { readonly kind: 'asking' }
  | { readonly kind: 'problem'; readonly text: string }
  | { readonly kind: 'answer'; readonly explanation: Explanation };

export interface IExplainProps {
  text: string;
  outcome: Outcome;
  onText: (text: string) => void;
  /** Show the row of a package. */
  onShow: (name: string) => void;
  trans: TranslationBundle;
}

export function Explain(props: IExplainProps): JSX.Element {
  const { outcome, text, trans } = props;
  return (
    <>
      <label>
        {trans.__('Traceback, or warning of Dask')}
        <textarea
          rows={10}
          value={text}
          spellCheck={false}
          placeholder={trans.__('Paste it here')}
          onChange={event => props.onText(event.target.value)}
        />
      </label>
      <div aria-live="polite" aria-busy={outcome.kind === 'asking'}>
        {outcome.kind === 'asking' && (
          <p>{trans.__('Comparing the notebook with the cluster…')}</p>
        )}
        {outcome.kind === 'problem' && (
          <p className="jp-Coiled-problem">{outcome.text}</p>
        )}
        {outcome.kind === 'answer' && (
          <Answer {...props} explanation={outcome.explanation} />
        )}
      </div>
    </>
  );
}

interface IAnswerProps extends IExplainProps {
  explanation: Explanation;
}

function Answer(props: IAnswerProps): JSX.Element {
  const { explanation, trans } = props;
  return (
    <div data-basis={explanation.basis}>
      <p className="jp-Coiled-summary">{explanation.text}</p>
      <ul
        className="jp-Coiled-causes"
        aria-label={trans.__('What explains it')}
      >
        {explanation.causes.map(({ row, evidence, why }) => (
          <li key={row.name} data-cause={row.name} data-severity={row.severity}>
            <button
              className="jp-Coiled-button"
              aria-label={trans.__('Show %1 in the panel', row.name)}
              onClick={() => props.onShow(row.name)}
            >
              <Icon icon={SEVERITY_ICONS[row.severity]} /> {row.name}
            </button>{' '}
            {why}
            <code>{evidence}</code>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The body of the dialog. */
export class ExplainBody extends ReactWidget {
  constructor(
    private readonly _options: {
      text: string;
      explain: (text: string) => Promise<Explanation>;
      onShow: (name: string) => void;
      trans: TranslationBundle;
    }
  ) {
    super();
    this.addClass('jp-Coiled-form');
    this.addClass('jp-Coiled-explain');
    this._text = _options.text;
  }

  /** Request the explanation and show it. */
  async ask(): Promise<void> {
    const { explain, trans } = this._options;
    if (!this._text.trim()) {
      this._show({
        kind: 'problem',
        text: trans.__('Paste the text of a failure first')
      });
      return;
    }
    this._show({ kind: 'asking' });
    try {
      this._show({
        kind: 'answer',
        explanation: await explain(this._text)
      });
    } catch (reason) {
      if (!(reason instanceof ApiError)) {
        throw reason;
      }
      this._show({ kind: 'problem', text: refusalWords(reason, trans) });
    }
  }

  protected render(): JSX.Element {
    return (
      <Explain
        text={this._text}
        outcome={this._outcome}
        onText={text => {
          this._text = text;
          this.update();
        }}
        onShow={this._options.onShow}
        trans={this._options.trans}
      />
    );
  }

  private _show(outcome: Outcome): void {
    if (!this.isDisposed) {
      this._outcome = outcome;
      this.update();
    }
  }

  private _text: string;
  private _outcome: Outcome = { kind: 'none' };
}

/** Find the differences that explain a failure. */
export async function explainFailure(context: IDialogContext): Promise<void> {
  const { kernels, model, show, trans } = context;
  const body = new ExplainBody({
    text: kernels.failure() ?? '',
    explain: async text => {
      // The panel reads only while it is visible.
      await model.refresh().catch(() => undefined);
      const found = await model.explain(text);
      if (!found) {
        const { reason } = model.judge();
        const words = reason && reasonWords(reason, trans);
        throw new ApiError(
          'not_found',
          trans.__('Nothing to compare: %1', words?.text ?? ''),
          words?.hint
        );
      }
      return found;
    },
    onShow: name => {
      dialog.reject();
      show();
      model.show(name);
    },
    trans
  });
  // A dialog that was launched disposes of itself when it closes.
  // eslint-disable-next-line jupyter/require-disposable-ownership
  const dialog = new StayingDialog(
    {
      title: trans.__('Explain a Dask error'),
      body,
      buttons: [
        Dialog.cancelButton({ label: trans.__('Close') }),
        Dialog.okButton({ label: trans.__('Explain') })
      ],
      focusNodeSelector: 'textarea'
    },
    async () => {
      await body.ask();
      return false;
    }
  );
  await dialog.launch();
}
