/** Alerts the user once, even while the panel is hidden, that packages of a notebook will break. */
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import type { IMemory, Model } from './model';
import type { Diff, Row } from '../api/wire';

/** Findings per notebook that are remembered as shown. */
const KEPT = 100;

export interface IAlarmOptions {
  model: Model;
  /** Persists which findings were shown; without it, they are known until the page is closed. */
  memory?: IMemory | null;
  /** Show that these rows break. */
  tell: (rows: readonly Row[], diff: Diff) => void;
}

export class Alarm implements IDisposable {
  constructor(private readonly _options: IAlarmOptions) {
    _options.model.changed.connect(this._onChanged, this);
  }

  /** Whether to show alerts; findings that persist are shown when this becomes true. */
  enabled = true;

  get isDisposed(): boolean {
    return this._disposed;
  }

  dispose(): void {
    this._disposed = true;
    Signal.clearData(this);
  }

  private _onChanged(): void {
    const { diff, kernel } = this._options.model;
    if (!this.enabled || !diff || !kernel || diff === this._last) {
      return;
    }
    if (this._options.model.judge().verdict !== 'breaks') {
      return;
    }
    this._last = diff;
    void this._tell(kernel.path, diff);
  }

  private async _tell(path: string, diff: Diff): Promise<void> {
    if (!this._told.has(path)) {
      const told = await this._options.memory
        ?.fetch(key(path))
        .catch(() => undefined);
      if (!this._told.has(path)) {
        this._told.set(path, new Set(decode(told)));
      }
    }
    const told = this._told.get(path)!;
    const rows = diff.rows.filter(
      row => row.severity === 'breaks' && !told.has(finding(row))
    );
    // The user may have switched to another notebook.
    if (
      this._disposed ||
      rows.length === 0 ||
      this._options.model.diff !== diff
    ) {
      return;
    }
    rows.forEach(row => told.add(finding(row)));
    this._options.tell(rows, diff);
    // Persistence is a convenience: without it, the alert is shown once more.
    this._options.memory
      ?.save(key(path), JSON.stringify([...told].slice(-KEPT)))
      .catch(() => undefined);
  }

  private readonly _told = new Map<string, Set<string>>();
  private _last: Diff | null = null;
  private _disposed = false;
}

/** The key of a finding: the same versions on another cluster are the same finding. */
function finding({ groups, kernel, name, status }: Row): string {
  const there = [...new Set(groups.map(({ version }) => version))].sort();
  return JSON.stringify([name, status, kernel?.version ?? null, there]);
}

function decode(told: unknown): string[] {
  try {
    const found: unknown = JSON.parse(String(told));
    return Array.isArray(found) ? found.map(String) : [];
  } catch {
    return [];
  }
}

function key(path: string): string {
  return `coiled-jupyter:told:${path}`;
}
