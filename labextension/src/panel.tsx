/** The side panel: sections made of components, fed by the model. */
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs } from './commands';
import { ClusterCard } from './components/cluster';
import { CoreMeter } from './components/cores';
import { SoftwareTable } from './components/software';
import { Verdict } from './components/verdict';
import type { Model } from './model';

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
    return (
      <UseSignal signal={this._model.changed}>
        {() => (
          <Sections
            model={this._model}
            commands={this._commands}
            trans={this._trans}
          />
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

interface ISectionsProps {
  model: Model;
  commands: CommandRegistry;
  trans: TranslationBundle;
}

function Sections({ model, commands, trans }: ISectionsProps): JSX.Element {
  // The age is shown, and an old answer loses its claim, also while nothing arrives.
  const [, tick] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    const timer = window.setInterval(tick, 1000);
    return () => window.clearInterval(timer);
  }, []);
  const reason = why(model, trans);
  const { diff, age } = model;
  return (
    <>
      <Verdict diff={diff} reason={reason} trans={trans} />
      <section className="jp-Coiled-section" aria-label={trans.__('Cluster')}>
        <h2>
          {trans.__('Cluster')}
          <button
            className="jp-Coiled-button"
            onClick={() => void commands.execute(CommandIDs.createCluster)}
          >
            {trans.__('New cluster…')}
          </button>
        </h2>
        {model.clusters.length === 0 && (
          <div className="jp-Coiled-sub">
            {trans.__('No cluster is running. Make one for this notebook.')}
          </div>
        )}
        {model.clusters.map(cluster => (
          <ClusterCard
            key={cluster.id}
            cluster={cluster}
            chosen={cluster.id === model.cluster?.id}
            choice={model.clusters.length > 1}
            trans={trans}
            onChoose={() => model.choose(cluster.id)}
            onStop={() =>
              void commands.execute(CommandIDs.stopCluster, {
                cluster: cluster.id
              })
            }
          />
        ))}
      </section>
      {model.usage && (
        <section className="jp-Coiled-section" aria-label={trans.__('Cores')}>
          <h2>
            {trans.__('Cores')}
            <span>
              {trans.__(
                '%1 of %2',
                model.usage.cores.allocated,
                model.usage.cores.limit
              )}
            </span>
          </h2>
          <CoreMeter usage={model.usage} trans={trans} />
        </section>
      )}
      <section className="jp-Coiled-section" aria-label={trans.__('Software')}>
        <h2>
          {trans.__('Software')}
          {age !== null && (
            <span>{trans.__('read %1 s ago', Math.round(age))}</span>
          )}
        </h2>
        {diff ? (
          <>
            <div className="jp-Coiled-sub">
              {trans.__(
                '%1 · Python %2 ⇄ %3',
                model.kernel?.label ?? diff.kernel.label,
                diff.kernel.python ?? '?',
                diff.cluster.name
              )}
            </div>
            {diff.unread.map(entry => (
              <div className="jp-Coiled-sub" key={entry.node}>
                {trans.__('Not read: %1: %2', entry.node, entry.reason)}
              </div>
            ))}
            <SoftwareTable diff={diff} trans={trans} />
          </>
        ) : (
          <div className="jp-Coiled-sub">{reason}</div>
        )}
      </section>
    </>
  );
}

/** Return why nothing can be claimed, or null where the comparison stands. */
function why(model: Model, trans: TranslationBundle): string | null {
  const error = model.error;
  if (error?.kind === 'missing') {
    return trans.__(
      'the server extension is missing; install coiled-jupyter where Jupyter runs and restart it'
    );
  }
  if (error) {
    return error.message;
  }
  if (!model.ready) {
    return trans.__('reading…');
  }
  if (!model.kernel) {
    return trans.__('open a notebook or console to compare its packages');
  }
  if (!model.kernel.id) {
    return trans.__('%1 has no kernel yet', model.kernel.label);
  }
  if (!model.cluster) {
    return trans.__('there is no cluster to compare with');
  }
  if (!model.diff) {
    return trans.__('reading…');
  }
  return model.stale ? trans.__('the last reading is too old') : null;
}
