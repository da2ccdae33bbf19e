/** Components with the JSON that the server's tests have made (tests/wire). */
import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { act } from 'react';
import { createRoot } from 'react-dom/client';

import breaksJson from '../../../../tests/wire/diff-breaks.json';
import equalJson from '../../../../tests/wire/diff-equal.json';
import failedJson from '../../../../tests/wire/cluster-failed.json';
import idleJson from '../../../../tests/wire/cluster-idle.json';
import startingJson from '../../../../tests/wire/cluster-starting.json';
import unknownJson from '../../../../tests/wire/diff-unknown.json';
import usageJson from '../../../../tests/wire/usage.json';
import { ApiError } from '../../api/client';
import { ClusterCard } from '../../panel/clusters/card';
import { ClusterDetails } from '../../panel/clusters/details';
import type { IClusterCardProps } from '../../panel/clusters/shared';
import { CoreMeter } from '../../panel/clusters/cores';
import { Age } from '../../panel/age';
import { Explain } from '../../dialogs/explainFailure';
import type { IRowActions } from '../../panel/packages/shared';
import { PackageRow } from '../../panel/packages/row';
import { SoftwareTable } from '../../panel/packages/table';
import { Unread } from '../../panel/unread';
import { VerdictBox } from '../../panel/verdict/box';
import type { IVerdictProps } from '../../panel/verdict/verdict';
import { briefWords, verdictWords } from '../../panel/verdict/verdict';
import { inOrder } from '../../panel/panel';
import type {
  ClientInfo,
  Cluster,
  Diff,
  Row,
  Usage,
  Worker
} from '../../api/wire';
import { cluster, diff as anyDiff, enter, row as anyRow, sync } from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');
const breaks = breaksJson as unknown as Diff;
const equal = equalJson as unknown as Diff;
const unknown = unknownJson as unknown as Diff;

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

const actions: IRowActions = {
  ignore: async () => undefined,
  rate: async () => undefined,
  readRules: () => new Promise(() => undefined),
  sync: () => undefined,
  copy: text => copied.push(text)
};
const copied: string[] = [];

function table(diff: Diff): HTMLElement {
  return draw(
    <SoftwareTable
      diff={diff}
      rules={null}
      actions={actions}
      blocked=""
      reveal={null}
      trans={trans}
    />
  );
}

/** A row that is open. */
function details(diff: Diff, row: Row): HTMLElement {
  return draw(
    <table>
      <tbody>
        <PackageRow
          row={row}
          kernel={diff.kernel}
          groups={diff.cluster.groups}
          rules={null}
          actions={actions}
          blocked=""
          open={true}
          rowIndex={2}
          trans={trans}
          onToggle={() => undefined}
          onChange={() => undefined}
        />
      </tbody>
    </table>
  );
}

function card(
  cluster: unknown,
  age: number | null = 1,
  more: Partial<IClusterCardProps> = {}
): HTMLElement {
  const props: IClusterCardProps = {
    cluster: cluster as Cluster,
    compared: false,
    now: Date.parse('2026-01-01T00:01:00.000Z'),
    age,
    trans,
    onStop:
      (cluster as Cluster).source === 'discovered' ? null : () => undefined,
    code: null,
    onInsert: () => undefined,
    onLogs: null,
    wish: { workers: null, outcome: null },
    onStep: () => undefined,
    onDismiss: () => undefined,
    onMenu: () => undefined,
    ...more
  };
  // What is behind the line comes late, where it is opened.
  return draw(
    <>
      <ClusterCard {...props} />
      <ClusterDetails {...props} />
    </>
  );
}

/** The verdict in the panel. */
function Verdict(props: IVerdictProps): JSX.Element {
  return (
    <VerdictBox
      {...props}
      age={null}
      offer={null}
      onSync={() => undefined}
      onCreate={() => undefined}
      onWhy={() => undefined}
      onMenu={() => undefined}
    />
  );
}

