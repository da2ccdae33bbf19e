import { nullTranslator } from '@jupyterlab/translation';
import axe from 'axe-core';
import * as React from 'react';
import { act } from 'react';
import { createRoot } from 'react-dom/client';

import { ApiError } from '../../api/client';
import { PackageRow } from '../../panel/packages/row';
import { VerdictBox } from '../../panel/verdict/box';
import { PlanView } from '../../panel/sync/plan';
import type { IPlanViewProps } from '../../panel/sync/plan';
import { SyncCard } from '../../panel/sync/card';
import type { ISyncCardProps } from '../../panel/sync/card';
import type { Blocked } from '../../model/syncOffer';
import type { Plan, PlanAction, Sync } from '../../api/wire';
import { diff, NOW, plan, row, sync } from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

const drawn: (() => void)[] = [];

afterEach(() => act(() => drawn.splice(0).forEach(unmount => unmount())));

function draw(element: JSX.Element): HTMLElement {
  const node = document.createElement('div');
  const root = createRoot(node);
  act(() => root.render(element));
  drawn.push(() => root.unmount());
  return node;
}

const button = (node: HTMLElement, name: string) =>
  [...node.querySelectorAll('button')].find(
    it => (it.getAttribute('aria-label') ?? it.textContent) === name
  )!;

describe('The one button', () => {
  const offered = (
    packages: number,
    python = false,
    blocked: Blocked | null = null
  ) => {
    const pressed: string[] = [];
    const node = draw(
      <VerdictBox
        judgement={{ verdict: 'breaks', reason: null }}
        diff={diff({
          verdict: 'breaks',
          rows: [row('numpy', { severity: 'breaks', use: 'imported' })]
        })}
        age={1}
        offer={{ packages, everything: packages, python, blocked }}
        onSync={() => pressed.push('sync')}
        onCreate={() => undefined}
        onWhy={name => pressed.push(name)}
        onMenu={(_, keyboard) => pressed.push(keyboard ? 'keys' : 'mouse')}
        trans={trans}
      />
    );
    const main = node.querySelector<HTMLElement>('[data-sync-offer]')!;
    return { node, main, more: button(node, 'More ways to sync'), pressed };
  };

  it.each([
    [1, false, 'Sync 1 package…'],
    [3, false, 'Sync 3 packages…'],
    [3, true, 'Sync 3 packages and Python…'],
    [0, true, 'Sync Python…']
  ])(
    'states its effect for %p packages, Python: %p',
    (count, python, words) => {
      const { main, pressed } = offered(count, python);
      expect(main.textContent).toBe(words);
      expect(main.getAttribute('aria-disabled')).toBe('false');
      main.click();
      expect(pressed).toEqual(['sync']);
    }
  );

  it.each([
    [{ kind: 'reading' }, 'Not now: reading'],
    [{ kind: 'stale', seconds: 40 }, 'too old'],
    [{ kind: 'syncing', sync: sync('s1') }, 'a sync is running']
  ] as const)('says why it does nothing: %p', (blocked, words) => {
    const { main, node, pressed } = offered(1, false, blocked);
    expect(main.getAttribute('aria-disabled')).toBe('true');
    const said = [...node.querySelectorAll('[id]')].find(
      ({ id }) => id === main.getAttribute('aria-describedby')
    )!;
    expect(said.textContent).toContain(words);
    main.click();
    expect(pressed).toEqual([]);
    // It stays where the focus can be given back to.
    expect(main.hasAttribute('disabled')).toBe(false);
  });

  it('opens its menu also while there is nothing to sync', () => {
    const { main, more, pressed } = offered(0, false, {
      kind: 'nothing',
      others: 0
    });
    expect(main).toBeNull();
    expect(more.getAttribute('aria-haspopup')).toBe('menu');
    more.click();
    expect(pressed).toEqual(['keys']);
  });

  it('is filled, and leads to the row that it is about', () => {
    const { main, node, pressed } = offered(1);
    expect(main.className).toContain('jp-mod-accept');
    expect(node.querySelectorAll('.jp-mod-accept')).toHaveLength(1);
    button(node, 'Why?').click();
    expect(pressed).toEqual(['numpy']);
  });
});

