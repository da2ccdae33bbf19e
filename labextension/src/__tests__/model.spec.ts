import { Signal } from '@lumino/signaling';

import { ApiError } from '../api';
import type { IApi } from '../api';
import type { IActiveKernel, IActiveKernels } from '../kernels';
import { Model, STALE_SECONDS } from '../model';
import type { Cluster, Diff, Usage } from '../wire';

class FakeKernels implements IActiveKernels {
  readonly changed = new Signal<this, void>(this);
  current: IActiveKernel | null = { id: 'k1', label: 'a.ipynb' };

  change(kernel: IActiveKernel | null): void {
    this.current = kernel;
    this.changed.emit();
  }
}

function cluster(id: string): Cluster {
  return { id, name: id, status: 'idle' } as Cluster;
}

class FakeApi implements IApi {
  list: Cluster[] = [cluster('c1')];
  failure: ApiError | null = null;
  pending: { kernel: string; answer: (diff: Diff) => void }[] = [];
  hold = false;

  async clusters(): Promise<Cluster[]> {
    if (this.failure) {
      throw this.failure;
    }
    return this.list;
  }
  async create(): Promise<Cluster> {
    return this.list[0];
  }
  async remove(): Promise<void> {
    return undefined;
  }
  async usage(): Promise<Usage> {
    return {} as Usage;
  }
  diff(kernel: string, id: string): Promise<Diff> {
    const made = { verdict: 'equal', kernel: { id: kernel }, cluster: { id } };
    if (!this.hold) {
      return Promise.resolve(made as Diff);
    }
    return new Promise(resolve => {
      this.pending.push({ kernel, answer: () => resolve(made as Diff) });
    });
  }
}

describe('Model', () => {
  let api: FakeApi;
  let kernels: FakeKernels;
  let model: Model;
  let now: number;

  beforeEach(() => {
    api = new FakeApi();
    kernels = new FakeKernels();
    now = 0;
    model = new Model({ api, kernels, now: () => now, auto: false });
  });

  afterEach(() => model.dispose());

  it('compares the active kernel with the live cluster', async () => {
    api.list = [{ ...cluster('old'), status: 'stopped' }, cluster('c1')];
    await model.refresh();
    expect(model.diff?.cluster.id).toBe('c1');
    expect(model.stale).toBe(false);
  });

  it('drops a late answer for another kernel', async () => {
    api.hold = true;
    const asked = model.refresh();
    await new Promise(resolve => setTimeout(resolve, 0));
    kernels.change({ id: 'k2', label: 'b.ipynb' });
    api.pending[0].answer({} as Diff);
    await asked;
    expect(model.diff).toBeNull();
    expect(model.stale).toBe(true);
  });

  it('forgets the comparison when the kernel changes', async () => {
    await model.refresh();
    kernels.change({ id: null, label: 'b.ipynb' });
    expect(model.diff).toBeNull();
  });

  it('claims nothing from an old answer', async () => {
    await model.refresh();
    now = (STALE_SECONDS + 1) * 1000;
    expect(model.stale).toBe(true);
  });

  it('claims nothing after a failure', async () => {
    await model.refresh();
    api.failure = new ApiError('connection', 'gone');
    await expect(model.refresh()).rejects.toBe(api.failure);
    expect(model.stale).toBe(true);
    expect(model.error?.message).toBe('gone');
    api.failure = null;
    await model.refresh();
    expect(model.stale).toBe(false);
  });
});