/** Open what one can search and sort with. */
function tools(node: HTMLElement): void {
  act(() =>
    node
      .querySelector<HTMLElement>('[aria-label="Search, sort and group"]')!
      .click()
  );
}

describe('SoftwareTable', () => {
  it('sorts by name, back and forth, and by what matters most again', () => {
    const node = table(
      anyDiff({
        rows: ['numpy', 'zict', 'dask'].map(name =>
          anyRow(name, { status: 'differs', severity: 'minor' })
        )
      })
    );
    const names = () =>
      [...node.querySelectorAll('[data-package]')].map(it =>
        it.getAttribute('data-package')
      );
    tools(node);
    const head = node.querySelector('th')!;
    const by = node.querySelector<HTMLSelectElement>('[aria-label="Sort by"]')!;
    const sort = (value: string) => act(() => enter(by, value));
    expect(names()).toEqual(['numpy', 'zict', 'dask']);
    expect(head.getAttribute('aria-sort')).toBe('none');
    sort('ascending');
    expect(names()).toEqual(['dask', 'numpy', 'zict']);
    expect(head.getAttribute('aria-sort')).toBe('ascending');
    sort('descending');
    expect(names()).toEqual(['zict', 'numpy', 'dask']);
    expect(head.getAttribute('aria-sort')).toBe('descending');
    sort('');
    expect(names()).toEqual(['numpy', 'zict', 'dask']);
  });

  it('groups what belongs together, and the keyboard passes over headings', async () => {
    const node = table(
      anyDiff({
        rows: [
          anyRow('numpy', {
            status: 'differs',
            severity: 'breaks',
            use: 'imported'
          }),
          anyRow('zict', { status: 'only_kernel', severity: 'minor' }),
          anyRow('dask', { status: 'differs', severity: 'minor' })
        ]
      })
    );
    // What has no place in a page takes no focus.
    document.body.append(node);
    const list = () =>
      [...node.querySelectorAll('[data-group], [data-package]')].map(
        it => it.getAttribute('data-package') ?? it.textContent
      );
    tools(node);
    const by = node.querySelector<HTMLSelectElement>(
      '[aria-label="Group by"]'
    )!;
    const choose = (value: string) =>
      act(() => {
        by.value = value;
        by.dispatchEvent(new Event('change', { bubbles: true }));
      });
    choose('status');
    expect(list()).toEqual([
      'versions differ (2)',
      'numpy',
      'dask',
      'missing on the cluster (1)',
      'zict'
    ]);
    const press = async (from: string, key: string) => {
      const button = node.querySelector<HTMLElement>(
        `[data-package=${from}] button`
      )!;
      act(() => {
        button.focus();
        button.dispatchEvent(
          new KeyboardEvent('keydown', { key, bubbles: true })
        );
      });
      // It is focused in a later frame.
      await act(() => new Promise(done => setTimeout(done, 100)));
      return document.activeElement
        ?.closest('[data-package]')
        ?.getAttribute('data-package');
    };
    expect(await press('dask', 'ArrowDown')).toBe('zict');
    expect(await press('zict', 'Home')).toBe('numpy');
    expect(await press('numpy', 'ArrowUp')).toBe('numpy');
    choose('use');
    expect(list()).toEqual([
      'imported here (1)',
      'numpy',
      'not imported here (2)',
      'zict',
      'dask'
    ]);
    choose('');
    expect(list()).toEqual(['numpy', 'zict', 'dask']);
    node.remove();
  });

  it('shows what differs with status, severity, icon and words', () => {
    const node = table(breaks);
    const numpy = node.querySelector('[data-package=numpy]')!;
    expect(numpy.getAttribute('data-status')).toBe('differs');
    expect(numpy.getAttribute('data-severity')).toBe('breaks');
    const icon = numpy.querySelector('[role=img]')!;
    expect(icon.getAttribute('aria-label')).toBe('will break');
    expect(icon.getAttribute('data-icon')).toBe('coiled-jupyter:cross');
    expect(numpy.textContent).toContain('2.4.6');
    expect(numpy.textContent).toContain('1.26.4');
  });

  it('keeps away what is the same, or makes no difference, until asked for', () => {
    const node = table(breaks);
    const pills = () =>
      [...node.querySelectorAll('button[aria-pressed]')].map(
        it => `${it.textContent} ${it.getAttribute('aria-pressed')}`
      );
    expect(node.querySelector('[data-package=dask]')).toBeNull();
    // None that counts nothing.
    expect(pills().some(it => /^(0|\d+ same)/.test(it))).toBe(false);
    tools(node);
    const same = node.querySelector<HTMLElement>('[data-severity=same]')!;
    expect(same.getAttribute('aria-pressed')).toBe('false');
    act(() => same.click());
    expect(node.querySelector('[data-package=dask]')).not.toBeNull();
  });

  it('keeps a row that is rated anew while one works on it', () => {
    const rows = (severity: Row['severity']) => (
      <SoftwareTable
        diff={anyDiff({
          rows: [anyRow('polars', { status: 'only_kernel', severity })]
        })}
        rules={null}
        actions={actions}
        blocked=""
        reveal={null}
        trans={trans}
      />
    );
    const node = document.createElement('div');
    const root = createRoot(node);
    act(() => root.render(rows('minor')));
    const button = () =>
      node.querySelector<HTMLElement>('[data-package=polars] button')!;
    act(() => button().click());
    act(() => root.render(rows('same')));
    expect(button().getAttribute('aria-expanded')).toBe('true');
    act(() => button().click());
    expect(button().getAttribute('aria-expanded')).toBe('false');
    act(() => root.unmount());
  });

  it('draws a part of a long list, and tells how long it is', () => {
    const rows = Array.from({ length: 1000 }, (_, index) =>
      anyRow(`package-${index}`, { status: 'differs', severity: 'risky' })
    );
    const node = table(anyDiff({ rows }));
    const some = [...node.querySelectorAll('[data-package]')];
    expect(some.length).toBeGreaterThan(10);
    expect(some.length).toBeLessThan(120);
    expect(node.querySelector('table')!.getAttribute('aria-rowcount')).toBe(
      '1001'
    );
    expect(some[1].getAttribute('aria-rowindex')).toBe('3');
  });

  it('has no rows to show for equal environments', () => {
    const node = table(equal);
    expect(node.querySelectorAll('[data-package]')).toHaveLength(0);
  });

  it('counts versions where nodes differ among themselves', () => {
    const node = table(breaks);
    const toolz = node.querySelector('[data-package=toolz]')!;
    expect(toolz.getAttribute('data-status')).toBe('split');
    expect(toolz.textContent).toContain('2 versions');
  });
});

