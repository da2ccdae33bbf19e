/** The workers of a cluster, one line each. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Worker } from '../../api/wire';
import { bytesWords, workerStatusWords } from '../../words/words';

/** The most workers that are listed. */
const LISTED = 200;

interface IListProps {
  workers: readonly Worker[];
  trans: TranslationBundle;
}

/** Rendered only for a new reading. */
export const WorkerList = React.memo(function WorkerList({
  workers,
  trans
}: IListProps) {
  // Groups with the same packages are numbered: ids are unreadable.
  const groups = [...new Set(workers.map(({ group }) => group))].filter(
    group => group !== null
  );
  const more = workers.length - LISTED;
  return (
    <>
      <table className="jp-Coiled-workerList">
        <thead>
          <tr>
            <th scope="col">{trans.__('Worker')}</th>
            <th scope="col">{trans.__('Cores')}</th>
            <th scope="col">{trans.__('Memory')}</th>
          </tr>
        </thead>
        <tbody>
          {workers.slice(0, LISTED).map(worker => (
            <tr
              key={worker.id}
              data-worker={worker.id}
              data-status={worker.status}
            >
              <th scope="row">
                {worker.name}
                <div className="jp-Coiled-sub">
                  {[
                    workerStatusWords(worker.status, trans),
                    worker.host,
                    worker.group !== null &&
                      groups.length > 1 &&
                      trans.__(
                        'packages %1 of %2',
                        groups.indexOf(worker.group) + 1,
                        groups.length
                      ),
                    worker.restarts > 0 &&
                      trans._n('%1 restart', '%1 restarts', worker.restarts)
                  ]
                    .filter(Boolean)
                    .join(' · ')}
                </div>
              </th>
              <td>{trans.__('%1 of %2', worker.busy, worker.threads)}</td>
              <td>
                {worker.memory_limit
                  ? trans.__(
                      '%1 of %2',
                      bytesWords(worker.memory, trans),
                      bytesWords(worker.memory_limit, trans)
                    )
                  : bytesWords(worker.memory, trans)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {more > 0 && (
        <div className="jp-Coiled-sub">
          {trans._n('and %1 more', 'and %1 more', more)}
        </div>
      )}
    </>
  );
});
