/** The button that begins a sync. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IOffer } from '../offers';
import { blockedWords, offerWords } from '../syncwords';

export interface ISyncButtonProps {
  offer: IOffer;
  onSync: () => void;
  /** Show what else there is, at a button; whether that was pressed with the keyboard. */
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
          // Stays in the order of tabs: a dialog gives the focus back to it.
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
          // A press of a key is a click without a count.
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
