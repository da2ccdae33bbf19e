import { Alarm } from '../../model/breakageAlert';
import { Model } from '../../model/model';
import type { Diff, Row } from '../../api/wire';
import {
  answer,
  diff,
  FakeApi,
  FakeKernels,
  kernel,
  NOW,
  row,
  settle
} from '../fakes';

describe('Alarm', () => {
  let api: FakeApi;
  let kernels: FakeKernels;
  let model: Model;
  let alarm: Alarm;
  let saved: Map<string, string>;
  const told: string[][] = [];
  let shown: Partial<Diff>;

  const memory = () => ({
    fetch: async (key: string) => saved.get(key),
    save: async (key: string, value: string) => saved.set(key, value)
  });
  const make = () =>
    new Alarm({
      model,
      memory: memory(),
      tell: rows => told.push(rows.map(({ name }) => name))
    });
  const breaks = (...rows: Row[]): Partial<Diff> => ({
    verdict: 'breaks',
    rows,
    deciding: rows.length
  });
  const block = (name: string, version: string, there = '1.0') =>
    row(name, {
      severity: 'breaks',
      status: 'differs',
      kernel: { version, loaded: null, source: null },
      groups: [{ group: 'g1', version: there, loaded: [], source: null }]
    });
  const read = async (next: Partial<Diff>) => {
    shown = next;
    await model.refresh();
    await settle();
  };

  beforeEach(() => {
    api = new FakeApi();
    api.diff = async () => answer(diff(shown));
    kernels = new FakeKernels();
    saved = new Map();
    told.length = 0;
    model = new Model({ api, kernels, now: () => NOW, auto: false });
    alarm = make();
  });

  afterEach(() => {
    alarm.dispose();
    model.dispose();
  });

  it('tells once what breaks, and not again after it was well for a while', async () => {
    await read(breaks(block('numpy', '2.3.1')));
    await read(breaks(block('numpy', '2.3.1')));
    await read({});
    await read(breaks(block('numpy', '2.3.1')));
    expect(told).toEqual([['numpy']]);
  });

  it('tells only what is new', async () => {
    await read(breaks(block('numpy', '2.3.1')));
    await read(breaks(block('numpy', '2.3.1'), block('pandas', '2.2')));
    await read(breaks(block('numpy', '2.4.0')));
    expect(told).toEqual([['numpy'], ['pandas'], ['numpy']]);
  });

  it('remembers what was told when the page is loaded anew', async () => {
    await read(breaks(block('numpy', '2.3.1')));
    alarm.dispose();
    alarm = make();
    await read(breaks(block('numpy', '2.3.1')));
    expect(told).toHaveLength(1);
  });

  it('tells for each notebook', async () => {
    await read(breaks(block('numpy', '2.3.1')));
    kernels.change(kernel('k2', 'b.ipynb'));
    await read(breaks(block('numpy', '2.3.1')));
    expect(told).toHaveLength(2);
  });

  it('tells nothing of what only differs, nor while it is not wanted', async () => {
    await read({ verdict: 'risky', rows: [row('x', { severity: 'risky' })] });
    alarm.enabled = false;
    await read(breaks(block('numpy', '2.3.1')));
    expect(told).toEqual([]);
    alarm.enabled = true;
    await read(breaks(block('numpy', '2.3.1')));
    expect(told).toEqual([['numpy']]);
  });

  it('survives a memory that holds something else', async () => {
    saved.set('coiled-jupyter:told:a.ipynb', '{"no": 1}');
    await read(breaks(block('numpy', '2.3.1')));
    expect(told).toEqual([['numpy']]);
  });
});
