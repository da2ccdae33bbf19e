import { nullTranslator } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';
import { act } from 'react';

import { ApiError } from '../../api/client';
import { KEPT, LogFeed } from '../../logs/feed';
import { Model } from '../../model/model';
import { LogTabs } from '../../logs/tabs';
import type { LogLine } from '../../api/wire';
import { cluster, FakeApi, FakeKernels } from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

function line(text: string, node = '0'): LogLine {
  return { at: '2026-03-01T12:00:00.000Z', node, text };
}

const seconds = (count: number) =>
  act(() => jest.advanceTimersByTimeAsync(count * 1000));

beforeEach(() => jest.useFakeTimers());

afterEach(() => jest.useRealTimers());

describe('LogFeed', () => {
  let api: FakeApi;
  let feed: LogFeed;
  let emitted: number;

  beforeEach(() => {
    api = new FakeApi();
    feed = new LogFeed(query => api.logs('c1', query));
    emitted = 0;
    feed.changed.connect(() => emitted++);
  });

  afterEach(() => feed.dispose());

  it('asks for nothing before somebody looks', async () => {
    await seconds(5);
    expect(api.logQueries).toEqual([]);
  });

  it('reads on from where it stopped', async () => {
    api.printed = [line('one')];
    feed.visible = true;
    await seconds(0.5);
    api.printed = [line('two')];
    await seconds(1);
    expect(feed.lines.map(({ text }) => text)).toEqual(['one', 'two']);
    expect(api.logQueries.slice(0, 2)).toEqual([
      { node: null, after: null },
      { node: null, after: 'n1' }
    ]);
  });

  it('draws nothing anew while nothing is printed', async () => {
    feed.visible = true;
    await seconds(0.5);
    const before = emitted;
    await seconds(5);
    expect(api.logQueries.length).toBeGreaterThan(4);
    expect(emitted).toBe(before);
  });

  it('stops while nobody looks, and goes on without a gap', async () => {
    feed.visible = true;
    await seconds(0.5);
    feed.visible = false;
    const { length } = api.logQueries;
    await seconds(60);
    expect(api.logQueries).toHaveLength(length);
    feed.visible = true;
    await seconds(0.5);
    expect(api.logQueries).toHaveLength(length + 1);
    expect(api.logQueries[length].after).toBe(`n${length}`);
  });

  it('stops when it is disposed', async () => {
    feed.visible = true;
    await seconds(0.5);
    feed.dispose();
    const { length } = api.logQueries;
    await seconds(60);
    expect(api.logQueries).toHaveLength(length);
  });

  it('asks ever later while it is refused, says so, and recovers', async () => {
    // How much later is a matter of chance, so that pages don't ask all at once.
    const chance = jest.spyOn(Math, 'random').mockReturnValue(0.5);
    api.logsFailure = new ApiError('unavailable', 'gone');
    feed.visible = true;
    await seconds(60);
    expect(feed.error).toBe(api.logsFailure);
    expect(api.logQueries.length).toBeLessThan(15);
    api.logsFailure = null;
    api.printed = [line('back')];
    await seconds(31);
    expect(feed.error).toBeNull();
    expect(feed.lines).toHaveLength(1);
    chance.mockRestore();
  });

  it('begins anew for another node, and drops what was on its way', async () => {
    api.printed = [line('of all')];
    feed.visible = true;
    await seconds(0.5);
    const late = jest.spyOn(api, 'logs');
    let answer: () => void = () => undefined;
    late.mockImplementationOnce(
      () =>
        new Promise(resolve => {
          answer = () =>
            resolve({ lines: [line('late')], nodes: [], next: 'late' });
        })
    );
    await seconds(1);
    feed.node = 'scheduler';
    expect(feed.lines).toEqual([]);
    api.printed = [line('its own', 'scheduler')];
    await seconds(0.5);
    answer();
    await seconds(1.5);
    expect(feed.lines.map(({ text }) => text)).toEqual(['its own']);
    expect(api.logQueries).toContainEqual({ node: 'scheduler', after: null });
  });

  it('keeps the newest lines only', async () => {
    feed.visible = true;
    for (let turn = 0; turn < 4; turn++) {
      api.printed = Array.from({ length: 2000 }, (_, index) =>
        line(`${turn}.${index}`)
      );
      await seconds(1);
    }
    await seconds(1);
    expect(feed.lines).toHaveLength(KEPT);
    expect(feed.lines[KEPT - 1].text).toBe('3.1999');
    expect(new Set(feed.lines.map(({ key }) => key)).size).toBe(KEPT);
  });
});

