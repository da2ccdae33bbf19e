/** What a sync would do, looked at before it is begun. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { losesNothing, partsOf, refusalsOf } from '../planparts';
import type { IPart } from '../planparts';
import type { Need, Preview, Stage } from '../preview';
import {
  actionWords,
  causeWords,
  groupsWords,
  howWords,
  lostWords,
  needWords,
  noteWords,
  othersWords,
  restartWords
} from '../planwords';
import type { DiffGroup, Plan, PlanAction } from '../wire';
import { durationWords, problemWords } from '../words';

/** Seconds that a running task can be waited for. */
const DRAINS = [30, 120, 600, 3600];
const NONE = '—';
/** A longer list is folded. */
const LISTED = 25;

const ICONS: Record<PlanAction['kind'], string> = {
  install: '+',
  upgrade: '↑',
  downgrade: '↓',
  remove: '−',
  build: '◆',
  refuse: '✕'
};

export interface IPlanViewProps {
  /** What is wished, as a sentence. */
  lead: string;
  stage: Stage;
  needs: readonly Need[];
  agreed: ReadonlySet<Need>;
  /** Seconds that a running task can go on. */
  drain: number;
  /** The groups that were read last; the plan may speak of others. */
  groups: readonly DiffGroup[];
  onAgree: (need: Need, agreed: boolean) => void;
  onDrain: (seconds: number) => void;
  /** Plan again. */
  onAgain: () => void;
  trans: TranslationBundle;
}

export function PlanView(props: IPlanViewProps): JSX.Element {
  const { lead, stage, trans } = props;
  const busy = stage.kind === 'planning' || stage.kind === 'starting';
  return (
    <div data-stage={stage.kind} aria-busy={busy}>
      <p className="jp-Coiled-lead" tabIndex={-1}>
        {lead}
      </p>
      <div role="status" className="jp-Coiled-planState">
        {stageWords(stage, trans)}
      </div>
      {stage.kind === 'problem' && (
        <Refused error={stage.error} onAgain={props.onAgain} trans={trans} />
      )}
      {(stage.kind === 'shown' || stage.kind === 'starting') && (
        <Planned {...props} plan={stage.plan} busy={busy} />
      )}
    </div>
  );
}

function stageWords(stage: Stage, trans: TranslationBundle): string {
  switch (stage.kind) {
    case 'planning':
      return trans.__('Working out what would change. Nothing is touched…');
    case 'starting':
      return trans.__('Beginning…');
    case 'problem':
      return trans.__('There is no plan; nothing was changed.');
    case 'shown':
      return stage.note ? noteWords(stage.note, trans) : '';
  }
}

interface IRefusedProps {
  error: Extract<Stage, { kind: 'problem' }>['error'];
  onAgain: () => void;
  trans: TranslationBundle;
}

function Refused({ error, onAgain, trans }: IRefusedProps): JSX.Element {
  const { text, hint } = problemWords(error, trans);
  return (
    <div className="jp-Coiled-problem" role="alert">
      <p className="jp-Coiled-said">{text}</p>
      {hint && <p className="jp-Coiled-said">{hint}</p>}
      <button className="jp-Coiled-button" onClick={onAgain}>
        {trans.__('Plan again')}
      </button>
    </div>
  );
}

interface IPlannedProps extends IPlanViewProps {
  plan: Plan;
  busy: boolean;
}

function Planned(props: IPlannedProps): JSX.Element {
  const { agreed, busy, groups, needs, plan, trans } = props;
  const acts = plan.how === 'roll' || plan.how === 'replace';
  const expected = durationWords(Math.max(1, plan.seconds), trans);
  const restart = restartWords(plan, trans);
  return (
    <div data-plan={plan.id} data-how={plan.how}>
      {acts && <Lost plan={plan} trans={trans} />}
      {acts &&
        needs.map(need => (
          <label key={need} className="jp-Coiled-choice" data-need={need}>
            <input
              type="checkbox"
              checked={agreed.has(need)}
              disabled={busy}
              onChange={event => props.onAgree(need, event.target.checked)}
            />
            {needWords(need, trans)}
          </label>
        ))}
      <p className="jp-Coiled-summary">{howWords(plan, trans)}</p>
      {acts && (
        <ul className="jp-Coiled-effects">
          {restart && <li>{restart}</li>}
          {plan.others.length > 0 && (
            <li>
              {othersWords(plan, trans)}
              <ul>
                {plan.others.map(({ client, host, opened_by }) => (
                  <li key={client}>
                    {opened_by ??
                      (host ? trans.__('%1 on %2', client, host) : client)}
                  </li>
                ))}
              </ul>
            </li>
          )}
          <li>
            {plan.how === 'roll'
              ? trans.__(
                  'It takes about %1; the cluster works on meanwhile.',
                  expected
                )
              : trans.__('It takes about %1.', expected)}
          </li>
        </ul>
      )}
      {acts && plan.how === 'roll' && <Drain {...props} />}
      {refusalsOf(plan).map(part => (
        <Part
          key={part.groups.join()}
          part={part}
          title={trans.__('Can not be done (%1)', part.actions.length)}
          plan={plan}
          groups={groups}
          trans={trans}
        />
      ))}
      {partsOf(plan).map(part => (
        <Part
          key={part.groups.join()}
          part={part}
          title={trans._n(
            '%1 package changes',
            '%1 packages change',
            part.actions.length
          )}
          plan={plan}
          groups={groups}
          trans={trans}
        />
      ))}
    </div>
  );
}

