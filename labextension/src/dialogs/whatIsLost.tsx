/** What is lost with a cluster's workers, by the last reading, and which clients are affected. */
import { UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { ClientInfo, Cluster } from '../api/wire';
import type { Model } from '../model/model';
import { Age, useSeconds } from '../panel/age';

/** Clients that are named. */
const NAMED = 5;

export interface IWhatIsLostProps {
  cluster: Cluster;
  model: Model;
  /** The first sentence. */
  lead?: string;
  trans: TranslationBundle;
}

/** Sentences with their age, updated while they are shown. */
export function WhatIsLost(props: IWhatIsLostProps): JSX.Element {
  const { cluster, lead, model, trans } = props;
  useSeconds();
  // The panel reads only while it is visible.
  React.useEffect(() => model.invalidate(), []);
  return (
    <div className="jp-Coiled-whatIsLost">
      {lead && <p>{lead}</p>}
      <UseSignal signal={model.changed}>
        {() => {
          const present = model.clusters.find(({ id }) => id === cluster.id);
          const sentences = present
            ? whatIsLostWords(present, trans)
            : [trans.__('It is not there any more.')];
          return (
            <>
              <ul>
                {sentences.map(it => (
                  <li key={it}>{it}</li>
                ))}
              </ul>
              {present && (
                <Age seconds={model.clusterAge(present)} trans={trans} />
              )}
            </>
          );
        }}
      </UseSignal>
    </div>
  );
}

export function whatIsLostWords(
  { clients, other_clients: others, tasks }: Cluster,
  trans: TranslationBundle
): readonly string[] {
  if (!tasks) {
    return [trans.__('What it holds has not been read.')];
  }
  const { in_memory: held, queued, running } = tasks;
  const names = others.slice(0, NAMED).map(it => nameOf(it, trans));
  const more = names.length < others.length ? '…' : '';
  return [
    held === null
      ? trans.__('How many results it holds in memory is not known.')
      : held === 0
        ? trans.__('It holds no results in memory.')
        : trans._n(
            'It holds %1 result in memory.',
            'It holds %1 results in memory, each copy counted.',
            held
          ),
    running + queued === 0
      ? trans.__('No task is running or waiting.')
      : trans.__(
          '%1, %2.',
          trans._n('%1 task is running', '%1 tasks are running', running),
          trans._n('%1 is waiting', '%1 are waiting', queued)
        ),
    clients === 0
      ? trans.__('No client is connected.')
      : trans._n(
          '%1 client is connected: %2',
          '%1 clients are connected: %2',
          clients,
          names.join(', ') + more || trans.__('by whom is not known')
        )
  ];
}

function nameOf(client: ClientInfo, trans: TranslationBundle): string {
  return client.own
    ? (client.opened_by ?? trans.__('a kernel of this server'))
    : trans.__('somebody on %1', client.host ?? trans.__('unknown host'));
}
