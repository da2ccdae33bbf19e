/** The steps of a start or a sync, with their results. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Step, SyncStep } from '../api/wire';
import { stepStateWords, stepWords } from '../words/words';
import { Icon, STEP_ICONS } from './icons';

export interface IStepsProps {
  steps: readonly (Step | SyncStep)[];
  label: string;
  /** The present time in milliseconds, by the server's clock; without it no duration grows. */
  now?: number;
  trans: TranslationBundle;
}

export function Steps({ steps, label, now, trans }: IStepsProps): JSX.Element {
  return (
    <ol className="jp-Coiled-steps" aria-label={label}>
      {steps.map((step, index) => (
        // Steps of several groups can have the same name.
        <li key={index} data-step={step.name} data-state={step.state}>
          <Icon
            icon={STEP_ICONS[step.state]}
            label={stepStateWords(step.state, trans)}
          />
          <span className="jp-Coiled-grow">
            {stepWords(step.name, trans)}
            {step.text && <span className="jp-Coiled-sub">{step.text}</span>}
          </span>
          <Duration step={step} now={now ?? null} trans={trans} />
        </li>
      ))}
    </ol>
  );
}

interface IDurationProps {
  step: Step | SyncStep;
  now: number | null;
  trans: TranslationBundle;
}

/** How long a step took, or takes so far: whole seconds while they grow. */
function Duration({ step, now, trans }: IDurationProps): JSX.Element | null {
  const begun = 'started_at' in step ? step.started_at : null;
  if (step.state === 'running' && begun && now !== null) {
    const seconds = Math.max(0, now - Date.parse(begun)) / 1000;
    return <span>{trans.__('%1 s', Math.floor(seconds))}</span>;
  }
  return step.state === 'waiting' || step.seconds === null ? null : (
    <span>{trans.__('%1 s', step.seconds.toFixed(1))}</span>
  );
}
