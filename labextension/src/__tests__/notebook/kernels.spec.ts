import { failureOf } from '../../notebook/kernels';

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
