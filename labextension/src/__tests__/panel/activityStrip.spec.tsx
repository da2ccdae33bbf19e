import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { createRoot } from 'react-dom/client';
import { act } from 'react';

import { ActivityStrip } from '../../panel/activityStrip';
import type { ISample } from '../../model/model';
import { NOW, usage } from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

function drawn(history: readonly ISample[], shown = usage()): HTMLElement {
  const node = document.createElement('div');
  act(() =>
    createRoot(node).render(
      <ActivityStrip usage={shown} age={1} history={history} trans={trans} />
    )
  );
  return node;
}

const sample = (ago: number, busy: number) => ({ at: NOW - ago * 1000, busy });

describe('ActivityStrip', () => {
  it('tells in words what it draws', () => {
    const shown = usage({ busy: 3, allocated: 8 });
    const node = drawn([sample(10, 1), sample(5, 6)], {
      ...shown,
      tasks: { ...shown.tasks, queued: 30 }
    });
    expect(node.querySelector('svg')!.getAttribute('aria-label')).toBe(
      'Busy cores in the last 5 minutes: 1 to 6, of 8'
    );
    expect(node.textContent).toBe(
      '3 of 8 cores busy · limit 100 · last 5 min30 tasks queued · 3.0 GiB of 16.0 GiB'
    );
  });

  it('has a gap where nothing was read', () => {
    const lines = (history: readonly ISample[]) =>
      drawn(history).querySelectorAll('path').length;
    // The line of all cores, and a line and an area of each part.
    expect(lines([])).toBe(1);
    expect(lines([sample(20, 1), sample(10, 2), sample(0, 1)])).toBe(3);
    expect(lines([sample(200, 1), sample(190, 2), sample(0, 1)])).toBe(5);
  });

  it('stays within its height, whatever there was', () => {
    const node = drawn([sample(10, 500), sample(0, 0)]);
    const numbers = [...node.querySelectorAll('path')]
      .flatMap(path => path.getAttribute('d')!.match(/ [\d.]+/g) ?? [])
      .map(Number);
    expect(Math.max(...numbers)).toBeLessThanOrEqual(44);
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  });
});
