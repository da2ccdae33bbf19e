import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { addActivity } from '../../commands/activity';
import { CommandAdder } from '../../commands/adder';
import { Model } from '../../model/model';
import { DEFAULTS } from '../../model/preferences';
import { CommandIDs, RESTORE_PANE } from '../../tokens';
import { cluster, FakeApi, FakeKernels } from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');

describe('the commands of panes', () => {
  let api: FakeApi;
  let commands: CommandRegistry;
  let model: Model;
  let opened: unknown[];

  beforeEach(async () => {
    api = new FakeApi();
    api.list = [
      cluster('c1'),
      cluster('c2', { name: 'second' }),
      cluster('c3', { status: 'stopped' })
    ];
    const kernels = new FakeKernels();
    model = new Model({ api, kernels, auto: false });
    commands = new CommandRegistry();
    opened = [];
    const adder = new CommandAdder(commands, {
      model,
      kernels,
      preferences: () => DEFAULTS,
      show: () => undefined,
      trans
    });
    addActivity(adder, {
      openPane: async (...given) => void opened.push(given),
      trans
    });
    await model.refresh();
  });

  afterEach(() => model.dispose());

  it('open what is named, without the name that of the compared cluster', async () => {
    model.choose('c2');
    await commands.execute(CommandIDs.openTaskStream);
    await commands.execute(CommandIDs.openClusterMap, { cluster: 'c1' });
    expect(opened).toEqual([
      [{ cluster: 'c2', kind: 'task-stream', name: 'second' }],
      [{ cluster: 'c1', kind: 'cluster-map', name: 'c1' }]
    ]);
  });

  it('open nothing of a cluster that has ended or is none', async () => {
    for (const id of ['c3', 'nothing']) {
      expect(commands.isEnabled(CommandIDs.openWorkers, { cluster: id })).toBe(
        false
      );
      await commands.execute(CommandIDs.openWorkers, { cluster: id });
    }
    expect(opened).toEqual([]);
  });

  it('open it again after a reload, before the clusters are known', async () => {
    const args = { cluster: 'unknown', kind: 'progress', name: 'old' };
    await commands.execute(RESTORE_PANE, args);
    expect(opened).toEqual([[args, false]]);
  });
});
