/** The steps of a start or a sync, with their results. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Step } from '../api/wire';
import { stepStateWords, stepWords } from '../words/words';

const STEPS: Record<Step['state'], string> = {
  waiting: '○',
  running: '◐',
  done: '✓',
  failed: '✕',
  cancelled: '–'
};

export interface IStepsProps {
  steps: readonly Step[];
  label: string;
  trans: TranslationBundle;
}

export function Steps({ steps, label, trans }: IStepsProps): JSX.Element {
  return (
    <ol className="jp-Coiled-steps" aria-label={label}>
      {steps.map((step, index) => (
        // Steps of several groups can have the same name.
        <li key={index} data-step={step.name} data-state={step.state}>
          <span
            className="jp-Coiled-icon"
            role="img"
            aria-label={stepStateWords(step.state, trans)}
          >
            {STEPS[step.state]}
          </span>
          <span className="jp-Coiled-grow">
            {stepWords(step.name, trans)}
            {step.text && <span className="jp-Coiled-sub">{step.text}</span>}
          </span>
          {step.state !== 'waiting' && step.seconds !== null && (
            <span>{trans.__('%1 s', step.seconds.toFixed(1))}</span>
          )}
        </li>
      ))}
    </ol>
  );
}