describe('PackageRow', () => {
  const numpy = breaks.rows.find(({ name }) => name === 'numpy')!;
  const toolz = breaks.rows.find(({ name }) => name === 'toolz')!;

  // What is behind a row is loaded when a row is first opened.
  beforeAll(async () => {
    await act(async () => {
      details(breaks, numpy);
      await import('../../panel/packages/details');
      await new Promise(resolve => setTimeout(resolve, 0));
    });
  });

  it('says why, what helps, and what is where', () => {
    const node = details(breaks, numpy);
    expect(
      node.querySelector('[aria-expanded]')!.getAttribute('aria-expanded')
    ).toBe('true');
    expect(node.textContent).toContain(numpy.why);
    expect(node.textContent).toContain(numpy.fix);
    const [worker] = node.querySelectorAll('[data-role=worker]');
    expect(worker.textContent).toContain('3 of 3 workers');
    expect(worker.textContent).toContain('on a, b');
    expect(worker.textContent).toContain('Python 3.11.7');
    expect(worker.textContent).toContain('tls://b:1');
  });

  it('counts the nodes that have each version', () => {
    const workers = [
      ...details(breaks, toolz).querySelectorAll('[data-role=worker]')
    ].map(node => node.textContent);
    expect(workers[0]).toContain('1.0.0 · 2 of 3 workers · on a');
    expect(workers[1]).toContain('1.1.0 · 1 of 3 workers · on b');
  });

  it('tells what still runs, and where it came from', () => {
    const diff = anyDiff();
    const node = details(
      diff,
      anyRow('mylib', {
        status: 'restart_needed',
        severity: 'risky',
        kernel: { version: '2.0', loaded: '1.9', source: null },
        groups: [
          {
            group: 'g1',
            version: '2.0',
            loaded: [
              { version: '1.9', nodes: ['w1'] },
              { version: '2.0', nodes: ['w2'] }
            ],
            source: {
              kind: 'vcs',
              url: 'https://example.org/mylib',
              commit: '3f2a91bc00112233'
            }
          }
        ]
      })
    );
    expect(node.querySelector('[data-role=kernel]')!.textContent).toContain(
      'still runs 1.9'
    );
    const worker = node.querySelector('[data-role=worker]')!.textContent;
    expect(worker).toContain('still runs 1.9 on 1 worker');
    expect(worker).toContain(
      'https://example.org/mylib at commit 3f2a91bc0011'
    );
  });

  it('calls a module beside the notebook local code', () => {
    const source = { kind: 'module', url: 'helpers.py', commit: null } as const;
    const node = details(
      anyDiff(),
      anyRow('helpers', {
        status: 'only_kernel',
        kernel: { version: '', loaded: null, source },
        groups: [{ group: 'g1', version: null, loaded: [], source: null }]
      })
    );
    const cells = [...node.querySelectorAll('td')].map(it => it.textContent);
    expect(cells.slice(0, 2)).toEqual(['local code', 'missing']);
  });

  it('opens by its button, and shows why a rule is refused', async () => {
    const ignored: [string, boolean][] = [];
    const node = draw(
      <SoftwareTable
        diff={breaks}
        rules={{ ignores: [], overrides: {}, rules: [], faults: [] }}
        actions={{
          ...actions,
          readRules: async () => undefined,
          ignore: async (name, on) => {
            ignored.push([name, on]);
            throw new ApiError('invalid', "numpy can't be ignored", 'Rate it');
          }
        }}
        blocked=""
        reveal={null}
        trans={trans}
      />
    );
    const button = node.querySelector<HTMLElement>(
      '[data-package=numpy] button'
    )!;
    expect(button.getAttribute('aria-expanded')).toBe('false');
    await act(async () => button.click());
    expect(button.getAttribute('aria-expanded')).toBe('true');
    const ignore = node.querySelector<HTMLElement>('.jp-Coiled-rating button')!;
    expect(ignore.textContent).toBe('Ignore this package');
    await act(async () => ignore.click());
    expect(ignored).toEqual([['numpy', true]]);
    expect(node.querySelector('[role=alert]')!.textContent).toBe(
      "numpy can't be ignored. Rate it"
    );
  });

  it.each([
    ['dask', 'same'],
    ['numpy', 'breaks']
  ])('is shown where something points at it: %s, %s', (name, severity) => {
    const row = breaks.rows.find(it => it.name === name)!;
    expect(row.severity).toBe(severity);
    const node = draw(
      <SoftwareTable
        diff={breaks}
        rules={null}
        actions={actions}
        blocked=""
        reveal={{ name }}
        trans={trans}
      />
    );
    const button = node.querySelector(`[data-package=${name}] button`)!;
    expect(button.getAttribute('aria-expanded')).toBe('true');
  });

  it.each([
    ['split', 'nodes differ'],
    ['content_differs', 'content differs'],
    ['restart_needed', 'restart needed'],
    ['broken', 'damaged installation'],
    ['unknown', 'not read']
  ] as const)('says %s with an icon and words', (status, words) => {
    const line = details(
      anyDiff(),
      anyRow('x', { status, severity: 'risky' })
    ).querySelector('.jp-Coiled-name')!;
    expect(line.querySelector('[role=img] svg')).not.toBeNull();
    expect(line.querySelector('small')!.textContent).toBe(words);
  });
});