describe('PlanView', () => {
  const view = (made: Plan | null, more: Partial<IPlanViewProps> = {}) =>
    draw(
      <PlanView
        lead="c1 gets the packages of a.ipynb."
        stage={
          made
            ? { kind: 'shown', plan: made, note: null }
            : { kind: 'planning' }
        }
        needs={made?.needs ?? []}
        agreed={new Set()}
        drain={120}
        insists={false}
        scope="notebook"
        removesExtra={false}
        groups={diff().cluster.groups}
        onScope={() => undefined}
        onRemoveExtra={() => undefined}
        onAgree={() => undefined}
        onDrain={() => undefined}
        onInsist={() => undefined}
        onAgain={() => undefined}
        trans={trans}
        {...more}
      />
    );
  const action = (more: Partial<PlanAction>): PlanAction => ({
    ...plan().actions[0],
    ...more
  });

  const python = {
    name: 'python',
    severity: 'breaks',
    here: '3.11.7',
    there: ['3.10.13'],
    where: 'cluster',
    why: 'Its owner has to restart it.',
    condition: false
  } as const;

  it('says first what stays wrong, then totals, then that nothing is lost', () => {
    const totals = {
      change: 2,
      install: 7,
      remove: 1,
      refuse: 0,
      extra: 0,
      outside: 0
    };
    const node = view(plan({ remaining: [python], totals }));
    const [first, second, third] = node.querySelector('[data-plan]')!.children;
    expect(first.textContent).toContain('Your notebook will still break:');
    expect(first.textContent).toContain(
      'Python 3.10.13 on the cluster, 3.11.7 here'
    );
    expect(first.textContent).toContain('Its owner has to restart it.');
    expect(
      first.querySelector('li [role=img]')!.getAttribute('data-icon')
    ).toBe('coiled-jupyter:cross');
    expect(second.textContent).toBe('2 change, 7 install, 1 remove');
    expect(third.querySelector('[data-icon$=check]')).not.toBeNull();
    expect(third.textContent).toContain('Nothing is lost');
  });

  it('folds all but the worst of what stays wrong', () => {
    const remaining = [
      { ...python, name: 'a', severity: 'risky', there: [null] },
      { ...python, name: 'b', severity: 'risky', here: null },
      { ...python, name: 'c', severity: 'risky', there: ['3.11.7'] },
      { ...python, name: 'd', severity: 'risky' },
      { ...python, name: 'e', severity: 'risky' }
    ] as const;
    const node = view(plan({ remaining })).querySelector(
      '.jp-Coiled-remaining'
    )!;
    expect(node.textContent).toContain(
      'Your notebook may still give other results:'
    );
    expect(node.textContent).toContain('a missing on the cluster, 3.11.7 here');
    expect(node.textContent).toContain(
      'b 3.10.13 on the cluster, missing here'
    );
    expect(node.textContent).toContain(
      'c 3.11.7 on the cluster and here, but not the same'
    );
    expect(node.querySelector('summary')!.textContent).toBe('2 more');
    expect(node.querySelectorAll('details li').length).toBe(2);
  });

  it('offers to remove extra packages, and to plan everything', () => {
    const totals = { ...plan().totals, extra: 6, outside: 95 };
    const asked: unknown[] = [];
    const more = {
      onRemoveExtra: (it: boolean) => asked.push(it),
      onScope: (it: unknown) => asked.push(it)
    };
    const node = view(plan({ totals }), more);
    const box = node.querySelector<HTMLInputElement>('[data-extra="6"] input')!;
    expect(box.checked).toBe(false);
    act(() => box.click());
    expect(node.textContent).toContain('95 other packages differ and stay');
    button(node, 'Plan everything').click();
    expect(asked).toEqual([true, 'all']);
    expect(view(plan()).querySelector('[data-extra]')).toBeNull();
    const all = view(plan({ totals }), { ...more, scope: 'all' });
    expect(button(all, 'Plan everything')).toBeUndefined();
  });

  it("folds the resolver's words below one sentence", () => {
    const refuse = action({
      kind: 'refuse',
      why: 'numpy 2.4.6 needs Python >=3.11.',
      details: 'Because the requested Python <b>version</b> …',
      severity: 'breaks'
    });
    const node = view(plan({ actions: [refuse] }));
    const words = node.querySelector<HTMLDetailsElement>('.jp-Coiled-words')!;
    expect(words.open).toBe(false);
    expect(words.textContent).toContain('<b>version</b>');
    expect(
      node.querySelector('[data-action] [data-severity]')!.textContent
    ).toBe(' will break');
    const error = new ApiError('impossible', 'No', '', null, null, 'Because…');
    const problem = view(null, { stage: { kind: 'problem', error } });
    expect(problem.querySelector('.jp-Coiled-words')!.textContent).toContain(
      'Because…'
    );
  });

  it('says what is done for the scheduler, and what would undo the sync', () => {
    const node = view(
      plan({
        scheduler: [{ way: 'seal', names: ['numpy'], text: 'It keeps numpy.' }],
        restarts: ['2 workers restart.', 'A plugin installs packages.']
      })
    );
    expect(node.textContent).toContain('It keeps numpy.');
    expect(node.textContent).toContain('A plugin installs packages.');
  });

  it('says of a restart in place that nothing is lost, and that nothing is to be undone', () => {
    const node = view(plan({ how: 'in_place' })).querySelector('[data-plan]')!;
    expect(node.querySelector('[data-lost="false"]')!.textContent).toContain(
      'Nothing is lost'
    );
    expect(node.textContent).toContain('there is nothing to undo');
    expect(node.textContent).toContain('the cluster works on meanwhile');
  });

  it('does not say that all stays where all starts anew', () => {
    const node = view(plan({ how: 'replace' })).querySelector('[data-lost]')!;
    expect(node.textContent).toContain('Nothing is lost');
    expect(node.textContent).not.toContain('stay');
  });

  it('says what is lost, with the reason', () => {
    const lost = {
      futures: 1,
      scattered: 2,
      running: 3,
      actors: 1,
      why: 'The scheduler restarts.'
    };
    const first = view(plan({ lost })).querySelector('[data-lost]')!;
    expect(first.getAttribute('data-lost')).toBe('true');
    for (const words of [
      '1 finished result is lost.',
      '2 scattered values are lost.',
      '3 running tasks start again.',
      '1 actor is lost.',
      'The scheduler restarts.'
    ]) {
      expect(first.textContent).toContain(words);
    }
    expect(first.textContent).not.toContain('Nothing');
  });

  it('shows each action before and after, with its reason and its place', () => {
    const node = view(
      plan({
        actions: [
          action({}),
          action({ kind: 'install', name: 'polars', before: null }),
          action({ kind: 'remove', name: 'scipy', after: null })
        ]
      })
    );
    const cells = [...node.querySelectorAll('[data-action]')].map(
      it => it.textContent
    );
    expect(cells[0]).toContain('1.26.4 → 2.3.1');
    expect(cells[0]).toContain('upgrade');
    expect(cells[0]).toContain('The notebook has it');
    expect(cells[1]).toContain('— → 2.3.1');
    expect(cells[2]).toContain('1.26.4 → —');
    const head = node.querySelector('summary')!.textContent;
    expect(head).toBe('3 packages change · 2 workers on h');
  });

  it('counts the workers of a group that was not read here', () => {
    const rolls = [
      { group: 'g9', workers: ['a', 'b'], batch: 1 },
      { group: 'g9', workers: ['c'], batch: 2 }
    ];
    const node = view(plan({ actions: [action({ group: 'g9' })], rolls }));
    expect(node.querySelector('summary')!.textContent).toBe(
      '1 package changes · 3 workers'
    );
    const none = view(plan({ actions: [action({ group: '' })], rolls: [] }));
    expect(none.querySelector('summary')!.textContent).toBe(
      '1 package changes'
    );
  });

  it('says apart what can not be done, and why', () => {
    const why = 'Its owner has to restart the scheduler';
    const refuse = action({ kind: 'refuse', name: 'dask', why });
    const node = view(plan({ actions: [action({}), refuse] }));
    const [changed, refused] = node.querySelectorAll('details');
    expect(refused.textContent).toContain('Can not be done (1)');
    expect(refused.textContent).toContain(why);
    expect(refused.textContent).toContain('1.26.4, not 2.3.1');
    expect(changed.textContent).not.toContain('dask');
  });

  it('says what restarts, whom else it affects and how long it takes', () => {
    const node = view(
      plan({
        rolls: [
          { group: 'g1', workers: ['a', 'b'], batch: 1 },
          { group: 'g1', workers: ['c'], batch: 2 }
        ],
        others: [
          { client: 'Client-1', host: '10.0.0.8', opened_by: null },
          { client: 'Client-2', host: null, opened_by: 'b.ipynb' }
        ]
      })
    ).querySelector('.jp-Coiled-effects')!;
    expect(node.textContent).toContain(
      '3 workers restart, in 2 batches, and hand'
    );
    expect(node.textContent).toContain('2 other clients');
    expect(node.textContent).toContain('Client-1 on 10.0.0.8');
    expect(node.textContent).toContain('b.ipynb');
    expect(node.textContent).toContain('about 8 s');
  });

  it('says what is waited for before workers restart', () => {
    const waits = ['2 workers take part in a shuffle.', '1 task has seceded.'];
    const node = view(plan({ waits })).querySelector('.jp-Coiled-effects')!;
    waits.forEach(text => expect(node.textContent).toContain(text));
  });

  it.each([
    [{ temporary: true }, 'The only worker restarts; a temporary second one'],
    [{ how: 'replace' }, 'The scheduler and every worker restart'],
    [{ how: 'in_place' }, '2 workers restart, one after the other'],
    [{}, '2 workers restart, all at once.']
  ] as const)('says of %p what restarts', (more, words) => {
    const node = view(plan({ restarts: ['told'], ...more }));
    const effects = node.querySelector('.jp-Coiled-effects')!.textContent;
    expect(effects).toContain(words);
    // What is told as data is said in words that can be translated.
    expect(effects).not.toContain('told');
  });

  it.each([
    ['absent', 'The notebook does not have it.'],
    ['unneeded', 'Nothing in the new environment needs it.'],
    ['required', 'Another package needs this version.'],
    ['replaced', 'Its installation on the cluster is replaced.'],
    ['base', 'Original version.'],
    ['state', 'That state had it so.'],
    ['python', "The whole cluster restarts on the notebook's Python."],
    ['told', '<b>as told</b>']
  ] as const)('says in words of its own what is %s', (cause, words) => {
    const why = '<b>as told</b>';
    const node = view(plan({ actions: [action({ cause, why })] }));
    const cell = node.querySelector('[data-name=numpy] .jp-Coiled-cause')!;
    expect(cell.textContent).toBe(words);
  });

  it('folds a long list', () => {
    const actions = Array.from({ length: 60 }, (_, at) =>
      action({ name: `p${at}` })
    );
    const node = view(plan({ actions }));
    expect(node.querySelector('details')!.open).toBe(false);
    expect(node.querySelector('summary')!.textContent).toContain('60 packages');
  });

  it('asks for what has to be agreed to, in plain words', () => {
    const asked: unknown[] = [];
    const node = view(plan({ needs: ['lost_results', 'plain_connection'] }), {
      onAgree: (...it) => asked.push(it)
    });
    const boxes = [
      ...node.querySelectorAll<HTMLInputElement>(
        'label:not([data-insist]) input'
      )
    ];
    expect(boxes.map(({ checked }) => checked)).toEqual([false, false]);
    act(() => boxes[1].click());
    expect(asked).toEqual([['plain_connection', true]]);
    expect(node.textContent).toContain('not encrypted');
  });

  it.each([
    ['nothing', 'equal already'],
    ['refused', 'Nothing of this can be done']
  ] as const)('of %s asks for nothing', (how, words) => {
    const node = view(plan({ how, actions: [], needs: ['lost_results'] }));
    expect(node.textContent).toContain(words);
    expect(node.querySelector('input, select')).toBeNull();
    // What isn't done loses nothing, and that needs no saying.
    expect(node.querySelector('[data-lost]')).toBeNull();
  });

  it('says that it is still working it out', () => {
    const node = view(null);
    expect(node.querySelector('[aria-busy=true]')).not.toBeNull();
    expect(node.querySelector('[role=status]')!.textContent).toContain(
      'Nothing is touched'
    );
  });

  it.each([
    ['stale', 'has changed since'],
    ['changed', 'nothing was done'],
    ['expired', 'too old']
  ] as const)('says why there is another plan: %s', (note, words) => {
    const node = view(null, { stage: { kind: 'shown', plan: plan(), note } });
    expect(node.querySelector('[role=status]')!.textContent).toContain(words);
  });

  it("shows a refusal in the server's words, and can ask again", () => {
    let again = 0;
    const error = new ApiError('impossible', 'No <b>wheel</b>', 'Take another');
    const node = view(null, {
      stage: { kind: 'problem', error },
      onAgain: () => again++
    });
    const alert = node.querySelector('[role=alert]')!;
    expect(alert.textContent).toContain('No <b>wheel</b>');
    expect(alert.textContent).toContain('Take another');
    expect(alert.querySelector('b')).toBeNull();
    button(node, 'Plan again').click();
    expect(again).toBe(1);
  });

  it('shows hostile strings as text', () => {
    const evil = '<img src=x onerror=alert(1)>';
    const node = view(
      plan({
        actions: [
          action({ name: evil, before: evil, after: evil, why: evil }),
          action({ kind: 'refuse', name: evil, group: evil, why: evil })
        ],
        restarts: [evil],
        waits: [evil],
        lost: { ...plan().lost, why: evil },
        others: [{ client: evil, host: evil, opened_by: evil }]
      }),
      { lead: evil }
    );
    expect(node.querySelector('img')).toBeNull();
    expect(node.textContent).toContain(evil);
  });

  it('lets one choose how long a running task is waited for', () => {
    const waited: number[] = [];
    const node = view(plan(), { drain: 45, onDrain: it => waited.push(it) });
    const select = node.querySelector('select')!;
    expect(select.value).toBe('45');
    act(() => {
      select.value = '600';
      select.dispatchEvent(new Event('change', { bubbles: true }));
    });
    expect(waited).toEqual([600]);
  });

  it('asks whether what runs longer may be lost', () => {
    const insisted: boolean[] = [];
    const node = view(plan(), { onInsist: it => insisted.push(it) });
    const box = node.querySelector<HTMLInputElement>('[data-insist] input')!;
    expect(box.checked).toBe(false);
    act(() => box.click());
    expect(insisted).toEqual([true]);
  });
});

