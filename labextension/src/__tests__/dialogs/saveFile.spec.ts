import { nullTranslator } from '@jupyterlab/translation';

import { Model } from '../../model/model';
import { exportCluster, reportProblem } from '../../dialogs/saveFile';
import { cluster, FakeApi, FakeKernels, kernel, drawn } from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');

describe('What leaves the page as a file', () => {
  let api: FakeApi;
  let kernels: FakeKernels;
  let model: Model;
  let saved: [string, string][];
  const save = (name: string, text: string) => saved.push([name, text]);
  const dialog = () => document.querySelector('.jp-Dialog');
  const press = async (label: string) => {
    [...dialog()!.querySelectorAll('button')]
      .find(it => it.textContent === label)!
      .click();
    await drawn();
  };

  beforeEach(() => {
    api = new FakeApi();
    kernels = new FakeKernels();
    model = new Model({ api, kernels, auto: false });
    saved = [];
  });

  afterEach(() => {
    model.dispose();
    document.body.innerHTML = '';
  });

  it('is shown whole before it is saved', async () => {
    const c1 = cluster('c1', { name: 'mine/../<b>' });
    const asked = exportCluster(c1, { model, trans, save });
    await drawn();
    expect(dialog()!.querySelector('pre')!.textContent).toBe(
      JSON.stringify(c1, null, 2)
    );
    expect(saved).toEqual([]);
    await press('Save as File');
    await asked;
    expect(saved).toEqual([['mine_.._b_.json', JSON.stringify(c1, null, 2)]]);
  });

  it('is not saved when one leaves', async () => {
    const asked = exportCluster(cluster('c1'), { model, trans, save });
    await drawn();
    await press('Cancel');
    await asked;
    expect(saved).toEqual([]);
  });

  it('is a report on the present kernel, with what is in it in words', async () => {
    const asked = reportProblem({ model, trans, save });
    await drawn();
    expect(api.doctored).toEqual(['k1']);
    expect(dialog()!.querySelector('li')!.textContent).toBe(
      'versions <b>of</b> Python'
    );
    await press('Save as File');
    await asked;
    expect(saved[0][0]).toBe('coiled-jupyter-report.json');
    expect(JSON.parse(saved[0][1])).toEqual({
      contents: ['versions <b>of</b> Python']
    });
  });

  it('is a report on the server alone where there is no kernel', async () => {
    kernels.change(kernel(null));
    const asked = reportProblem({ model, trans, save });
    await drawn();
    expect(api.doctored).toEqual([null]);
    await press('Cancel');
    await asked;
  });
});
