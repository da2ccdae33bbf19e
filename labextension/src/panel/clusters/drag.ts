/** Drags a cluster into a notebook or an editor, where code that connects to it is put; loaded when one first presses on a cluster. */
import '../../../labextension/style/drag.css';

import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { MimeData } from '@lumino/coreutils';
import { Drag } from '@lumino/dragdrop';

import { asApiError } from '../../api/client';
import type { ClientCode } from '../../api/wire';
import { refusalWords } from '../../words/words';

/** Pixels that a press may move before it is a drag, as of the lab's own cells. */
const DISTANCE = 5;
/** What a notebook takes, as a cell at the place of the drop; a console and an editor take the text instead. */
const CELLS = 'application/vnd.jupyter.cells';

export interface IDraggedCluster {
  name: string;
  /** The code, which the server makes for the present kernel. */
  code: () => Promise<ClientCode>;
  trans: TranslationBundle;
}

/** Follow the pointer from a press on; a drag begins when it has moved and the code is there. */
export function follow(press: MouseEvent, dragged: IDraggedCluster): void {
  let at = press;
  let asked = false;
  const following = new AbortController();
  const begin = async () => {
    const { code, missing } = await dragged.code();
    if (following.signal.aborted) {
      return;
    }
    following.abort();
    if ((await drag(code, dragged.name, at)) === 'copy' && missing) {
      const { trans } = dragged;
      Notification.warning(
        trans.__(
          'Its kernel has no %1: run %2 first.',
          missing,
          `%pip install ${missing}`
        )
      );
    }
  };
  const move = (event: MouseEvent) => {
    // The end of a press can be missed: outside of the window, or before this was loaded.
    if (!(event.buttons & 1)) {
      following.abort();
      return;
    }
    at = event;
    const way = Math.hypot(
      at.clientX - press.clientX,
      at.clientY - press.clientY
    );
    if (!asked && way >= DISTANCE) {
      asked = true;
      begin().catch((reason: unknown) => {
        following.abort();
        Notification.error(refusalWords(asApiError(reason), dragged.trans));
      });
    }
  };
  const options = { capture: true, signal: following.signal };
  window.addEventListener('mousemove', move, options);
  window.addEventListener('mouseup', () => following.abort(), options);
}

/** Drag code until it is dropped; return what became of it. */
function drag(
  code: string,
  name: string,
  { clientX, clientY }: MouseEvent
): Promise<string> {
  const mimeData = new MimeData();
  mimeData.setData(CELLS, [
    {
      cell_type: 'code',
      execution_count: null,
      metadata: {},
      outputs: [],
      source: code
    }
  ]);
  mimeData.setData('text/plain', code);
  const dragImage = document.createElement('div');
  dragImage.className = 'jp-Coiled-dragged';
  dragImage.textContent = name;
  // It disposes of itself when it ends.
  // eslint-disable-next-line jupyter/require-disposable-ownership
  return new Drag({
    mimeData,
    dragImage,
    supportedActions: 'copy',
    proposedAction: 'copy'
  }).start(clientX, clientY);
}
