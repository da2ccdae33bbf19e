/** A place with nothing in it: why, and what to do. */
import * as React from 'react';

import type { IWords } from '../words';

export interface IEmptyProps {
  words: IWords;
  /** For programs and tests: which of the reasons it is. */
  reason: string;
  /** A button that helps. */
  action?: { readonly label: string; readonly run: () => void };
}

export function Empty({ words, reason, action }: IEmptyProps): JSX.Element {
  return (
    <div className="jp-Coiled-empty" data-empty={reason}>
      <p>{sentence(words.text)}</p>
      {words.hint && <p>{words.hint}</p>}
      {action && (
        <button className="jp-Coiled-button" onClick={action.run}>
          {action.label}
        </button>
      )}
    </div>
  );
}

/** The same words stand behind "Unknown:" and alone. */
function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
