/** The form of a cluster's size: a fixed number of workers, or adaptive scaling between two. */
import type { TranslationBundle } from '@jupyterlab/translation';

import { coresFor, threadsOf } from './allowed';
import { CheckedForm, choice, count, labelled, numberField } from './fields';
import type { Finding } from './fields';
import type { Cluster, ClusterChange, Usage } from './wire';

let forms = 0;

/** Begins with the size that the cluster has. */
export class ScaleForm extends CheckedForm<ClusterChange> {
  constructor(
    private readonly _cluster: Cluster,
    private readonly _usage: Usage | null,
    trans: TranslationBundle
  ) {
    super(trans);
    const { adaptive, workers } = _cluster.desired;
    const group = `jp-Coiled-scale-${forms++}`;
    const fixed = choice(
      group,
      'fixed',
      trans.__('A fixed number of workers'),
      !adaptive
    );
    const scaled = choice(
      group,
      'adaptive',
      trans.__('As many as the work needs (adaptive)'),
      adaptive !== null
    );
    this._adaptive = scaled.field;
    this._workers = numberField(workers, 0);
    this._minimum = numberField(adaptive?.minimum ?? 0, 0);
    this._maximum = numberField(adaptive?.maximum ?? Math.max(workers, 1), 1);
    this._fixedPart.append(
      labelled(trans.__('Workers'), this._workers, 'workers')
    );
    this._adaptivePart.append(
      labelled(trans.__('Minimum'), this._minimum, 'adaptive.minimum'),
      labelled(trans.__('Maximum'), this._maximum, 'adaptive.maximum')
    );
    this._adaptivePart.className = 'jp-Coiled-pair';
    this.node.append(
      fixed.label,
      this._fixedPart,
      scaled.label,
      this._adaptivePart
    );
    this.complete();
  }

  protected value(): ClusterChange {
    return this._adaptive.checked
      ? {
          adaptive: {
            minimum: this._minimum.valueAsNumber,
            maximum: this._maximum.valueAsNumber
          }
        }
      : { workers: this._workers.valueAsNumber };
  }

  protected problems(): readonly Finding[] {
    const { trans } = this;
    const adaptive = this._adaptive.checked;
    this._fixedPart.hidden = adaptive;
    this._adaptivePart.hidden = !adaptive;
    const fewest = count(this._minimum, 0);
    const most = count(this._maximum, 1);
    return [
      [
        this._workers,
        !adaptive && count(this._workers, 0) === null
          ? trans.__('Workers: a whole number from 0')
          : ''
      ],
      [
        this._minimum,
        !adaptive
          ? ''
          : fewest === null
            ? trans.__('Minimum: a whole number from 0')
            : most !== null && fewest > most
              ? trans.__('The minimum is larger than the maximum')
              : ''
      ],
      [
        this._maximum,
        adaptive && most === null
          ? trans.__('Maximum: a whole number from 1')
          : ''
      ]
    ];
  }

  protected words(): string {
    const parts = this._adaptive.checked
      ? this._adaptiveWords()
      : this._fixedWords();
    return parts.filter(Boolean).join(' ');
  }

  private _fixedWords(): string[] {
    const { trans } = this;
    const { name, desired } = this._cluster;
    const { adaptive, workers: before } = desired;
    const workers = this._workers.valueAsNumber;
    const change =
      workers === before
        ? trans._n(
            '%2 stays at %1 worker.',
            '%2 stays at %1 workers.',
            workers,
            name
          )
        : trans._n(
            '%2 gets %1 worker instead of %3.',
            '%2 gets %1 workers instead of %3.',
            workers,
            name,
            before
          );
    const lost =
      workers === 0 && before > 0
        ? trans.__('What only its workers hold is lost.')
        : workers < before
          ? trans.__('Those that end hand what they hold to the others first.')
          : '';
    const ends =
      adaptive &&
      trans.__(
        'This ends adaptive scaling (%1 to %2).',
        adaptive.minimum,
        adaptive.maximum
      );
    return [change, ends ?? '', lost, this._cores(workers, before)];
  }

  private _adaptiveWords(): string[] {
    const { trans } = this;
    const { name, desired } = this._cluster;
    const most = this._maximum.valueAsNumber;
    return [
      trans.__(
        '%1 has %2 to %3 workers from now on, as its work needs them.',
        name,
        this._minimum.valueAsNumber,
        most
      ),
      desired.adaptive
        ? trans.__(
            'Until now: %1 to %2.',
            desired.adaptive.minimum,
            desired.adaptive.maximum
          )
        : '',
      this._cores(most, desired.workers)
    ];
  }

  /** What the wish takes of the limit, and whether it fits. */
  private _cores(workers: number, before: number): string {
    const { trans } = this;
    const threads = threadsOf(this._cluster);
    if (threads === null) {
      return '';
    }
    const cores = workers * threads;
    const takes = this._adaptive.checked
      ? trans._n('At most %1 core.', 'At most %1 cores.', cores)
      : trans._n('That takes %1 core.', 'That takes %1 cores.', cores);
    if (!this._usage) {
      return takes;
    }
    const room = coresFor(this._cluster, this._usage);
    const { limit } = this._usage.cores;
    // Nothing that runs is taken away for want of room.
    const fit = Math.max(Math.floor(room / threads), Math.min(before, workers));
    return fit < workers
      ? `${takes} ${trans._n(
          'Only %1 worker fits: the limit of %2 cores allows no more.',
          'Only %1 workers fit: the limit of %2 cores allows no more.',
          fit,
          limit
        )}`
      : `${takes} ${trans.__(
          '%1 of %2 are left then.',
          Math.max(room - cores, 0),
          limit
        )}`;
  }

  private readonly _adaptive: HTMLInputElement;
  private readonly _workers: HTMLInputElement;
  private readonly _minimum: HTMLInputElement;
  private readonly _maximum: HTMLInputElement;
  private readonly _fixedPart = document.createElement('div');
  private readonly _adaptivePart = document.createElement('div');
}
