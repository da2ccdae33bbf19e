/** Menus below buttons: what else can be done with a cluster, and what else can be synced. */
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';
import { Menu } from '@lumino/widgets';

import { CommandIDs } from './ids';
import type { Cluster } from './wire';

const STEERING = [
  CommandIDs.scaleCluster,
  CommandIDs.restartCluster,
  CommandIDs.renameCluster,
  CommandIDs.keepCluster
];
const LOOKING = [
  CommandIDs.openDashboard,
  CommandIDs.copyCluster,
  CommandIDs.exportCluster
];

/** The commands that clusters of this kind have; whether one can be used now, it says itself. */
export function actionsOf({ source }: Cluster): readonly string[] {
  return {
    managed: [...STEERING, CommandIDs.showLogs, ...LOOKING],
    attached: [CommandIDs.renameCluster, ...LOOKING],
    discovered: LOOKING
  }[source];
}

/** The ways to sync that a button of its own isn't there for; lines between them would be items without a name. */
const SYNCING: readonly (readonly [string, ReadonlyJSONObject])[] = [
  [CommandIDs.sync, { scope: 'rated' }],
  [CommandIDs.syncChosen, {}],
  [CommandIDs.undoSync, {}],
  [CommandIDs.restoreState, {}],
  [CommandIDs.removeStates, {}]
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

/** With the keyboard the first item is the active one. */
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
    // Before the command runs: its dialog gives the focus back to where it was.
    button.focus();
    // The menu is still on its way out.
    void Promise.resolve().then(() => menu.dispose());
  });
  const { left, bottom } = button.getBoundingClientRect();
  menu.open(left, bottom);
  if (keyboard) {
    menu.activateNextItem();
  }
  return menu;
}
