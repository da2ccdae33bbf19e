import { failureOf, usesDask } from '../../notebook/kernels';

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

describe('usesDask', () => {
  const notebook = (...sources: string[]) =>
    ({
      content: {
        model: {
          sharedModel: {
            cells: sources.map(source => ({
              cell_type: source.startsWith('#') ? 'markdown' : 'code',
              getSource: () => source
            }))
          }
        }
      }
    }) as any;

  it.each([
    ['import dask.array as da', true],
    ['x = 1\nfrom dask.distributed import Client', true],
    ['if True:\n    import numpy, distributed', true],
    ['import coiled_jupyter', true],
    ['%coiled status', true],
    ['%%coiled -c mine\n1', true],
    ['import numpy', false],
    ["print('import dask')", false],
    ['daskimport = 1', false],
    ['# import dask', false]
  ])('of %j is %s', (source, uses) => {
    expect(usesDask(notebook('y = 2', source))).toBe(uses);
  });

  it('is assumed of a console', () => {
    expect(usesDask({ console: {} } as any)).toBe(true);
  });
});
