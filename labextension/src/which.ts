/** Which cluster a command is for: the one that is named, else the only one that fits, else one that is asked for. */
import type { CommandRegistry } from '@lumino/commands';

import type { Allowed } from './allowed';
import { hasEnded } from './model';
import { onDemand } from './ondemand';
import type { ISteeringOptions } from './steering';
import type { Cluster } from './wire';

export interface IClusterCommand {
  id: string;
  label: string;
  /** What it is called for this cluster, where that is shorter or says more. */
  short?: string | ((cluster: Cluster) => string);
  caption: string;
  allowed: Allowed;
  execute: (cluster: Cluster) => unknown;
}

/** Adds a command that does something with one cluster. */
export type AddForCluster = (command: IClusterCommand) => void;

export function forClusters(
  commands: CommandRegistry,
  options: Pick<ISteeringOptions, 'model' | 'trans'>
): AddForCluster {
  const { model, trans } = options;
  const args = {
    type: 'object',
    properties: {
      cluster: {
        type: 'string',
        description: trans.__(
          'Id of the cluster; where it is left out and several fit, one is asked for'
        )
      }
    }
  };
  /** A wrong id means none, never another cluster; those that have ended are meant where none lives. */
  const meant = (wish: unknown, allowed: Allowed): readonly Cluster[] => {
    const fit = model.clusters.filter(
      it => (wish === undefined || it.id === wish) && allowed(it)
    );
    const live = fit.filter(it => !hasEnded(it));
    return live.length ? live : fit;
  };
  return ({ id, label, short, caption, allowed, execute }) =>
    commands.addCommand(id, {
      label: ({ cluster: wish }) => {
        // In a cluster's own menu it is clear what is meant.
        if (typeof short !== 'function') {
          return (wish !== undefined && short) || label;
        }
        const fit = meant(wish, allowed);
        return fit.length === 1 ? short(fit[0]) : label;
      },
      caption,
      describedBy: { args },
      isEnabled: ({ cluster: wish }) => meant(wish, allowed).length > 0,
      execute: async ({ cluster: wish }) => {
        const fit = meant(wish, allowed);
        const chosen =
          fit.length > 1
            ? await onDemand(trans, it => it.which(fit, caption, options))
            : fit[0];
        // While one was asked, it may have ended.
        const present = chosen && meant(chosen.id, allowed)[0];
        return present && execute(present);
      }
    });
}
