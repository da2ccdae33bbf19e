/** The menu of a cluster: what else can be done with it. */
import type { CommandRegistry } from '@lumino/commands';
import { Menu } from '@lumino/widgets';

import { CommandIDs } from './ids';
import type { Cluster } from './wire';

const STEERING = [
  CommandIDs.scaleCluster,
  CommandIDs.restartCluster,
  CommandIDs.renameCluster,
  CommandIDs.keepCluster
];
const LOOKING = [CommandIDs.openDashboard, CommandIDs.copyCluster];

/** The commands that clusters of this kind have; whether one can be used now, it says itself. */
export function actionsOf({ source }: Cluster): readonly string[] {
  return {
    managed: [...STEERING, CommandIDs.showLogs, ...LOOKING],
    attached: [CommandIDs.renameCluster, ...LOOKING],
    discovered: LOOKING
  }[source];
}

/** Open the menu below its button; with the keyboard its first item is the active one. */
export function openMenu(
  commands: CommandRegistry,
  cluster: Cluster,
  button: HTMLElement,
  keyboard: boolean
): Menu {
  const menu = new Menu({ commands });
  menu.addClass('jp-Coiled-menu');
  menu.title.label = button.getAttribute('aria-label') ?? '';
  for (const command of actionsOf(cluster)) {
    menu.addItem({ command, args: { cluster: cluster.id } });
  }
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
