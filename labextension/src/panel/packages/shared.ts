/** What a package's row and its details share. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { DiffGroup, DiffKernel, Row, Rules } from '../../api/wire';

export type Severity = Row['severity'];

export const SEVERITIES: readonly Severity[] = [
  'breaks',
  'risky',
  'minor',
  'same'
];

/** What is shown unless asked for more. */
export const DIFFERING = SEVERITIES.slice(0, 3);

/** Stands for a version that isn't there. */
export const NONE = '—';

/** The actions on a row; each may reject with an `ApiError`. */
export interface IRowActions {
  ignore(name: string, ignored: boolean): Promise<void>;
  rate(name: string, severity: Severity | null): Promise<void>;
  readRules(): Promise<void>;
  /** Show the plan of syncing this package alone. */
  sync(name: string): void;
  /** Copy text to the clipboard. */
  copy(text: string): void;
}

export interface IPackageRowProps {
  row: Row;
  kernel: DiffKernel;
  groups: readonly DiffGroup[];
  rules: Rules | null;
  actions: IRowActions;
  /** Why nothing can be synced now, '' if it can. */
  blocked: string;
  open: boolean;
  /** Whether something has led to it. */
  revealed?: boolean;
  /** Its index in the whole table, of which only visible rows are rendered. */
  rowIndex: number;
  trans: TranslationBundle;
  onToggle: () => void;
  /** Called before its severity changes. */
  onChange: () => void;
}

/** A version as installed; local code has none. */
export function versionWords(
  version: string | null,
  trans: TranslationBundle
): string {
  return version === null
    ? trans.__('not installed')
    : version || trans.__('local code');
}