interface ILostProps {
  plan: Plan;
  trans: TranslationBundle;
}

/** First of all, what is lost. */
function Lost({ plan, trans }: ILostProps): JSX.Element {
  const none = losesNothing(plan);
  const [first, ...more] = none
    ? [
        plan.how === 'roll'
          ? trans.__('Nothing is lost: results, scattered data and tasks stay.')
          : trans.__('Nothing is lost: the cluster holds and runs nothing now.')
      ]
    : lostWords(plan.lost, trans);
  return (
    <div className="jp-Coiled-lost" data-lost={!none}>
      <span className="jp-Coiled-icon" aria-hidden="true">
        {none ? '✓' : '!'}
      </span>
      <div className="jp-Coiled-grow">
        <b>{first}</b>
        {more.map(text => (
          <div key={text}>{text}</div>
        ))}
      </div>
    </div>
  );
}

interface IPartProps {
  part: IPart;
  title: string;
  plan: Plan;
  groups: readonly DiffGroup[];
  trans: TranslationBundle;
}

function Part(props: IPartProps): JSX.Element {
  const { part, title, plan, groups, trans } = props;
  return (
    <details className="jp-Coiled-part" open={part.actions.length <= LISTED}>
      <summary className="jp-Coiled-partHead">
        {[title, groupsWords(part.groups, groups, plan, trans)]
          .filter(Boolean)
          .join(' · ')}
      </summary>
      <table className="jp-Coiled-actions">
        <thead>
          <tr>
            <th scope="col">{trans.__('Package')}</th>
            <th scope="col">{trans.__('Version')}</th>
            <th scope="col">{trans.__('Why')}</th>
          </tr>
        </thead>
        <tbody>
          {part.actions.map(action => (
            <tr
              key={`${action.kind} ${action.name}`}
              data-action={action.kind}
              data-name={action.name}
            >
              <th scope="row">{action.name}</th>
              <td>
                <span className="jp-Coiled-icon" aria-hidden="true">
                  {ICONS[action.kind]}
                </span>{' '}
                {actionWords(action.kind, trans)}
                <span className="jp-Coiled-versions">
                  {versionsWords(action, trans)}
                </span>
              </td>
              <td>{causeWords(action, trans)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

function versionsWords(
  { after, before, kind }: PlanAction,
  trans: TranslationBundle
): string {
  const [one, other] = [before ?? NONE, after ?? NONE];
  if (kind !== 'refuse') {
    return `: ${one} → ${other}`;
  }
  // Not everything that can't be done is about a version.
  if (before === null && after === null) {
    return '';
  }
  return one === other ? `: ${one}` : trans.__(': %1, not %2', one, other);
}

function Drain(props: IPlannedProps): JSX.Element {
  const { busy, drain, trans } = props;
  const seconds = DRAINS.includes(drain) ? DRAINS : [drain, ...DRAINS];
  return (
    <label className="jp-Coiled-select">
      {trans.__('Wait for a running task at most')}
      <select
        value={drain}
        disabled={busy}
        onChange={event => props.onDrain(Number(event.target.value))}
      >
        {seconds.map(it => (
          <option key={it} value={it}>
            {durationWords(it, trans)}
          </option>
        ))}
      </select>
    </label>
  );
}

export interface IPlanBodyOptions {
  preview: Preview;
  lead: string;
  /** The groups that were read last. */
  groups: () => readonly DiffGroup[];
  trans: TranslationBundle;
}

/** The body of the dialog. */
export class PlanBody extends ReactWidget {
  constructor(private readonly _options: IPlanBodyOptions) {
    super();
    this.addClass('jp-Coiled-form');
    this.addClass('jp-Coiled-plan');
    _options.preview.changed.connect(() => this.update());
  }

  dispose(): void {
    this._options.preview.dispose();
    super.dispose();
  }

  protected render(): JSX.Element {
    const { groups, preview } = this._options;
    return (
      <PlanView
        {...this._options}
        groups={groups()}
        stage={preview.stage}
        needs={preview.needs}
        agreed={preview.agreed}
        drain={preview.drain}
        onAgree={(need, agreed) => preview.agree(need, agreed)}
        onDrain={seconds => {
          preview.drain = seconds;
        }}
        onAgain={() => void preview.plan()}
      />
    );
  }
}
