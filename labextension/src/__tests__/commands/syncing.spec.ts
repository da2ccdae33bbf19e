import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { ApiError } from '../../api/client';
// Loaded beforehand: no test waits for it to be compiled.
import '../../dialogs';
import { addCommands } from '../../commands/commands';
import { CommandIDs } from '../../tokens';
import { Model } from '../../model/model';
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
      trans
    });
    await differ(numpy, polars);
  });

  afterEach(() => {
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

  const have = async (...list: ReturnType<typeof sync>[]) => {
    api.synced = list;
    await model.syncs.refresh();
    // One that has ended asks for another comparison.
    await model.refresh();
  };

  const dialog = () => document.querySelector('.jp-Dialog');
  const accept = () =>
    dialog()!.querySelector<HTMLButtonElement>('.jp-mod-accept')!;

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
    while (dialog()) {
      await press(
        dialog()!.querySelector<HTMLButtonElement>('.jp-mod-reject')!
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
    expect(dialog()).not.toBeNull();
    try {
      await act();
    } finally {
      await leave();
      await done;
    }
  };

  it('shows the plan, and begins it when it is agreed to', async () => {
    await during(CommandIDs.sync, async () => {
      expect(dialog()!.textContent).toContain('Sync c1?');
      expect(dialog()!.textContent).toContain(
        'c1 gets the packages of a.ipynb.'
      );
      expect(dialog()!.textContent).toContain('Nothing is lost');
      expect(api.started).toEqual([]);
      await press();
      expect(dialog()).toBeNull();
    });
    expect(api.planned).toEqual([
      { cluster: 'c1', kernel: 'k1', direction: 'to_cluster', scope: 'all' }
    ]);
    expect(api.started).toEqual(['p1']);
    expect(model.syncs.running('c1')).not.toBeNull();
    expect(shown).toBe(1);
  });

  it.each([
    [CommandIDs.sync, { plan: 'p1', confirm: ['lost_results'], yes: true }],
    [CommandIDs.sync, { scope: 'rated' }],
    [CommandIDs.sync, { scope: ['numpy'] }],
    [CommandIDs.syncChosen, { scope: ['numpy'] }],
    [CommandIDs.undoSync, { sync: 's1' }],
    [CommandIDs.restoreState, { layer: 'base' }]
  ])('%s with %p changes nothing without its dialog', async (command, args) => {
    api.layered = [layer('base')];
    await have(sync('s1', { state: 'done' }));
    await during(command, leave, args);
    expect([api.started, api.undone, api.cancelled]).toEqual([[], [], []]);
    expect(shown).toBe(0);
  });

  it.each([
    ['rated', 'packages of a.ipynb that break or may fail'],
    [['numpy', '<b>x</b>'], 'c1 gets numpy, <b>x</b> as a.ipynb has them.'],
    [['numpy'], 'c1 gets numpy as a.ipynb has it.']
  ])('plans only for %p', async (scope, words) => {
    await during(
      CommandIDs.sync,
      () => {
        expect(dialog()!.textContent).toContain(words);
        expect(dialog()!.querySelector('.jp-Dialog-body b b')).toBeNull();
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
      expect(dialog()).toBeNull();
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
      expect(dialog()).toBeNull();
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

  it('can not be accepted before it is agreed to', async () => {
    const lost = { ...plan().lost, futures: 5 };
    const costly = plan({ how: 'replace', lost, needs: ['lost_results'] });
    api.plans = [costly, { ...costly, id: 'p2', needs: [] }];
    await during(CommandIDs.sync, async () => {
      expect(accept().getAttribute('aria-disabled')).toBe('true');
      await press();
      expect(api.started).toEqual([]);
      dialog()!.querySelector<HTMLElement>('[data-need] input')!.click();
      await go();
      expect(accept().getAttribute('aria-disabled')).toBe('false');
      await press();
      expect(dialog()).toBeNull();
    });
    expect(api.planned[1].confirm).toEqual(['lost_results']);
    expect(api.started).toEqual(['p2']);
  });

  it('shows the plan of now where the world has changed', async () => {
    api.held.set('p9', plan({ id: 'p9', layer: 'l9' }));
    api.startFailure = new ApiError('conflict', 'Stale', '', null, 'p9');
    await during(CommandIDs.sync, async () => {
      await press();
      expect(dialog()!.querySelector('[data-plan=p9]')).not.toBeNull();
      expect(dialog()!.textContent).toContain('has changed since');
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
      expect(dialog()).toBeNull();
    });
    expect(model.syncs.shown('c1')?.id).toBe('other');
    expect(shown).toBe(1);
    expect(Notification.manager.notifications[0].message).toContain(
      'runs already'
    );
  });

  it('tells why there is no plan, in the dialog', async () => {
    api.plans = [new ApiError('impossible', 'No wheel', 'Take another')];
    await during(CommandIDs.sync, async () => {
      expect(dialog()!.querySelector('[role=alert]')!.textContent).toContain(
        'No wheel'
      );
      await press();
      expect(dialog()).not.toBeNull();
    });
    expect(api.started).toEqual([]);
  });

  it('gives the focus back to where it was', async () => {
    const opener = document.createElement('button');
    document.body.append(opener);
    opener.focus();
    await during(CommandIDs.sync, () => {
      expect(document.activeElement).toBe(
        dialog()!.querySelector('.jp-Coiled-lead')
      );
    });
    expect(document.activeElement).toBe(opener);
    opener.remove();
  });

  it('lets one choose packages, those that matter at first', async () => {
    await during(CommandIDs.syncChosen, async () => {
      const boxes = [
        ...dialog()!.querySelectorAll<HTMLInputElement>('input[type=checkbox]')
      ];
      expect(boxes.map(({ checked, value }) => [value, checked])).toEqual([
        ['numpy', true],
        ['polars', false]
      ]);
      expect(dialog()!.textContent).toContain('for 1 package');
      boxes[0].click();
      await settle();
      expect(dialog()!.textContent).toContain('Choose at least one');
      await press();
      expect(api.planned).toEqual([]);
      boxes[1].click();
      await settle();
      await press();
      expect(dialog()!.textContent).toContain('c1 gets polars');
    });
    expect(api.planned[0].scope).toEqual(['polars']);
  });

  it('undoes after the plan of it was seen', async () => {
    await have(sync('s1', { state: 'done' }));
    expect(commands.label(CommandIDs.undoSync)).toBe('Undo the Last Sync…');
    await during(CommandIDs.undoSync, async () => {
      expect(dialog()!.textContent).toContain('Undo the last sync of c1?');
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
    expect(dialog()).toBeNull();
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
        ...dialog()!.querySelectorAll<HTMLInputElement>('input[type=radio]')
      ];
      expect(radios.map(it => [it.value, it.checked, it.disabled])).toEqual([
        ['l2', false, true],
        ['l1', true, false],
        ['base', false, false]
      ]);
      radios[2].click();
      await settle();
      await press();
      expect(dialog()!.textContent).toContain('Bring c1 back');
      await press();
    });
    expect(api.planned[0].from).toEqual({ layer: 'base' });
    expect(api.started).toEqual(['p1']);
  });

  it('says where there is no other state', async () => {
    await have(sync('s1', { state: 'failed' }));
    api.layered = [layer('base', { clusters: ['c1'] })];
    await commands.execute(CommandIDs.restoreState);
    expect(dialog()).toBeNull();
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
      ...dialog()!.querySelectorAll<HTMLInputElement>('input[type=checkbox]')
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
          dialog()!.querySelector(`[data-choice=${id}]`)!.textContent;
        expect(said('used')).toContain('c1 runs in it');
        expect(said('l1')).toContain('12 packages, 100 MiB, in use');
        expect(said('l1')).toContain('node1: /home/<b>me</b>/layers/l1');
        expect(said('l2')).toContain('at least 2.0 MiB');
        expect(said('orphan')).toContain('remove the folder yourself');
        await press();
        expect(dialog()!.textContent).toContain('Choose at least one state');
        boxes()[1].click();
        await settle();
        expect(dialog()!.textContent).toContain(
          '1 state is removed (100 MiB); c1 can not go back to it any more.'
        );
        await press();
        expect(dialog()).toBeNull();
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
        expect(dialog()!.textContent).toContain('It is in use');
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
      expect(dialog()).toBeNull();
      expect(Notification.manager.notifications[0].message).toContain('No ear');
    });
  });

  it('cancels after one was asked', async () => {
    await have(sync('s1'));
    await during(CommandIDs.cancelSync, leave);
    expect(api.cancelled).toEqual([]);
    await during(CommandIDs.cancelSync, async () => {
      expect(dialog()!.textContent).toContain('move back');
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
        expect(dialog()!.textContent).toContain('last sync of other');
      },
      { cluster: 'c2' }
    );
  });
});
