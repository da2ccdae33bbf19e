/** One worker more or fewer. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

export interface IStepperProps {
  /** The cluster's name. */
  name: string;
  /** Requested workers. */
  workers: number;
  disabled: boolean;
  onStep: (by: number) => void;
  trans: TranslationBundle;
}

export function Stepper(props: IStepperProps): JSX.Element {
  const { disabled, name, onStep, trans, workers } = props;
  const less = trans.__('One worker fewer for %1', name);
  const more = trans.__('One worker more for %1', name);
  return (
    <span
      className="jp-Coiled-stepper"
      role="group"
      aria-label={trans.__('Workers of %1', name)}
    >
      <button
        className="jp-Coiled-button"
        aria-label={less}
        title={less}
        // Focusable even at 0, so that the focus isn't lost.
        aria-disabled={disabled || workers === 0}
        onClick={() => !disabled && workers > 0 && onStep(-1)}
      >
        −
      </button>
      <output aria-label={trans.__('Wanted workers')}>{workers}</output>
      <button
        className="jp-Coiled-button"
        aria-label={more}
        title={more}
        aria-disabled={disabled}
        onClick={() => !disabled && onStep(1)}
      >
        +
      </button>
    </span>
  );
}
