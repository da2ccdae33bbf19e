/** Components of what is loaded on demand. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { onDemand } from '../ondemand';
import type { Parts } from '../ondemand';

/** The parts once they are wanted and there, else null. */
export function useParts(
  wanted: boolean,
  trans: TranslationBundle
): Parts | null {
  const [parts, setParts] = React.useState<Parts | null>(null);
  React.useEffect(() => {
    if (wanted) {
      void onDemand(trans, setParts);
    }
  }, [wanted]);
  return parts;
}
