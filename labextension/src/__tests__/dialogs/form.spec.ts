import { nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import { ApiError } from '../../api/client';
import type {
  ClusterAttach,
  ClusterCreate,
  Factory,
  Offers,
  Option
} from '../../api/wire';
import { attachForm, requestOf as attached } from '../../dialogs/attachCluster';
import { Form } from '../../dialogs/form';
import type { IFormOptions, Values } from '../../dialogs/form';
import { newClusterForm, requestOf as created } from '../../dialogs/newCluster';
import { Platforms } from '../../dialogs/platforms';
import { DEFAULTS } from '../../model/preferences';
import { drawn, enter, kernel, settle, usage } from '../fakes';

const trans = nullTranslator.load('coiled_jupyter');

class Shown<V extends Values> {
  constructor(options: IFormOptions<V>) {
    this.form = new Form(options);
    Widget.attach(this.form, document.body);
  }

  readonly form: Form<V>;

  field(name: string): HTMLInputElement {
    return this.form.node.querySelector<HTMLInputElement>(
      `[data-field="${name}"]`
    )!;
  }

  async type(name: string, value: string): Promise<void> {
    enter(this.field(name), value);
    await settle();
  }

  async refuse(field: string, message = 'No'): Promise<void> {
    this.form.refuse(new ApiError('invalid', message, '', field));
    await drawn();
  }

  /** What is wrong with a field, as it is read out. */
  problem(name: string): string {
    const id = this.field(name).getAttribute('aria-describedby')!;
    return document.getElementById(id)!.textContent!;
  }

  get summary(): HTMLElement {
    return this.form.node.querySelector('.jp-Coiled-summary')!;
  }
}

async function show<V extends Values>(
  options: IFormOptions<V>
): Promise<Shown<V>> {
  const shown = new Shown(options);
  await drawn();
  return shown;
}

describe('a new cluster', () => {
  const make = (allocated = 2, id: string | null = 'k1') =>
    show(newClusterForm(kernel(id), () => usage({ allocated }), trans));
  let shown: Awaited<ReturnType<typeof make>>;
  const request = (): ClusterCreate | null => {
    const values = shown.form.getValue();
    return values && created(values, 'k1');
  };

  beforeEach(async () => {
    shown = await make();
  });

  afterEach(() => shown.form.dispose());

  it('tells the cores that are left now, not those of when it was opened', async () => {
    shown.form.dispose();
    const changed = new Signal<object, void>({});
    let told = usage({ allocated: 0, requested: 1 });
    shown = await show({
      ...newClusterForm(kernel('k1'), () => told, trans),
      source: { changed }
    });
    await shown.type('workers', '500');
    expect(shown.summary.textContent).toContain('only 99 remain');
    told = usage({ allocated: 0, requested: 0 });
    changed.emit();
    await drawn();
    expect(shown.summary.textContent).toContain('only 100 remain');
    shown.form.dispose();
    changed.emit();
  });

  it('sends the least where nothing is changed', async () => {
    expect(request()).toEqual({
      workers: 2,
      threads_per_worker: 1,
      kernel: 'k1'
    });
    await shown.type('packages', 'interpreter');
    expect(request()).toMatchObject({ interpreter: { kernel: 'k1' } });
    await shown.type('packages', 'server');
    expect(request()).toEqual({ workers: 2, threads_per_worker: 1 });
  });

  describe('elsewhere', () => {
    const option = (change: Partial<Option>): Option => ({
      type: 'string',
      description: 'what it is',
      default: null,
      minimum: null,
      maximum: null,
      pattern: null,
      choices: [],
      required: false,
      ...change
    });
    const factory = (name: string, change: Partial<Factory>): Factory => ({
      name,
      title: name,
      description: `On ${name}`,
      options: {},
      takes: ['threads_per_worker', 'memory_limit', 'environ'],
      requires: [],
      missing: [],
      absent: [],
      workers: 2,
      asks: false,
      ...change
    });
    let platforms: Platforms;
    let asks: [string, string | null][] = [];
    let offers: () => Promise<Offers>;
    const factories = [
      factory('local', {
        options: { dashboard: option({ type: 'boolean', default: false }) }
      }),
      factory('ssh', {
        takes: ['memory_limit'],
        requires: ['asyncssh'],
        missing: ['asyncssh'],
        options: {
          hosts: option({ required: true }),
          port: option({ type: 'integer' }),
          size: option({ choices: ['s', 'xl'] }),
          dashboard: option({ type: 'boolean', default: false })
        }
      }),
      factory('gateway', {
        takes: [],
        requires: ['dask-gateway'],
        asks: true,
        options: { join: option({}) }
      })
    ];
    const open = async (last = {}) => {
      shown.form.dispose();
      asks = [];
      platforms = new Platforms(factories, (name, id) => {
        asks.push([name, id]);
        return offers();
      });
      shown = await show(
        newClusterForm(
          kernel('k1'),
          () => usage(),
          trans,
          DEFAULTS.newCluster,
          platforms,
          last
        )
      );
    };
    const asked = (): ClusterCreate | null => {
      const values = shown.form.getValue();
      return values && created(values, 'k1', platforms);
    };

    it('sends what the chosen kind declares, in its types, without what it cannot be told', async () => {
      await open();
      expect(asked()).toEqual({
        workers: 2,
        threads_per_worker: 1,
        kernel: 'k1'
      });
      await shown.type('factory', 'ssh');
      expect(shown.field('threads_per_worker')).toBeNull();
      expect(asked()).toBeNull();
      await drawn();
      expect(shown.problem('options.hosts')).toBe('This is missing');
      await shown.type('options.hosts', ' a, b ');
      await shown.type('options.port', '2222');
      await shown.type('options.dashboard', 'true');
      expect(asked()).toEqual({
        workers: 2,
        factory: 'ssh',
        options: { hosts: 'a, b', port: 2222, dashboard: true },
        kernel: 'k1'
      });
    });

    it('says what is missing there, and shows what the server refuses at its field', async () => {
      await open({ factory: 'ssh', 'options.hosts': 'a', 'options.gone': 1 });
      expect(shown.field('options.hosts').value).toBe('a');
      expect(shown.summary.textContent).toContain('must have asyncssh');
      await shown.type('packages', 'server');
      expect(shown.summary.textContent).toContain(
        "asyncssh isn't in the Jupyter server's environment"
      );
      await shown.refuse('options.port', 'port must be from 1 to 65535');
      expect(shown.problem('options.port')).toContain('from 1 to 65535');
    });

    it('asks a platform for its options and clusters, by the Python that will speak to it', async () => {
      let answer: (offers: Offers) => void = () => undefined;
      const answered = new Promise<Offers>(resolve => {
        answer = resolve;
      });
      offers = () => answered;
      await open();
      expect(asks).toEqual([]);
      await shown.type('factory', 'gateway');
      expect(asks).toEqual([['gateway', 'k1']]);
      expect(shown.summary.textContent).toBe('Asking gateway what it offers…');
      answer({
        options: {
          cores: option({ type: 'integer', default: 1 }),
          size: option({ choices: ['s', 'xl'], default: 's' })
        },
        clusters: [
          { name: 'a7', status: 'running', started_at: '2026-03-01T12:00:00Z' }
        ]
      });
      await settle();
      await drawn();
      expect(shown.field('packages').value).toBe('interpreter');
      expect(shown.field('options.cores').value).toBe('1');
      await shown.type('options.cores', '2');
      expect(asked()).toEqual({
        workers: 2,
        factory: 'gateway',
        options: { cores: 2 },
        interpreter: { kernel: 'k1' }
      });
      await shown.type('options.join', 'a7');
      expect(shown.field('workers')).toBeNull();
      expect(shown.field('options.cores')).toBeNull();
      expect(shown.summary.textContent).toContain('Joins a7');
      expect(asked()).toEqual({
        factory: 'gateway',
        options: { join: 'a7' },
        interpreter: { kernel: 'k1' }
      });
      await shown.type('packages', 'server');
      expect(asks).toEqual([
        ['gateway', 'k1'],
        ['gateway', null]
      ]);
    });

    it('says why a platform offers nothing, and forgets a cluster that is gone', async () => {
      offers = () =>
        Promise.reject(
          new ApiError('unavailable', 'Connection refused', 'Look at it')
        );
      await open({ factory: 'gateway', 'options.join': 'gone' });
      await settle();
      await drawn();
      expect(shown.summary.textContent).toContain('Connection refused');
      offers = () => Promise.resolve({ options: {}, clusters: [] });
      await open({ factory: 'gateway', 'options.join': 'gone' });
      await settle();
      await drawn();
      expect(asked()).toEqual({
        workers: 2,
        factory: 'gateway',
        interpreter: { kernel: 'k1' }
      });
    });
  });

  it('offers no kernel where none runs', async () => {
    shown.form.dispose();
    shown = await make(2, null);
    const options = [...shown.form.node.querySelector('select')!.options];
    expect(options.map(({ value }) => value)).toEqual([
      'server',
      'requirements'
    ]);
    expect(request()).toEqual({ workers: 2, threads_per_worker: 1 });
  });

  it('sends all that was entered, and states it', async () => {
    await shown.type('name', ' mine ');
    await shown.type('workers', '3');
    await shown.type('threads_per_worker', '2');
    await shown.type('memory_limit', ' 4GiB ');
    await shown.type('adaptive.minimum', '1');
    await shown.type('adaptive.maximum', '8');
    await shown.type('environ', 'TOKEN=a=b \n\nOTHER=\n__proto__=1');
    expect(request()).toEqual({
      name: 'mine',
      workers: 3,
      threads_per_worker: 2,
      memory_limit: '4GiB',
      adaptive: { minimum: 1, maximum: 8 },
      environ: Object.fromEntries([
        ['TOKEN', 'a=b '],
        ['OTHER', ''],
        ['__proto__', '1']
      ]),
      kernel: 'k1'
    });
    const said = shown.summary.textContent!;
    for (const part of [
      'It uses 6 cores; 92 remain',
      '1 to 8 workers, as the work needs them: at most 16 cores',
      'Up to 4GiB for each worker',
      '3 variables are set'
    ]) {
      expect(said).toContain(part);
    }
    // Values can be secret.
    expect(said).not.toContain('a=b');
  });

  it('builds from a list of requirements, with a Python', async () => {
    await shown.type('packages', 'requirements');
    expect(request()).toBeNull();
    await shown.type(
      'requirements',
      '# mine\ndask==2026.8.0\n\nnumpy  # fast\n'
    );
    expect(request()).toEqual({
      workers: 2,
      threads_per_worker: 1,
      requirements: ['dask==2026.8.0', 'numpy']
    });
    await shown.type('python', '3.12');
    expect(request()).toMatchObject({ python: '3.12' });
    // What isn't chosen isn't sent.
    await shown.type('packages', 'server');
    expect(request()).toEqual({ workers: 2, threads_per_worker: 1 });
  });

  it('says how far it can grow', async () => {
    shown.form.dispose();
    shown = await make(90);
    await shown.type('workers', '5');
    await shown.type('adaptive.maximum', '20');
    expect(shown.summary.textContent).toContain('at most 20 cores');
    expect(shown.summary.textContent).toContain('only 10 are left now');
    expect(request()).toMatchObject({ adaptive: { minimum: 0, maximum: 20 } });
  });

  it.each(['workers', 'threads_per_worker'])(
    'is not asked for without %s',
    async name => {
      await shown.type(name, '');
      expect(request()).toBeNull();
    }
  );

  it('leads to what the server refuses, also where that is folded', async () => {
    const details = shown.form.node.querySelector('details')!;
    expect(details.open).toBe(false);
    await shown.refuse(
      'memory_limit',
      'The memory limit must be larger than 0'
    );
    expect(details.open).toBe(true);
    const memory = shown.field('memory_limit');
    expect(memory.getAttribute('aria-invalid')).toBe('true');
    expect(document.activeElement).toBe(memory);
    expect(shown.problem('memory_limit')).toBe(
      'The memory limit must be larger than 0'
    );
    await shown.type('memory_limit', '1GiB');
    expect(memory.getAttribute('aria-invalid')).toBe('false');
    expect(shown.problem('memory_limit')).toBe('');
  });

  it('finds the field of one of its lines', async () => {
    await shown.type('packages', 'requirements');
    await shown.refuse('requirements[2]', 'Not this');
    expect(shown.problem('requirements')).toBe('Not this');
  });

  it('says below what concerns no field that is shown', async () => {
    for (const field of ['', 'body', 'requirements']) {
      await shown.refuse(field, `Not so: ${field}`);
      expect(shown.summary.textContent).toBe(`Not so: ${field}`);
      expect(shown.summary.classList).toContain('jp-Coiled-wrong');
    }
  });
});

describe('a cluster to attach', () => {
  let shown: Shown<ReturnType<typeof attachForm>['initial']>;
  const request = (): ClusterAttach | null => {
    const values = shown.form.getValue();
    return values && attached(values);
  };

  beforeEach(async () => {
    shown = await show(attachForm(trans));
  });

  afterEach(() => shown.form.dispose());

  it('sends an address, and a name where one is given', async () => {
    expect(request()).toBeNull();
    await shown.type('address', ' tcp://h:1 ');
    expect(request()).toEqual({ address: 'tcp://h:1' });
    await shown.type('name', 'theirs');
    expect(request()).toEqual({ address: 'tcp://h:1', name: 'theirs' });
  });

  it('sends the certificates, and leads to them where they are missing', async () => {
    const details = shown.form.node.querySelector('details')!;
    await shown.type('address', 'tls://h:1');
    await shown.refuse('tls', 'Give ca_file');
    expect(details.open).toBe(true);
    expect(shown.problem('tls.ca_file')).toBe('Give ca_file');
    for (const name of ['ca_file', 'cert_file', 'key_file']) {
      await shown.type(`tls.${name}`, `/home/me/${name}.pem`);
    }
    expect(request()?.tls?.key_file).toBe('/home/me/key_file.pem');
  });

  it("shows the server's words at the field, until it is edited", async () => {
    await shown.refuse('tls.key_file', 'No such file');
    expect(shown.problem('tls.key_file')).toBe('No such file');
    await shown.type('tls.key_file', '/k');
    expect(shown.problem('tls.key_file')).toBe('');
  });
});