describe('Explain', () => {
  it('names the rows, and how to get to them', () => {
    const node = draw(
      <Explain
        text="Traceback"
        outcome={{
          kind: 'answer',
          explanation: {
            basis: 'named',
            verdict: 'breaks',
            text: 'The failure points at numpy.',
            causes: [
              {
                row: breaks.rows[0],
                evidence: "No module named 'numpy._core' <img>",
                why: 'It is not there.'
              }
            ]
          }
        }}
        onText={() => undefined}
        onShow={() => undefined}
        trans={trans}
      />
    );
    expect(node.textContent).toContain('The failure points at numpy.');
    expect(
      node
        .querySelector('[data-cause=numpy] button')!
        .getAttribute('aria-label')
    ).toBe('Show numpy in the panel');
    expect(node.querySelector('img')).toBeNull();
  });
});

describe('Age', () => {
  it.each([
    [10, 'fresh', 'read 10 s ago'],
    [11, 'stale', 'stale, 11 s old'],
    [31, 'unknown', 'unknown, 31 s old']
  ])('of %s s is %s', (seconds, state, words) => {
    const node = draw(<Age seconds={seconds} trans={trans} />);
    const shown = node.querySelector('[data-age]')!;
    expect(shown.getAttribute('data-age')).toBe(state);
    expect(shown.textContent).toContain(words);
  });
});

