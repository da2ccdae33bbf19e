import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

// Loaded beforehand: no test waits for it to be compiled.
import '../../dialogs';
import { addCommands } from '../../commands/commands';
import { DEFAULTS } from '../../model/preferences';
import { Model } from '../../model/model';
import { CommandIDs } from '../../tokens';
import { cluster, FakeApi, FakeKernels, layer, row, sync } from '../fakes';

const WITHOUT: readonly string[] = [
  CommandIDs.showPanel,
  CommandIDs.showLogs,
  CommandIDs.openTaskStream,
  CommandIDs.openProgress,
  CommandIDs.openWorkers,
  CommandIDs.openClusterMap,
  CommandIDs.openDashboard,
  CommandIDs.copyCluster,
  CommandIDs.refresh,
  CommandIDs.seal,
  // A plan is reviewed in the panel.
  CommandIDs.sync,
  CommandIDs.documentation
];
const WITH = Object.values(CommandIDs).filter(id => !WITHOUT.includes(id));

describe.each([1, 2])('every dialog, with %d clusters', count => {
  let commands: CommandRegistry;
  let model: Model;
  let behind: HTMLButtonElement;
  const busy = window.requestIdleCallback;

  beforeEach(async () => {
    // A browser that is never idle.
    window.requestIdleCallback = () => 0;
    const api = new FakeApi();
    const kernels = new FakeKernels();
    api.list = ['c1', 'c2'].slice(0, count).map(id => cluster(id));
    api.layered = [layer('l1'), layer('base')];
    api.verdict = 'breaks';
    api.rows = [row('numpy', { status: 'differs', severity: 'breaks' })];
    model = new Model({ api, kernels, auto: false });
    model.choose('c1');
    commands = new CommandRegistry();
    addCommands(commands, {
      model,
      kernels,
      preferences: () => DEFAULTS,
      show: () => undefined,
      copy: () => undefined,
      openLogs: () => undefined,
      openPane: async () => undefined,
      trans: nullTranslator.load('coiled_jupyter')
    });
    await model.refresh();
    const have = async (state: 'done' | 'rolling') => {
      api.synced = api.list.map(({ id }) =>
        sync(`s-${id}`, { cluster: id, state })
      );
      await model.syncs.refresh();
      await model.refresh();
    };
    await have('done');
    running = () => have('rolling');
    behind = document.body.appendChild(document.createElement('button'));
    behind.focus();
  });

  let running: () => Promise<void>;

  afterEach(() => {
    model.dispose();
    behind.remove();
    window.requestIdleCallback = busy;
  });

  const dialog = () => document.querySelector<HTMLElement>('.jp-Dialog');

  // With several clusters the one whose sync is undone is asked for.
  const shown = WITH.filter(id => count > 1 || id !== CommandIDs.undoSync);

  it.each(shown)('%s has the focus, and goes with Escape', async id => {
    if (id === CommandIDs.cancelSync) {
      await running();
    }
    expect(commands.isEnabled(id)).toBe(true);
    const done = commands.execute(id);
    for (let turn = 0; turn < 50 && !dialog(); turn++) {
      await new Promise(resolve => setTimeout(resolve, 0));
    }
    const node = dialog()!;
    expect(node.contains(document.activeElement)).toBe(true);
    // What is entered comes first, not what accepts it.
    if (node.querySelector('.jp-Dialog-body :is(input, textarea):enabled')) {
      expect(document.activeElement!.closest('.jp-Dialog-body')).not.toBeNull();
    }
    document.activeElement!.dispatchEvent(
      new KeyboardEvent('keydown', {
        key: 'Escape',
        keyCode: 27,
        bubbles: true
      })
    );
    await done;
    expect(dialog()).toBeNull();
    expect(document.activeElement).toBe(behind);
  });
});
