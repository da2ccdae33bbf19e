/** A plan that is looked at before it is carried out: worked out, agreed to, and only then begun. */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { ApiError } from './api';
import { samePlan } from './planparts';
import type { Syncs } from './syncs';
import type { Plan, PlanCreate, Sync } from './wire';

/** What the user has to agree to. */
export type Need = Plan['needs'][number];

/** Why another plan is shown than before. */
export type Note = 'stale' | 'changed' | 'expired';

export type Stage =
  | { readonly kind: 'planning' }
  | { readonly kind: 'problem'; readonly error: ApiError }
  | { readonly kind: 'shown'; readonly plan: Plan; readonly note: Note | null }
  | { readonly kind: 'starting'; readonly plan: Plan };

export interface IPreviewOptions {
  syncs: Pick<Syncs, 'plan' | 'planOf' | 'refresh' | 'running' | 'start'>;
  /** What to plan. */
  body: PlanCreate;
  /** Begin what a plan that nobody had to agree to does; else the plan itself is begun. */
  begin?: (plan: Plan) => Promise<Sync>;
}

export class Preview implements IDisposable {
  constructor(private readonly _options: IPreviewOptions) {
    this._body = _options.body;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get stage(): Stage {
    return this._stage;
  }

  /** What has to be agreed to for the plan shown. */
  get needs(): readonly Need[] {
    return this._stage.kind === 'shown'
      ? [...new Set([...this._asked, ...this._stage.plan.needs])]
      : [];
  }

  get agreed(): ReadonlySet<Need> {
    return this._agreed;
  }

  /** How many seconds a running task may go on before its worker restarts. */
  get drain(): number {
    return this._body.drain_seconds ?? 120;
  }

  set drain(seconds: number) {
    this._body = { ...this._body, drain_seconds: seconds };
    void this.plan();
  }

  /** Whether the plan shown can be carried out as things stand. */
  get ready(): boolean {
    return (
      this._stage.kind === 'shown' &&
      ['roll', 'replace'].includes(this._stage.plan.how) &&
      this.needs.every(need => this._agreed.has(need))
    );
  }

  /** Whether another sync of the cluster runs already: there is nothing to agree to then. */
  get overtaken(): boolean {
    return this._overtaken;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  agree(need: Need, agreed: boolean): void {
    if (agreed) {
      this._agreed.add(need);
    } else {
      this._agreed.delete(need);
    }
    this._changed.emit();
  }

  /** Work out what would be done. */
  async plan(note: Note | null = null): Promise<void> {
    const turn = this._turn();
    this._set({ kind: 'planning' });
    try {
      const plan = await this._options.syncs.plan(this._body);
      if (turn === this._turns) {
        this._show(plan, note, []);
      }
    } catch (reason) {
      if (turn === this._turns) {
        this._set({ kind: 'problem', error: problem(reason) });
      }
    }
  }

  /** Carry out the plan shown; return whether there is nothing more to decide here. */
  async apply(): Promise<boolean> {
    if (this._stage.kind !== 'shown' || !this.ready) {
      return false;
    }
    const turn = this._turn();
    const needs = this.needs;
    let { plan } = this._stage;
    this._set({ kind: 'starting', plan });
    try {
      if (plan.needs.length > 0) {
        const { syncs } = this._options;
        const next = await syncs.plan({ ...this._body, confirm: needs });
        if (turn !== this._turns) {
          return false;
        }
        if (
          !samePlan(plan, next) ||
          next.needs.some(it => !needs.includes(it))
        ) {
          this._show(next, 'changed', needs);
          return false;
        }
        plan = next;
        this._asked = needs;
      }
      await this._begin(plan, needs);
      return true;
    } catch (reason) {
      return (
        turn === this._turns && (await this._refused(problem(reason), plan))
      );
    }
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      this._turns++;
      Signal.clearData(this);
    }
  }

  private _begin(plan: Plan, needs: readonly Need[]): Promise<Sync> {
    const { begin, syncs } = this._options;
    return begin && needs.length === 0 ? begin(plan) : syncs.start(plan);
  }

  /** Go on after a refusal; `plan` is what was agreed to, null where that doesn't hold any more. */
  private async _refused(error: ApiError, plan: Plan | null): Promise<boolean> {
    const { body, syncs } = this._options;
    const turn = this._turns;
    if (error.plan !== null) {
      try {
        const fresh = await syncs.planOf(error.plan);
        if (turn !== this._turns) {
          return false;
        }
        // What it rests on has changed, but nothing of what it does: that was agreed to. Once.
        if (plan && samePlan(plan, fresh) && fresh.needs.length === 0) {
          return await this._beginFresh(fresh);
        }
        this._show(fresh, 'stale', this._asked);
      } catch {
        // It didn't last either.
        if (turn === this._turns) {
          await this.plan('stale');
        }
      }
      return false;
    }
    if (error.kind === 'conflict') {
      // What runs is shown in the panel.
      await syncs.refresh().catch(() => undefined);
      if (syncs.running(body.cluster)) {
        this._overtaken = true;
        return true;
      }
    }
    if (error.kind === 'not_found' && turn === this._turns) {
      await this.plan('expired');
      return false;
    }
    this._set({ kind: 'problem', error });
    return false;
  }

  private async _beginFresh(plan: Plan): Promise<boolean> {
    try {
      await this._options.syncs.start(plan);
      return true;
    } catch (reason) {
      return this._refused(problem(reason), null);
    }
  }

  /** Show a plan; what was agreed to was agreed to for another one. */
  private _show(plan: Plan, note: Note | null, asked: readonly Need[]): void {
    this._asked = asked;
    this._agreed.clear();
    this._set({ kind: 'shown', plan, note });
  }

  private _set(stage: Stage): void {
    if (!this._disposed) {
      this._stage = stage;
      this._changed.emit();
    }
  }

  private _turn(): number {
    return ++this._turns;
  }

  private _body: PlanCreate;
  private _stage: Stage = { kind: 'planning' };
  /** What the plan shown was asked for with. */
  private _asked: readonly Need[] = [];
  private readonly _agreed = new Set<Need>();
  private _overtaken = false;
  private _turns = 0;
  private _disposed = false;
  private readonly _changed = new Signal<this, void>(this);
}

function problem(reason: unknown): ApiError {
  return reason instanceof ApiError
    ? reason
    : new ApiError('unreadable', String(reason));
}