describe('Verdict', () => {
  it.each([
    [breaks, 'breaks', 'will break'],
    [equal, 'equal', 'Same packages on '],
    [
      anyDiff({ verdict: 'compatible', deciding: 2 }),
      'compatible',
      '2 packages differ; this notebook uses none of them'
    ],
    [
      anyDiff({ verdict: 'compatible', deciding: 0 }),
      'compatible',
      'No known problem on '
    ]
  ])('says %#', (diff, verdict, words) => {
    const node = draw(
      <Verdict
        judgement={{ verdict: diff.verdict, reason: null }}
        diff={diff}
        trans={trans}
      />
    );
    const line = node.querySelector('[data-verdict]')!;
    expect(line.getAttribute('data-verdict')).toBe(verdict);
    expect(node.textContent).toContain(words);
    expect(node.querySelector('[aria-live=polite]')).not.toBeNull();
  });

  it('says that files are compared, until they were', () => {
    const diff = anyDiff({ checked: { content: false }, verdict: 'unknown' });
    const reason = { kind: 'unread', diff } as const;
    const judgement = { verdict: 'unknown', reason } as const;
    const node = draw(
      <Verdict judgement={judgement} diff={diff} trans={trans} />
    );
    expect(node.textContent).toContain(
      "Can't tell yet: files are being compared"
    );
  });

  it('names what was not read', () => {
    const node = draw(
      <Verdict
        judgement={{
          verdict: 'unknown',
          reason: { kind: 'unread', diff: unknown }
        }}
        diff={unknown}
        trans={trans}
      />
    );
    expect(node.textContent).toContain('The kernel is starting');
  });
});

describe('Unread', () => {
  const many = anyDiff({
    unread: ['scheduler', 'w1', 'w2'].map(node => ({ node, reason: 'late' }))
  });

  it.each([
    [unknown, true, ''],
    [unknown, false, '1 node could not be readkernel: The kernel is starting'],
    [many, true, 'Which, and whyscheduler: latew1: latew2: late'],
    [many, false, '3 nodes could not be readscheduler: latew1: latew2: late']
  ])('says %# but once', (diff, said, words) => {
    const node = draw(<Unread diff={diff} said={said} trans={trans} />);
    expect(node.textContent).toBe(words);
  });

  it('is counted in the verdict where it is more than one', () => {
    const reason = { kind: 'unread', diff: many } as const;
    const judgement = { verdict: 'unknown', reason } as const;
    expect(verdictWords({ judgement, diff: many, trans })).toBe(
      "Can't tell yet: 3 nodes could not be read"
    );
  });
});

