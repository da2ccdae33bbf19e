import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';

import { ApiError } from '../../api/client';
// Loaded beforehand: no test waits for it to be compiled.
import '../../dialogs';
import '../../panel/sync/card';
import '../../panel/sync/plan';
import { addCommands } from '../../commands/commands';
import { CommandIDs } from '../../tokens';
import { Model } from '../../model/model';
import { Panel } from '../../panel/panel';
import type { Row } from '../../api/wire';
import { DEFAULTS } from '../../model/preferences';
import {
  answer,
  cluster,
  diff,
  FakeApi,
  FakeKernels,
  kernel,
  layer,
  plan,
  row,
  settle,
  sync
} from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');
const SYNCING = [
  CommandIDs.sync,
  CommandIDs.syncChosen,
  CommandIDs.undoSync,
  CommandIDs.restoreState
];

describe('syncing', () => {
  let api: FakeApi;
  let kernels: FakeKernels;
  let model: Model;
  let commands: CommandRegistry;
  let panel: Panel;
  let shown: number;

  const numpy = row('numpy', { status: 'differs', severity: 'breaks' });
  const polars = row('polars', { status: 'only_kernel', severity: 'minor' });

  beforeEach(async () => {
    api = new FakeApi();
    api.verdict = 'breaks';
    kernels = new FakeKernels();
    model = new Model({ api, kernels, auto: false });
    commands = new CommandRegistry();
    shown = 0;
    addCommands(commands, {
      model,
      kernels,
      preferences: () => DEFAULTS,
      show: () => shown++,
      copy: () => undefined,
      openLogs: () => undefined,
      openPane: async () => undefined,
      trans
    });
    await differ(numpy, polars);
    panel = new Panel(model, commands, trans);
    Widget.attach(panel, document.body);
    await go();
  });

  afterEach(() => {
    panel.dispose();
    model.dispose();
    Notification.dismiss();
    jest.restoreAllMocks();
  });

  const differ = async (...rows: Row[]) => {
    jest.spyOn(api, 'diff').mockImplementation(async (k, c) =>
      answer(
        diff({
          verdict: 'breaks',
          rows,
          kernel: { ...diff().kernel, id: k },
          cluster: { ...diff().cluster, id: c }
        })
      )
    );
    await model.refresh();
    await model.syncs.refresh();
  };

  const unseal = async () => {
    jest.restoreAllMocks();
    api.unsealed = true;
    await model.refresh();
  };

  const have = async (...list: ReturnType<typeof sync>[]) => {
    api.synced = list;
    await model.syncs.refresh();
    // One that has ended asks for another comparison.
    await model.refresh();
  };

  /** The plan in the panel, or a dialog in front of it. */
  const asked = () =>
    document.querySelector('.jp-Dialog') ??
    document.querySelector('.jp-Coiled-plan');
  const named = (name: string) =>
    [...asked()!.querySelectorAll('button')].find(
      it => it.textContent === name
    )!;
  const accept = () =>
    asked()!.querySelector<HTMLButtonElement>('.jp-mod-accept')!;
  const offer = () =>
    panel.node.querySelector<HTMLElement>('[data-sync-offer]')!;

  /** Let promises, messages and drawing go on. */
  const go = async () => {
    for (let turn = 0; turn < 10; turn++) {
      await new Promise(resolve => setTimeout(resolve, 0));
    }
    await settle();
  };

  const press = async (which = accept()) => {
    which.click();
    await go();
  };

  const leave = async () => {
    while (asked()) {
      await press(
        asked()!.querySelector<HTMLButtonElement>('.jp-mod-reject') ??
          named('Cancel')
      );
    }
  };

  const during = async (
    command: string,
    act: () => Promise<void> | void,
    args = {}
  ) => {
    const done = commands.execute(command, args);
    await go();
    expect(asked()).not.toBeNull();
    try {
      await act();
    } finally {
      await leave();
      await done;
    }
  };

  it('shows the plan in place of the button, and begins it when it is agreed to', async () => {
    await during(CommandIDs.sync, async () => {
      expect(asked()!.textContent).toContain('Sync c1?');
      expect(panel.node.contains(asked())).toBe(true);
      expect(offer()).toBeNull();
      expect(asked()!.textContent).toContain('c1 gets what matters to a.ipynb');
      expect(asked()!.textContent).toContain('Nothing is lost');
      expect(api.started).toEqual([]);
      await press();
      expect(asked()).toBeNull();
    });
    expect(api.planned).toEqual([
      {
        cluster: 'c1',
        kernel: 'k1',
        direction: 'to_cluster',
        scope: 'notebook'
      }
    ]);
    expect(api.started).toEqual(['p1']);
    expect(model.syncs.running('c1')).not.toBeNull();
    expect(shown).toBe(1);
    // Its progress is where the plan was, and what is said of it has the focus.
    expect(panel.node.querySelector('[data-sync-id]')).not.toBeNull();
    expect(document.activeElement).toBe(
      panel.node.querySelector('[data-verdict]')
    );
  });

  it.each([
    [CommandIDs.sync, { plan: 'p1', confirm: ['lost_results'], yes: true }],
    [CommandIDs.sync, { scope: 'rated' }],
    [CommandIDs.sync, { scope: ['numpy'] }],
    [CommandIDs.syncChosen, { scope: ['numpy'] }],
    [CommandIDs.undoSync, { sync: 's1' }],
    [CommandIDs.restoreState, { layer: 'base' }]
  ])(
    '%s with %p changes nothing before it is agreed to',
    async (command, args) => {
      api.layered = [layer('base')];
      await have(sync('s1', { state: 'done' }));
      await during(command, leave, args);
      expect([api.started, api.undone, api.cancelled]).toEqual([[], [], []]);
    }
  );

  it.each([
    ['rated', 'packages of a.ipynb that break or may fail'],
    [['numpy', '<b>x</b>'], 'c1 gets numpy, <b>x</b> as a.ipynb has them.'],
    [['numpy'], 'c1 gets numpy as a.ipynb has it.']
  ])('plans only for %p', async (scope, words) => {
    await during(
      CommandIDs.sync,
      () => {
        expect(asked()!.textContent).toContain(words);
        expect(asked()!.querySelector('.jp-Coiled-lead b')).toBeNull();
      },
      { scope }
    );
    expect(api.planned[0].scope).toEqual(scope);
  });

  it.each([[[]], [''], ['everything'], [5], [[5]], [['']], [null]])(
    'plans nothing for %p',
    async scope => {
      expect(commands.isEnabled(CommandIDs.sync, { scope })).toBe(false);
      await commands.execute(CommandIDs.sync, { scope });
      expect(asked()).toBeNull();
      expect(api.planned).toEqual([]);
    }
  );

  describe('is not there', () => {
    it('for another cluster than the one compared', () => {
      expect(commands.isEnabled(CommandIDs.sync, { cluster: 'c1' })).toBe(true);
      expect(commands.isEnabled(CommandIDs.sync, { cluster: 'c2' })).toBe(
        false
      );
    });

    it('without a kernel', async () => {
      kernels.change(kernel(null));
      expect(commands.isEnabled(CommandIDs.sync)).toBe(false);
    });

    it('without a comparison', async () => {
      jest.spyOn(api, 'diff').mockRejectedValue(new ApiError('timeout', 'x'));
      await model.refresh().catch(() => undefined);
      expect(commands.isEnabled(CommandIDs.sync)).toBe(false);
      expect(commands.isEnabled(CommandIDs.sync, { scope: ['a'] })).toBe(false);
    });

    it('where nothing differs', async () => {
      await differ(row('numpy'));
      expect(commands.isEnabled(CommandIDs.sync)).toBe(false);
      expect(commands.isEnabled(CommandIDs.syncChosen)).toBe(false);
    });

    it('while a sync runs', async () => {
      await have(sync('s1'));
      expect(SYNCING.filter(it => commands.isEnabled(it))).toEqual([]);
      await commands.execute(CommandIDs.sync);
      expect(asked()).toBeNull();
    });
  });

  it('can name what is not rated', async () => {
    await differ(row('numpy', { status: 'differs', severity: 'same' }));
    const enabled = (scope: string | string[]) =>
      commands.isEnabled(CommandIDs.sync, { scope });
    expect([enabled('all'), enabled('rated'), enabled(['numpy'])]).toEqual([
      false,
      false,
      true
    ]);
  });

  it('offers everything apart from what matters, and counts it', async () => {
    const minor = row('ruff', { status: 'differs', severity: 'minor' });
    await differ(minor, { ...minor, name: 'rich' });
    const label = (scope: string) =>
      commands.label(CommandIDs.sync, { cluster: 'c1', scope });
    expect(label('all')).toBe('Sync Everything (2)…');
    expect(commands.isEnabled(CommandIDs.sync, { scope: 'all' })).toBe(true);
    expect(commands.isEnabled(CommandIDs.sync)).toBe(false);
    await differ({ ...minor, matters: true });
    expect(label('all')).toBe('Sync Everything (1)…');
    expect(label('notebook')).toBe('Sync Cluster to Notebook…');
    expect(commands.isEnabled(CommandIDs.sync)).toBe(true);
  });

  it('plans everything, or without extra packages, and keeps the focus', async () => {
    const totals = { ...plan().totals, extra: 1, outside: 2 };
    api.plans = [plan({ totals })];
    await during(CommandIDs.sync, async () => {
      const heading = asked()!.querySelector('h3')!;
      const lead = asked()!.querySelector('.jp-Coiled-lead')!;
      const inside = (where: string) =>
        asked()!.querySelector<HTMLElement>(where)!;
      inside('[data-extra] input').click();
      await go();
      expect(document.activeElement).toBe(heading);
      inside('.jp-Coiled-outside button').click();
      await go();
      expect(document.activeElement).toBe(heading);
      expect(lead.textContent).toContain('c1 gets all packages of a.ipynb.');
      expect(inside('.jp-Coiled-outside')).toBeNull();
    });
    expect(api.planned.map(it => [it.scope, it.remove_extra])).toEqual([
      ['notebook', undefined],
      ['notebook', true],
      ['all', true]
    ]);
    expect(api.started).toEqual([]);
  });

  it('can not be accepted before it is agreed to', async () => {
    const lost = { ...plan().lost, futures: 5 };
    const costly = plan({ how: 'replace', lost, needs: ['lost_results'] });
    api.plans = [costly, { ...costly, id: 'p2', needs: [] }];
    await during(CommandIDs.sync, async () => {
      expect(accept().getAttribute('aria-disabled')).toBe('true');
      await press();
      expect(api.started).toEqual([]);
      asked()!.querySelector<HTMLElement>('[data-need] input')!.click();
      await go();
      expect(accept().getAttribute('aria-disabled')).toBe('false');
      await press();
      expect(asked()).toBeNull();
    });
    expect(api.planned[1].confirm).toEqual(['lost_results']);
    expect(api.started).toEqual(['p2']);
  });

  it('shows the plan of now where the world has changed', async () => {
    api.held.set('p9', plan({ id: 'p9', layer: 'l9' }));
    api.startFailure = new ApiError('conflict', 'Stale', '', null, 'p9');
    await during(CommandIDs.sync, async () => {
      await press();
      expect(asked()!.querySelector('[data-plan=p9]')).not.toBeNull();
      expect(asked()!.textContent).toContain('has changed since');
      expect(model.syncs.running('c1')).toBeNull();
      api.startFailure = null;
      await press();
    });
    expect(api.started).toEqual(['p1', 'p9']);
  });

  it('shows the sync that runs already', async () => {
    await during(CommandIDs.sync, async () => {
      api.synced = [sync('other')];
      api.startFailure = new ApiError('conflict', 'One runs');
      await press();
      expect(asked()).toBeNull();
    });
    expect(model.syncs.shown('c1')?.id).toBe('other');
    expect(shown).toBe(1);
    expect(Notification.manager.notifications[0].message).toContain(
      'runs already'
    );
  });

  it('tells why there is no plan, in its place', async () => {
    api.plans = [new ApiError('impossible', 'No wheel', 'Take another')];
    await during(CommandIDs.sync, async () => {
      expect(asked()!.querySelector('[role=alert]')!.textContent).toContain(
        'No wheel'
      );
      await press();
      expect(asked()).not.toBeNull();
    });
    expect(api.started).toEqual([]);
  });

  describe('has the focus, and gives it back', () => {
    const escape = async () => {
      document.activeElement!.dispatchEvent(
        new KeyboardEvent('keydown', { key: 'Escape', bubbles: true })
      );
      await go();
      expect(asked()).toBeNull();
    };

    it('to where it was', async () => {
      const opener = document.createElement('button');
      document.body.append(opener);
      opener.focus();
      await during(CommandIDs.sync, async () => {
        expect(document.activeElement).toBe(asked()!.querySelector('h3'));
        await escape();
      });
      expect(document.activeElement).toBe(opener);
      opener.remove();
    });

    it('to the button whose place it took', async () => {
      offer().focus();
      offer().click();
      await go();
      expect(document.activeElement).toBe(asked()!.querySelector('h3'));
      await escape();
      expect(document.activeElement).toBe(offer());
      expect(model.review).toBeNull();
    });

    it('and takes none where one works elsewhere', async () => {
      await during(CommandIDs.sync, async () => {
        (document.activeElement as HTMLElement).blur();
        await press(named('Cancel'));
      });
      expect(document.activeElement).toBe(document.body);
    });
  });

  it('goes with the notebook that it is for, and that of an undo stays', async () => {
    await have(sync('s1', { state: 'done' }));
    await during(CommandIDs.sync, async () => {
      kernels.change(kernel('k2', 'b.ipynb'));
      await go();
      expect(asked()).toBeNull();
    });
    await during(CommandIDs.undoSync, async () => {
      kernels.change(kernel('k1'));
      await go();
      expect(asked()!.textContent).toContain('Undo the last sync of c1?');
    });
    expect([api.started, api.undone]).toEqual([[], []]);
  });

  it('shows one plan, that asked for last', async () => {
    await during(CommandIDs.sync, async () => {
      const first = model.review!.review;
      await commands.execute(CommandIDs.sync, { scope: ['numpy'] });
      await go();
      expect(document.querySelectorAll('.jp-Coiled-plan')).toHaveLength(1);
      expect(asked()!.textContent).toContain('c1 gets numpy');
      expect(first.isDisposed).toBe(true);
      expect(document.activeElement).toBe(asked()!.querySelector('h3'));
    });
  });

  it('lets one choose packages, those that matter at first', async () => {
    await during(CommandIDs.syncChosen, async () => {
      const boxes = [
        ...asked()!.querySelectorAll<HTMLInputElement>('input[type=checkbox]')
      ];
      expect(boxes.map(({ checked, value }) => [value, checked])).toEqual([
        ['numpy', true],
        ['polars', false]
      ]);
      expect(asked()!.textContent).toContain('for 1 package');
      boxes[0].click();
      await settle();
      expect(asked()!.textContent).toContain('Choose at least one');
      await press();
      expect(api.planned).toEqual([]);
      boxes[1].click();
      await settle();
      await press();
      expect(asked()!.textContent).toContain('c1 gets polars');
    });
    expect(api.planned[0].scope).toEqual(['polars']);
  });

  it('undoes after the plan of it was seen', async () => {
    await have(sync('s1', { state: 'done' }));
    expect(commands.label(CommandIDs.undoSync)).toBe('Undo the Last Sync…');
    await during(CommandIDs.undoSync, async () => {
      expect(asked()!.textContent).toContain('Undo the last sync of c1?');
      expect(api.undone).toEqual([]);
      await press();
    });
    expect(api.planned).toEqual([
      { cluster: 'c1', direction: 'to_cluster', from: { layer: 'base' } }
    ]);
    expect([api.undone, api.started]).toEqual([['s1'], []]);
  });

  it('takes an undo back', async () => {
    await have(
      sync('s2', { state: 'done', undo_of: 's1', layer_before: 'l1' }),
      sync('s1', { state: 'done', undone_by: 's2' })
    );
    expect(commands.label(CommandIDs.undoSync)).toBe('Redo the Last Sync…');
    await during(CommandIDs.undoSync, () => press());
    expect(api.planned[0].from).toEqual({ layer: 'l1' });
    expect(api.undone).toEqual(['s2']);
  });

  it('undoes nothing where nothing was done', async () => {
    expect(commands.isEnabled(CommandIDs.undoSync)).toBe(false);
    await commands.execute(CommandIDs.undoSync);
    expect(asked()).toBeNull();
  });

  it('goes back to a state that was', async () => {
    await have(sync('s1', { state: 'done' }));
    api.layered = [
      layer('l2', { clusters: ['c1'] }),
      layer('l1', { used_at: '2026-03-01T10:30:00.000Z' }),
      layer('base', { used_at: '2026-03-01T10:00:00.000Z' })
    ];
    await during(CommandIDs.restoreState, async () => {
      const radios = [
        ...asked()!.querySelectorAll<HTMLInputElement>('input[type=radio]')
      ];
      expect(radios.map(it => [it.value, it.checked, it.disabled])).toEqual([
        ['l2', false, true],
        ['l1', true, false],
        ['base', false, false]
      ]);
      radios[2].click();
      await settle();
      await press();
      expect(asked()!.textContent).toContain('Bring c1 back');
      await press();
    });
    expect(api.planned[0].from).toEqual({ layer: 'base' });
    expect(api.started).toEqual(['p1']);
  });

  it('says where there is no other state', async () => {
    await have(sync('s1', { state: 'failed' }));
    api.layered = [layer('base', { clusters: ['c1'] })];
    await commands.execute(CommandIDs.restoreState);
    expect(asked()).toBeNull();
    expect(Notification.manager.notifications[0].message).toContain('no other');
  });

  describe('removing states', () => {
    const mib = 1024 ** 2;
    const place = (size: number | null) => ({
      host: 'node1',
      prefix: '/opt/env',
      path: '/home/<b>me</b>/layers/l1',
      size
    });
    const boxes = () => [
      ...asked()!.querySelectorAll<HTMLInputElement>('input[type=checkbox]')
    ];

    beforeEach(() => {
      api.layered = [
        layer('used', { clusters: ['c1'], places: [place(9 * mib)] }),
        layer('l1', { places: [place(90 * mib), place(10 * mib)] }),
        layer('l2', { places: [place(2 * mib), place(null)] }),
        layer('orphan', { known_by: [], places: [place(mib)] }),
        layer('base')
      ];
    });

    it('tells sizes, users and places, and removes only what was chosen', async () => {
      await during(CommandIDs.removeStates, async () => {
        expect(boxes().map(it => [it.value, it.checked, it.disabled])).toEqual([
          ['used', false, true],
          ['l1', false, false],
          ['l2', false, false],
          ['orphan', false, true]
        ]);
        const said = (id: string) =>
          asked()!.querySelector(`[data-choice=${id}]`)!.textContent;
        expect(said('used')).toContain('c1 runs in it');
        expect(said('l1')).toContain('12 packages, 100 MiB, in use');
        expect(said('l1')).toContain('node1: /home/<b>me</b>/layers/l1');
        expect(said('l2')).toContain('at least 2.0 MiB');
        expect(said('orphan')).toContain('remove the folder yourself');
        await press();
        expect(asked()!.textContent).toContain('Choose at least one state');
        boxes()[1].click();
        await settle();
        expect(asked()!.textContent).toContain(
          '1 state is removed (100 MiB); c1 can not go back to it any more.'
        );
        await press();
        expect(asked()).toBeNull();
      });
      expect(api.layered.map(({ id }) => id)).not.toContain('l1');
      expect(api.layered).toHaveLength(4);
    });

    it('says what could not be removed, and keeps only that', async () => {
      api.layerFailures.set('l2', new ApiError('conflict', 'It is in use'));
      await during(CommandIDs.removeStates, async () => {
        boxes()[1].click();
        await settle();
        boxes()[2].click();
        await settle();
        await press();
        expect(asked()!.textContent).toContain('It is in use');
        expect(boxes().map(it => it.value)).toEqual(['used', 'l2', 'orphan']);
      });
    });

    it('removes nothing without its dialog', async () => {
      await during(CommandIDs.removeStates, leave, { layer: 'l1' });
      expect(api.layered).toHaveLength(5);
    });

    it('says where there is none', async () => {
      api.layered = [layer('base')];
      await commands.execute(CommandIDs.removeStates);
      expect(asked()).toBeNull();
      expect(Notification.manager.notifications[0].message).toContain('No ear');
    });
  });

  it('cancels after one was asked', async () => {
    await have(sync('s1'));
    await during(CommandIDs.cancelSync, leave);
    expect(api.cancelled).toEqual([]);
    await during(CommandIDs.cancelSync, async () => {
      expect(asked()!.textContent).toContain('move back');
      await press();
    });
    expect(api.cancelled).toEqual(['s1']);
  });

  it('cancels nothing that has ended while one was asked', async () => {
    await have(sync('s1'));
    await during(CommandIDs.cancelSync, async () => {
      api.advance('s1', { state: 'done' });
      await model.syncs.refresh();
      await press();
    });
    expect(api.cancelled).toEqual([]);
  });

  it('tells when it can not be cancelled', async () => {
    await have(sync('s1'));
    jest
      .spyOn(api, 'cancelSync')
      .mockRejectedValue(new ApiError('conflict', 'Too late'));
    await during(CommandIDs.cancelSync, () => press());
    expect(Notification.manager.notifications[0].message).toBe('Too late');
  });

  it("seals the notebook's graphs where the cluster takes such only", async () => {
    expect(commands.isEnabled(CommandIDs.seal, { cluster: 'c1' })).toBe(false);
    await unseal();
    expect(commands.isEnabled(CommandIDs.seal, { cluster: 'c2' })).toBe(false);
    expect(commands.isEnabled(CommandIDs.seal, { cluster: 'c1' })).toBe(true);
    await commands.execute(CommandIDs.seal, { cluster: 'c1' });
    expect(api.sealed).toEqual([['k1', 'c1', true]]);
  });

  it('tells why graphs can not be sealed', async () => {
    await unseal();
    jest
      .spyOn(api, 'seal')
      .mockRejectedValue(new ApiError('unavailable', 'No Dask there'));
    await commands.execute(CommandIDs.seal, { cluster: 'c1' });
    expect(Notification.manager.notifications[0].message).toBe('No Dask there');
  });

  it('keeps a choice of clusters apart', async () => {
    api.list = [cluster('c1'), cluster('c2', { name: 'other' })];
    await model.refresh();
    await have(sync('s2', { cluster: 'c2', state: 'done' }));
    expect(commands.isEnabled(CommandIDs.undoSync, { cluster: 'c1' })).toBe(
      false
    );
    await during(
      CommandIDs.undoSync,
      () => {
        expect(asked()!.textContent).toContain('last sync of other');
      },
      { cluster: 'c2' }
    );
  });
});
