/** What a cluster's line and its details share. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IWish } from '../../model/workerRequest';
import type { ClientCode, Cluster } from '../../api/wire';

export interface IClusterCardProps {
  cluster: Cluster;
  /** Whether the notebook is compared with it. */
  compared: boolean;
  /** The present time in milliseconds, by the server's clock. */
  now: number;
  /** Seconds since it was read, null if irrelevant. */
  age: number | null;
  trans: TranslationBundle;
  /** Null if it can't be stopped from here. */
  onStop: (() => void) | null;
  /** Null if no notebook or console is open. */
  onInsert: (() => void) | null;
  /** The code that connects the present kernel to it; null where none can be inserted. */
  code: (() => Promise<ClientCode>) | null;
  /** Null if its logs can't be read. */
  onLogs: (() => void) | null;
  /** The request of its stepper. */
  wish: IWish;
  /** Request so many workers more. */
  onStep: (by: number) => void;
  /** Dismiss the outcome of the last request. */
  onDismiss: () => void;
  /** Open the menu of further actions at a button; whether by the keyboard. */
  onMenu: (button: HTMLElement, keyboard: boolean) => void;
}
