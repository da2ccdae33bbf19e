import { Notification } from '@jupyterlab/apputils';
import { PageConfig } from '@jupyterlab/coreutils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { ApiError } from '../../api/client';
// Loaded beforehand: no test waits for it to be compiled.
import '../../dialogs';
import { addCommands } from '../../commands/commands';
import { CommandIDs } from '../../tokens';
import { Model } from '../../model/model';
import type { ClientInfo, Cluster } from '../../api/wire';
import { DEFAULTS } from '../../model/preferences';
import {
  answer,
  cluster,
  enter,
  FakeApi,
  FakeKernels,
  drawn,
  usage
} from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');
const STEERING = [
  CommandIDs.scaleCluster,
  CommandIDs.restartCluster,
  CommandIDs.keepCluster,
  CommandIDs.renameCluster
];

describe('steering', () => {
  let api: FakeApi;
  let model: Model;
  let commands: CommandRegistry;
  let copied: string[];
  let opened: string[];

  beforeEach(async () => {
    api = new FakeApi();
    const kernels = new FakeKernels();
    model = new Model({ api, kernels, now: () => Date.now(), auto: false });
    commands = new CommandRegistry();
    copied = [];
    opened = [];
    addCommands(commands, {
      model,
      kernels,
      preferences: () => DEFAULTS,
      show: () => undefined,
      copy: text => copied.push(text),
      openLogs: ({ id }) => opened.push(id),
      openPane: async () => undefined,
      trans
    });
    await have(cluster('c1'));
  });

  afterEach(() => {
    model.dispose();
    Notification.dismiss();
    jest.restoreAllMocks();
  });

  const have = async (...list: Cluster[]) => {
    api.list = list;
    await model.refresh();
    await drawn();
  };

  const dialog = () => document.querySelector('.jp-Dialog');
  const body = () => dialog()!.querySelector<HTMLElement>('.jp-Coiled-form')!;
  const said = () => body().querySelector('.jp-Coiled-summary')!.textContent!;
  const field = (selector: string) =>
    body().querySelector<HTMLInputElement>(selector)!;

  const type = async (selector: string, value: string) => {
    enter(field(selector), value);
    await drawn();
  };

  const choose = async (value: string) => {
    field(`input[value=${value}]`).click();
    await drawn();
  };

  const button = (accept: boolean) =>
    dialog()!.querySelector<HTMLButtonElement>(
      accept ? '.jp-mod-accept' : '.jp-mod-reject'
    )!;

  const press = async (accept = true) => {
    button(accept).click();
    await drawn();
  };

  /** Let a command that waits for its dialog end. */
  const leave = async () => {
    if (dialog()) {
      await press(false);
    }
  };

  const during = async (
    command: string,
    act: () => Promise<void> | void,
    args = {}
  ) => {
    const done = commands.execute(command, { cluster: 'c1', ...args });
    // Dialogs wait for each other, and are drawn after that.
    for (let turn = 0; turn < 20 && !dialog(); turn++) {
      await new Promise(resolve => setTimeout(resolve, 0));
    }
    await drawn();
    expect(dialog()).not.toBeNull();
    try {
      await act();
    } finally {
      await leave();
      await done;
    }
  };

  it.each(STEERING)('%s changes nothing without its dialog', async command => {
    await during(
      command,
      async () => {
        expect(said().length).toBeGreaterThan(10);
        await press(false);
      },
      { workers: 9, name: 'x', what: 'cluster', lease_seconds: 0 }
    );
    expect([api.changes, api.restarts]).toEqual([[], []]);
  });

  it.each([
    ['discovered', { source: 'discovered' }, []],
    ['attached', { source: 'attached' }, [CommandIDs.renameCluster]],
    ['stopped', { status: 'stopped' }, []],
    ['failed', { status: 'failed' }, []],
    ['stopping', { status: 'stopping' }, []],
    [
      'starting',
      { status: 'starting' },
      [CommandIDs.keepCluster, CommandIDs.renameCluster]
    ],
    ['unreachable', { status: 'unreachable' }, STEERING],
    ['idle', {}, STEERING]
  ] as const)('of what is %s', async (_, more, expected) => {
    await have(cluster('c1', more));
    const enabled = STEERING.filter(command =>
      commands.isEnabled(command, { cluster: 'c1' })
    );
    expect(enabled).toEqual(expected);
    for (const command of STEERING.filter(it => !enabled.includes(it))) {
      await commands.execute(command, { cluster: 'c1' });
      expect(dialog()).toBeNull();
    }
  });

  it('takes the compared cluster without an argument, and none for a wrong one', () => {
    for (const command of STEERING) {
      expect(commands.isEnabled(command)).toBe(true);
      expect(commands.isEnabled(command, { cluster: 'c2' })).toBe(false);
      expect(commands.isEnabled(command, { cluster: 1 })).toBe(false);
    }
  });

  describe('scale', () => {
    const big = (more: Partial<Cluster['desired']> = {}) =>
      cluster('c1', {
        desired: {
          workers: 2,
          adaptive: null,
          lease_seconds: 600,
          kept: false,
          ...more
        },
        cores: { busy: 0, allocated: 4, requested: 4 }
      });

    it('states workers, cores and what is left', async () => {
      await have(big());
      await during(CommandIDs.scaleCluster, async () => {
        await type('[data-field=workers]', '5');
        expect(said()).toContain('c1 gets 5 workers instead of 2');
        expect(said()).toContain('takes 10 cores');
        expect(said()).toContain('90 of 100 are left then');
        await press();
      });
      expect(api.changes).toEqual([['c1', { workers: 5 }]]);
      expect(model.clusters[0].desired.workers).toBe(5);
      expect(dialog()).toBeNull();
    });

    it('says when fewer fit, counting what others have', async () => {
      await have(big());
      const others = usage();
      jest.spyOn(api, 'usage').mockResolvedValue(
        answer({
          ...others,
          clusters: [
            {
              id: 'c2',
              name: 'c2',
              counted: true,
              cores: { busy: 0, allocated: 80, requested: 90 },
              memory: { used: 0, limit: null },
              seen_at: null
            }
          ]
        })
      );
      await model.refresh();
      await during(CommandIDs.scaleCluster, async () => {
        await type('[data-field=workers]', '6');
        expect(said()).toContain('Only 5 workers fit: the limit of 100 cores');
        // The server decides: it isn't forbidden to ask.
        expect(button(true).disabled).toBe(false);
      });
    });

    it('asks for nothing while a number is missing', async () => {
      await during(CommandIDs.scaleCluster, async () => {
        await type('[data-field=workers]', '');
        await press();
        expect(dialog()).not.toBeNull();
      });
      expect(api.changes).toEqual([]);
    });

    it('says what a smaller size means', async () => {
      await during(CommandIDs.scaleCluster, async () => {
        await type('[data-field=workers]', '1');
        expect(said()).toContain('hand what they hold to the others');
        await type('[data-field=workers]', '0');
        expect(said()).toContain('What only its workers hold is lost');
      });
    });

    it('goes over to adaptive scaling', async () => {
      await have(big());
      await during(CommandIDs.scaleCluster, async () => {
        await choose('adaptive');
        await type('[data-field="adaptive.minimum"]', '1');
        await type('[data-field="adaptive.maximum"]', '8');
        expect(said()).toContain('1 to 8 workers');
        expect(said()).toContain('At most 16 cores');
        await press();
      });
      expect(api.changes).toEqual([
        ['c1', { adaptive: { minimum: 1, maximum: 8 } }]
      ]);
    });

    it('says that a fixed number ends adaptive scaling', async () => {
      await have(big({ adaptive: { minimum: 1, maximum: 8 } }));
      await during(CommandIDs.scaleCluster, async () => {
        expect(said()).toContain('1 to 8 workers');
        await choose('fixed');
        expect(said()).toContain('ends adaptive scaling (1 to 8)');
        await press();
      });
      expect(api.changes).toEqual([['c1', { workers: 2 }]]);
    });

    it('claims no cores where the threads are not known', async () => {
      const none = { busy: 0, allocated: 0, requested: 0 };
      await have({ ...big({ workers: 0 }), cores: none });
      await during(CommandIDs.scaleCluster, async () => {
        await type('[data-field=workers]', '3');
        expect(said()).not.toMatch(/core|NaN|Infinity/);
      });
    });

    it('tells in words where less was granted', async () => {
      api.grant = { granted: 8, limit: 100 };
      await during(CommandIDs.scaleCluster, async () => {
        await type('[data-field=workers]', '12');
        await press();
      });
      expect(Notification.manager.notifications.map(it => it.message)).toEqual([
        '8 of 12 workers: the limit of 100 cores allows no more'
      ]);
    });

    it('keeps what was typed where the server refuses', async () => {
      await during(CommandIDs.scaleCluster, async () => {
        await type('[data-field=workers]', '500');
        api.changeFailure = new ApiError(
          'invalid',
          'At most 200 workers',
          'Ask for fewer',
          'workers'
        );
        await press();
        expect(body().querySelector('[role=alert]')!.textContent).toBe(
          'At most 200 workers. Ask for fewer'
        );
        const input = field('[data-field=workers]');
        expect(input.value).toBe('500');
        expect(input.getAttribute('aria-invalid')).toBe('true');
        api.changeFailure = null;
        await type('[data-field=workers]', '20');
        await press();
        expect(dialog()).toBeNull();
      });
    });
  });

  it('says what each restart loses', async () => {
    await during(CommandIDs.restartCluster, async () => {
      expect(said()).toContain('scattered data is lost');
      expect(said()).not.toContain('All results');
      await choose('cluster');
      expect(said()).toContain(
        'All results, scattered data and tasks are lost'
      );
      expect(said()).toContain('reconnect by themselves');
      await press();
    });
    expect(api.restarts).toEqual([['c1', 'cluster']]);
  });

  it('restarts the workers unless the whole is chosen', async () => {
    await during(CommandIDs.restartCluster, () => press());
    expect(api.restarts).toEqual([['c1', 'workers']]);
  });

  describe.each([CommandIDs.stopCluster, CommandIDs.restartCluster])(
    '%s tells',
    command => {
      const stakes = () => dialog()!.querySelector('.jp-Coiled-whatIsLost')!;
      const sentences = () =>
        [...stakes().querySelectorAll('li')].map(it => it.textContent);
      const client = (id: string, more: Partial<ClientInfo> = {}) => ({
        id,
        host: '10.0.0.1',
        last_seen: null,
        versions: {},
        own: false,
        opened_by: null,
        ...more
      });
      const tasks = {
        running: 3,
        queued: 1,
        done_per_second: null,
        in_memory: 12
      };

      it('what the cluster holds and whom it concerns, as it changes', async () => {
        const busy = {
          tasks,
          clients: 2,
          other_clients: [
            client('1', { own: true, opened_by: 'train.ipynb' }),
            client('2', { host: '<b>h</b>' })
          ]
        };
        await have(cluster('c1', busy));
        await during(command, async () => {
          expect(sentences()).toEqual([
            'It holds 12 results in memory, each copy counted.',
            '3 tasks are running, 1 is waiting.',
            '2 clients are connected: train.ipynb, somebody on <b>h</b>'
          ]);
          expect(stakes().querySelector('b')).toBeNull();
          expect(stakes().textContent).toMatch(/read \d s ago$/);
          await have(
            cluster('c1', {
              ...busy,
              tasks: { ...tasks, running: 0, queued: 0, in_memory: 1 }
            })
          );
          expect(sentences().slice(0, 2)).toEqual([
            'It holds 1 result in memory.',
            'No task is running or waiting.'
          ]);
          await have();
          expect(sentences()).toEqual(['It is not there any more.']);
        });
      });

      it('what is not known as that, never as nothing', async () => {
        await have(cluster('c1', { tasks: { ...tasks, in_memory: null } }));
        await during(command, async () => {
          expect(sentences()[0]).toContain('is not known');
        });
        await have(cluster('c1', { tasks: null }));
        await during(command, async () => {
          expect(sentences()).toEqual(['What it holds has not been read.']);
        });
      });

      it('how old that is, and that an old reading is unknown', async () => {
        await have(cluster('c1', { tasks }));
        const then = Date.now() + 60_000;
        await during(command, async () => {
          jest.spyOn(Date, 'now').mockReturnValue(then);
          // Each second it is said anew.
          await new Promise(resolve => setTimeout(resolve, 1100));
          const age = stakes().querySelector<HTMLElement>('.jp-Coiled-age')!;
          expect(age.textContent).toContain('unknown, 1 min old');
          expect(age.dataset.age).toBe('unknown');
        });
      });
    }
  );

  describe('where several clusters live', () => {
    const choices = () =>
      [...body().querySelectorAll<HTMLElement>('[data-choice]')].map(
        it => it.dataset.choice
      );

    beforeEach(async () => {
      await have(
        cluster('c1'),
        cluster('c2'),
        cluster('c3', { source: 'attached' }),
        cluster('c4', { status: 'failed' })
      );
      model.choose('c2');
    });

    /** Wait for a dialog with this in it; one can follow another. */
    const comes = async (selector: string) => {
      for (let turn = 0; turn < 40 && !dialog()?.querySelector(selector);) {
        turn++;
        await drawn();
      }
      expect(dialog()?.querySelector(selector)).toBeTruthy();
      await drawn();
    };

    const asking = async (command: string, act: () => Promise<void>) => {
      const done = commands.execute(command);
      try {
        await comes('[data-choice]');
        await act();
      } finally {
        await leave();
        await done;
      }
      expect(dialog()).toBeNull();
    };

    it('asks which one is meant, the one compared first', async () => {
      await asking(CommandIDs.scaleCluster, async () => {
        expect(choices()).toEqual(['c1', 'c2']);
        expect(field('input:checked').value).toBe('c2');
        expect(body().textContent).toContain('compared with the notebook');
        expect(said()).toContain('Set how many workers');
        await choose('c1');
        await press();
        await comes('[data-field=workers]');
        await type('[data-field=workers]', '5');
        await press();
      });
      expect(api.changes).toEqual([['c1', { workers: 5 }]]);
    });

    it('offers those that it can be done to, and does nothing without a choice', async () => {
      await asking(CommandIDs.renameCluster, async () => {
        expect(choices()).toEqual(['c1', 'c2', 'c3']);
        await press(false);
      });
      expect(api.changes).toEqual([]);
    });

    it('does nothing to one that has ended meanwhile', async () => {
      await asking(CommandIDs.scaleCluster, async () => {
        await have(cluster('c1'), cluster('c2', { status: 'stopped' }));
        await press();
      });
      expect(api.changes).toEqual([]);
    });

    it('asks nothing where only one fits, or one is named', async () => {
      const scheduler = { address: 'a', id: null, dashboard: 'http://h:1/' };
      await have(cluster('c1'), cluster('c2', { scheduler }));
      const tab = jest.spyOn(window, 'open').mockReturnValue(null);
      await commands.execute(CommandIDs.openDashboard);
      expect(tab).toHaveBeenCalledTimes(1);
      await commands.execute(CommandIDs.showLogs, { cluster: 'c1' });
      expect(opened).toEqual(['c1']);
    });

    it('means those that have ended where none lives', async () => {
      await have(cluster('c4', { status: 'failed' }));
      await commands.execute(CommandIDs.showLogs);
      expect(opened).toEqual(['c4']);
    });
  });

  it('renames an attached cluster too', async () => {
    await have(cluster('c1', { source: 'attached' }));
    await during(CommandIDs.renameCluster, async () => {
      await type('[data-field=name]', ' <b>mine</b> ');
      expect(said()).toContain('c1 is called <b>mine</b> from now on');
      expect(body().querySelector('b')).toBeNull();
      await press();
    });
    expect(api.changes).toEqual([['c1', { name: '<b>mine</b>' }]]);
  });

  it('keeps a cluster for as long as is chosen', async () => {
    await during(CommandIDs.keepCluster, async () => {
      const select = body().querySelector('select')!;
      expect(select.value).toBe('600');
      expect([...select.options].map(({ value }) => Number(value))).toEqual([
        600, 3600, 28800, 86400, 604800, 0
      ]);
      expect(said()).toContain('at once when the server is shut down');
      await type('select', '28800');
      expect(said()).toContain('stops 8 h after the last client');
      await type('select', '0');
      expect(said()).toContain('as soon as no client is connected');
      await type('select', '86400');
      await press();
    });
    expect(api.changes).toEqual([['c1', { lease_seconds: 86400 }]]);
  });

  it('offers the present time also where it is none of the usual', async () => {
    const desired = { ...cluster('c1').desired, lease_seconds: 1200 };
    await have(cluster('c1', { desired }));
    await during(CommandIDs.keepCluster, async () => {
      expect(body().querySelector('select')!.value).toBe('1200');
    });
  });

  it.each([
    ['http://127.0.0.1:8787/status', 'http://127.0.0.1:8787/status'],
    ['https://h/status', 'https://h/status'],
    ['proxy/8787/status', 'http://localhost/user/me/proxy/8787/status'],
    ['/hub/8787/status', 'http://localhost/hub/8787/status'],
    ['javascript:alert(1)', null],
    ['file:///etc/passwd', null],
    ['', null],
    [null, null]
  ])('opens the dashboard %p at %p', async (dashboard, opens) => {
    PageConfig.setOption('baseUrl', '/user/me/');
    const scheduler = { address: 'tcp://h:1', id: null, dashboard };
    await have(cluster('c1', { scheduler }));
    const tab = jest.spyOn(window, 'open').mockReturnValue(null);
    expect(commands.isEnabled(CommandIDs.openDashboard)).toBe(opens !== null);
    await commands.execute(CommandIDs.openDashboard);
    expect(tab.mock.calls).toEqual(
      opens === null ? [] : [[opens, '_blank', 'noopener,noreferrer']]
    );
  });

  it.each([
    ['managed', 'failed', ['c1']],
    ['managed', 'stopped', ['c1']],
    ['managed', 'starting', ['c1']],
    ['attached', 'idle', []],
    ['discovered', 'idle', []]
  ] as const)('shows the logs of %s, %s', async (source, status, expected) => {
    await have(cluster('c1', { source, status }));
    await commands.execute(CommandIDs.showLogs, { cluster: 'c1' });
    expect(opened).toEqual(expected);
  });

  it('copies what is known as JSON', async () => {
    await commands.execute(CommandIDs.copyCluster, { cluster: 'c1' });
    expect(JSON.parse(copied[0])).toEqual(model.clusters[0]);
  });

  it('is short in a menu of one cluster, and whole in the palette', () => {
    expect(commands.label(CommandIDs.scaleCluster)).toBe('Scale Cluster…');
    expect(commands.label(CommandIDs.scaleCluster, { cluster: 'c1' })).toBe(
      'Scale…'
    );
  });
});
