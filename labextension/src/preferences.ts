/** What the user chose in the lab's settings; `schema/plugin.json` describes them and has their defaults. */
import type { ISettingRegistry } from '@jupyterlab/settingregistry';

/** What the form of a new cluster begins with. */
export interface INewCluster {
  readonly workers: number;
  readonly threadsPerWorker: number;
  readonly memoryLimit: string;
  readonly packagesFrom: 'kernel' | 'interpreter' | 'server';
}

export interface IPreferences {
  readonly showInToolbar: boolean;
  readonly showInStatusBar: boolean;
  readonly notify: boolean;
  readonly refreshSeconds: number;
  readonly newCluster: INewCluster;
}

/** What holds where no settings can be had. */
export const DEFAULTS: IPreferences = {
  showInToolbar: true,
  showInStatusBar: true,
  notify: true,
  refreshSeconds: 5,
  newCluster: {
    workers: 2,
    threadsPerWorker: 1,
    memoryLimit: '',
    packagesFrom: 'kernel'
  }
};

/** Return what settings say, with the defaults where they say nothing. */
export function preferencesOf(
  settings: ISettingRegistry.ISettings
): IPreferences {
  const said = settings.composite as Partial<IPreferences>;
  return {
    ...DEFAULTS,
    ...said,
    newCluster: { ...DEFAULTS.newCluster, ...said.newCluster }
  };
}
