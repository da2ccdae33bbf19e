/** The button that begins a sync. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IOffer } from '../../model/syncOffer';
import { blockedWords, offerWords } from '../../words/sync';

export interface ISyncButtonProps {
  offer: IOffer;
  onSync: () => void;
  /** Open the menu of further ways at a button; whether by the keyboard. */
  onMenu: (button: HTMLElement, keyboard: boolean) => void;
  trans: TranslationBundle;
}

export function SyncButton(props: ISyncButtonProps): JSX.Element {
  const { offer, trans } = props;
  const { blocked } = offer;
  const id = React.useId();
  const more = trans.__('More ways to sync');
  return (
    <div className="jp-Coiled-syncButton">
      <div className="jp-Coiled-row">
        <button
          className="jp-Coiled-button jp-Coiled-main jp-Coiled-grow"
          data-sync-offer={offer.packages}
          // Focusable even if disabled: a dialog restores the focus to it.
          aria-disabled={blocked !== null}
          aria-describedby={blocked ? id : undefined}
          onClick={() => blocked === null && props.onSync()}
        >
          {offerWords(offer, trans)}
        </button>
        <button
          className="jp-Coiled-button"
          aria-label={more}
          title={more}
          aria-haspopup="menu"
          aria-expanded="false"
          // A click by the keyboard has no count.
          onClick={event =>
            props.onMenu(event.currentTarget, event.detail === 0)
          }
        >
          <span aria-hidden="true">▾</span>
        </button>
      </div>
      {blocked && (
        <div id={id} className="jp-Coiled-sub" data-blocked={blocked.kind}>
          {blockedWords(blocked, trans)}
        </div>
      )}
    </div>
  );
}
