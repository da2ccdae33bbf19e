/** Menus below buttons: further actions on a cluster, and further ways to sync. */
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';
import { Menu } from '@lumino/widgets';

import { CommandIDs } from '../tokens';
import type { Cluster } from '../api/wire';

const { insertClient: INSERT, stopCluster: STOP } = CommandIDs;
const STEERING = [
  CommandIDs.scaleCluster,
  CommandIDs.restartCluster,
  CommandIDs.renameCluster,
  CommandIDs.keepCluster
];
const LOOKING = [
  CommandIDs.openTaskStream,
  CommandIDs.openProgress,
  CommandIDs.openWorkers,
  CommandIDs.openClusterMap,
  CommandIDs.openDashboard,
  CommandIDs.copyCluster,
  CommandIDs.exportCluster
];

/** The commands for clusters of this source; each decides whether it is enabled. */
export function actionsOf({ source }: Cluster): readonly string[] {
  return {
    managed: [INSERT, ...STEERING, CommandIDs.showLogs, ...LOOKING, STOP],
    attached: [INSERT, CommandIDs.renameCluster, ...LOOKING, STOP],
    discovered: LOOKING
  }[source];
}

/** The ways to sync without a button of their own; without separators, which would be menu items without a name. */
const SYNCING: readonly (readonly [string, ReadonlyJSONObject])[] = [
  [CommandIDs.sync, { scope: 'all' }],
  [CommandIDs.sync, { scope: 'rated' }],
  [CommandIDs.syncChosen, {}],
  [CommandIDs.undoSync, {}],
  [CommandIDs.restoreState, {}],
  [CommandIDs.removeStates, {}],
  [CommandIDs.refresh, {}]
];

/** Open the menu of a cluster below its button. */
export function openMenu(
  commands: CommandRegistry,
  cluster: Cluster,
  button: HTMLElement,
  keyboard: boolean
): Menu {
  const items = actionsOf(cluster).map(command => ({
    command,
    args: { cluster: cluster.id }
  }));
  return openItems(commands, items, button, keyboard);
}

/** Open the menu of the other ways to sync below its button. */
export function openSyncMenu(
  commands: CommandRegistry,
  cluster: Cluster,
  button: HTMLElement,
  keyboard: boolean
): Menu {
  const items = SYNCING.map(([command, args]) => ({
    command,
    args: { ...args, cluster: cluster.id }
  }));
  return openItems(commands, items, button, keyboard);
}

/** Opened by the keyboard, a menu activates its first item. */
function openItems(
  commands: CommandRegistry,
  items: readonly Menu.IItemOptions[],
  button: HTMLElement,
  keyboard: boolean
): Menu {
  const menu = new Menu({ commands });
  menu.addClass('jp-Coiled-menu');
  menu.title.label = button.getAttribute('aria-label') ?? '';
  items.forEach(item => menu.addItem(item));
  button.setAttribute('aria-expanded', 'true');
  menu.aboutToClose.connect(() => {
    button.setAttribute('aria-expanded', 'false');
    // Before the command runs, because its dialog restores the focus to this element.
    button.focus();
    // The menu is still closing.
    void Promise.resolve().then(() => menu.dispose());
  });
  const { left, bottom } = button.getBoundingClientRect();
  menu.open(left, bottom);
  if (keyboard) {
    menu.activateNextItem();
  }
  return menu;
}