describe('SyncCard', () => {
  const pressed: string[] = [];
  const cardOf = (it: Sync, more: Partial<ISyncCardProps> = {}) => {
    const node = lineOf(it, more);
    const folded = node.querySelector<HTMLElement>('[aria-expanded=false]');
    act(() => folded?.click());
    return node;
  };
  const lineOf = (it: Sync, more: Partial<ISyncCardProps> = {}) =>
    draw(
      <SyncCard
        sync={it}
        name="analysis"
        lines={[]}
        age={1}
        now={NOW}
        onCancel={() => pressed.push('cancel')}
        onUndo={null}
        onAgain={null}
        onDismiss={() => pressed.push('dismiss')}
        onLog={() => pressed.push('log')}
        trans={trans}
        {...more}
      />
    );
  const result = (more: Partial<NonNullable<Sync['result']>> = {}) => ({
    text: 'All as planned.',
    groups: [],
    lost: plan().lost,
    ...more
  });

  beforeEach(() => {
    pressed.length = 0;
  });

  it('shows the steps with their times while it runs', () => {
    const node = cardOf(sync('s1'));
    expect(node.querySelector('[role=group]')!.getAttribute('aria-label')).toBe(
      'Sync of analysis'
    );
    expect(node.textContent).toContain('moving the workers');
    expect(node.textContent).toContain('10 s');
    const [build, move] = node.querySelectorAll('[data-step]');
    expect(build.querySelector('[role=img]')!.getAttribute('aria-label')).toBe(
      'done'
    );
    expect(build.textContent).toContain('1.1 s');
    expect(move.getAttribute('data-state')).toBe('running');
    // It grows from when the step began, also where the server says nothing new.
    expect(move.textContent).toContain(' 8 s'.trim());
    button(node, 'Cancel the sync of analysis…').click();
    expect(pressed).toEqual(['cancel']);
    expect(button(node, 'Dismiss the result for analysis')).toBeUndefined();
  });

  it('can not be cancelled while it goes back already', () => {
    const node = cardOf(sync('s1', { state: 'rolling_back' }));
    expect(node.textContent).toContain('going back to the old state');
    expect(node.querySelectorAll('button')).toHaveLength(1);
  });

  it('claims nothing where it was not read for long', () => {
    const node = cardOf(sync('s1'), { age: 31 });
    expect(node.querySelector('.jp-Coiled-syncState')!.textContent).toBe(
      'Not known, was: moving the workers'
    );
    expect(node.querySelector('[data-age=unknown]')).not.toBeNull();
    // What has ended doesn't age.
    const ended = cardOf(sync('s1', { state: 'done' }), { age: 31 });
    expect(ended.textContent).toContain('done and verified');
  });

  it.each([
    ['done', 'check', 'done and verified'],
    ['failed', 'cross', 'failed; the old state is back'],
    ['cancelled', 'minus', 'cancelled; the old state is back'],
    ['lost', 'doubt', 'the cluster went']
  ] as const)('says %s with icon and words', (state, icon, words) => {
    const node = cardOf(
      sync('s1', {
        state,
        result: result(),
        ended_at: '2026-03-01T11:59:58.000Z'
      })
    );
    expect(node.querySelector('[data-icon]')!.getAttribute('data-icon')).toBe(
      `coiled-jupyter:${icon}`
    );
    expect(node.textContent).toContain(words);
    expect(node.textContent).toContain('8 s');
    expect(node.textContent).toContain('All as planned.');
    button(node, 'Dismiss the result for analysis').click();
    expect(pressed).toEqual(['dismiss']);
  });

  it('says what failed, where, and what comes next', () => {
    const node = cardOf(
      sync('s1', {
        state: 'failed',
        result: result({
          text: 'numpy could not be imported.',
          groups: [
            {
              group: 'g1',
              role: 'worker',
              host: 'hostile',
              nodes: ['w1', 'w2'],
              verified: true,
              text: 'the old state is back'
            }
          ],
          lost: { ...plan().lost, futures: 2 }
        })
      }),
      { onAgain: () => pressed.push('again') }
    );
    const said = node.querySelector('[data-result=failed]')!.textContent;
    expect(said).toContain('numpy could not be imported.');
    expect(said).toContain('2 workers on hostile: the old state is back');
    expect(said).toContain('2 finished results were lost.');
    expect(said).toContain('plan again');
    button(node, 'Plan again…').click();
    expect(pressed).toEqual(['again']);
  });

  it.each(['rolling', 'done', 'failed', 'cancelled', 'lost'] as const)(
    'gives axe nothing to complain of: %s',
    async state => {
      const log = { lines: ['Resolved 12 packages', 'error: <b>'], next: 2 };
      const ended = state === 'rolling' ? null : '2026-03-01T11:59:58.000Z';
      const node = cardOf(
        sync('s1', {
          state,
          log,
          result: ended ? result({ text: 'numpy is not there.' }) : null,
          ended_at: ended
        }),
        { lines: log.lines, onUndo: () => {}, onAgain: () => {} }
      );
      document.body.append(node);
      try {
        // Colours are seen in a browser only.
        const { passes, violations } = await axe.run(node, {
          rules: { 'color-contrast': { enabled: false } },
          runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']
        });
        expect(passes.length).toBeGreaterThan(2);
        expect(violations.map(({ id, nodes }) => [id, nodes[0].html])).toEqual(
          []
        );
      } finally {
        node.remove();
      }
    }
  );

  it('names the step that failed where nobody summed it up', () => {
    const steps = [
      {
        name: 'Build',
        state: 'failed',
        group: null,
        seconds: 1,
        text: 'No index answered',
        started_at: null
      }
    ] as const;
    const node = cardOf(sync('s1', { state: 'failed', steps }));
    expect(node.querySelector('[data-result]')!.textContent).toContain(
      'Build: No index answered'
    );
  });

  it('is one line, unless more than success is to be said', () => {
    const opened = (it: Sync) =>
      lineOf(it)
        .querySelector('[aria-expanded]')!
        .getAttribute('aria-expanded');
    expect(opened(sync('s1'))).toBe('false');
    const done = { state: 'done', result: result() } as const;
    expect(opened(sync('s1', done))).toBe('false');
    const lost = { ...plan().lost, futures: 1 };
    expect(opened(sync('s1', { ...done, result: result({ lost }) }))).toBe(
      'true'
    );
    expect(opened(sync('s1', { ...done, state: 'failed' }))).toBe('true');
  });

  it('never calls done well what was not verified', () => {
    const group = {
      group: 'g1',
      role: 'worker',
      host: 'h',
      nodes: ['w1'],
      verified: false,
      text: 'not read'
    } as const;
    const node = cardOf(
      sync('s1', { state: 'done', result: result({ groups: [group] }) })
    );
    const line = node.querySelector('[data-verified=false]')!;
    expect(line.textContent).toContain('1 worker on h: not read');
    expect(line.querySelector('[role=img]')!.getAttribute('aria-label')).toBe(
      'not verified'
    );
  });

  it('can be undone, and the undo taken back', () => {
    const undo = { onUndo: () => pressed.push('undo') };
    const done = cardOf(sync('s1', { state: 'done' }), undo);
    button(done, 'Undo… the sync of analysis').click();
    const undone = cardOf(sync('s2', { state: 'done', undo_of: 's1' }), undo);
    expect(undone.textContent).toContain('undone and verified');
    button(undone, 'Redo… what was undone on analysis').click();
    expect(pressed).toEqual(['undo', 'undo']);
  });

  it('has no log where nothing was said', () => {
    const node = cardOf(sync('s1', { state: 'done' }));
    expect(node.querySelector('details')).toBeNull();
  });

  it('keeps the log behind a click, and shows it as text', async () => {
    const node = cardOf(
      sync('s1', { state: 'failed', log: { lines: [], next: 2 } }),
      { lines: ['Resolved', '<b>x</b>'] }
    );
    expect(node.querySelector('[role=log]')).toBeNull();
    const details = node.querySelector('details')!;
    expect(details.textContent).toBe('Log, 2 lines');
    await act(async () => {
      details.open = true;
      // Its event comes later.
      await new Promise(resolve => setTimeout(resolve, 0));
    });
    const log = node.querySelector('[role=log]')!;
    expect(log.textContent).toBe('Resolved\n<b>x</b>');
    expect(log.querySelector('b')).toBeNull();
    expect(pressed).toEqual(['log']);
  });
});

