import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';

import { onDemand } from '../ondemand';

const trans = nullTranslator.load('coiled_jupyter');

describe('onDemand', () => {
  afterEach(() => Notification.dismiss());

  it('does something with the parts', async () => {
    const names: string[] = [];
    await onDemand(trans, parts => {
      names.push(...Object.keys(parts));
    });
    expect(names).toContain('createCluster');
    expect(names).toContain('LogPanel');
  });

  it('says where they can not be had, and does nothing', async () => {
    const act = jest.fn();
    await onDemand(trans, act, () => Promise.reject(new Error('ChunkLoad')));
    expect(act).not.toHaveBeenCalled();
    const [told] = Notification.manager.notifications;
    expect(told.message).toContain('Reload the page');
    expect(told.message).not.toContain('ChunkLoad');
  });

  it("doesn't hide a failure of what was done", async () => {
    const done = onDemand(trans, () => Promise.reject(new Error('mine')));
    await expect(done).rejects.toThrow('mine');
  });
});
