/** The context of dialogs. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IActiveKernels } from '../model/kernel';
import type { Model } from '../model/model';
import type { IPreferences } from '../model/preferences';

export interface IDialogContext {
  model: Model;
  kernels: IActiveKernels;
  preferences: () => IPreferences;
  /** Bring the panel to the front. */
  show: () => void;
  /** Save a file; by the browser's download except in tests. */
  save?: (name: string, text: string) => void;
  trans: TranslationBundle;
}
