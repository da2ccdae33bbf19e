/** Functions that fetch from the server extension; every failure is an `ApiError`. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type {
  About,
  ChangedCluster,
  Cluster,
  ClusterAttach,
  ClusterChange,
  ClusterCreate,
  ClusterRestart,
  Diff,
  Doctor,
  ErrorBody,
  ExplainRequest,
  Explanation,
  Layer,
  Logs,
  Plan,
  PlanCreate,
  Problematic,
  Rules,
  RulesChange,
  Sync,
  Usage
} from './wire';

/** Version of the shapes that this page reads; the server tells its own. */
export const SCHEMA = 1;

/**
 * The contract's kinds, and those of this side: `missing` (no server extension answers), `connection` (no server
 * answers), `unreadable` (an answer, but not ours) and `outdated` (page and server speak different versions).
 */
export type ApiErrorKind =
  Problematic['kind'] | 'missing' | 'connection' | 'unreadable' | 'outdated';

/** A refusal or failure, in the server's words where it gave any. */
export class ApiError extends Error {
  constructor(
    readonly kind: ApiErrorKind,
    message: string,
    readonly hint = '',
    /** The part of the request that is wrong, such as `address` or `tls.ca_file`. */
    readonly field: string | null = null,
    /** Id of the plan that holds now, where the one asked for no longer does. */
    readonly plan: string | null = null
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

/** Which lines of a log: of one node or all, the last ones or those after an earlier answer's `next`. */
export interface ILogQuery {
  readonly node?: string | null;
  readonly after?: string | null;
}

/** What is known of an answer beside its content. */
export interface IMark {
  /** Stands for the content, the times in it aside. */
  readonly tag: string;
  /** When the server last saw that it still holds, by this page's clock in milliseconds; null: it has said nothing since. */
  readonly confirmed: number | null;
}

/** What the model asks; tests pass a fake. */
export interface IApi {
  /** What is known of one of the answers of this API, or null. */
  mark(answer: object): IMark | null;
  about(): Promise<About>;
  clusters(): Promise<readonly Cluster[]>;
  create(body: ClusterCreate): Promise<Cluster>;
  attach(body: ClusterAttach): Promise<Cluster>;
  change(id: string, body: ClusterChange): Promise<ChangedCluster>;
  restart(id: string, what: ClusterRestart['what']): Promise<Cluster>;
  remove(id: string): Promise<void>;
  logs(id: string, query: ILogQuery): Promise<Logs>;
  diff(kernel: string, cluster: string): Promise<Diff>;
  explain(body: ExplainRequest): Promise<Explanation>;
  /** What a report of a problem needs, of one kernel or of the server alone. */
  doctor(kernel: string | null): Promise<Doctor>;
  rules(): Promise<Rules>;
  changeRules(body: RulesChange): Promise<Rules>;
  usage(): Promise<Usage>;
  /** Work out what a sync would do; nothing is touched. */
  plan(body: PlanCreate): Promise<Plan>;
  /** A plan that the server still holds. */
  planOf(id: string): Promise<Plan>;
  syncs(): Promise<readonly Sync[]>;
  /** A sync with the lines of its log after so many, or the last ones. */
  sync(id: string, after: number | null): Promise<Sync>;
  startSync(plan: string): Promise<Sync>;
  cancelSync(id: string): Promise<Sync>;
  undoSync(id: string): Promise<Sync>;
  layers(): Promise<readonly Layer[]>;
  removeLayer(id: string): Promise<void>;
}

/** The REST API of the server extension. */
export class Api implements IApi {
  constructor(private readonly _settings: ServerConnection.ISettings) {}

  mark(answer: object): IMark | null {
    return this._marks.get(answer) ?? null;
  }

  async about(): Promise<About> {
    return current(await this._ask<About>('about'));
  }

  clusters(): Promise<readonly Cluster[]> {
    return this._ask('clusters');
  }

  create(body: ClusterCreate): Promise<Cluster> {
    return this._ask('clusters', {
      method: 'POST',
      body: JSON.stringify(body)
    });
  }

  attach(body: ClusterAttach): Promise<Cluster> {
    return this._ask('clusters', {
      method: 'POST',
      body: JSON.stringify(body)
    });
  }

  change(id: string, body: ClusterChange): Promise<ChangedCluster> {
    return this._ask(ofCluster(id), {
      method: 'PATCH',
      body: JSON.stringify(body)
    });
  }

  restart(id: string, what: ClusterRestart['what']): Promise<Cluster> {
    return this._ask(`${ofCluster(id)}/restart`, {
      method: 'POST',
      body: JSON.stringify({ what })
    });
  }

  remove(id: string): Promise<void> {
    return this._ask(ofCluster(id), { method: 'DELETE' });
  }

  logs(id: string, { node, after }: ILogQuery): Promise<Logs> {
    const query = URLExt.objectToQueryString({
      ...(node && { node }),
      ...(after && { after })
    });
    return this._ask(`${ofCluster(id)}/logs${query}`);
  }

  async diff(kernel: string, cluster: string): Promise<Diff> {
    const query = URLExt.objectToQueryString({ kernel, cluster });
    return current(await this._ask<Diff>(`diff${query}`));
  }

  explain(body: ExplainRequest): Promise<Explanation> {
    return this._ask('explain', {
      method: 'POST',
      body: JSON.stringify(body)
    });
  }

  doctor(kernel: string | null): Promise<Doctor> {
    const query = URLExt.objectToQueryString({ ...(kernel && { kernel }) });
    return this._ask(`doctor${query}`);
  }

  rules(): Promise<Rules> {
    return this._ask('rules');
  }

  changeRules(body: RulesChange): Promise<Rules> {
    return this._ask('rules', {
      method: 'PATCH',
      body: JSON.stringify(body)
    });
  }

  usage(): Promise<Usage> {
    return this._ask('usage');
  }

  plan(body: PlanCreate): Promise<Plan> {
    return this._ask('plans', { method: 'POST', body: JSON.stringify(body) });
  }

  planOf(id: string): Promise<Plan> {
    return this._ask(`plans/${encodeURIComponent(id)}`);
  }

  syncs(): Promise<readonly Sync[]> {
    return this._ask('syncs');
  }

  sync(id: string, after: number | null): Promise<Sync> {
    const query = after === null ? '' : `?after=${after}`;
    return this._ask(`${ofSync(id)}${query}`);
  }

  startSync(plan: string): Promise<Sync> {
    return this._ask('syncs', {
      method: 'POST',
      body: JSON.stringify({ plan })
    });
  }

  cancelSync(id: string): Promise<Sync> {
    return this._ask(ofSync(id), { method: 'DELETE' });
  }

  undoSync(id: string): Promise<Sync> {
    return this._ask(`${ofSync(id)}/undo`, { method: 'POST' });
  }

  layers(): Promise<readonly Layer[]> {
    return this._ask('layers');
  }

  removeLayer(id: string): Promise<void> {
    return this._ask(`layers/${encodeURIComponent(id)}`, { method: 'DELETE' });
  }

  private async _ask<T>(path: string, init: RequestInit = {}): Promise<T> {
    const base = URLExt.join(this._settings.baseUrl, 'coiled-jupyter/api');
    const last = this._last.get(route(path));
    const tag =
      !init.method && last?.path === path && this._marks.get(last.body)?.tag;
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(
        `${base}/${path}`,
        tag ? { ...init, headers: { 'If-None-Match': `"${tag}"` } } : init,
        this._settings
      );
    } catch (reason) {
      throw new ApiError('connection', String(reason));
    }
    if (response.status === 204) {
      return undefined as T;
    }
    if (response.status === 304 && last && tag) {
      const age = Number(response.headers.get(AGE) ?? NaN);
      this._marks.set(last.body, {
        tag,
        confirmed: age >= 0 ? Date.now() - age : null
      });
      return last.body as T;
    }
    let body: unknown = null;
    try {
      body = await response.json();
    } catch {
      // Something in between answered: judged by its status below.
    }
    if (response.ok && typeof body === 'object' && body !== null) {
      const named = /^(?:W\/)?"(.+)"$/.exec(response.headers.get('ETag') ?? '');
      if (!init.method && named && KEPT.includes(route(path))) {
        this._marks.set(body, { tag: named[1], confirmed: null });
        this._last.set(route(path), { path, body });
      }
      return body as T;
    }
    const problem = (body as Partial<ErrorBody> | null)?.error;
    if (typeof problem === 'object' && typeof problem?.message === 'string') {
      const { field, plan } = problem.data ?? {};
      throw new ApiError(
        problem.kind,
        problem.message,
        problem.hint,
        typeof field === 'string' ? field : null,
        typeof plan === 'string' ? plan : null
      );
    }
    throw new ApiError(
      kindOf(response.status),
      `${init.method ?? 'GET'} ${route(path)}: ${response.status}`
    );
  }

  private readonly _marks = new WeakMap<object, IMark>();
  /** The last answer of each route, which the server needn't send again while it holds. */
  private readonly _last = new Map<string, { path: string; body: object }>();
}

/** Routes that are asked again and again. */
const KEPT = ['clusters', 'usage', 'diff', 'syncs'];

/** Milliseconds since what an answer without a body confirms was read. */
const AGE = 'Coiled-Jupyter-Age';

function route(path: string): string {
  return path.split('?')[0];
}

function ofCluster(id: string): string {
  return `clusters/${encodeURIComponent(id)}`;
}

function ofSync(id: string): string {
  return `syncs/${encodeURIComponent(id)}`;
}

function current<T extends { readonly schema: number }>(answer: T): T {
  if (answer.schema !== SCHEMA) {
    throw new ApiError('outdated', `${answer.schema} is not ${SCHEMA}`);
  }
  return answer;
}

/** What a status means where the answer isn't the server extension's own. */
function kindOf(status: number): ApiErrorKind {
  if (status === 404) {
    return 'missing';
  }
  if (status === 401 || status === 403) {
    return 'forbidden';
  }
  return status >= 500 ? 'unavailable' : 'unreadable';
}