describe('Verdict while a sync runs', () => {
  it('names the step that runs, and neither breaks nor is unknown', () => {
    const judgement = {
      verdict: 'unknown',
      reason: { kind: 'syncing', sync: sync('s1') }
    } as const;
    const told = { judgement, diff: anyDiff({ verdict: 'breaks' }), trans };
    const node = draw(<Verdict {...told} />);
    expect(node.querySelector('h2')!.textContent).toBe('Syncing: Move…');
    expect(node.querySelector('[data-syncing]')).not.toBeNull();
    expect(briefWords(told)).toBe('Syncing…');
    const waiting = sync('s1', { steps: [] });
    const reason = { kind: 'syncing', sync: waiting } as const;
    expect(verdictWords({ ...told, judgement: { ...judgement, reason } })).toBe(
      'Syncing…'
    );
  });
});

describe('Verdict of what was not read in full', () => {
  it.each([
    [{ checked: { content: false } }, 'files are being compared'],
    [{ level: 'versions' }, "only Dask's own ten versions could be read"],
    [{ rows: [anyRow('numpy', { status: 'unknown' })] }, 'numpy could not']
  ] as const)('says %#', (more, words) => {
    const diff = anyDiff({ verdict: 'unknown', ...more });
    const node = draw(
      <Verdict
        judgement={{ verdict: 'unknown', reason: { kind: 'unread', diff } }}
        diff={diff}
        trans={trans}
      />
    );
    expect(node.textContent).toContain(words);
  });
});

