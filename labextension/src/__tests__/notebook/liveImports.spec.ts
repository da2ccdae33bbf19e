import { Signal } from '@lumino/signaling';

import { followImports, importsOf } from '../../notebook/liveImports';

interface ICell {
  cell_type: string;
  source: string;
}

class FakePanel {
  constructor(public cells: ICell[]) {}

  readonly context = { ready: Promise.resolve() };
  isDisposed = false;
  readonly disposed = new Signal<this, void>(this);
  readonly sessionContext = {
    session: { kernel: { id: 'k1' } },
    kernelChanged: new Signal<this, void>(this)
  };

  get content(): any {
    const cells = this.cells.map(({ cell_type, source }) => ({
      cell_type,
      getSource: () => source
    }));
    return {
      model: { sharedModel: { cells } },
      modelContentChanged: this.contentChanged
    };
  }

  readonly contentChanged = new Signal<this, void>(this);
}

function code(...sources: string[]): FakePanel {
  return new FakePanel(sources.map(source => ({ cell_type: 'code', source })));
}

describe('importsOf', () => {
  it.each([
    ['import a\nx = 1\nfrom b import c', 'import a\nfrom b import c'],
    ['def f():\n    import late', 'import late'],
    ['%%bash\nimport no', '%%bash\nimport no'],
    ['from a import (b,\n  c)', 'from a import *'],
    ['from a import (b, c)', 'from a import (b, c)'],
    ['from a import b, \\\n  c', 'from a import b, *']
  ])('takes %j as %j', (source, found) => {
    expect(importsOf(code(source) as any)).toEqual([found]);
  });

  it('leaves out what imports nothing, and text', () => {
    const panel = code('x = 1', 'importance = 2');
    panel.cells.push({ cell_type: 'markdown', source: 'import this' });
    expect(importsOf(panel as any)).toEqual([]);
  });

  it('is bounded', () => {
    const many = code(...Array<string>(3000).fill('import a'));
    expect(importsOf(many as any)).toHaveLength(2000);
    const long = code('import a' + ', b'.repeat(5000));
    expect(importsOf(long as any)[0]).toHaveLength(2000);
  });
});

describe('followImports', () => {
  const calm = () => new Promise(resolve => setTimeout(resolve, 20));

  function follow(panel: FakePanel, fails = false) {
    const told: [string, string[]][] = [];
    const widgetAdded = new Signal<any, any>({});
    followImports(
      { forEach: () => undefined, widgetAdded } as any,
      async (kernel, cells) => {
        told.push([kernel, cells]);
        if (fails) {
          throw new Error('refused');
        }
      },
      1
    );
    widgetAdded.emit(panel);
    return told;
  }

  it('tells what is there, what changes, and nothing twice', async () => {
    const panel = code('import a');
    const told = follow(panel);
    await calm();
    expect(told).toEqual([['k1', ['import a']]]);
    panel.contentChanged.emit();
    await calm();
    expect(told).toHaveLength(1);
    panel.cells = [{ cell_type: 'code', source: 'import b' }];
    panel.contentChanged.emit();
    await calm();
    expect(told[1]).toEqual(['k1', ['import b']]);
    panel.sessionContext.session.kernel.id = 'k2';
    panel.sessionContext.kernelChanged.emit();
    await calm();
    expect(told[2]).toEqual(['k2', ['import b']]);
  });

  it('tells again what was refused, and nothing of a closed notebook', async () => {
    const panel = code('import a');
    const told = follow(panel, true);
    await calm();
    panel.contentChanged.emit();
    await calm();
    expect(told).toHaveLength(2);
    panel.isDisposed = true;
    panel.contentChanged.emit();
    await calm();
    expect(told).toHaveLength(2);
  });
});
