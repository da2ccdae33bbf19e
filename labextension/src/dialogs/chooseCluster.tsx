/** The dialog that chooses a cluster for a command. */
import { Dialog } from '@jupyterlab/apputils';
import * as React from 'react';

import type { Cluster } from '../api/wire';
import { clusterSourceWords, clusterStatusWords } from '../words/words';
import type { IDialogContext } from './context';
import { ask } from './form';

/** Return the chosen cluster; undefined if the user cancels. */
export async function chooseCluster(
  clusters: readonly Cluster[],
  purpose: string,
  { model, trans }: IDialogContext
): Promise<Cluster | undefined> {
  const compared = model.cluster?.id;
  let chosen: string | null = null;
  await ask<{ cluster: string }>({
    title: trans.__('Which cluster?'),
    initial: {
      cluster: (clusters.find(({ id }) => id === compared) ?? clusters[0]).id
    },
    fields: form => (
      <div className="jp-Coiled-list">
        {form.radio(
          'cluster',
          clusters.map(({ id, name, status, ...rest }) => ({
            value: id,
            label: name,
            lines: [
              [
                clusterStatusWords(status, trans),
                clusterSourceWords(rest, trans),
                id === compared && trans.__('compared with the notebook')
              ]
                .filter(Boolean)
                .join(' · ')
            ]
          }))
        )}
      </div>
    ),
    effect: () => purpose,
    accept: Dialog.okButton({ label: trans.__('Continue') }),
    focus: 'input:checked',
    act: ({ cluster }) => {
      chosen = cluster;
    },
    trans
  });
  return clusters.find(({ id }) => id === chosen);
}
