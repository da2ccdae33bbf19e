import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { ApiError } from '../../api/client';
import { CommandAdder } from '../../commands/adder';
import { Model } from '../../model/model';
import { DEFAULTS } from '../../model/preferences';
import { FakeApi, FakeKernels } from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');

describe('a command that fails', () => {
  let commands: CommandRegistry;
  let model: Model;

  const shown = () =>
    Notification.manager.notifications.map(({ message }) => message);
  const fail = async (reason: unknown) => {
    const adder = new CommandAdder(commands, {
      model,
      kernels: new FakeKernels(),
      preferences: () => DEFAULTS,
      show: jest.fn(),
      trans
    });
    adder.add({
      id: 'try',
      label: 'Try',
      caption: 'Try',
      execute: () => Promise.reject(reason)
    });
    await commands.execute('try');
  };

  beforeEach(() => {
    commands = new CommandRegistry();
    model = new Model({
      api: new FakeApi(),
      kernels: new FakeKernels(),
      auto: false
    });
  });
  afterEach(() => {
    model.dispose();
    Notification.dismiss();
  });

  it("says why in the server's words", async () => {
    await fail(new ApiError('conflict', 'It has ended', 'Make another one'));
    expect(shown()).toEqual(['It has ended. Make another one']);
  });

  it('asks to reload where a part of the page can not be had', async () => {
    const error = jest.spyOn(console, 'error').mockImplementation();
    const reason = new Error('Loading chunk 62 failed');
    reason.name = 'ChunkLoadError';
    await fail(reason);
    expect(shown()[0]).toContain('Reload the page');
    expect(shown()[0]).not.toContain('62');
    expect(error).toHaveBeenCalledWith(reason);
  });

  it('names a defect of the page, with the details in the console', async () => {
    const error = jest.spyOn(console, 'error').mockImplementation();
    const reason = new TypeError('x is undefined');
    await fail(reason);
    expect(shown()[0]).toContain('x is undefined');
    expect(error).toHaveBeenCalledWith(reason);
  });
});
