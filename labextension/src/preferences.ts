/** What the user chose in the lab's settings; `schema/plugin.json` describes them and has their defaults. */
import { PageConfig } from '@jupyterlab/coreutils';
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

/** Where an administrator names settings that have the default: the lab's `page_config.json`, which has the lab's locks too. */
export const LOCKED = 'coiledJupyterLocked';

function locked(): readonly string[] {
  try {
    return [].concat(JSON.parse(PageConfig.getOption(LOCKED) || '[]'));
  } catch {
    return [];
  }
}

/** Return what settings say, with the defaults where they say nothing or may not be chosen. */
export function preferencesOf(
  settings: ISettingRegistry.ISettings
): IPreferences {
  const said: Partial<IPreferences> = { ...settings.composite };
  for (const key of locked()) {
    // Not `settings.default`, which prefers what the schema says of an object's parts.
    const whole = settings.schema.properties?.[key]?.default;
    Object.assign(said, { [key]: whole });
  }
  return {
    ...DEFAULTS,
    ...said,
    newCluster: { ...DEFAULTS.newCluster, ...said.newCluster }
  };
}
