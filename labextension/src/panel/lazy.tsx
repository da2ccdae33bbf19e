/** Components whose code is loaded when they are first shown. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Notice } from './notice';

interface IProps {
  trans: TranslationBundle;
}

/** Shows a sentence if the code can't be loaded. */
export function lazy<P extends IProps>(
  load: () => Promise<React.ComponentType<P>>
): React.FunctionComponent<P> {
  const Loaded = React.lazy<React.ComponentType<IProps>>(async () => {
    try {
      return { default: (await load()) as React.ComponentType<IProps> };
    } catch {
      return { default: NotLoaded };
    }
  });
  return function Lazy(props: P) {
    return (
      <React.Suspense fallback={null}>
        <Loaded {...props} />
      </React.Suspense>
    );
  };
}

function NotLoaded({ trans }: IProps): JSX.Element {
  return (
    <Notice text={trans.__('This could not be loaded. Reload the page.')} />
  );
}
