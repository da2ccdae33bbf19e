/** Loads what only few visits of the page need. */
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

export type Parts = typeof import('./parts');

/** Do something with the parts that are loaded on demand; where they can't be had, say so and do nothing. */
export async function onDemand<T>(
  trans: TranslationBundle,
  act: (parts: Parts) => Promise<T> | T,
  load: () => Promise<Parts> = () => import('./parts')
): Promise<T | undefined> {
  let parts: Parts;
  try {
    parts = await load();
  } catch {
    Notification.error(
      trans.__(
        'A part of this page could not be loaded: the server does not answer, or has another version now. Reload the page.'
      ),
      { autoClose: false }
    );
    return undefined;
  }
  return act(parts);
}
