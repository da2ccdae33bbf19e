import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';
import { act } from 'react';

import { Model } from '../model';
import { Panel } from '../panel';
import { FakeApi, FakeKernels, NOW, settle } from './fakes';

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

describe('Panel', () => {
  let now = NOW;
  let model: Model;
  let panel: Panel;

  beforeEach(async () => {
    jest.useFakeTimers();
    now = NOW;
    model = new Model({
      api: new FakeApi(),
      kernels: new FakeKernels(),
      now: () => now,
      auto: false
    });
    panel = new Panel(
      model,
      new CommandRegistry(),
      nullTranslator.load('coiled_jupyter')
    );
    await act(async () => {
      Widget.attach(panel, document.body);
      await model.refresh();
      await settle();
    });
  });

  afterEach(() => {
    act(() => panel.dispose());
    model.dispose();
    jest.useRealTimers();
  });

  const later = (seconds: number) => {
    now += seconds * 1000;
    act(() => jest.advanceTimersByTime(1000));
  };

  it('claims less and less while nothing arrives at all', () => {
    const ages = () =>
      [...panel.node.querySelectorAll('[data-age]')].map(node =>
        node.getAttribute('data-age')
      );
    const verdict = () =>
      panel.node.querySelector('[data-verdict]')!.getAttribute('data-verdict');
    later(9);
    expect(new Set(ages())).toEqual(new Set(['fresh']));
    expect(verdict()).toBe('equal');
    later(2);
    expect(new Set(ages())).toEqual(new Set(['stale']));
    expect(panel.node.querySelector('[data-stale=true]')).toBeNull();
    later(20);
    expect(new Set(ages())).toEqual(new Set(['unknown']));
    expect(panel.node.querySelector('[data-stale=true]')).not.toBeNull();
    expect(verdict()).toBe('unknown');
  });
});
