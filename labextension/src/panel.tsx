/** The side panel: sections made of components, fed by the model. */
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs } from './commands';
import { Age, useSeconds } from './components/age';
import { ClusterCard } from './components/cluster';
import { CoreMeter } from './components/cores';
import { Empty } from './components/empty';
import { SoftwareTable } from './components/software';
import { Verdict } from './components/verdict';
import { hasEnded } from './model';
import type { Model } from './model';
import type { Cluster, Diff } from './wire';
import { problemWords, reasonWords } from './words';

/** The panel at the right of the lab. */
export class Panel extends ReactWidget {
  constructor(
    private readonly _model: Model,
    private readonly _commands: CommandRegistry,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.id = 'coiled-jupyter-panel';
    this.title.caption = this._trans.__('Coiled Jupyter');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this._trans.__('Coiled Jupyter'));
  }

  protected render(): JSX.Element {
    const sections = {
      model: this._model,
      commands: this._commands,
      trans: this._trans
    };
    return (
      <UseSignal signal={this._model.changed}>
        {() => (
          <>
            <VerdictLine {...sections} />
            <ClusterSection {...sections} />
            <CoresSection {...sections} />
            <SoftwareSection {...sections} />
          </>
        )}
      </UseSignal>
    );
  }

  protected onAfterShow(): void {
    this._model.visible = true;
  }

  protected onAfterHide(): void {
    this._model.visible = false;
  }
}

interface ISectionProps {
  model: Model;
  commands: CommandRegistry;
  trans: TranslationBundle;
}

/** Judges each second: an old answer loses its claim also while nothing arrives. */
function VerdictLine({ model, trans }: ISectionProps): JSX.Element {
  useSeconds();
  return <Verdict judgement={model.judge()} diff={model.diff} trans={trans} />;
}

interface IHeadProps {
  title: string;
  children?: React.ReactNode;
}

function Head({ title, children }: IHeadProps): JSX.Element {
  return (
    <div className="jp-Coiled-head">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

function ClusterSection(props: ISectionProps): JSX.Element {
  const { model, commands, trans } = props;
  useSeconds();
  const { error, kernel } = model;
  const create = () => void commands.execute(CommandIDs.createCluster);
  return (
    <section className="jp-Coiled-section" aria-label={trans.__('Cluster')}>
      <Head title={trans.__('Cluster')}>
        <button
          className="jp-Coiled-button"
          onClick={create}
          disabled={error !== null}
        >
          {trans.__('New cluster…')}
        </button>
      </Head>
      {error && (
        <Empty reason={error.kind} words={problemWords(error, trans)} />
      )}
      {!error && !model.ready && (
        <Empty
          reason="reading"
          words={reasonWords({ kind: 'reading' }, trans)}
        />
      )}
      {!error && model.ready && model.candidates.length === 0 && (
        <Empty
          reason="no_cluster"
          words={{
            text: trans.__('No cluster is running'),
            hint: kernel
              ? trans.__('Create one with the packages of %1.', kernel.label)
              : ''
          }}
          action={{ label: trans.__('Create a cluster…'), run: create }}
        />
      )}
      {inOrder(model.clusters).map(cluster => (
        <ClusterCard
          key={cluster.id}
          cluster={cluster}
          now={Date.now()}
          trans={trans}
          onStop={() =>
            void commands.execute(CommandIDs.stopCluster, {
              cluster: cluster.id
            })
          }
          onInsert={
            kernel
              ? () =>
                  void commands.execute(CommandIDs.insertClient, {
                    cluster: cluster.id
                  })
              : null
          }
        />
      ))}
    </section>
  );
}

/** What lives comes first, the newest of it before the others. */
function inOrder(clusters: readonly Cluster[]): Cluster[] {
  return [...clusters].sort(
    (one, other) =>
      Number(hasEnded(one)) - Number(hasEnded(other)) ||
      other.created_at.localeCompare(one.created_at)
  );
}

function CoresSection({ model, trans }: ISectionProps): JSX.Element | null {
  const { usage } = model;
  if (!usage) {
    return null;
  }
  const { allocated, limit } = usage.cores;
  return (
    <section className="jp-Coiled-section" aria-label={trans.__('Cores')}>
      <Head title={trans.__('Cores')}>
        <span>{trans.__('%1 of %2', allocated, limit)}</span>
      </Head>
      <CoreMeter usage={usage} trans={trans} />
    </section>
  );
}

function SoftwareSection(props: ISectionProps): JSX.Element {
  const { model, commands, trans } = props;
  const { candidates, cluster, diff, kernel } = model;
  const { reason } = model.judge();
  return (
    <section className="jp-Coiled-section" aria-label={trans.__('Software')}>
      <Head title={trans.__('Software')}>
        <span className="jp-Coiled-row">
          <Age age={() => model.age} trans={trans} />
          <button
            className="jp-Coiled-button"
            aria-label={trans.__('Compare again')}
            title={trans.__('Compare again')}
            onClick={() => void commands.execute(CommandIDs.refresh)}
          >
            <span aria-hidden="true">↻</span>
          </button>
        </span>
      </Head>
      {cluster && candidates.length > 1 && (
        <label className="jp-Coiled-select">
          {trans.__('Compare with')}
          <select
            value={cluster.id}
            onChange={event => model.choose(event.target.value)}
          >
            {candidates.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      {diff && (
        // What no longer holds is shown without colour.
        <div data-stale={reason !== null}>
          <div className="jp-Coiled-sides">
            <span>
              {trans.__(
                '%1 · Python %2',
                kernel?.label ?? diff.kernel.label,
                diff.kernel.python ?? '?'
              )}
            </span>
            <span role="img" aria-label={trans.__('compared with')}>
              ⇄
            </span>
            <span>{clusterLabel(diff, trans)}</span>
          </div>
          <Unread diff={diff} trans={trans} />
          {diff.rows.length > 0 && <SoftwareTable diff={diff} trans={trans} />}
        </div>
      )}
      {!diff && reason && (
        <Empty reason={reason.kind} words={reasonWords(reason, trans)} />
      )}
    </section>
  );
}

function clusterLabel(diff: Diff, trans: TranslationBundle): string {
  const { groups, name } = diff.cluster;
  const workers = groups
    .filter(group => group.role === 'worker')
    .reduce((sum, group) => sum + group.nodes.length, 0);
  return groups.some(group => group.role === 'scheduler')
    ? trans._n(
        '%2: %1 worker + scheduler',
        '%2: %1 workers + scheduler',
        workers,
        name
      )
    : trans._n('%2: %1 worker', '%2: %1 workers', workers, name);
}

interface IUnreadProps {
  diff: Diff;
  trans: TranslationBundle;
}

function Unread({ diff, trans }: IUnreadProps): JSX.Element | null {
  if (!diff.unread.length) {
    return null;
  }
  return (
    <ul className="jp-Coiled-unread" aria-label={trans.__('Not read')}>
      {diff.unread.map(({ node, reason }) => (
        <li key={node} data-unread={node}>
          {trans.__('Not read: %1: %2', node, reason)}
        </li>
      ))}
    </ul>
  );
}
