/** How a row differs and how its package is used, in words. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Row } from '../api/wire';
import { rowStatusWords } from './words';

/** How a row differs; a condition has values, not versions. */
export function differenceWords(row: Row, trans: TranslationBundle): string {
  return row.condition && row.status === 'differs'
    ? trans.__('values differ')
    : rowStatusWords(row.status, trans);
}

/** How the notebook uses a package. */
export function useWords(use: Row['use'], trans: TranslationBundle): string {
  return {
    imported: trans.__('imported here'),
    needed: trans.__('needed by what is imported here'),
    loaded: trans.__('loaded here'),
    '': trans.__('not imported here')
  }[use];
}

/** The same of one row, with the package that needs it; empty where the notebook doesn't use it. */
export function rowUseWords(row: Row, trans: TranslationBundle): string {
  return row.use === 'needed' && row.needed_by
    ? trans.__('needed by %1', row.needed_by)
    : row.use && useWords(row.use, trans);
}

/** What a row says beside its name: what its versions don't show, and how the notebook uses it. */
export function rowNoteWords(row: Row, trans: TranslationBundle): string {
  const seen = ['differs', 'only_kernel', 'only_cluster', 'same'];
  return [
    !seen.includes(row.status) && rowStatusWords(row.status, trans),
    rowUseWords(row, trans)
  ]
    .filter(Boolean)
    .join(' · ');
}
