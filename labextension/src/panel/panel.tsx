/** The side panel: its sections, rendered from the model. */
import { Clipboard, ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { Age, useSeconds } from './age';
import { ClusterCard } from './clusters/card';
import { CoreMeter } from './clusters/cores';
import { Empty } from './empty';
import { Notice } from './notice';
import { lazy } from './lazy';
import { SoftwareTable } from './packages/table';
import { SyncButton } from './sync/button';
import type { IRowActions } from './packages/shared';
import { Verdict } from './verdict/verdict';
import { hasLogs, isOurs } from '../model/capabilities';
import { CommandIDs } from '../tokens';
import { openMenu, openSyncMenu } from './menu';
import { freshness, hasEnded } from '../model/model';
import type { Model } from '../model/model';
import { offerOf } from '../model/syncOffer';
import { isRunning } from '../model/syncs';
import { blockedWords, syncStateWords, syncWords } from '../words/sync';
import type { Cluster, Diff } from '../api/wire';
import { Wishes } from '../model/workerRequest';
import { pastWords, problemWords, reasonWords } from '../words/words';

const SyncCard = lazy(() => import('./sync/card').then(it => it.SyncCard));

/** The panel in JupyterLab's right sidebar. */
export class Panel extends ReactWidget {
  constructor(
    private readonly _model: Model,
    private readonly _commands: CommandRegistry,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.id = 'coiled-jupyter-panel';
    this.title.caption = this._trans.__('Coiled Jupyter');
    this._wishes = new Wishes((id, workers) =>
      this._model.change(id, { workers })
    );
    this._actions = {
      ignore: (name, ignored) => this._model.ignore(name, ignored),
      rate: (name, severity) => this._model.rate(name, severity),
      readRules: () => this._model.readRules(),
      sync: name =>
        void this._commands.execute(CommandIDs.sync, { scope: [name] }),
      copy: text => Clipboard.copyToSystem(text)
    };
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this._trans.__('Coiled Jupyter'));
  }

  dispose(): void {
    this._wishes.dispose();
    super.dispose();
  }

  protected render(): JSX.Element {
    const sections = {
      model: this._model,
      commands: this._commands,
      actions: this._actions,
      wishes: this._wishes,
      trans: this._trans
    };
    return (
      <UseSignal signal={this._model.changed}>
        {() => (
          <>
            <VerdictLine {...sections} />
            <UseSignal signal={this._wishes.changed}>
              {() => <ClusterSection {...sections} />}
            </UseSignal>
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

  private readonly _actions: IRowActions;
  private readonly _wishes: Wishes;
}

interface ISectionProps {
  model: Model;
  commands: CommandRegistry;
  actions: IRowActions;
  wishes: Wishes;
  trans: TranslationBundle;
}

/** Updates the verdict each second: an old answer expires even if nothing arrives. */
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
  const { clusters, error, kernel } = model;
  const past = inOrder(clusters).filter(it => isPast(it, clusters));
  const shown = inOrder(clusters).filter(it => !past.includes(it));
  const create = () => void commands.execute(CommandIDs.createCluster);
  const attach = () => void commands.execute(CommandIDs.attachCluster);
  return (
    <section className="jp-Coiled-section" aria-label={trans.__('Cluster')}>
      <Head title={trans.__('Cluster')}>
        <span className="jp-Coiled-row">
          <button
            className="jp-Coiled-button"
            onClick={create}
            disabled={error !== null}
          >
            {trans.__('New cluster…')}
          </button>
          <button
            className="jp-Coiled-button"
            aria-label={trans.__('Attach a cluster…')}
            onClick={attach}
            disabled={error !== null}
          >
            {trans.__('Attach…')}
          </button>
        </span>
      </Head>
      {error && (
        <Empty reason={error.kind} words={problemWords(error, trans)} />
      )}
      {!error && model.problem && (
        <Notice text={model.problem.message} hint={model.problem.hint} />
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
      {shown.map(it => (
        <Card key={it.id} cluster={it} {...props} />
      ))}
      {past.length > 0 && (
        <details className="jp-Coiled-past" data-past={past.length}>
          <summary>{pastWords(past, trans)}</summary>
          {past.map(it => (
            <Card key={it.id} cluster={it} {...props} />
          ))}
        </details>
      )}
    </section>
  );
}

function Card(props: ISectionProps & { cluster: Cluster }): JSX.Element {
  const { cluster, model, commands, wishes, trans } = props;
  const { kernel } = model;
  const execute = (command: string) => () =>
    void commands.execute(command, { cluster: cluster.id });
  const ours = isOurs(cluster);
  return (
    <ClusterCard
      cluster={cluster}
      now={model.now}
      age={model.clusterAge(cluster)}
      trans={trans}
      onStop={ours ? execute(CommandIDs.stopCluster) : null}
      // A notebook that opened a cluster by itself already has a client.
      onInsert={kernel && ours ? execute(CommandIDs.insertClient) : null}
      onLogs={hasLogs(cluster) ? execute(CommandIDs.showLogs) : null}
      wish={wishes.of(cluster.id)}
      onStep={by => wishes.step(cluster, by)}
      onDismiss={() => wishes.dismiss(cluster.id)}
      onMenu={(button, keyboard) =>
        openMenu(commands, cluster, button, keyboard)
      }
    />
  );
}

/** Whether an ended cluster can be hidden: it was stopped, or a newer one exists. */
export function isPast(
  cluster: Cluster,
  clusters: readonly Cluster[]
): boolean {
  return (
    hasEnded(cluster) &&
    (cluster.status === 'stopped' ||
      clusters.some(
        other =>
          !hasEnded(other) &&
          Date.parse(other.created_at) > Date.parse(cluster.since)
      ))
  );
}

/** Order clusters: live before ended, discovered after other live ones, newest first. */
export function inOrder(clusters: readonly Cluster[]): Cluster[] {
  const found = ({ source }: Cluster) => source === 'discovered';
  return [...clusters].sort(
    (one, other) =>
      Number(hasEnded(one)) - Number(hasEnded(other)) ||
      Number(found(one)) - Number(found(other)) ||
      other.created_at.localeCompare(one.created_at)
  );
}

function CoresSection({ model, trans }: ISectionProps): JSX.Element | null {
  useSeconds();
  const { usage, usageAge } = model;
  if (!usage) {
    return null;
  }
  const { allocated, limit } = usage.cores;
  return (
    <section className="jp-Coiled-section" aria-label={trans.__('Cores')}>
      <Head title={trans.__('Cores')}>
        <span className="jp-Coiled-row">
          <Age seconds={usageAge} quiet={true} trans={trans} />
          {trans.__('%1 of %2', allocated, limit)}
        </span>
      </Head>
      <div data-age={freshness(usageAge)}>
        <CoreMeter usage={usage} history={model.history} trans={trans} />
      </div>
    </section>
  );
}

function SoftwareSection(props: ISectionProps): JSX.Element {
  const { model, commands, actions, trans } = props;
  // Colours expire even if nothing arrives; the table itself is rendered only for a new comparison.
  useSeconds();
  const { candidates, cluster, diff, kernel } = model;
  const judgement = model.judge();
  const { reason } = judgement;
  const running = cluster && model.syncs.running(cluster.id);
  const offer = cluster && offerOf(cluster, judgement, diff, running);
  const blocked = offer?.blocked;
  // A package chosen by name needs no severity.
  const rowBlocked =
    blocked && blocked.kind !== 'nothing' ? blockedWords(blocked, trans) : '';
  return (
    <section className="jp-Coiled-section" aria-label={trans.__('Software')}>
      <Head title={trans.__('Software')}>
        <span className="jp-Coiled-row">
          <Age seconds={model.age} trans={trans} />
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
      {candidates.length > (cluster ? 1 : 0) && (
        <label className="jp-Coiled-select">
          {trans.__('Compare with')}
          <select
            value={cluster?.id ?? ''}
            onChange={event => model.choose(event.target.value)}
          >
            {!cluster && (
              <option value="">{trans.__('Choose a cluster…')}</option>
            )}
            {candidates.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      {cluster && offer && (
        <SyncButton
          offer={offer}
          onSync={() =>
            void commands.execute(CommandIDs.sync, { cluster: cluster.id })
          }
          onMenu={(button, keyboard) =>
            openSyncMenu(commands, cluster, button, keyboard)
          }
          trans={trans}
        />
      )}
      <SyncCards {...props} />
      {diff && (
        // An expired comparison is shown without colour.
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
          {diff.verdict !== 'equal' && <WhyMatch trans={trans} />}
          {running && (
            <p className="jp-Coiled-sub" data-note="syncing">
              {trans.__('During a sync, rows show what was read last.')}
            </p>
          )}
          {diff.rows.length > 0 && (
            <SoftwareTable
              diff={diff}
              rules={model.rules}
              actions={actions}
              blocked={rowBlocked}
              reveal={model.reveal}
              trans={trans}
            />
          )}
        </div>
      )}
      {!diff && reason && (
        <Empty reason={reason.kind} words={reasonWords(reason, trans)} />
      )}
    </section>
  );
}

/** The running syncs, wherever they were begun, and the last results until they are dismissed. */
function SyncCards({ model, commands, trans }: ISectionProps): JSX.Element {
  const { cluster: compared, syncs } = model;
  const shown = inOrder(model.clusters)
    .sort(
      (one, other) =>
        Number(other.id === compared?.id) - Number(one.id === compared?.id)
    )
    .flatMap(cluster => {
      const sync = syncs.shown(cluster.id);
      // For a cluster that has ended, only a sync lost with it is shown.
      return sync && (!hasEnded(cluster) || sync.state === 'lost')
        ? [{ cluster, sync }]
        : [];
    });
  return (
    <>
      <div className="jp-Coiled-hidden" role="status" data-live="sync">
        {shown
          .map(({ cluster, sync }) =>
            trans.__(
              '%1: %2',
              syncWords(sync, cluster.name, trans),
              syncStateWords(sync, trans)
            )
          )
          .join('. ')}
      </div>
      {shown.map(({ cluster, sync }) => {
        const execute = (command: string) => () =>
          void commands.execute(command, { cluster: cluster.id });
        const undone = syncs.undoable(cluster.id)?.id === sync.id;
        const again =
          cluster.id === compared?.id &&
          sync.direction === 'to_cluster' &&
          (sync.state === 'failed' || sync.state === 'cancelled');
        return (
          <SyncCard
            key={sync.id}
            sync={sync}
            name={cluster.name}
            lines={syncs.lines(sync.id)}
            age={isRunning(sync) ? syncs.age : null}
            now={model.now}
            onCancel={execute(CommandIDs.cancelSync)}
            onUndo={
              undone && !hasEnded(cluster) ? execute(CommandIDs.undoSync) : null
            }
            onAgain={again ? execute(CommandIDs.sync) : null}
            onDismiss={() => syncs.dismiss(sync)}
            // Without it, the lines in the sync itself are shown.
            onLog={() => void syncs.readLog(sync.id).catch(() => undefined)}
            trans={trans}
          />
        );
      })}
    </>
  );
}

/** Explains why versions should match. */
function WhyMatch({ trans }: Pick<ISectionProps, 'trans'>): JSX.Element {
  return (
    <details className="jp-Coiled-whyMatch">
      <summary>{trans.__('Why should versions match?')}</summary>
      <p>
        {trans.__(
          'Dask sends functions and data as pickles: names of modules and classes, not their code.'
        )}{' '}
        {trans.__(
          'Loading can fail in another version, or give another result.'
        )}{' '}
        {trans.__(
          'Not every difference matters: what breaks, what is risky and what is minor is told apart below.'
        )}
      </p>
    </details>
  );
}

function clusterLabel(diff: Diff, trans: TranslationBundle): string {
  const { groups, name } = diff.cluster;
  if (groups.length === 0) {
    // Nothing was read, so there is no count.
    return name;
  }
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
  const count = diff.unread.length;
  if (!count) {
    return null;
  }
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
      <span className="jp-Coiled-icon" aria-hidden="true">
        ?
      </span>
      <details open={count <= 2}>
        <summary>{words}</summary>
        {nodes}
      </details>
    </div>
  );
}
