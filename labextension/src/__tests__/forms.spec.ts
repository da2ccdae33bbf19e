import { nullTranslator } from '@jupyterlab/translation';

import { ApiError } from '../api';
import { AttachForm } from '../attach';
import { failureOf } from '../kernels';

const trans = nullTranslator.load('coiled_jupyter');

function field(form: AttachForm, name: string): HTMLInputElement {
  return form.node.querySelector<HTMLInputElement>(`[data-field="${name}"]`)!;
}

function type(form: AttachForm, name: string, value: string): void {
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
