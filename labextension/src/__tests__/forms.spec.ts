import { nullTranslator } from '@jupyterlab/translation';
import type { Widget } from '@lumino/widgets';

import { ApiError } from '../api';
import { AttachForm } from '../attach';
import { memoryOf, pythonOf, requirementsOf, variablesOf } from '../entered';
import { CreateForm } from '../form';
import { failureOf } from '../kernels';
import { kernel, usage } from './fakes';

const trans = nullTranslator.load('coiled_jupyter');

function field(form: Widget, name: string): HTMLInputElement {
  return form.node.querySelector<HTMLInputElement>(`[data-field="${name}"]`)!;
}

function type(
  form: AttachForm | CreateForm,
  name: string,
  value: string
): void {
  const input = field(form, name);
  input.value = value;
  form.handleEvent({ target: input } as unknown as Event);
}

/** What is said of a field. */
function said(form: AttachForm, name: string): string {
  const id = field(form, name).getAttribute('aria-describedby')!;
  return form.node.querySelector(`[id="${id}"]`)!.textContent!;
}

describe('AttachForm', () => {
  let form: AttachForm;

  beforeEach(() => {
    form = new AttachForm(trans);
  });

  afterEach(() => form.dispose());

  it('sends an address, and a name where one is given', () => {
    type(form, 'address', ' tcp://h:1 ');
    expect(form.getValue()).toEqual({ address: 'tcp://h:1' });
    type(form, 'name', 'theirs');
    expect(form.getValue()).toEqual({ address: 'tcp://h:1', name: 'theirs' });
  });

  it('asks for certificates with tls:// only', () => {
    const tls = form.node.querySelector('fieldset')!;
    type(form, 'address', 'tcp://h:1');
    expect(tls.hidden).toBe(true);
    type(form, 'address', 'tls://h:1');
    expect(tls.hidden).toBe(false);
    expect(form.getValue()).toBeNull();
    expect(said(form, 'tls.ca_file')).toContain('Give the path');
    for (const name of ['ca_file', 'cert_file', 'key_file']) {
      type(form, `tls.${name}`, `/home/me/${name}.pem`);
    }
    expect(form.getValue()?.tls?.key_file).toBe('/home/me/key_file.pem');
  });

  it("shows the server's words at the field, until it is edited", () => {
    type(form, 'address', 'tls://h:1');
    form.refuse(
      new ApiError('invalid', 'No such file', 'Look', 'tls.key_file')
    );
    expect(said(form, 'tls.key_file')).toBe('No such file. Look');
    expect(field(form, 'tls.key_file').getAttribute('aria-invalid')).toBe(
      'true'
    );
    type(form, 'tls.key_file', '/k');
    expect(said(form, 'tls.key_file')).toBe('');
  });

  it('shows what concerns no field below', () => {
    form.refuse(new ApiError('conflict', 'This cluster is attached already'));
    expect(form.node.querySelector('.jp-Coiled-wrong')!.textContent).toContain(
      'attached already'
    );
  });
});

