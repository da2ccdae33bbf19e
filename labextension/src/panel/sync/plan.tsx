/** A whole plan, shown where the verdict is before it is carried out; loaded when the first one is made. */
import '../../../labextension/style/plan.css';

import { Notification, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { losesNothing, partsOf, refusalsOf } from '../../model/planContents';
import type { IPart, Scope } from '../../model/planContents';
import type { IReviewed, Need, Stage } from '../../model/planReview';
import { isRated } from '../../model/syncOffer';
import {
  actionWords,
  causeWords,
  differenceWords,
  groupsWords,
  howWords,
  lostWords,
  needWords,
  noteWords,
  othersWords,
  remainingWords,
  restartWords,
  totalsWords
} from '../../words/plan';
import type { DiffGroup, Plan, PlanAction } from '../../api/wire';
import { durationWords, problemWords, ratingWords } from '../../words/words';
import { Icon, SEVERITY_ICONS } from '../icons';

/** Choices of seconds to wait for a running task. */
const DRAINS = [30, 120, 600, 3600];
const NONE = '—';
/** Longer lists are folded. */
const LISTED = 25;
/** Differences that stay and are shown at once. */
const NAMED = 3;

export interface IPlanViewProps {
  /** The request as a sentence. */
  lead: string;
  stage: Stage;
  needs: readonly Need[];
  agreed: ReadonlySet<Need>;
  /** Seconds to wait for a running task. */
  drain: number;
  /** Whether workers restart after that all the same. */
  insists: boolean;
  /** Which packages are planned, and whether those go that only the cluster has. */
  scope: Scope;
  removesExtra: boolean;
  /** The groups that were read last; the plan may have others. */
  groups: readonly DiffGroup[];
  onScope: (scope: Scope) => void;
  onRemoveExtra: (remove: boolean) => void;
  onAgree: (need: Need, agreed: boolean) => void;
  onDrain: (seconds: number) => void;
  onInsist: (insist: boolean) => void;
  /** Plan again. */
  onAgain: () => void;
  trans: TranslationBundle;
}

export function PlanView(props: IPlanViewProps): JSX.Element {
  const { lead, stage, trans } = props;
  const busy = stage.kind === 'planning' || stage.kind === 'starting';
  return (
    <div data-stage={stage.kind} aria-busy={busy}>
      <p className="jp-Coiled-lead">{lead}</p>
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
      <Details text={error.details} trans={trans} />
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
  const rolls = plan.how === 'roll' || plan.how === 'in_place';
  const acts = rolls || plan.how === 'replace';
  const expected = durationWords(Math.max(1, plan.seconds), trans);
  const restart = restartWords(plan, trans);
  const totals = totalsWords(plan.totals, trans);
  return (
    <div data-plan={plan.id} data-how={plan.how}>
      <Remaining plan={plan} trans={trans} />
      {totals && <p className="jp-Coiled-totals">{totals}</p>}
      {acts && <Lost plan={plan} trans={trans} />}
      {acts &&
        needs.map(need => (
          <Check
            key={need}
            data-need={need}
            text={needWords(need, trans)}
            checked={agreed.has(need)}
            disabled={busy}
            onCheck={on => props.onAgree(need, on)}
          />
        ))}
      <p className="jp-Coiled-summary">{howWords(plan, trans)}</p>
      {acts && (
        <ul className="jp-Coiled-effects">
          {restart && <li>{restart}</li>}
          {[
            ...plan.scheduler.map(({ text }) => text),
            ...plan.waits,
            // The first is said in the words of the page, above.
            ...plan.restarts.slice(1)
          ].map(text => (
            <li key={text}>{text}</li>
          ))}
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
            {rolls
              ? trans.__(
                  'It takes about %1; the cluster works on meanwhile.',
                  expected
                )
              : trans.__('It takes about %1.', expected)}
          </li>
        </ul>
      )}
      {rolls && <Drain {...props} />}
      <Others {...props} />
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
    </div>
  );
}

interface ILostProps {
  plan: Plan;
  trans: TranslationBundle;
}

/** What will still be wrong afterwards; shown first. */
function Remaining({ plan, trans }: ILostProps): JSX.Element | null {
  const { remaining } = plan;
  if (remaining.length === 0) {
    return null;
  }
  const breaks = remaining.some(({ severity }) => severity === 'breaks');
  const rest = remaining.slice(NAMED);
  return (
    <div
      className="jp-Coiled-remaining"
      role="group"
      aria-label={trans.__('What stays wrong')}
      data-severity={breaks ? 'breaks' : 'risky'}
    >
      <b>{remainingWords(remaining, trans)}</b>
      <Differences entries={remaining.slice(0, NAMED)} trans={trans} />
      {rest.length > 0 && (
        <details>
          <summary>{trans.__('%1 more', rest.length)}</summary>
          <Differences entries={rest} trans={trans} />
        </details>
      )}
    </div>
  );
}

interface IDifferencesProps {
  entries: Plan['remaining'];
  trans: TranslationBundle;
}

function Differences({ entries, trans }: IDifferencesProps): JSX.Element {
  return (
    <ul>
      {entries.map(entry => (
        <li
          key={entry.name}
          data-name={entry.name}
          data-severity={entry.severity}
        >
          <Icon
            icon={SEVERITY_ICONS[entry.severity]}
            label={ratingWords(entry.severity, trans)}
          />
          <span className="jp-Coiled-grow">
            {differenceWords(entry, trans)}
            <span className="jp-Coiled-sub">{entry.why}</span>
          </span>
        </li>
      ))}
    </ul>
  );
}

/** What the plan leaves as it is, and how to have it too. */
function Others(props: IPlannedProps): JSX.Element | null {
  const { busy, plan, removesExtra, scope, trans } = props;
  const { extra, outside } = plan.totals;
  const open = scope === 'notebook' || scope === 'rated';
  return (
    <>
      {extra > 0 && (
        <Check
          data-extra={extra}
          text={trans._n(
            'Also remove %1 extra package, which only the cluster has',
            'Also remove %1 extra packages, which only the cluster has',
            extra
          )}
          checked={removesExtra}
          disabled={busy}
          onCheck={props.onRemoveExtra}
        />
      )}
      {open && outside > 0 && (
        <div className="jp-Coiled-outside">
          {trans._n(
            '%1 other package differs and stays as it is.',
            '%1 other packages differ and stay as they are.',
            outside
          )}
          <button
            className="jp-Coiled-button"
            aria-disabled={busy}
            onClick={() => !busy && props.onScope('all')}
          >
            {trans.__('Plan everything')}
          </button>
        </div>
      )}
    </>
  );
}

interface IDetailsProps {
  text: string;
  trans: TranslationBundle;
}

/** The words of a resolver or an installer, folded. */
function Details({ text, trans }: IDetailsProps): JSX.Element | null {
  return text === '' ? null : (
    <details className="jp-Coiled-words">
      <summary>{trans.__('The resolver’s words')}</summary>
      <p>{text}</p>
    </details>
  );
}

/** What is lost. */
function Lost({ plan, trans }: ILostProps): JSX.Element {
  const none = losesNothing(plan);
  const [first, ...more] = none
    ? [
        plan.how !== 'replace'
          ? trans.__('Nothing is lost: results, scattered data and tasks stay.')
          : trans.__('Nothing is lost: the cluster holds and runs nothing now.')
      ]
    : lostWords(plan.lost, trans);
  return (
    <div className="jp-Coiled-lost" data-lost={!none}>
      <Icon icon={SEVERITY_ICONS[none ? 'same' : 'risky']} />
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
      <ul className="jp-Coiled-actions">
        {part.actions.map(action => (
          <li
            key={`${action.kind} ${action.name}`}
            data-action={action.kind}
            data-name={action.name}
          >
            <b>{action.name}</b>
            <span className="jp-Coiled-num">
              {actionWords(action.kind, trans)}
              {versionsWords(action, trans)}
            </span>
            {isRated(action) && (
              <span className="jp-Coiled-num" data-severity={action.severity}>
                <Icon icon={SEVERITY_ICONS[action.severity]} />{' '}
                {ratingWords(action.severity, trans)}
              </span>
            )}
            <div className="jp-Coiled-cause">
              {causeWords(action, trans)}
              <Details text={action.details} trans={trans} />
            </div>
          </li>
        ))}
      </ul>
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
  const { busy, drain, insists, trans } = props;
  const seconds = DRAINS.includes(drain) ? DRAINS : [drain, ...DRAINS];
  return (
    <>
      <label className="jp-Coiled-select">
        {trans.__('Wait for a running task or shuffle at most')}
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
      <Check
        data-insist
        text={trans.__(
          'Then restart its worker all the same: a shuffle begins anew, and results that fit nowhere are lost'
        )}
        checked={insists}
        disabled={busy}
        onCheck={props.onInsist}
      />
    </>
  );
}

interface ICheckProps {
  text: string;
  checked: boolean;
  disabled: boolean;
  onCheck: (on: boolean) => void;
  'data-need'?: Need;
  'data-extra'?: number;
  'data-insist'?: boolean;
}

/** Something that one agrees to, or adds to the plan. */
function Check(props: ICheckProps): JSX.Element {
  const { text, checked, disabled, onCheck, ...data } = props;
  return (
    <label className="jp-Coiled-choice" {...data}>
      <input
        type="checkbox"
        checked={checked}
        disabled={disabled}
        onChange={event => onCheck(event.target.checked)}
      />
      {text}
    </label>
  );
}

export interface IPlanSectionProps {
  reviewed: IReviewed;
  /** The groups of the cluster that were read last. */
  groups: readonly DiffGroup[];
  /** Close it, begun or not. */
  onClose: () => void;
  trans: TranslationBundle;
}

/** A plan with its buttons. It takes the focus when it opens, and gives it back when it closes. */
export const PlanSection = React.memo(function PlanSection(
  props: IPlanSectionProps
): JSX.Element {
  const { groups, onClose, reviewed, trans } = props;
  const { accept, cluster, lead, review, title } = reviewed;
  const heading = React.useRef<HTMLHeadingElement>(null);
  const id = React.useId();
  useFocus(heading, reviewed);
  // What was pressed goes while it is planned again, and the focus would go with it.
  const keepFocus = () => heading.current?.focus();
  const begin = async () => {
    // Another plan may have taken its place meanwhile.
    if (!(await review.apply()) || review.isDisposed) {
      return;
    }
    onClose();
    if (review.overtaken) {
      Notification.info(
        trans.__(
          'Another sync of %1 runs already: the panel shows it.',
          cluster.name
        )
      );
    }
  };
  return (
    <UseSignal signal={review.changed}>
      {() => (
        <section
          className="jp-Coiled-plan"
          aria-labelledby={id}
          onKeyDown={event => {
            if (event.key === 'Escape') {
              event.stopPropagation();
              onClose();
            }
          }}
        >
          <h3 ref={heading} id={id} tabIndex={-1}>
            {title}
          </h3>
          <div
            className="jp-Coiled-planBody"
            // It scrolls, and may have nothing that takes the focus.
            tabIndex={0}
            role="group"
            aria-label={trans.__('The plan')}
          >
            <PlanView
              trans={trans}
              lead={lead(review.scope)}
              scope={review.scope}
              removesExtra={review.removesExtra}
              onScope={scope => {
                keepFocus();
                review.scope = scope;
              }}
              onRemoveExtra={remove => {
                keepFocus();
                review.removesExtra = remove;
              }}
              groups={groups}
              stage={review.stage}
              needs={review.needs}
              agreed={review.agreed}
              drain={review.drain}
              insists={review.insists}
              onAgree={(need, agreed) => review.agree(need, agreed)}
              onDrain={seconds => {
                keepFocus();
                review.drain = seconds;
              }}
              onInsist={insist => {
                keepFocus();
                review.insists = insist;
              }}
              onAgain={() => {
                keepFocus();
                void review.plan();
              }}
            />
          </div>
          <div className="jp-Coiled-planFoot">
            <button
              className="jp-Coiled-main jp-mod-styled jp-mod-accept"
              // Not `disabled`, which would lose the focus.
              aria-disabled={!review.ready}
              onClick={() => void begin()}
            >
              {accept}
            </button>
            <button className="jp-Coiled-link" onClick={onClose}>
              {trans.__('Cancel')}
            </button>
          </div>
        </section>
      )}
    </UseSignal>
  );
});

/** Focus a plan's heading; when the plan goes with the focus, focus what had it before, the button or the verdict. */
function useFocus(
  heading: React.RefObject<HTMLElement>,
  reviewed: IReviewed
): void {
  React.useLayoutEffect(() => {
    const node = heading.current;
    const place = node?.closest('.jp-Coiled-box');
    const before = document.activeElement;
    node?.focus();
    return () => {
      if (!node?.parentElement?.contains(document.activeElement)) {
        return;
      }
      // What takes its place is there when all of this has been rendered.
      queueMicrotask(() => {
        if (document.activeElement === document.body) {
          const next =
            before?.isConnected && before !== document.body
              ? before
              : (place?.querySelector('[data-sync-offer]') ??
                place?.querySelector('.jp-Coiled-verdict'));
          (next as HTMLElement | null | undefined)?.focus();
        }
      });
    };
  }, [heading, reviewed]);
}
