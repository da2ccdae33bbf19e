import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { act } from 'react';
import { createRoot } from 'react-dom/client';

import { Unsealed } from '../../panel/sync/unsealed';

describe('Unsealed', () => {
  it('says what is missing, and asks for it with one click', () => {
    let asked = 0;
    const node = document.createElement('div');
    const root = createRoot(node);
    act(() =>
      root.render(
        <Unsealed
          onSeal={() => asked++}
          trans={nullTranslator.load('coiled_jupyter')}
        />
      )
    );
    expect(node.querySelector('[role="status"]')!.textContent).toContain(
      "doesn't send it sealed graphs now"
    );
    node.querySelector('button')!.click();
    expect(asked).toBe(1);
    act(() => root.unmount());
  });
});
