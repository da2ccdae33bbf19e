import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';
import { act } from 'react';

import { ApiError } from '../../api/client';
import { Model } from '../../model/model';
import { Panel } from '../../panel/panel';
import type { Cluster } from '../../api/wire';
import {
  answer,
  cluster,
  diff,
  FakeApi,
  FakeKernels,
  NOW,
  settle,
  sync
} from '../fakes';

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

describe('Panel', () => {
  let now = NOW;
  let model: Model;
  let panel: Panel;
  let api: FakeApi;

  beforeEach(async () => {
    jest.useFakeTimers();
    now = NOW;
    api = new FakeApi();
    model = new Model({
      api,
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

  const part = (selector: string) => panel.node.querySelector(selector);
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
    // Each figure says so beside it.
    for (const where of [
      '.jp-Coiled-compared',
      '.jp-Coiled-because',
      '.jp-Coiled-activity',
      '[data-cluster-id]',
      '.jp-Coiled-cores'
    ]) {
      expect(part(`${where} .jp-Coiled-age`)!.textContent).toBe(
        where === '.jp-Coiled-because' ? 'stale, 11 s old' : '11 s old'
      );
    }
    later(20);
    expect(new Set(ages())).toEqual(new Set(['unknown']));
    expect(panel.node.querySelector('[data-stale=true]')).not.toBeNull();
    expect(verdict()).toBe('unknown');
  });

  it('shows what the server and a supervisor could not do, as text', async () => {
    const notices = () =>
      [...panel.node.querySelectorAll('[data-notice]')].map(
        it => it.textContent
      );
    expect(notices()).toEqual([]);
    api.problem = {
      kind: 'unavailable',
      message: 'The folder <b>/x</b> can not be made.',
      hint: 'Set COILED_JUPYTER_DATA.',
      data: {}
    };
    api.list = [cluster('c1', { warnings: ["The ledger can't be written"] })];
    // Another server may answer after a failure.
    api.failure = new ApiError('connection', 'gone');
    await act(() => model.refresh().catch(() => undefined));
    api.failure = null;
    await act(() => model.refresh());
    expect(notices()).toEqual([
      'The folder <b>/x</b> can not be made.Set COILED_JUPYTER_DATA.',
      "The ledger can't be written"
    ]);
    expect(panel.node.querySelector('[data-notice] b')).toBeNull();
  });

  it('counts no workers where none was read', async () => {
    const said = () => part('.jp-Coiled-box')!.textContent;
    expect(said()).toContain('Read on 2 workers');
    const found = diff();
    const cluster = { ...found.cluster, groups: [] };
    api.diff = async () => answer({ ...found, verdict: 'unknown', cluster });
    await act(() => model.refresh());
    expect(said()).not.toContain('worker');
  });

  it('says once that there is no cluster, with one button', async () => {
    api.list = [];
    await act(async () => {
      await model.refresh();
      await settle();
    });
    expect(panel.node.textContent!.match(/no cluster/gi)).toEqual([
      'No cluster'
    ]);
    expect(part('h2')!.textContent).toBe('No cluster yet');
    expect(
      [...panel.node.querySelectorAll('button')].map(
        it => it.getAttribute('aria-label') ?? it.textContent
      )
    ).toEqual(['New cluster…', 'Attach a cluster…']);
  });

  describe('a cluster that has ended', () => {
    const folded = () =>
      [...panel.node.querySelectorAll('[data-past] [data-cluster-id]')].map(
        it => it.getAttribute('data-cluster-id')
      );
    const have = (...list: Cluster[]) =>
      act(async () => {
        api.list = list;
        await model.refresh();
        await settle();
      });
    const old = {
      created_at: '2026-03-01T10:00:00.000Z',
      since: '2026-03-01T10:30:00.000Z'
    };

    it('is folded when it was stopped, or ended before another was made', async () => {
      await have(
        cluster('c1'),
        cluster('stopped', { status: 'stopped' }),
        cluster('failed', { status: 'failed', ...old })
      );
      expect(folded()).toEqual(['stopped', 'failed']);
      expect(panel.node.querySelector('[data-past] summary')!.textContent).toBe(
        '2 clusters have ended, 1 by a fault'
      );
      expect(
        panel.node.querySelector<HTMLDetailsElement>('[data-past]')!.open
      ).toBe(false);
    });

    it.each(['failed', 'lost'] as const)(
      'stays in sight when it %s since',
      async status => {
        await have(
          cluster('c1', old),
          cluster('bad', { status, since: '2026-03-01T11:50:00.000Z' })
        );
        expect(folded()).toEqual([]);
        expect(
          panel.node.querySelector('[data-cluster-id=bad]')
        ).not.toBeNull();
      }
    );
  });

  describe('a sync', () => {
    const said = () => part('[data-live=sync]')!.textContent;
    const have = (...list: ReturnType<typeof sync>[]) =>
      act(async () => {
        api.synced = list;
        await model.syncs.refresh();
        await model.refresh();
        await settle();
      });

    it('is shown in place wherever it was begun, and said aloud', async () => {
      expect(part('[data-sync-id]')).toBeNull();
      expect(said()).toBe('');
      await have(sync('s1'));
      expect(part('[data-sync-id=s1]')).not.toBeNull();
      expect(said()).toBe('Sync of c1: moving the workers');
      expect(part('.jp-Coiled-because')!.textContent).toContain(
        'Rows show what was read last'
      );
      // What one could press would be refused.
      expect(part('[data-sync-offer]')).toBeNull();
      expect(part('[data-verdict]')!.getAttribute('data-verdict')).toBe(
        'unknown'
      );
    });

    it('says nothing aloud each second', async () => {
      await have(sync('s1'));
      const before = said();
      later(5);
      expect(said()).toBe(before);
    });

    it('stays until it was seen', async () => {
      await have(sync('s1', { state: 'done' }));
      const dismiss = [...panel.node.querySelectorAll('button')].find(
        it => it.title === 'Dismiss the result for c1'
      )!;
      act(() => dismiss.click());
      expect(part('[data-sync-id]')).toBeNull();
      await have(sync('s1', { state: 'done' }));
      expect(part('[data-sync-id]')).toBeNull();
    });

    it('of the cluster compared comes before that of another one', async () => {
      api.list = [
        cluster('c1', { created_at: '2026-03-01T10:00:00.000Z' }),
        cluster('c2')
      ];
      await have(
        sync('s2', { cluster: 'c2', state: 'failed' }),
        sync('s1'),
        sync('gone', { cluster: 'c9', state: 'failed' })
      );
      const ids = [...panel.node.querySelectorAll('[data-sync-id]')].map(it =>
        it.getAttribute('data-sync-id')
      );
      expect(model.cluster?.id).toBe('c1');
      expect(ids).toEqual(['s1', 's2']);
    });

    it('of a cluster that has gone is shown only where it went with it', async () => {
      const gone = (state: Cluster['status']) =>
        cluster('c1', { status: state });
      api.list = [gone('stopped')];
      await have(sync('s1', { state: 'done' }));
      expect(part('[data-sync-id]')).toBeNull();
      api.list = [gone('lost')];
      await have(sync('s2', { state: 'lost' }));
      expect(part('[data-sync-id=s2]')).not.toBeNull();
    });

    it('claims less while nobody answers', async () => {
      await have(sync('s1'));
      api.syncFailure = new Error('gone');
      later(31);
      expect(part('.jp-Coiled-syncState')!.textContent).toContain('Not known');
    });
  });
});
