import { CommandRegistry } from '@lumino/commands';

import { CommandIDs } from '../../tokens';
import { actionsOf, openMenu, openSyncMenu } from '../../panel/menu';
import { cluster, settle } from '../fakes';

describe('openMenu', () => {
  let commands: CommandRegistry;
  let button: HTMLButtonElement;
  let executed: unknown[];
  let focused: Element | null;

  beforeEach(() => {
    commands = new CommandRegistry();
    executed = [];
    focused = null;
    for (const id of Object.values(CommandIDs)) {
      commands.addCommand(id, {
        label: id,
        execute: args => {
          executed.push([id, args]);
          focused = document.activeElement;
        }
      });
    }
    button = document.createElement('button');
    document.body.append(button);
  });

  afterEach(() => button.remove());

  it('begins at the first item with the keyboard, and runs it for its cluster', async () => {
    const menu = openMenu(commands, cluster('c1'), button, true);
    expect(button.getAttribute('aria-expanded')).toBe('true');
    expect(menu.activeIndex).toBe(0);
    menu.triggerActiveItem();
    await settle();
    expect(executed).toEqual([[CommandIDs.insertClient, { cluster: 'c1' }]]);
    // What the command opens gives the focus back to the button.
    expect(focused).toBe(button);
    expect(button.getAttribute('aria-expanded')).toBe('false');
    expect(menu.isDisposed).toBe(true);
  });

  it('offers what else can be synced', async () => {
    const menu = openSyncMenu(commands, cluster('c1'), button, true);
    expect(menu.items.map(({ command }) => command)).toEqual([
      CommandIDs.sync,
      CommandIDs.sync,
      CommandIDs.syncChosen,
      CommandIDs.undoSync,
      CommandIDs.restoreState,
      CommandIDs.removeStates,
      CommandIDs.refresh
    ]);
    menu.triggerActiveItem();
    await settle();
    expect(executed).toEqual([
      [CommandIDs.sync, { cluster: 'c1', scope: 'all' }]
    ]);
  });

  it('gives the focus back when it is left', async () => {
    const menu = openMenu(commands, cluster('c1'), button, false);
    expect(menu.activeIndex).toBe(-1);
    menu.close();
    await settle();
    expect(document.activeElement).toBe(button);
    expect(executed).toEqual([]);
  });

  it('offers only what clusters of a kind have', () => {
    const attached = actionsOf(cluster('c', { source: 'attached' }));
    expect(attached).toContain(CommandIDs.renameCluster);
    expect(attached).not.toContain(CommandIDs.scaleCluster);
    const found = actionsOf(cluster('c', { source: 'discovered' }));
    expect(found).not.toContain(CommandIDs.renameCluster);
    for (const list of [attached, found, actionsOf(cluster('c'))]) {
      expect(list).toContain(CommandIDs.openTaskStream);
    }
  });
});
