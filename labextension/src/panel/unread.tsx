/** Names what could not be read, and why. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Diff } from '../api/wire';
import { CLUSTER_ICONS, Icon } from './icons';

export interface IUnreadProps {
  diff: Diff;
  trans: TranslationBundle;
}

export function Unread({ diff, trans }: IUnreadProps): JSX.Element {
  const count = diff.unread.length;
  const nodes = (
    <ul>
      {diff.unread.map(({ node, reason }) => (
        <li key={node} data-unread={node}>
          {trans.__('%1: %2', node, reason)}
        </li>
      ))}
    </ul>
  );
  const words = trans._n(
    '%1 node could not be read',
    '%1 nodes could not be read',
    count
  );
  return (
    <div className="jp-Coiled-unread">
      <Icon icon={CLUSTER_ICONS.unknown} />
      <details open={count <= 2}>
        <summary>{words}</summary>
        {nodes}
      </details>
    </div>
  );
}
