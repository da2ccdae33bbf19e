/** Adds commands whose failures are shown to the user, and finds the cluster that a command is for. */
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type {
  ReadonlyJSONObject,
  ReadonlyPartialJSONObject
} from '@lumino/coreutils';

import { ApiError } from '../api/client';
import type { Cluster } from '../api/wire';
import type { IDialogContext } from '../dialogs/context';
import type { Allowed } from '../model/capabilities';
import { hasEnded } from '../model/model';
import { refusalWords } from '../words/words';

interface ICommand<A> {
  id: string;
  caption: string;
  execute: (argument: A) => unknown;
}

/** A command without a cluster, or with one that it looks for itself. */
export interface IPlainCommand extends ICommand<ReadonlyPartialJSONObject> {
  label: CommandRegistry.ICommandOptions['label'];
  /** JSON Schema of its arguments, by name. */
  args?: ReadonlyJSONObject;
  isEnabled?: (args: ReadonlyPartialJSONObject) => boolean;
}

export interface IClusterCommand extends ICommand<Cluster> {
  label: string;
  /** What it is called in the menu of this cluster, where that is shorter or says more. */
  short?: string | ((cluster: Cluster) => string);
  allowed: Allowed;
  /** Whether, where none is named, the compared one is meant. */
  compared?: boolean;
}

export class CommandAdder {
  constructor(
    private readonly _commands: CommandRegistry,
    private readonly _context: IDialogContext
  ) {}

  add(command: IPlainCommand): void {
    const { args = {}, caption, execute, id, isEnabled, label } = command;
    this._commands.addCommand(id, {
      label,
      caption,
      describedBy: { args: { type: 'object', properties: args } },
      isEnabled,
      execute: async args => {
        try {
          return await execute(args);
        } catch (reason) {
          Notification.error(failureWords(reason, this._context.trans), {
            autoClose: false
          });
        }
      }
    });
  }

  /** Add a command for one cluster: the one that is named, else the only one that fits, else one that the user chooses. */
  addForCluster(command: IClusterCommand): void {
    const { allowed, caption, compared, execute, id, label, short } = command;
    const { trans } = this._context;
    this.add({
      id,
      caption,
      label: ({ cluster }) => {
        if (typeof short !== 'function') {
          return (cluster !== undefined && short) || label;
        }
        const fit = this._fitting(cluster, allowed);
        return fit.length === 1 ? short(fit[0]) : label;
      },
      args: {
        cluster: {
          type: 'string',
          description: trans.__(
            'Id of the cluster; where it is left out and several fit, one is asked for'
          )
        }
      },
      isEnabled: ({ cluster }) => this._fitting(cluster, allowed).length > 0,
      execute: async ({ cluster }) => {
        const meant =
          cluster ?? (compared ? this._context.model.cluster?.id : undefined);
        const fit = this._fitting(meant, allowed);
        const chosen = fit.length > 1 ? await this._ask(fit, caption) : fit[0];
        // It may have ended while the user chose.
        const present = chosen && this._fitting(chosen.id, allowed)[0];
        return present && execute(present);
      }
    });
  }

  /** A wrong id fits none, never another cluster; those that have ended fit only where none runs. */
  private _fitting(id: unknown, allowed: Allowed): readonly Cluster[] {
    const fit = this._context.model.clusters.filter(
      it => (id === undefined || it.id === id) && allowed(it)
    );
    const running = fit.filter(it => !hasEnded(it));
    return running.length ? running : fit;
  }

  private async _ask(
    clusters: readonly Cluster[],
    purpose: string
  ): Promise<Cluster | undefined> {
    const { chooseCluster } = await import('../dialogs');
    return chooseCluster(clusters, purpose, this._context);
  }
}

function failureWords(reason: unknown, trans: TranslationBundle): string {
  if (reason instanceof ApiError) {
    return refusalWords(reason, trans);
  }
  console.error(reason);
  return reason instanceof Error && reason.name === 'ChunkLoadError'
    ? trans.__(
        'A part of this page could not be loaded: the server does not answer, or has another version now. Reload the page.'
      )
    : trans.__(
        'The command failed because of a defect of coiled-jupyter: %1. The browser’s console has the details.',
        String(reason)
      );
}
