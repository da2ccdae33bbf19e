/** The side panel: its sections, rendered from the model. */
import { Clipboard, ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { addIcon, linkIcon } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { ActivityStrip } from './activityStrip';
import { useSeconds } from './age';
import { ClusterBar } from './clusters/bar';
import { ClusterCard } from './clusters/card';
import { CoreMeter } from './clusters/cores';
import { IconButton } from './icons';
import { Notice } from './notice';
import { lazy } from './lazy';
import { SoftwareTable } from './packages/table';
import type { IRowActions } from './packages/shared';
import { VerdictBox } from './verdict/box';
import { hasLogs, isOurs } from '../model/capabilities';
import { CommandIDs } from '../tokens';
import { freshness, hasEnded } from '../model/model';
import type { Model } from '../model/model';
import { offerOf } from '../model/syncOffer';
import { isRunning } from '../model/syncs';
import { blockedWords, syncStateWords, syncWords } from '../words/sync';
import type { Cluster, DiffGroup } from '../api/wire';
import { Wishes } from '../model/workerRequest';
import { pastWords } from '../words/words';

const Unread = lazy(() => import('./unread').then(it => it.Unread));
const Unsealed = lazy(() => import('./sync/unsealed').then(it => it.Unsealed));
const PlanSection = lazy(() =>
  import('./sync/plan').then(it => it.PlanSection)
);
const menus = () => import('./menu');
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
            <Top {...sections} />
            <Packages {...sections} />
            <Activity {...sections} />
            <UseSignal signal={this._wishes.changed}>
              {() => <Clusters {...sections} />}
            </UseSignal>
            <Cores {...sections} />
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

/** The cluster compared and the verdict, each second: an old answer expires even if nothing arrives. */
function Top(props: ISectionProps): JSX.Element {
  useSeconds();
  const { model, commands, trans } = props;
  const { candidates, cluster, diff, error, problem } = model;
  const judgement = model.judge();
  const closePlan = React.useCallback(() => (model.review = null), [model]);
  const node = React.useRef<HTMLDivElement>(null);
  useSteadyRows(node);
  return (
    <div ref={node} className="jp-Coiled-top">
      {candidates.length > 0 && (
        <ClusterBar
          cluster={cluster}
          candidates={candidates}
          age={cluster && model.clusterAge(cluster)}
          onChoose={id => model.choose(id)}
          onMenu={(button, keyboard) =>
            cluster &&
            void menus().then(it =>
              it.openMenu(commands, cluster, button, keyboard)
            )
          }
          trans={trans}
        />
      )}
      {!error && problem && (
        <Notice text={problem.message} hint={problem.hint} />
      )}
      <VerdictBox
        judgement={judgement}
        diff={diff}
        age={model.age}
        offer={cluster && offerOf(judgement, diff, runningOf(model))}
        onSync={() =>
          void commands.execute(CommandIDs.sync, { cluster: cluster?.id })
        }
        onCreate={() => void commands.execute(CommandIDs.createCluster)}
        onWhy={name => model.show(name)}
        onMenu={(button, keyboard) =>
          cluster &&
          void menus().then(it =>
            it.openSyncMenu(commands, cluster, button, keyboard)
          )
        }
        plan={
          model.review && (
            <div className="jp-Coiled-planned">
              <PlanSection
                reviewed={model.review}
                groups={groupsOf(model, model.review.cluster)}
                onClose={closePlan}
                trans={trans}
              />
            </div>
          )
        }
        trans={trans}
      >
        {/* An undo ends it on both sides, one after the other. */}
        {diff?.unsealed && cluster && !runningOf(model) && (
          <Unsealed
            onSeal={() =>
              void commands.execute(CommandIDs.seal, { cluster: cluster.id })
            }
            trans={trans}
          />
        )}
        {diff && diff.unread.length > 0 && (
          <Unread
            diff={diff}
            said={judgement.reason?.kind === 'unread'}
            trans={trans}
          />
        )}
        <SyncCards {...props} />
      </VerdictBox>
    </div>
  );
}

const NO_GROUPS: readonly DiffGroup[] = [];

/** The groups of a cluster that were read last. */
function groupsOf({ diff }: Model, { id }: Cluster): readonly DiffGroup[] {
  return diff?.cluster.id === id ? diff.cluster.groups : NO_GROUPS;
}

/** The running sync of the cluster compared, or null. */
function runningOf({ cluster, syncs }: Model) {
  return cluster && syncs.running(cluster.id);
}

/** Keep the rows where they are seen while what is above them changes its height. */
function useSteadyRows(top: React.RefObject<HTMLDivElement>): void {
  React.useEffect(() => {
    const node = top.current;
    if (!node || !('ResizeObserver' in window)) {
      return;
    }
    let height = node.offsetHeight;
    // Where a list ends, it can't scroll as far as it should; the way back begins from where it should be.
    let [end, owed] = [0, 0];
    const observer = new ResizeObserver(() => {
      // Hidden, it has none.
      const by = (node.offsetHeight || height) - height;
      height += by;
      const rows = node.parentElement?.querySelector('.jp-Coiled-rows');
      // Only what somebody looks at, or looked at when asking for a plan: a fresh list begins at its top.
      if (
        rows &&
        (rows.scrollTop > 0 ||
          rows.matches(':hover, :focus-within') ||
          node.querySelector('.jp-Coiled-planned'))
      ) {
        const wanted =
          rows.scrollTop + by + (rows.scrollTop === end ? owed : 0);
        rows.scrollTop = wanted;
        end = rows.scrollTop;
        owed = wanted - end;
      } else {
        owed = 0;
      }
    });
    observer.observe(node);
    return () => observer.disconnect();
  }, []);
}

/** The rows of the packages that differ. */
function Packages({
  model,
  actions,
  trans
}: ISectionProps): JSX.Element | null {
  // Colours expire even if nothing arrives; the table itself is rendered only for a new comparison.
  useSeconds();
  const { diff } = model;
  const judgement = model.judge();
  const { blocked } = offerOf(judgement, diff, runningOf(model));
  return (
    <section
      className="jp-Coiled-software"
      aria-label={trans.__('Packages')}
      // An expired comparison is shown without colour.
      data-stale={diff ? judgement.reason !== null : undefined}
    >
      {diff && diff.rows.length > 0 && (
        <SoftwareTable
          diff={diff}
          rules={model.rules}
          actions={actions}
          // A package chosen by name needs no severity.
          blocked={
            blocked && blocked.kind !== 'nothing'
              ? blockedWords(blocked, trans)
              : ''
          }
          reveal={model.reveal}
          trans={trans}
        />
      )}
    </section>
  );
}

/** What the clusters did lately, and the panes that tell more of the one that is compared; nothing where nothing runs. */
function Activity({
  model,
  commands,
  trans
}: ISectionProps): JSX.Element | null {
  useSeconds();
  const { cluster, usage, usageAge } = model;
  if (!cluster || hasEnded(cluster) || cluster.status === 'starting') {
    return null;
  }
  const pane = (command: string, words: string) => (
    <button
      type="button"
      className="jp-Coiled-link"
      onClick={() => void commands.execute(command, { cluster: cluster.id })}
    >
      {words}
    </button>
  );
  return (
    <section
      className="jp-Coiled-activity"
      aria-label={trans.__('Activity')}
      data-age={freshness(usageAge)}
    >
      <div className="jp-Coiled-head">
        <h2>{trans.__('Activity')}</h2>
        {pane(CommandIDs.openTaskStream, trans.__('Task stream'))}
        {pane(CommandIDs.openWorkers, trans.__('Workers'))}
      </div>
      {usage && usage.cores.allocated > 0 && (
        <ActivityStrip
          usage={usage}
          age={usageAge}
          history={model.history}
          trans={trans}
        />
      )}
    </section>
  );
}

function Clusters(props: ISectionProps): JSX.Element {
  const { model, commands, trans } = props;
  useSeconds();
  const { clusters, error } = model;
  const past = inOrder(clusters).filter(it => isPast(it, clusters));
  const compared = model.cluster?.id;
  const shown = inOrder(clusters)
    .filter(it => !past.includes(it))
    .sort(
      (one, other) =>
        Number(other.id === compared) - Number(one.id === compared)
    );
  // Where there is none yet, the verdict has the button.
  const first = model.judge().reason?.kind === 'no_cluster';
  return (
    <section className="jp-Coiled-clusters" aria-label={trans.__('Clusters')}>
      <div className="jp-Coiled-head">
        <h2>{trans.__('Clusters')}</h2>
        {!first && (
          <IconButton
            icon={addIcon}
            label={trans.__('New cluster…')}
            onClick={() => void commands.execute(CommandIDs.createCluster)}
            disabled={error !== null}
          />
        )}
        <IconButton
          icon={linkIcon}
          label={trans.__('Attach a cluster…')}
          onClick={() => void commands.execute(CommandIDs.attachCluster)}
          disabled={error !== null}
        />
      </div>
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
      compared={cluster.id === model.cluster?.id}
      now={model.now}
      age={model.clusterAge(cluster)}
      trans={trans}
      onStop={ours ? execute(CommandIDs.stopCluster) : null}
      // A notebook that opened a cluster by itself already has a client.
      onInsert={kernel && ours ? execute(CommandIDs.insertClient) : null}
      code={kernel && ours ? () => model.clientCode(cluster.id) : null}
      onLogs={hasLogs(cluster) ? execute(CommandIDs.showLogs) : null}
      wish={wishes.of(cluster.id)}
      onStep={by => wishes.step(cluster, by)}
      onDismiss={() => wishes.dismiss(cluster.id)}
      onMenu={(button, keyboard) =>
        void menus().then(it =>
          it.openMenu(commands, cluster, button, keyboard)
        )
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

function Cores({ model, trans }: ISectionProps): JSX.Element | null {
  useSeconds();
  const { usage, usageAge } = model;
  if (!usage) {
    return null;
  }
  return (
    <section
      className="jp-Coiled-cores"
      aria-label={trans.__('Cores')}
      data-age={freshness(usageAge)}
    >
      <CoreMeter usage={usage} age={usageAge} trans={trans} />
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