describe('CreateForm', () => {
  let form: CreateForm;

  const make = (allocated = 2, id: string | null = 'k1') => {
    form?.dispose();
    form = new CreateForm(kernel(id), usage({ allocated }), trans);
  };
  const words = () => form.node.querySelector('.jp-Coiled-summary')!;
  const from = (value: string) => {
    const select = form.node.querySelector('select')!;
    select.value = value;
    form.handleEvent({ target: select } as unknown as Event);
  };

  beforeEach(() => make());

  afterEach(() => form.dispose());

  it('sends the least where nothing is changed', () => {
    expect(form.getValue()).toEqual({
      workers: 2,
      threads_per_worker: 1,
      kernel: 'k1'
    });
    from('interpreter');
    expect(form.getValue()).toMatchObject({ interpreter: { kernel: 'k1' } });
    from('server');
    expect(form.getValue()).toEqual({ workers: 2, threads_per_worker: 1 });
  });

  it('offers no kernel where none runs', () => {
    make(2, null);
    const options = [...form.node.querySelector('select')!.options];
    expect(options.map(({ value }) => value)).toEqual([
      'server',
      'requirements'
    ]);
  });

  it('sends all that was entered, and states it', () => {
    type(form, 'name', ' mine ');
    type(form, 'workers', '3');
    type(form, 'threads_per_worker', '2');
    type(form, 'memory_limit', '4GiB');
    type(form, 'adaptive.minimum', '1');
    type(form, 'adaptive.maximum', '8');
    type(form, 'environ', 'TOKEN=a=b \n\nOTHER=');
    expect(form.getValue()).toEqual({
      name: 'mine',
      workers: 3,
      threads_per_worker: 2,
      memory_limit: '4GiB',
      adaptive: { minimum: 1, maximum: 8 },
      environ: { TOKEN: 'a=b ', OTHER: '' },
      kernel: 'k1'
    });
    const said = words().textContent!;
    for (const part of [
      '6 of the 98 cores left',
      '1 to 8 workers, as the work needs them: at most 16 cores',
      'Up to 4GiB for each worker',
      '2 variables are set'
    ]) {
      expect(said).toContain(part);
    }
    // Values can be secret.
    expect(said).not.toContain('a=b');
  });

  it('builds from a list of requirements, with a Python', () => {
    from('requirements');
    expect(form.getValue()).toBeNull();
    type(form, 'requirements', '# mine\ndask==2026.8.0\n\nnumpy  # fast\n');
    expect(form.getValue()).toEqual({
      workers: 2,
      threads_per_worker: 1,
      requirements: ['dask==2026.8.0', 'numpy']
    });
    type(form, 'python', '3.12');
    expect(form.getValue()).toMatchObject({ python: '3.12' });
    type(form, 'python', 'three');
    expect(form.getValue()).toBeNull();
    // What isn't chosen isn't judged, and not sent.
    from('server');
    expect(form.getValue()).toEqual({ workers: 2, threads_per_worker: 1 });
  });

  it('takes no more cores than are left, and says how far it can grow', () => {
    make(90);
    type(form, 'workers', '11');
    expect(words().textContent).toBe('11 cores are more than the 10 left');
    expect(form.getValue()).toBeNull();
    type(form, 'workers', '5');
    type(form, 'adaptive.maximum', '20');
    expect(words().textContent).toContain('at most 20 cores');
    expect(words().textContent).toContain('only 10 are left now');
    expect(form.getValue()).toMatchObject({
      adaptive: { minimum: 0, maximum: 20 }
    });
  });

  it.each([
    ['workers', '0'],
    ['workers', ''],
    ['threads_per_worker', '1.5'],
    ['memory_limit', 'much'],
    ['adaptive.minimum', '1'],
    ['adaptive.maximum', '1'],
    ['adaptive.maximum', '0'],
    ['environ', 'PATH=/evil'],
    ['name', 'x'.repeat(81)]
  ])('refuses %s %p', (name, value) => {
    type(form, name, value);
    expect(form.getValue()).toBeNull();
    expect(words().classList.contains('jp-Coiled-wrong')).toBe(true);
    expect(form.node.querySelector('[aria-invalid=true]')).not.toBeNull();
  });

  it('leads to what the server refuses, also where that is folded', () => {
    const details = form.node.querySelector('details')!;
    expect(details.open).toBe(false);
    form.refuse(new ApiError('invalid', 'No', '', 'memory_limit'));
    expect(details.open).toBe(true);
    expect(field(form, 'memory_limit').getAttribute('aria-invalid')).toBe(
      'true'
    );
    form.refuse(new ApiError('invalid', 'Not this', '', 'requirements[2]'));
    expect(field(form, 'requirements').getAttribute('aria-invalid')).toBe(
      'true'
    );
    expect(words().textContent).toBe('Not this');
  });
});

describe('what is entered', () => {
  it.each([
    ['', true],
    ['4GiB', true],
    ['1.5 gb', true],
    ['500M', true],
    ['4', false],
    ['0GiB', false],
    ['-1GiB', false],
    ['4 Gigs', false]
  ])('as memory %p: %p', (text, good) => {
    expect(memoryOf(text, trans).problem === '').toBe(good);
  });

  it.each([
    'LD_PRELOAD',
    'DYLD_INSERT_LIBRARIES',
    'PYTHONPATH',
    'pythonstartup',
    'DASK_CONFIG',
    'UV_INDEX_URL',
    'PIP_INDEX_URL',
    'PATH',
    '1A',
    'A-B',
    'A B',
    ''
  ])('as variable %p is refused, without its value', name => {
    const { problem } = variablesOf(`GOOD=1\n${name}=secret`, trans);
    expect(problem).toContain('Line 2');
    expect(problem).not.toContain('secret');
  });

  it('as variables: no line without =, none twice, any value', () => {
    expect(variablesOf('secret', trans).problem).not.toContain('secret');
    expect(variablesOf('A=1\nA=2', trans).problem).toContain('twice');
    expect(variablesOf('__proto__=1\nMY_PATH=x', trans).value).toEqual(
      Object.fromEntries([
        ['__proto__', '1'],
        ['MY_PATH', 'x']
      ])
    );
  });

  it.each([
    '-r other.txt',
    '--index-url x',
    'a @ file:///x',
    'git+https://h/x'
  ])('as requirement %p is refused', line => {
    expect(requirementsOf(`dask\n${line}`, trans).problem).toContain('Line 2');
  });

  it.each([
    ['3', true],
    ['3.12.1', true],
    ['3.', false],
    ['/usr/bin/python', false]
  ])('as Python %p: %p', (text, good) => {
    expect(pythonOf(text, trans).problem === '').toBe(good);
  });
});

describe('failureOf', () => {
  it('is the last traceback of a cell', () => {
    const error = (traceback: string[]) => ({
      output_type: 'error',
      ename: 'ValueError',
      evalue: 'no',
      traceback
    });
    expect(failureOf([{ output_type: 'stream', text: 'x' }])).toBeNull();
    expect(failureOf([error(['a']), error(['b', 'c'])])).toBe('b\nc');
    expect(failureOf([error([])])).toBe('ValueError: no');
  });

  it('is the warning where nothing failed', () => {
    const stderr = {
      output_type: 'stream',
      name: 'stderr',
      text: 'Mismatched'
    };
    expect(failureOf([stderr])).toBe('Mismatched');
  });
});
