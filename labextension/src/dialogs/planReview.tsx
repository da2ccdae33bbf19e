/** The dialog that shows a whole plan before it is carried out. */
import { Dialog, Notification, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { losesNothing, partsOf, refusalsOf } from '../model/planContents';
import type { IPart } from '../model/planContents';
import { PlanReview } from '../model/planReview';
import type { Need, Stage } from '../model/planReview';
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
} from '../words/plan';
import type {
  Cluster,
  DiffGroup,
  Plan,
  PlanAction,
  PlanCreate,
  Sync
} from '../api/wire';
import type { IDialogContext } from './context';
import { StayingDialog } from './dialog';
import { durationWords, problemWords } from '../words/words';

/** Choices of seconds to wait for a running task. */
const DRAINS = [30, 120, 600, 3600];
const NONE = '—';
/** Longer lists are folded. */
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
  /** The request as a sentence. */
  lead: string;
  stage: Stage;
  needs: readonly Need[];
  agreed: ReadonlySet<Need>;
  /** Seconds to wait for a running task. */
  drain: number;
  /** The groups that were read last; the plan may have others. */
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

/** What is lost; shown first. */
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
  // A refusal may be about something other than a version.
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
  review: PlanReview;
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
    _options.review.changed.connect(() => this.update());
  }

  dispose(): void {
    this._options.review.dispose();
    super.dispose();
  }

  protected render(): JSX.Element {
    const { groups, review } = this._options;
    return (
      <PlanView
        {...this._options}
        groups={groups()}
        stage={review.stage}
        needs={review.needs}
        agreed={review.agreed}
        drain={review.drain}
        onAgree={(need, agreed) => review.agree(need, agreed)}
        onDrain={seconds => {
          review.drain = seconds;
        }}
        onAgain={() => void review.plan()}
      />
    );
  }
}

interface IReviewRequest {
  title: string;
  accept: string;
  lead: string;
  body: PlanCreate;
  begin?: (plan: Plan) => Promise<Sync>;
}

/** Show a plan, and carry it out if the user agrees. */
export async function reviewPlan(
  cluster: Cluster,
  request: IReviewRequest,
  { model, show, trans }: IDialogContext
): Promise<void> {
  const { accept, begin, body, lead, title } = request;
  const shown = new PlanReview({ syncs: model.syncs, body, begin });
  let begun = false;
  const content = new PlanBody({
    review: shown,
    lead,
    groups: () => {
      const there = model.diff?.cluster;
      return there?.id === cluster.id ? there.groups : [];
    },
    trans
  });
  // A dialog that was launched disposes of itself when it closes.
  // eslint-disable-next-line jupyter/require-disposable-ownership
  const dialog = new StayingDialog(
    {
      title,
      body: content,
      buttons: [
        Dialog.cancelButton({ label: trans.__('Cancel') }),
        Dialog.okButton({ label: accept })
      ],
      focusNodeSelector: '.jp-Coiled-lead'
    },
    async () => {
      begun = await shown.apply();
      return begun;
    }
  );
  const button = dialog.node.querySelector<HTMLButtonElement>('.jp-mod-accept');
  // Not `disabled`, which would lose the focus.
  const enable = () =>
    button?.setAttribute('aria-disabled', String(!shown.ready));
  shown.changed.connect(enable);
  enable();
  // The panel may read the plan's nodes only now.
  const redraw = () => content.update();
  model.changed.connect(redraw);
  void shown.plan();
  await dialog.launch();
  model.changed.disconnect(redraw);
  if (begun) {
    show();
    if (shown.overtaken) {
      Notification.info(
        trans.__(
          'Another sync of %1 runs already: the panel shows it.',
          cluster.name
        )
      );
    }
  }
}
