import { nullTranslator } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { act } from 'react';

import { ApiError } from '../../api/client';
import { VerdictItem } from '../../panel/verdict/verdictItem';
import { Model } from '../../model/model';
import type { Diff } from '../../api/wire';
import {
  answer,
  diff,
  FakeApi,
  FakeKernels,
  kernel,
  NOW,
  settle
} from '../fakes';

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

describe('VerdictItem', () => {
  let api: FakeApi;
  let kernels: FakeKernels;
  let model: Model;
  let item: VerdictItem;
  let now = NOW;
  let opened = 0;
  let wanted = true;
  let shown: Partial<Diff> = {};

  const make = (path?: () => string) => {
    item = new VerdictItem({
      model,
      show: () => opened++,
      shown: () => wanted,
      path,
      trans: nullTranslator.load('coiled_jupyter')
    });
    act(() => Widget.attach(item, document.body));
  };
  const read = (next: Partial<Diff> = {}) =>
    act(async () => {
      shown = next;
      await model.refresh().catch(() => undefined);
      await settle();
    });
  const button = () => item.node.querySelector('button');

  beforeEach(() => {
    jest.useFakeTimers();
    now = NOW;
    wanted = true;
    api = new FakeApi();
    api.diff = async () => answer(diff(shown));
    kernels = new FakeKernels();
    model = new Model({ api, kernels, now: () => now, auto: false });
  });

  afterEach(() => {
    act(() => item.dispose());
    model.dispose();
    jest.useRealTimers();
  });

  it('says the verdict in words with an icon, and opens the panel', async () => {
    make();
    await read({
      verdict: 'breaks',
      deciding: 2
    });
    expect(button()!.textContent).toBe(' Packages: 2 will break');
    expect(button()!.title).toBe(
      'Packages of a.ipynb: 2 packages will break on c1'
    );
    expect(button()!.dataset.glance).toBe('breaks');
    opened = 0;
    act(() => button()!.click());
    expect(opened).toBe(1);
  });

  it('speaks only of its own notebook', async () => {
    make(() => 'a.ipynb');
    await read();
    expect(button()!.textContent).toBe(' Same packages');
    await act(async () => kernels.change(kernel('k2', 'b.ipynb')));
    expect(button()).toBeNull();
  });

  it('claims nothing of an old reading, or without a server', async () => {
    make();
    await read();
    expect(button()!.dataset.glance).toBe('equal');
    now += 31_000;
    act(() => jest.advanceTimersByTime(1000));
    expect(button()!.dataset.glance).toBe('unknown');
    expect(button()!.title).toContain('too old');
    api.failure = new ApiError('connection', 'gone');
    await read();
    expect(button()!.textContent).toBe(' Packages: Unknown');
    expect(button()!.title).toContain('Connection to the Jupyter server lost');
  });

  it('says that there is no cluster', async () => {
    make();
    api.list = [];
    await read();
    expect(button()!.textContent).toBe(' Packages: No cluster');
  });

  it('is not there when it is not wanted', async () => {
    make();
    await read();
    wanted = false;
    await act(async () => {
      item.update();
      jest.advanceTimersByTime(1000);
    });
    expect(button()).toBeNull();
  });
});
