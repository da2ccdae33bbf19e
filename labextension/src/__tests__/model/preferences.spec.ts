import { PageConfig } from '@jupyterlab/coreutils';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';

import { DEFAULTS, LOCKED, preferencesOf } from '../../model/preferences';

/** Settings of a user, beside what the schema and an administrator have as defaults. */
function settings(
  chosen: Record<string, unknown>,
  defaults: Record<string, unknown>
): ISettingRegistry.ISettings {
  return {
    composite: { ...defaults, ...chosen },
    schema: {
      properties: Object.fromEntries(
        Object.entries(defaults).map(([key, it]) => [key, { default: it }])
      )
    }
  } as unknown as ISettingRegistry.ISettings;
}

const chosen = { notify: true, refreshSeconds: 60, newCluster: { workers: 9 } };
const defaults = {
  notify: false,
  refreshSeconds: 5,
  newCluster: { workers: 3 }
};

afterEach(() => PageConfig.setOption(LOCKED, ''));

describe('preferences', () => {
  it('are what the user chose, and the defaults beside it', () => {
    const found = preferencesOf(settings(chosen, defaults));
    expect(found).toMatchObject({ notify: true, refreshSeconds: 60 });
    expect(found.newCluster).toEqual({ ...DEFAULTS.newCluster, workers: 9 });
  });

  it("are an administrator's where these are locked", () => {
    PageConfig.setOption(LOCKED, JSON.stringify(['notify', 'newCluster']));
    const found = preferencesOf(settings(chosen, defaults));
    expect(found).toMatchObject({ notify: false, refreshSeconds: 60 });
    expect(found.newCluster).toEqual({ ...DEFAULTS.newCluster, workers: 3 });
  });

  it.each(['nonsense', '{"a": 1}', '7', 'null'])(
    'are there whatever is said to be locked: %s',
    said => {
      PageConfig.setOption(LOCKED, said);
      const found = preferencesOf(settings(chosen, defaults));
      expect(found).toMatchObject({ notify: true, refreshSeconds: 60 });
    }
  );
});
