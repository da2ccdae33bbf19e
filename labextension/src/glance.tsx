/** The verdict outside of the panel: beside a notebook's kernel and in the status bar. */
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { useSeconds } from './components/age';
import { VERDICT_ICONS, verdictWords } from './components/verdict';
import type { Model } from './model';

export interface IVerdictItemOptions {
  model: Model;
  /** Open the panel. */
  show: () => void;
  /** Whether the user wants to see it. */
  shown: () => boolean;
  /** The notebook that this item belongs to; without it the item speaks of whatever notebook the panel follows. */
  path?: () => string;
  trans: TranslationBundle;
}

/** A button that says what the comparison means, and leads to the panel. */
export class VerdictItem extends ReactWidget {
  constructor(private readonly _options: IVerdictItemOptions) {
    super();
    this.addClass('jp-Coiled-glance');
  }

  protected render(): JSX.Element {
    return (
      <UseSignal signal={this._options.model.changed}>
        {() => <Glance {...this._options} />}
      </UseSignal>
    );
  }
}

/** Of notebooks that the panel doesn't follow nothing was read, so nothing is said. */
function Glance(options: IVerdictItemOptions): JSX.Element | null {
  useSeconds();
  const { model, path, show, shown, trans } = options;
  const { kernel } = model;
  if (!shown() || !kernel || (path && path() !== kernel.path)) {
    return null;
  }
  const judgement = model.judge();
  const { verdict, reason } = judgement;
  const whole = verdictWords({ judgement, diff: model.diff, trans });
  let words = whole;
  if (verdict === 'unknown') {
    words =
      reason?.kind === 'no_cluster'
        ? trans.__('No cluster')
        : trans.__('Unknown');
  }
  const title = trans.__('Packages of %1: %2', kernel.label, whole);
  return (
    <button
      className="jp-Coiled-glanceButton"
      data-glance={verdict}
      title={title}
      onClick={show}
    >
      <span className="jp-Coiled-icon" aria-hidden="true">
        {VERDICT_ICONS[verdict]}
      </span>{' '}
      {path ? words : trans.__('Packages: %1', words)}
    </button>
  );
}
