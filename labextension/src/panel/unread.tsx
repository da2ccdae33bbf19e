/** Names what could not be read, and why. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Diff } from '../api/wire';
import { unreadCountWords } from '../words/words';
import { CLUSTER_ICONS, Icon } from './icons';

export interface IUnreadProps {
  diff: Diff;
  /** Whether the verdict is about it, so that its words aren't said twice. */
  said: boolean;
  trans: TranslationBundle;
}

export function Unread(props: IUnreadProps): JSX.Element | null {
  const { diff, said, trans } = props;
  const count = diff.unread.length;
  if (said && count === 1) {
    return null;
  }
  return (
    <div className="jp-Coiled-unread">
      <Icon icon={CLUSTER_ICONS.unknown} />
      <details open={count <= 2}>
        <summary>
          {said ? trans.__('Which, and why') : unreadCountWords(diff, trans)}
        </summary>
        <ul>
          {diff.unread.map(({ node, reason }) => (
            <li key={node} data-unread={node}>
              {trans.__('%1: %2', node, reason)}
            </li>
          ))}
        </ul>
      </details>
    </div>
  );
}
