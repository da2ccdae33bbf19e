import { nullTranslator } from '@jupyterlab/translation';

import { ApiError } from '../api';
import { Model } from '../model';
import { exportCluster, reportProblem } from '../savedialogs';
import { cluster, FakeApi, FakeKernels, kernel, settle } from './fakes';

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
    await settle();
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
    await settle();
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
    await settle();
    await press('Cancel');
    await asked;
    expect(saved).toEqual([]);
  });

  it('is a report on the present kernel, with what is in it in words', async () => {
    const asked = reportProblem({ model, trans, save });
    await settle();
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
    await settle();
    expect(api.doctored).toEqual([null]);
    await press('Cancel');
    await asked;
  });

  it('is not there where nobody answers, and that is said', async () => {
    api.doctorFailure = new ApiError('connection', 'gone');
    const asked = reportProblem({ model, trans, save });
    await settle();
    expect(dialog()!.textContent).toContain(
      'connection to the Jupyter server lost'
    );
    await press('Close');
    await asked;
    expect(saved).toEqual([]);
  });
});
