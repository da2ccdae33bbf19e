/** The small forms of a cluster: what to restart, what to call it, how long to keep it. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Widget } from '@lumino/widgets';
import { PanelLayout } from '@lumino/widgets';

import {
  CheckedForm,
  choice,
  labelled,
  NAME_LENGTH,
  textField
} from './fields';
import type { Finding } from './fields';
import type { Cluster, ClusterRestart } from './wire';
import { durationWords } from './words';

/** How long a cluster can live on, in seconds; 0 ends it with its last holder. */
const LEASES = [600, 3600, 8 * 3600, 24 * 3600, 7 * 24 * 3600, 0];

let forms = 0;

/** Workers or everything, with what is lost in each; what there is now stands above. */
export class RestartForm extends CheckedForm<ClusterRestart['what']> {
  constructor(
    private readonly _cluster: Cluster,
    stakes: Widget,
    trans: TranslationBundle
  ) {
    super(trans);
    // A child, so that it is told when it is shown.
    const layout = (this.layout = new PanelLayout());
    layout.addWidget(stakes);
    const group = `jp-Coiled-restart-${forms++}`;
    const workers = choice(group, 'workers', trans.__('The workers'), true);
    const whole = choice(
      group,
      'cluster',
      trans.__('The whole cluster: scheduler and workers'),
      false
    );
    this._whole = whole.field;
    this.node.append(workers.label, whole.label);
    this.complete();
  }

  protected value(): ClusterRestart['what'] {
    return this._whole.checked ? 'cluster' : 'workers';
  }

  protected problems(): readonly Finding[] {
    return [];
  }

  protected words(): string {
    const { trans } = this;
    return this._whole.checked
      ? trans.__(
          'Scheduler and workers start anew at the same address. All results, scattered data and tasks are lost. Clients reconnect by themselves.'
        )
      : trans._n(
          'Its %1 worker starts anew. Tasks that run begin anew; results that only it holds are computed again, scattered data is lost.',
          'Its %1 workers start anew. Tasks that run begin anew; results that only they hold are computed again, scattered data is lost.',
          this._cluster.workers.length
        );
  }

  private readonly _whole: HTMLInputElement;
}

/** Another name. */
export class RenameForm extends CheckedForm<string> {
  constructor(
    private readonly _cluster: Cluster,
    trans: TranslationBundle
  ) {
    super(trans);
    this._name = textField(_cluster.name);
    this.node.append(labelled(trans.__('Name'), this._name, 'name'));
    this.complete();
  }

  protected value(): string {
    return this._name.value.trim();
  }

  protected problems(): readonly Finding[] {
    const { trans } = this;
    const name = this.value();
    const problem = !name
      ? trans.__('Give a name')
      : name.length > NAME_LENGTH
        ? trans.__('At most %1 characters', NAME_LENGTH)
        : name === this._cluster.name
          ? trans.__('This is its name now')
          : '';
    return [[this._name, problem]];
  }

  protected words(): string {
    return this.trans.__(
      '%1 is called %2 from now on. Code that asks for it as %1 no longer finds it; clients that are connected stay.',
      this._cluster.name,
      this.value()
    );
  }

  private readonly _name: HTMLInputElement;
}

/** How long it lives on when nobody holds it. */
export class KeepForm extends CheckedForm<number> {
  constructor(
    private readonly _cluster: Cluster,
    trans: TranslationBundle
  ) {
    super(trans);
    const present = _cluster.desired.lease_seconds;
    const known = present === null || LEASES.includes(present);
    for (const seconds of known ? LEASES : [present, ...LEASES]) {
      const text =
        seconds === 0
          ? trans.__('stop with the last holder')
          : durationWords(seconds, trans);
      const chosen = seconds === present;
      this._lease.append(new Option(text, String(seconds), chosen, chosen));
    }
    this.node.append(
      labelled(
        trans.__('When nobody holds it, it lives on for'),
        this._lease,
        'lease_seconds'
      )
    );
    this.complete();
  }

  protected value(): number {
    return Number(this._lease.value);
  }

  protected problems(): readonly Finding[] {
    return [];
  }

  protected words(): string {
    const { trans } = this;
    const { name, desired } = this._cluster;
    const seconds = this.value();
    const change =
      seconds === 0
        ? trans.__(
            '%1 stops as soon as no client is connected and no Jupyter server runs that follows it, also while that restarts.',
            name
          )
        : trans.__(
            '%1 stops %2 after the last client and the last Jupyter server let go of it, also when the server was shut down.',
            name,
            durationWords(seconds, trans)
          );
    const present = desired.lease_seconds;
    if (present === null) {
      return change;
    }
    const before =
      present === 0
        ? trans.__('Until now: at once.')
        : desired.kept
          ? trans.__('Until now: %1.', durationWords(present, trans))
          : trans.__(
              'Until now: %1, and at once when the server is shut down.',
              durationWords(present, trans)
            );
    return `${change} ${before}`;
  }

  private readonly _lease = document.createElement('select');
}
