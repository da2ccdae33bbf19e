import { nullTranslator } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';
import type { MainAreaWidget } from '@jupyterlab/apputils';
import { act } from 'react';

import { Panes } from '../../activity/panes';
import type { Pane } from '../../activity/pane';
import { ApiError } from '../../api/client';
import { Model } from '../../model/model';
import type { PaneKind } from '../../words/activity';
import {
  activeWorker,
  activity,
  cluster,
  FakeApi,
  FakeKernels,
  stream
} from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

const seconds = (count: number) =>
  act(() => jest.advanceTimersByTimeAsync(count * 1000));

describe('Panes', () => {
  let api: FakeApi;
  let model: Model;
  let panes: Panes;
  let shown: MainAreaWidget<Pane>[];
  let areas: (string | undefined)[];
  let tracked: MainAreaWidget<Pane>[];
  let saved: [string, Blob][];

  beforeAll(() => {
    // There is no canvas here: what is drawn is seen in a browser.
    jest.spyOn(HTMLCanvasElement.prototype, 'getContext').mockReturnValue(null);
    jest.spyOn(Element.prototype, 'clientHeight', 'get').mockReturnValue(300);
    jest
      .spyOn(HTMLElement.prototype, 'offsetHeight', 'get')
      .mockReturnValue(34);
  });

  afterAll(() => jest.restoreAllMocks());

  beforeEach(async () => {
    jest.useFakeTimers();
    api = new FakeApi();
    api.list = [cluster('c1', { name: 'mine' })];
    model = new Model({ api, kernels: new FakeKernels(), auto: false });
    await model.refresh();
    [shown, areas, tracked, saved] = [[], [], [], []];
    panes = make(true);
  });

  afterEach(() => {
    act(() => shown.forEach(pane => pane.dispose()));
    model.dispose();
    jest.useRealTimers();
  });

  const make = (roomy: boolean) =>
    new Panes({
      api,
      model,
      shell: {
        add: (widget: Widget, area?: string) => {
          shown.push(widget as MainAreaWidget<Pane>);
          areas.push(area);
          Widget.attach(widget, document.body);
        },
        activateById: () => undefined
      },
      roomy,
      tracker: {
        add: async pane => void tracked.push(pane),
        save: async () => undefined
      },
      icon: new LabIcon({ name: 'test:icon', svgstr: '<svg></svg>' }),
      save: (name, content) => saved.push([name, content]),
      trans
    });

  const open = async (kind: PaneKind, id = 'c1') => {
    act(() => panes.open({ cluster: id, kind, name: 'before' }));
    await seconds(0.5);
    return shown[shown.length - 1].node;
  };

  it('are one of each kind for each cluster, called as it is called now', async () => {
    await open('progress');
    await open('progress');
    await open('progress', 'unknown');
    expect(shown.map(({ title }) => title.label)).toEqual([
      'Progress of mine',
      'Progress of before'
    ]);
    expect(tracked).toEqual(shown);
    expect(shown[0].content.args).toEqual({
      cluster: 'c1',
      kind: 'progress',
      name: 'mine'
    });
    await act(async () => void (await model.change('c1', { name: 'new' })));
    expect(shown[0].title.label).toBe('Progress of new');
    act(() => shown[0].dispose());
    await open('progress');
    expect(shown).toHaveLength(3);
  });

  it('open nothing that is no pane', () => {
    panes.open({ cluster: 'c1', kind: 'constructor' });
    panes.open({ cluster: 7, kind: 'progress' });
    expect(shown).toEqual([]);
  });

  it('are below where the main area has room for one document only', async () => {
    await open('workers');
    panes = make(false);
    await open('workers');
    expect(areas).toEqual(['main', 'down']);
  });

  it('ask once for all of a cluster, and not at all while they are hidden', async () => {
    api.activities = [activity({ processing: 1 })];
    await open('progress');
    await open('workers');
    const asked = () => api.activityQueries.length;
    const before = asked();
    await seconds(3);
    expect(asked()).toBe(before + 3);
    act(() => shown.forEach(pane => pane.hide()));
    await seconds(10);
    expect(asked()).toBe(before + 3);
    act(() => shown[1].show());
    await seconds(0.5);
    expect(asked()).toBe(before + 4);
    act(() => shown.forEach(pane => pane.dispose()));
    await seconds(10);
    expect(asked()).toBe(before + 4);
  });

  it('show what a hostile cluster tells as text', async () => {
    const evil = '<img src=x onerror=alert(1)>';
    api.activities = [
      activity({
        stream: stream([[`${evil}/${evil}`, evil, 'compute', 0, 10]]),
        workers: [activeWorker(evil, { name: evil, status: evil })],
        prefixes: [{ name: evil, states: { [evil]: 3 } }]
      })
    ];
    for (const kind of [
      'task-stream',
      'progress',
      'workers',
      'cluster-map'
    ] as const) {
      const node = await open(kind);
      expect(node.textContent).toContain(evil);
      expect(node.querySelector('img')).toBeNull();
    }
  });

  it('say in a sentence that there is nothing, why, how old it is and what is missing', async () => {
    const node = await open('task-stream');
    expect(node.querySelector('[data-empty]')!.textContent).toBe(
      'No task has ended since somebody began to look at this cluster.'
    );
    api.activities = [activity({ stream: stream([], { missed: 12 }) })];
    await seconds(1);
    expect(node.querySelector('.jp-Coiled-paneMissed')!.textContent).toContain(
      '12 tasks ended without being shown'
    );
    api.activities = [
      new ApiError('unavailable', 'The scheduler is silent', 'Try again')
    ];
    await seconds(20);
    expect(node.querySelector('[role=status]')!.textContent).toBe(
      'Not read: The scheduler is silent. Try again'
    );
    expect(node.querySelector('.jp-Coiled-age')!.textContent).toMatch(
      /^read \d+ s ago$/
    );
  });

  it('have the figures of a picture in a table, which one can see too', async () => {
    api.activities = [
      activity({
        stream: stream([
          ['w/1', 'inc', 'compute', 0, 15_000],
          ['w/1', 'inc', 'erred', 0, 10]
        ])
      })
    ];
    const node = await open('task-stream');
    const row = node.querySelector('tbody tr')!;
    expect([...row.children].map(it => it.textContent)).toEqual([
      'inc',
      '2',
      '1',
      '1.50 s',
      '0.0 ms',
      '0.0 ms',
      '0.0 ms'
    ]);
    expect(node.querySelector('canvas')!.getAttribute('role')).toBe('img');
    const region = () => row.closest('[role=region]')!.className;
    expect(region()).toBe('jp-Coiled-hidden');
    const button = [...node.querySelectorAll<HTMLElement>('jp-button')].find(
      it => it.textContent === 'Table'
    )!;
    act(() => button.click());
    await seconds(0.1);
    expect(region()).toBe('jp-Coiled-paneTable');
  });

  it('sort the workers by what one clicks', async () => {
    api.activities = [
      activity({
        workers: [
          activeWorker('a', { cpu: 5 }),
          activeWorker('b', { cpu: 70 }),
          activeWorker('c', { cpu: 30 })
        ]
      })
    ];
    const node = await open('workers');
    const names = () =>
      [...node.querySelectorAll('[data-worker]')].map(it =>
        it.getAttribute('data-worker')
      );
    const head = () => node.querySelector('th[data-column=cpu]')!;
    expect(names()).toEqual(['a', 'b', 'c']);
    act(() => head().querySelector('button')!.click());
    expect(names()).toEqual(['b', 'c', 'a']);
    expect(head().getAttribute('aria-sort')).toBe('descending');
    act(() => head().querySelector('button')!.click());
    expect(names()).toEqual(['a', 'c', 'b']);
  });

  it('draw a part of many workers', async () => {
    api.activities = [
      activity({
        workers: Array.from({ length: 500 }, (_, index) =>
          activeWorker(`w${index}`)
        )
      })
    ];
    const node = await open('workers');
    const drawn = node.querySelectorAll('[data-worker]').length;
    expect(drawn).toBeGreaterThan(5);
    expect(drawn).toBeLessThan(60);
    expect(node.querySelector('table')!.getAttribute('aria-rowcount')).toBe(
      '501'
    );
  });

  it('save what they show', async () => {
    api.activities = [
      activity({ prefixes: [{ name: 'inc', states: { memory: 3 } }] })
    ];
    const node = await open('progress');
    const button = [...node.querySelectorAll<HTMLElement>('jp-button')].find(
      it => it.textContent === 'CSV'
    )!;
    act(() => button.click());
    expect(saved[0][0]).toBe('mine-progress.csv');
    expect(saved[0][1].size).toBeGreaterThan(60);
  });
});
