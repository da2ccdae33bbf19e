/** A plan under review: made, confirmed, and only then carried out. */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { asApiError } from '../api/client';
import type { ApiError } from '../api/client';
import { samePlan } from './planContents';
import type { Scope } from './planContents';
import type { Syncs } from './syncs';
import type { Cluster, Plan, PlanCreate, Sync } from '../api/wire';

/** A confirmation by the user. */
export type Need = Plan['needs'][number];

/** Why a new plan is shown. */
export type Note = 'stale' | 'changed' | 'expired';

export type Stage =
  | { readonly kind: 'planning' }
  | { readonly kind: 'problem'; readonly error: ApiError }
  | { readonly kind: 'shown'; readonly plan: Plan; readonly note: Note | null }
  | { readonly kind: 'starting'; readonly plan: Plan };

export interface IPlanReviewOptions {
  syncs: Pick<Syncs, 'plan' | 'planOf' | 'refresh' | 'running' | 'start'>;
  /** What to plan. */
  body: PlanCreate;
  /** Begin a plan that needs no confirmation; by default, start its sync. */
  begin?: (plan: Plan) => Promise<Sync>;
}

/** A plan under review in the panel, and how it is put. */
export interface IReviewed {
  readonly cluster: Cluster;
  /** What is asked. */
  readonly title: string;
  /** The button that carries it out. */
  readonly accept: string;
  /** The request as a sentence, for a choice of packages. */
  readonly lead: (scope: Scope) => string;
  readonly review: PlanReview;
}

export class PlanReview implements IDisposable {
  constructor(private readonly _options: IPlanReviewOptions) {
    this._body = _options.body;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get stage(): Stage {
    return this._stage;
  }

  /** The confirmations that the shown plan needs. */
  get needs(): readonly Need[] {
    return this._stage.kind === 'shown'
      ? [...new Set([...this._asked, ...this._stage.plan.needs])]
      : [];
  }

  get agreed(): ReadonlySet<Need> {
    return this._agreed;
  }

  /** Whether it counts only for the notebook and the cluster that are compared. */
  get compares(): boolean {
    return this._options.body.kernel !== undefined;
  }

  /** Seconds to wait for a running task before its worker restarts. */
  get drain(): number {
    return this._body.drain_seconds ?? 120;
  }

  set drain(seconds: number) {
    this._body = { ...this._body, drain_seconds: seconds };
    void this.plan();
  }

  /** Whether workers that can't wait longer restart all the same, whatever that loses. */
  get insists(): boolean {
    return (this._body.confirm ?? []).includes('lost_results');
  }

  set insists(insists: boolean) {
    this._body = { ...this._body, confirm: insists ? ['lost_results'] : [] };
    void this.plan();
  }

  /** Which packages are planned. */
  get scope(): Scope {
    return this._body.scope ?? 'notebook';
  }

  set scope(scope: Scope) {
    this._body = { ...this._body, scope };
    void this.plan();
  }

  /** Whether packages go that only the cluster has. */
  get removesExtra(): boolean {
    return this._body.remove_extra ?? false;
  }

  set removesExtra(remove: boolean) {
    this._body = { ...this._body, remove_extra: remove };
    void this.plan();
  }

  /** Whether the shown plan can be carried out now. */
  get ready(): boolean {
    return (
      this._stage.kind === 'shown' &&
      ['roll', 'replace', 'in_place'].includes(this._stage.plan.how) &&
      this.needs.every(need => this._agreed.has(need))
    );
  }

  /** Whether another sync of the cluster already runs, which ends the review. */
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

  /** Make a plan. */
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
        this._set({ kind: 'problem', error: asApiError(reason) });
      }
    }
  }

  /** Carry out the shown plan; return whether the review is finished. */
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
        const confirm = [...new Set([...(this._body.confirm ?? []), ...needs])];
        const next = await syncs.plan({ ...this._body, confirm });
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
        turn === this._turns && (await this._refused(asApiError(reason), plan))
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

  /** Handle a refusal; `plan` is the confirmed plan, null if it no longer counts. */
  private async _refused(error: ApiError, plan: Plan | null): Promise<boolean> {
    const { body, syncs } = this._options;
    const turn = this._turns;
    if (error.plan !== null) {
      try {
        const fresh = await syncs.planOf(error.plan);
        if (turn !== this._turns) {
          return false;
        }
        // Its inputs have changed, but not its actions, which were confirmed: retry once.
        if (plan && samePlan(plan, fresh) && fresh.needs.length === 0) {
          return await this._beginFresh(fresh);
        }
        this._show(fresh, 'stale', this._asked);
      } catch {
        // The new plan has expired too.
        if (turn === this._turns) {
          await this.plan('stale');
        }
      }
      return false;
    }
    if (error.kind === 'conflict') {
      // The panel shows the running sync.
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
      return this._refused(asApiError(reason), null);
    }
  }

  /** Show a plan, without the confirmations of the previous one. */
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
  /** The confirmations in the request of the shown plan. */
  private _asked: readonly Need[] = [];
  private readonly _agreed = new Set<Need>();
  private _overtaken = false;
  private _turns = 0;
  private _disposed = false;
  private readonly _changed = new Signal<this, void>(this);
}