describe('a row', () => {
  const open = (blocked: string, more = {}) => {
    const synced: string[] = [];
    const node = draw(
      <table>
        <tbody>
          <PackageRow
            row={row('numpy', { status: 'differs', severity: 'same', ...more })}
            kernel={diff().kernel}
            groups={diff().cluster.groups}
            rules={null}
            actions={{
              ignore: async () => undefined,
              rate: async () => undefined,
              readRules: () => new Promise(() => undefined),
              sync: name => synced.push(name),
              copy: () => undefined
            }}
            blocked={blocked}
            open={true}
            rowIndex={2}
            trans={trans}
            onToggle={() => undefined}
            onChange={() => undefined}
          />
        </tbody>
      </table>
    );
    return { only: button(node, 'Sync only this… (numpy)'), synced };
  };

  // What is behind a row is loaded when a row is first opened.
  beforeAll(async () => {
    await act(async () => {
      open('');
      await import('../../panel/packages/details');
      await new Promise(resolve => setTimeout(resolve, 0));
    });
  });

  it('can be synced alone', () => {
    const { only, synced } = open('');
    only.click();
    expect(synced).toEqual(['numpy']);
  });

  it('says why it can not be synced now', () => {
    const { only, synced } = open('Not now: reading');
    expect(only.title).toBe('Not now: reading');
    only.click();
    expect(synced).toEqual([]);
  });

  it.each(['same', 'unknown'] as const)('offers no sync of what is %s', it => {
    expect(open('', { status: it }).only).toBeUndefined();
  });
});
