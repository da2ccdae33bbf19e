/** Tells the server what the cells of open notebooks import, whether or not they were saved. */
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Debouncer } from '@lumino/polling';

/** Milliseconds without a change after which the cells are read. */
const CALM = 1000;
const CELLS = 2000;
const CHARACTERS = 2000;

/** Gives a kernel's imports to the server. */
export type TellImports = (kernel: string, cells: string[]) => Promise<void>;

/** Tell, for each notebook that is opened, its imports now and after each change of them. */
export function followImports(
  notebooks: Pick<INotebookTracker, 'forEach' | 'widgetAdded'>,
  tell: TellImports,
  calm = CALM
): void {
  const follow = (panel: NotebookPanel) => {
    let told = '';
    const soon = new Debouncer(async () => {
      const kernel = panel.sessionContext.session?.kernel?.id;
      if (panel.isDisposed || !kernel) {
        return;
      }
      const cells = importsOf(panel);
      const key = JSON.stringify([kernel, cells]);
      if (key !== told) {
        told = key;
        // Without it the notebook as last saved counts; it is told again with the next change.
        await tell(kernel, cells).catch(() => (told = ''));
      }
    }, calm);
    const again = () => {
      soon.invoke().catch(() => undefined);
    };
    panel.sessionContext.kernelChanged.connect(again);
    panel.content.modelContentChanged.connect(again);
    panel.disposed.connect(() => soon.dispose());
    // Before that it has no cells.
    void panel.context.ready.then(again);
  };
  notebooks.forEach(follow);
  notebooks.widgetAdded.connect((_, panel) => follow(panel));
}

/** For each code cell its lines that import something, below the magic that says what the cell is. */
export function importsOf(panel: Pick<NotebookPanel, 'content'>): string[] {
  const cells = panel.content.model?.sharedModel.cells ?? [];
  return cells
    .filter(cell => cell.cell_type === 'code')
    .map(cell => {
      const lines = cell.getSource().split('\n', CELLS);
      const found = lines.map(line => line.trim()).filter(isImport);
      return [...lines.slice(0, 1).filter(isMagic), ...found.map(whole)]
        .join('\n')
        .slice(0, CHARACTERS);
    })
    .filter(isNotEmpty)
    .slice(0, CELLS);
}

function isNotEmpty(text: string): boolean {
  return text !== '';
}

function isMagic(line: string): boolean {
  return line.startsWith('%%');
}

function isImport(line: string): boolean {
  return /^(import|from)\s/.test(line);
}

/** A list of names that goes on in the next line would be no Python by itself. */
function whole(line: string): string {
  return line.includes(')') ? line : line.replace(/\(.*|\\$/, '*');
}
