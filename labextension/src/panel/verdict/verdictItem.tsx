/** The verdict outside of the panel: in a notebook's toolbar and in the status bar. */
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { useSeconds } from '../age';
import { Icon, verdictIcon } from '../icons';
import { briefWords, verdictWords } from './verdict';
import type { Model } from '../../model/model';

export interface IVerdictItemOptions {
  model: Model;
  /** Open the panel. */
  show: () => void;
  /** Whether the user's settings show it. */
  shown: () => boolean;
  /** The path of the item's notebook; without it, the item shows the notebook that the panel follows. */
  path?: () => string;
  trans: TranslationBundle;
}

/** A button with the verdict that opens the panel. */
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

/** Notebooks that the panel doesn't follow weren't read, so their item is empty. */
function Glance(options: IVerdictItemOptions): JSX.Element | null {
  useSeconds();
  const { model, path, show, shown, trans } = options;
  const { kernel } = model;
  const other = path && path() !== kernel?.path;
  if (!shown() || !kernel || other || !model.concerned) {
    return null;
  }
  const judgement = model.judge();
  const told = { judgement, diff: model.diff, trans };
  const { verdict } = judgement;
  const words = briefWords(told);
  const title = trans.__(
    'Packages of %1: %2',
    kernel.label,
    verdictWords(told)
  );
  return (
    <button
      className="jp-Coiled-glanceButton"
      data-glance={verdict}
      title={title}
      onClick={show}
    >
      <Icon icon={verdictIcon(judgement)} />{' '}
      {path ? words : trans.__('Packages: %1', words)}
    </button>
  );
}
