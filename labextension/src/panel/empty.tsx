/** An empty section: why it is empty, and what to do. */
import * as React from 'react';

import type { IWords } from '../words/words';

export interface IEmptyProps {
  words: IWords;
  /** The kind of reason; for styles and tests. */
  reason: string;
  /** A button with the next step. */
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

/** The same words are used after "Unknown:" and alone. */
function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