describe('LogTabs', () => {
  let api: FakeApi;
  let model: Model;
  let tabs: LogTabs;
  let shown: Widget[];
  let copied: string[];

  beforeEach(async () => {
    api = new FakeApi();
    shown = [];
    copied = [];
    model = new Model({ api, kernels: new FakeKernels(), auto: false });
    await model.refresh();
    tabs = new LogTabs({
      model,
      shell: {
        add: (widget: Widget) => {
          shown.push(widget);
          Widget.attach(widget, document.body);
        },
        activateById: () => undefined
      },
      copy: text => copied.push(text),
      icon: new LabIcon({ name: 'test:icon', svgstr: '<svg></svg>' }),
      trans
    });
  });

  afterEach(() => {
    act(() => shown.forEach(tab => tab.dispose()));
    model.dispose();
  });

  // There is no layout here; what is scrolled needs one.
  beforeAll(() => {
    jest.spyOn(Element.prototype, 'clientHeight', 'get').mockReturnValue(200);
    jest
      .spyOn(HTMLElement.prototype, 'offsetHeight', 'get')
      .mockReturnValue(18);
  });

  afterAll(() => jest.restoreAllMocks());

  const open = async (...printed: LogLine[]) => {
    api.printed = printed;
    await act(async () => tabs.open(model.clusters[0]));
    await seconds(0.5);
    return shown[0].node;
  };
  const texts = (node: HTMLElement) =>
    [...node.querySelectorAll('.jp-Coiled-logText')].map(it => it.textContent);
  const log = (node: HTMLElement) =>
    node.querySelector<HTMLElement>('[role=log]')!;

  const scroll = (node: HTMLElement, top: number, scrollHeight = 2000) => {
    const outer = log(node);
    Object.defineProperty(outer, 'scrollHeight', {
      value: scrollHeight,
      configurable: true
    });
    outer.scrollTop = top;
    act(() => void outer.dispatchEvent(new Event('scroll')));
  };
  const follow = (node: HTMLElement) =>
    node.querySelector<HTMLInputElement>('input[type=checkbox]')!;

  it('shows hostile lines as text', async () => {
    const evil = '<img src=x onerror=alert(1)><script>alert(1)</script>';
    const node = await open(line(evil, '<b>x</b>'));
    expect(texts(node)).toEqual([evil]);
    expect(node.querySelector('img, script, b')).toBeNull();
  });

  it('tells time, node and text, and is silent for screen readers', async () => {
    const node = await open(line('Start worker', '3'), {
      ...line('  no time', 'scheduler'),
      at: null
    });
    expect(log(node).getAttribute('aria-live')).toBe('off');
    expect(log(node).getAttribute('aria-label')).toBe('Logs of c1');
    const [one, other] = node.querySelectorAll('.jp-Coiled-logLine');
    expect(one.querySelector('time')!.textContent).toMatch(/^\d\d:\d\d:\d\d$/);
    expect(one.textContent).toContain('worker 3');
    expect(other.querySelector('time')!.textContent).toBe('');
    expect(other.textContent).toContain('scheduler');
  });

  it('is one tab for each cluster, called what the cluster is called', async () => {
    await open(line('x'));
    await act(async () => tabs.open(model.clusters[0]));
    expect(shown).toHaveLength(1);
    expect(shown[0].title.label).toBe('Logs of c1');
    await act(async () => void (await model.change('c1', { name: 'mine' })));
    expect(shown[0].title.label).toBe('Logs of mine');
    act(() => shown[0].dispose());
    await act(async () => tabs.open(cluster('c1')));
    expect(shown).toHaveLength(2);
  });

  it('asks for nothing while its tab is hidden or closed', async () => {
    await open(line('x'));
    act(() => shown[0].hide());
    const { length } = api.logQueries;
    await seconds(10);
    expect(api.logQueries).toHaveLength(length);
    act(() => shown[0].show());
    await seconds(0.5);
    expect(api.logQueries).toHaveLength(length + 1);
    act(() => shown[0].dispose());
    await seconds(10);
    expect(api.logQueries).toHaveLength(length + 1);
  });

  it('searches, and copies what is shown', async () => {
    const node = await open(line('an ERROR came'), line('all is well'));
    const search = node.querySelector<HTMLInputElement>('input[type=search]')!;
    const set = Object.getOwnPropertyDescriptor(
      HTMLInputElement.prototype,
      'value'
    )!.set!;
    act(() => {
      set.call(search, 'error');
      search.dispatchEvent(new Event('input', { bubbles: true }));
    });
    expect(texts(node)).toEqual(['an ERROR came']);
    expect(node.textContent).toContain('1 of 2 lines');
    act(() => node.querySelector<HTMLElement>('[aria-label^="Copy"]')!.click());
    expect(copied).toEqual(['2026-03-01T12:00:00.000Z\t0\tan ERROR came']);
  });

  it('reads one node when that is chosen', async () => {
    const node = await open(line('x'));
    const select = node.querySelector('select')!;
    expect([...select.options].map(({ text }) => text)).toEqual([
      'all',
      'supervisor',
      'scheduler',
      'worker 0'
    ]);
    act(() => {
      select.value = 'scheduler';
      select.dispatchEvent(new Event('change', { bubbles: true }));
    });
    expect(texts(node)).toEqual([]);
    await seconds(0.5);
    expect(api.logQueries).toContainEqual({ node: 'scheduler', after: null });
  });

  it('follows until one scrolls up', async () => {
    const node = await open(line('x'));
    scroll(node, 1800);
    expect(follow(node).checked).toBe(true);
    // Nobody did anything: what came or was measured moved it.
    scroll(node, 1500);
    expect(follow(node).checked).toBe(true);
    act(
      () => void log(node).dispatchEvent(new Event('wheel', { bubbles: true }))
    );
    // The list became shorter, and one is still at its end.
    scroll(node, 800, 1000);
    expect(follow(node).checked).toBe(true);
    scroll(node, 500, 1000);
    expect(follow(node).checked).toBe(false);
    act(() => follow(node).click());
    expect(follow(node).checked).toBe(true);
  });

  it('draws a part of many lines', async () => {
    const node = await open(
      ...Array.from({ length: 2000 }, (_, index) => line(`line ${index}`))
    );
    expect(node.textContent).toContain('2000 lines');
    expect(texts(node).length).toBeGreaterThan(10);
    expect(texts(node).length).toBeLessThan(200);
  });

  it('says why nothing is read', async () => {
    api.logsFailure = new ApiError('not_found', 'There is no cluster c1');
    const node = await open();
    expect(node.querySelector('[role=status]')!.textContent).toContain(
      'There is no cluster c1'
    );
    api.logsFailure = null;
    await seconds(31);
    expect(node.querySelector('[role=status]')!.textContent).toBe('');
    expect(node.textContent).toContain('Nothing was printed yet');
  });
});