describe('ClusterCard', () => {
  it('lets go of an attached cluster, which goes on', () => {
    const node = card(cluster('there', { source: 'attached' }));
    expect(node.textContent).toContain('attached');
    const stop = node.querySelector('[aria-label^=Detach]')!;
    expect(node.querySelector('output')).toBeNull();
    expect(stop.textContent).toBe('Detach');
    expect(stop.getAttribute('aria-label')).toContain('which goes on');
  });

  it('has no way to stop what a notebook opened', () => {
    const node = card(
      cluster('found', { source: 'discovered', opened_by: 'train.ipynb' })
    );
    expect(node.textContent).toContain('opened by train.ipynb');
    expect(node.textContent).not.toContain('Stop');
  });

  it('names who else works with it, and with what', () => {
    const others: ClientInfo[] = [
      {
        id: 'Client-1',
        host: null,
        last_seen: null,
        versions: {},
        own: true,
        opened_by: 'train.ipynb'
      },
      {
        id: 'Client-2',
        host: '10.0.0.7',
        last_seen: '2026-01-01T00:00:50.000Z',
        versions: { python: '3.10.4.final.0', numpy: '1.26.4' },
        own: false,
        opened_by: null
      }
    ];
    const node = card(cluster('there', { other_clients: others }));
    expect(node.querySelector('summary')!.textContent).toBe('2 clients');
    const [own, other] = node.querySelectorAll('[data-client]');
    expect(own.textContent).toContain('train.ipynb');
    expect(own.textContent).toContain('no versions reported');
    expect(other.textContent).toContain('10.0.0.7');
    expect(other.textContent).toContain(
      'Python 3.10.4, numpy 1.26.4 · 10 s ago'
    );
  });

  it('claims nothing that is old', () => {
    expect(card(idleJson, 11).textContent).toContain('11 s old');
    const node = card(idleJson, 31);
    expect(node.textContent).toContain('Unknown, was Running');
    expect(node.querySelector('[data-icon]')!.getAttribute('data-icon')).toBe(
      'coiled-jupyter:doubt'
    );
  });

  it('comes after others of its kind where a notebook opened it', () => {
    const found = cluster('found', { source: 'discovered' });
    const ended = cluster('ended', { status: 'stopped' });
    const order = inOrder([ended, found, cluster('mine')]);
    expect(order.map(({ id }) => id)).toEqual(['mine', 'found', 'ended']);
  });

  it('shows state, workers and Python', () => {
    const node = card(idleJson);
    const shown = node.querySelector('[data-cluster-id=c1]')!;
    expect(shown.getAttribute('data-status')).toBe('running');
    expect(shown.textContent).toContain('1 of 2 workers');
    expect(node.textContent).toContain('Python 3.11.7');
    expect(node.textContent).toContain('…/software/abc');
  });

  it('leads to the logs beside the reason of a failure', () => {
    const opened: string[] = [];
    const onLogs = () => opened.push('logs');
    const logs = (of: unknown) =>
      card(of, 1, { onLogs }).querySelector<HTMLElement>(
        '[aria-label^="Logs of"]'
      );
    const button = logs(failedJson)!;
    act(() => button.click());
    expect(opened).toEqual(['logs']);
    expect(logs(idleJson)).toBeNull();
  });

  it('tells restarts of its workers', () => {
    expect(card(idleJson).textContent).toContain('1 restart');
    expect(card(cluster('c')).textContent).not.toContain('restart');
  });

  it('tells what is wished at once, beside what is there', () => {
    const node = card(idleJson, 1, { wish: { workers: 4, outcome: null } });
    expect(node.textContent).toContain('1 of 4 workers');
    expect(node.querySelector('output')!.textContent).toBe('4');
  });

  it('tells the bounds of adaptive scaling, and has no stepper then', () => {
    const desired = {
      ...cluster('c').desired,
      adaptive: { minimum: 1, maximum: 8 }
    };
    const node = card({ ...idleJson, desired });
    expect(node.textContent).toContain('1 worker, adaptive 1 to 8');
    expect(node.querySelector('output')).toBeNull();
  });

  it('tells when it ends by itself', () => {
    const left = (lease_until: string | null) =>
      card(cluster('c', { lease_until })).textContent;
    expect(left('2026-01-01T00:10:30.000Z')).toContain(
      'stops in 9 min unless somebody uses it'
    );
    expect(left('2025-12-31T23:59:00.000Z')).toContain('stops in 0 s');
    expect(left(null)).not.toContain('unless');
  });

  it('steps by its buttons, and not below 0', () => {
    const steps: number[] = [];
    const press = (workers: number, name: string, more = {}) => {
      const node = card(cluster('c', more), 1, {
        wish: { workers, outcome: null },
        onStep: by => steps.push(by)
      });
      const button = node.querySelector<HTMLElement>(`[aria-label="${name}"]`)!;
      act(() => button.click());
    };
    press(1, 'One worker more for c');
    press(1, 'One worker fewer for c');
    press(0, 'One worker fewer for c');
    press(1, 'One worker more for c', { status: 'starting' });
    expect(steps).toEqual([1, -1]);
  });

  it('says why a wish was refused or not met in full', () => {
    const dismissed: string[] = [];
    const error = new ApiError('conflict', 'The cluster is stopping', 'Wait');
    const node = card(cluster('c'), 1, {
      wish: { workers: null, outcome: { kind: 'refused', error } },
      onDismiss: () => dismissed.push('c')
    });
    const alert = node.querySelector('[role=alert]')!;
    expect(alert.textContent).toContain('The cluster is stopping. Wait');
    act(() => alert.querySelector('button')!.click());
    expect(dismissed).toEqual(['c']);
    const changed = { ...cluster('c'), granted: 8, limit: 100 };
    expect(
      card(cluster('c'), 1, {
        wish: {
          workers: null,
          outcome: { kind: 'granted', changed, asked: 12 }
        }
      }).querySelector('[role=alert]')!.textContent
    ).toContain('8 of 12 workers: the limit of 100 cores allows no more');
  });

  it('shows the steps of a start, and the reason of a failure', () => {
    expect(
      card(startingJson)
        .querySelector('[data-step="Start workers"]')!
        .getAttribute('data-state')
    ).toBe('running');
    expect(card(failedJson).textContent).toContain('no version of numpy==99');
  });

  describe('lists its workers', () => {
    const worker = (id: string, more: Partial<Worker> = {}): Worker => ({
      id,
      name: id,
      status: 'running',
      host: 'h1',
      threads: 4,
      busy: 3,
      memory: 512 * 1024 ** 2,
      memory_limit: 4 * 1024 ** 3,
      group: 'g1',
      restarts: 0,
      seen_at: '2026-01-01T00:01:00.000Z',
      ...more
    });
    const open = (...workers: Worker[]) =>
      card(cluster('c', { workers })).querySelector('.jp-Coiled-workerList')!;

    it('with state, cores, memory and who has the same packages', () => {
      const node = open(
        worker('w0'),
        worker('w1', { status: 'paused', group: 'g2', restarts: 2 }),
        worker('<img src=x>', { memory_limit: null, status: '<b>odd</b>' })
      );
      const [first, second, third] = [
        ...node.querySelectorAll('[data-worker]')
      ].map(it => it.textContent);
      expect(first).toContain('running · h1 · packages 1 of 2');
      expect(first).toContain('3 of 4');
      expect(first).toContain('512 MiB of 4.0 GiB');
      expect(second).toContain('paused: its memory is full');
      expect(second).toContain('packages 2 of 2 · 2 restarts');
      expect(third).toContain('<img src=x><b>odd</b>');
      expect(node.querySelector('img, b')).toBeNull();
    });

    it('says nothing of packages where all have the same', () => {
      const node = open(worker('w0'), worker('w1'));
      expect(node.textContent).not.toContain('packages');
    });

    it('draws only so many, and nothing while it is closed', () => {
      const many = Array.from({ length: 205 }, (_, at) => worker(`w${at}`));
      const node = open(...many);
      expect(node.querySelectorAll('[data-worker]')).toHaveLength(200);
      expect(node.parentElement!.textContent).toContain('and 5 more');
      const closed = card(cluster('c', { workers: many })).querySelector(
        '[data-cluster-id]'
      )!;
      expect(closed.querySelector('[data-worker]')).toBeNull();
    });
  });

  it('shows hostile names as text', () => {
    const node = card(idleJson);
    expect(node.querySelector('img')).toBeNull();
    expect(node.textContent).toContain('<img src=x onerror=alert(1)>');
  });
});

describe('A row', () => {
  it('is copied as text with what each side has, and why it matters', () => {
    const row = breaks.rows.find(({ name }) => name === 'numpy')!;
    const node = details(breaks, row);
    act(() =>
      node
        .querySelector<HTMLElement>(
          '[aria-label="Copy what is known of numpy"]'
        )!
        .click()
    );
    const [head, kernel, ...rest] = copied.pop()!.split('\n');
    expect(head).toBe('numpy: versions differ');
    expect(kernel).toBe(`${breaks.kernel.label}: ${row.kernel!.version}`);
    expect(rest[0]).toMatch(/^worker \(\d+ of \d+\): /);
    expect(rest).toContain(row.why);
  });
});

describe('CoreMeter', () => {
  it('tells usage against the limit to a screen reader', () => {
    const meter = draw(
      <CoreMeter usage={usageJson as unknown as Usage} age={1} trans={trans} />
    ).querySelector('[role=meter]')!;
    expect(meter.getAttribute('aria-valuenow')).toBe('1');
    expect(meter.getAttribute('aria-valuemax')).toBe('100');
    expect(meter.getAttribute('aria-valuetext')).toContain('98 free');
  });
});
