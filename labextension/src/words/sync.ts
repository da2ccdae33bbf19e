/** Syncs in words. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Blocked, IOffer } from '../model/syncOffer';
import type { Sync } from '../api/wire';
import { reasonWords } from './words';

/** The button: what it would change. */
export function offerWords(offer: IOffer, trans: TranslationBundle): string {
  const { packages, python } = offer;
  if (packages === 0) {
    return python ? trans.__('Sync Python…') : trans.__('Sync…');
  }
  return python
    ? trans._n(
        'Sync %1 package and Python…',
        'Sync %1 packages and Python…',
        packages
      )
    : trans._n('Sync %1 package…', 'Sync %1 packages…', packages);
}

/** Why the button can't be pressed. */
export function blockedWords(
  blocked: Blocked,
  trans: TranslationBundle
): string {
  switch (blocked.kind) {
    case 'nothing':
      return blocked.others === 0
        ? trans.__('Nothing differs that a sync would change.')
        : trans._n(
            'Nothing differs that matters to this notebook; %1 other package does.',
            'Nothing differs that matters to this notebook; %1 other packages do.',
            blocked.others
          );
    case 'stale':
      // Its age would change each second.
      return trans.__('Not now: %1', trans.__('the last reading is too old'));
    default:
      return trans.__('Not now: %1', reasonWords(blocked, trans).text);
  }
}

export function syncStateWords(sync: Sync, trans: TranslationBundle): string {
  const undo = sync.undo_of !== null;
  if (!sync.undoable) {
    return inPlaceStateWords(sync, trans);
  }
  return {
    planned: trans.__('about to begin'),
    building: trans.__('building the environment'),
    rolling: trans.__('moving the workers'),
    verifying: trans.__('reading every node again'),
    rolling_back: trans.__('going back to the old state'),
    done: undo
      ? trans.__('undone and verified')
      : trans.__('done and verified'),
    failed: trans.__('failed; the old state is back'),
    cancelled: trans.__('cancelled; the old state is back'),
    lost: trans.__('the cluster went; nothing is known of it')
  }[sync.state];
}

/** The state of a sync that only restarts workers, and has no old state to bring back. */
function inPlaceStateWords(sync: Sync, trans: TranslationBundle): string {
  return {
    planned: trans.__('about to begin'),
    building: trans.__('about to begin'),
    rolling: trans.__('restarting the workers'),
    verifying: trans.__('reading every worker again'),
    rolling_back: trans.__('ending'),
    done: trans.__('done and verified'),
    failed: trans.__('failed'),
    cancelled: trans.__('cancelled'),
    lost: trans.__('the cluster went; nothing is known of it')
  }[sync.state];
}

/** What it is, of a cluster. */
export function syncWords(
  sync: Sync,
  name: string,
  trans: TranslationBundle
): string {
  if (sync.direction === 'to_kernel') {
    return trans.__('Sync of the kernel to %1', name);
  }
  return sync.undo_of !== null
    ? trans.__('Undo on %1', name)
    : trans.__('Sync of %1', name);
}

/** What an undo would take back. */
export function undoWords(sync: Sync, trans: TranslationBundle): string {
  return sync.undo_of !== null
    ? trans.__('Redo the Last Sync…')
    : trans.__('Undo the Last Sync…');
}
