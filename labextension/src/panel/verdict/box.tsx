/** The verdict in the panel: one headline, what it is due to, and the one thing to do about it. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { caretDownIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IJudgement } from '../../model/model';
import type { IOffer } from '../../model/syncOffer';
import type { Diff } from '../../api/wire';
import { blockedWords, offerWords } from '../../words/sync';
import { Age } from '../age';
import { Icon, MenuButton, verdictIcon } from '../icons';
import { becauseWords, headWords } from './verdict';

export interface IVerdictBoxProps {
  judgement: IJudgement;
  /** The comparison of the verdict, if there is one. */
  diff: Diff | null;
  /** Seconds since the comparison was read, null if there is none. */
  age: number | null;
  /** What a sync would do; null without a cluster. */
  offer: IOffer | null;
  onSync: () => void;
  onCreate: () => void;
  /** Show the row of a package. */
  onWhy: (name: string) => void;
  /** Open the menu of further ways at a button; whether by the keyboard. */
  onMenu: (button: HTMLElement, keyboard: boolean) => void;
  /** A plan, in place of the button; null if there is none. */
  plan?: React.ReactNode;
  /** What belongs to the verdict, such as a sync's progress. */
  children?: React.ReactNode;
  trans: TranslationBundle;
}

export function VerdictBox(props: IVerdictBoxProps): JSX.Element {
  const { age, children, judgement, offer, plan, trans } = props;
  const { reason, verdict } = judgement;
  const syncing = reason?.kind === 'syncing';
  const because = becauseWords(props);
  return (
    <section
      className="jp-Coiled-box"
      aria-label={trans.__('Verdict')}
      data-tone={syncing ? 'syncing' : verdict}
    >
      <div className="jp-Coiled-bar">
        <div
          aria-live="polite"
          aria-atomic="true"
          className="jp-Coiled-grow jp-Coiled-live"
        >
          <h2
            className="jp-Coiled-verdict"
            // It has the focus when a plan has begun.
            tabIndex={-1}
            data-verdict={verdict}
            data-syncing={syncing || undefined}
          >
            <Icon icon={verdictIcon(judgement)} />
            <span>{headWords(props)}</span>
          </h2>
        </div>
        {offer && (
          <MenuButton
            icon={caretDownIcon}
            label={trans.__('More ways to sync')}
            onMenu={props.onMenu}
          />
        )}
      </div>
      {(because || age !== null) && (
        <div className="jp-Coiled-because">
          <span>{because}</span>
          <Age seconds={age} trans={trans} />
        </div>
      )}
      {reason?.kind === 'no_cluster' && (
        <button
          className="jp-Coiled-main jp-mod-styled jp-mod-accept"
          onClick={props.onCreate}
        >
          {trans.__('New cluster…')}
        </button>
      )}
      {plan ?? (offer && !syncing && <SyncButton {...props} offer={offer} />)}
      {children}
    </section>
  );
}

/** Where nothing would be synced, there is no button; one that can't be pressed now stays, with its focus. */
function SyncButton(
  props: IVerdictBoxProps & { offer: IOffer }
): JSX.Element | null {
  const { diff, judgement, offer, trans } = props;
  const { blocked } = offer;
  const id = React.useId();
  if (offer.packages === 0 && !offer.python) {
    return null;
  }
  const worst = diff?.rows.find(row => row.severity === judgement.verdict);
  return (
    <div className="jp-Coiled-row">
      <button
        className="jp-Coiled-main jp-mod-styled jp-mod-accept"
        data-sync-offer={offer.packages}
        // Focusable even if disabled: a dialog restores the focus to it.
        aria-disabled={blocked !== null}
        aria-describedby={blocked ? id : undefined}
        title={blocked ? blockedWords(blocked, trans) : undefined}
        onClick={() => blocked === null && props.onSync()}
      >
        {offerWords(offer, trans)}
      </button>
      {worst && (
        <button
          className="jp-Coiled-link"
          onClick={() => props.onWhy(worst.name)}
        >
          {trans.__('Why?')}
        </button>
      )}
      {blocked && (
        <span id={id} className="jp-Coiled-hidden" data-blocked={blocked.kind}>
          {blockedWords(blocked, trans)}
        </span>
      )}
    </div>
  );
}
