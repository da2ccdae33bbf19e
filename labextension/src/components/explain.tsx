/** A failure's text, and the differences that explain it. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { ApiError } from '../api';
import type { Explanation } from '../wire';
import { problemWords } from '../words';
import { SEVERITY_ICONS } from './row';

/** What is shown below the text. */
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
              <span className="jp-Coiled-icon" aria-hidden="true">
                {SEVERITY_ICONS[row.severity]}
              </span>{' '}
              {row.name}
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

  /** Ask, and show what is answered. */
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
      const { text, hint } = problemWords(reason, trans);
      this._show({
        kind: 'problem',
        text: [text, hint].filter(Boolean).join('. ')
      });
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
