/** The user's settings in JupyterLab; `schema/plugin.json` describes them and has their defaults. */
import { PageConfig } from '@jupyterlab/coreutils';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';

/** The initial values of the form of a new cluster. */
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

/** The settings if none can be loaded. */
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

/** The key of an administrator's locked settings, in JupyterLab's `page_config.json`. */
export const LOCKED = 'coiledJupyterLocked';

function locked(): readonly string[] {
  try {
    return [].concat(JSON.parse(PageConfig.getOption(LOCKED) || '[]'));
  } catch {
    return [];
  }
}

/** Return the settings, with the defaults for missing and locked ones. */
export function preferencesOf(
  settings: ISettingRegistry.ISettings
): IPreferences {
  const said: Partial<IPreferences> = { ...settings.composite };
  for (const key of locked()) {
    // Not `settings.default`, which prefers the schema's defaults of an object's properties.
    const whole = settings.schema.properties?.[key]?.default;
    Object.assign(said, { [key]: whole });
  }
  return {
    ...DEFAULTS,
    ...said,
    newCluster: { ...DEFAULTS.newCluster, ...said.newCluster }
  };
}
