/** Functions that fetch from the server extension; every failure is an `ApiError`. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type {
  About,
  Activity,
  ChangedCluster,
  ClientCode,
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
  Offers,
  Plan,
  PlanCreate,
  Problematic,
  Rules,
  RulesChange,
  Sync,
  Usage
} from './wire';

/** Version of the shapes that this page reads; the server tells its own. */
export const SCHEMA = 2;

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
    readonly plan: string | null = null,
    /** The words of a resolver or an installer that the message is short for. */
    readonly details = ''
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

/** Any failure as one that can be shown. */
export function asApiError(reason: unknown): ApiError {
  return reason instanceof ApiError
    ? reason
    : new ApiError('unreadable', String(reason));
}

/** An answer that may be asked for again, with what its age follows from; times in milliseconds by the server's clock. */
export interface IAnswer<T> {
  readonly value: T;
  readonly path: string;
  /** Its ETag; null where it must not be asked whether it still holds. */
  readonly tag: string | null;
  /** When the value was sent. */
  readonly sent: number;
  /** When the server last said that it still holds. */
  readonly held: number;
  /** How old its oldest current reading was then, in milliseconds. */
  readonly age: number;
}

type Last<T> = IAnswer<T> | null;

/** What the model asks; tests pass a fake. */
export interface IApi {
  about(last?: Last<About>): Promise<IAnswer<About>>;
  clusters(
    last?: Last<readonly Cluster[]>
  ): Promise<IAnswer<readonly Cluster[]>>;
  create(body: ClusterCreate): Promise<Cluster>;
  /** Ask a factory's platform, by the Python of a kernel or of the server. */
  offers(factory: string, kernel: string | null): Promise<Offers>;
  attach(body: ClusterAttach): Promise<Cluster>;
  change(id: string, body: ClusterChange): Promise<ChangedCluster>;
  restart(id: string, what: ClusterRestart['what']): Promise<Cluster>;
  remove(id: string): Promise<void>;
  logs(id: string, query: ILogQuery): Promise<Logs>;
  /** What a cluster is doing, since an earlier answer's cursor. */
  activity(id: string, after: string | null): Promise<Activity>;
  diff(
    kernel: string,
    cluster: string,
    last?: Last<Diff>
  ): Promise<IAnswer<Diff>>;
  /** What the cells of a kernel's notebook import now. */
  tellImports(kernel: string, cells: string[]): Promise<void>;
  /** Code that connects a kernel, if there is one, to a cluster. */
  clientCode(cluster: string, kernel: string | null): Promise<ClientCode>;
  /** Whether a kernel's clients send sealed graphs to a cluster. */
  seal(kernel: string, cluster: string, sealed: boolean): Promise<void>;
  explain(body: ExplainRequest): Promise<Explanation>;
  /** What a report of a problem needs, of one kernel or of the server alone. */
  doctor(kernel: string | null): Promise<Doctor>;
  rules(): Promise<Rules>;
  changeRules(body: RulesChange): Promise<Rules>;
  usage(last?: Last<Usage>): Promise<IAnswer<Usage>>;
  /** Work out what a sync would do; nothing is touched. */
  plan(body: PlanCreate): Promise<Plan>;
  /** A plan that the server still holds. */
  planOf(id: string): Promise<Plan>;
  syncs(last?: Last<readonly Sync[]>): Promise<IAnswer<readonly Sync[]>>;
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

  async about(last: Last<About> = null): Promise<IAnswer<About>> {
    return current(await this._read('about', last));
  }

  clusters(
    last: Last<readonly Cluster[]> = null
  ): Promise<IAnswer<readonly Cluster[]>> {
    return this._read('clusters', last);
  }

  offers(factory: string, kernel: string | null): Promise<Offers> {
    return this._ask(`factories/${encodeURIComponent(factory)}/offers`, {
      method: 'POST',
      body: JSON.stringify({ kernel })
    });
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

  activity(id: string, after: string | null): Promise<Activity> {
    const query = URLExt.objectToQueryString({ ...(after && { after }) });
    return this._ask(`${ofCluster(id)}/activity${query}`);
  }

  async diff(
    kernel: string,
    cluster: string,
    last: Last<Diff> = null
  ): Promise<IAnswer<Diff>> {
    const query = URLExt.objectToQueryString({ kernel, cluster });
    return current(await this._read(`diff${query}`, last));
  }

  tellImports(kernel: string, cells: string[]): Promise<void> {
    return this._ask(`kernels/${encodeURIComponent(kernel)}/imports`, {
      method: 'PUT',
      body: JSON.stringify({ cells })
    });
  }

  clientCode(cluster: string, kernel: string | null): Promise<ClientCode> {
    const query = kernel ? `?kernel=${encodeURIComponent(kernel)}` : '';
    return this._ask(`clusters/${encodeURIComponent(cluster)}/client${query}`);
  }

  seal(kernel: string, cluster: string, sealed: boolean): Promise<void> {
    return this._ask(`kernels/${encodeURIComponent(kernel)}/seal`, {
      method: 'PUT',
      body: JSON.stringify({ cluster, sealed })
    });
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

  usage(last: Last<Usage> = null): Promise<IAnswer<Usage>> {
    return this._read('usage', last);
  }

  plan(body: PlanCreate): Promise<Plan> {
    return this._ask('plans', { method: 'POST', body: JSON.stringify(body) });
  }

  planOf(id: string): Promise<Plan> {
    return this._ask(`plans/${encodeURIComponent(id)}`);
  }

  syncs(last: Last<readonly Sync[]> = null): Promise<IAnswer<readonly Sync[]>> {
    return this._read('syncs', last);
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
    const response = await this._send(path, init);
    return response.status === 204
      ? (undefined as T)
      : this._body<T>(response, path, init);
  }

  /** Read what is asked for again and again: what still holds isn't sent again. */
  private async _read<T>(path: string, last: Last<T>): Promise<IAnswer<T>> {
    const known = last?.path === path && last.tag ? last : null;
    const init = known?.tag ? { headers: { 'If-None-Match': known.tag } } : {};
    const response = await this._send(path, init);
    const { headers } = response;
    const held = Date.parse(headers.get('Date') ?? '') || Date.now();
    const age = Number(headers.get(AGE) ?? 0) || 0;
    if (response.status === 304 && known) {
      return { ...known, held, age };
    }
    const value = await this._body<T>(response, path, init);
    const tag = headers.get('ETag');
    return { value, path, tag, sent: held, held, age };
  }

  private async _send(path: string, init: RequestInit): Promise<Response> {
    const base = URLExt.join(this._settings.baseUrl, 'coiled-jupyter/api');
    try {
      return await ServerConnection.makeRequest(
        `${base}/${path}`,
        init,
        this._settings
      );
    } catch (reason) {
      throw new ApiError('connection', String(reason));
    }
  }

  private async _body<T>(
    response: Response,
    path: string,
    init: RequestInit
  ): Promise<T> {
    let body: unknown = null;
    try {
      body = await response.json();
    } catch {
      // Something in between answered: judged by its status below.
    }
    if (response.ok && typeof body === 'object' && body !== null) {
      return body as T;
    }
    const problem = (body as Partial<ErrorBody> | null)?.error;
    if (typeof problem === 'object' && typeof problem?.message === 'string') {
      const { details, field, plan } = problem.data ?? {};
      throw new ApiError(
        problem.kind,
        problem.message,
        problem.hint,
        typeof field === 'string' ? field : null,
        typeof plan === 'string' ? plan : null,
        typeof details === 'string' ? details : ''
      );
    }
    throw new ApiError(
      kindOf(response.status),
      `${init.method ?? 'GET'} ${route(path)}: ${response.status}`
    );
  }
}

/** Milliseconds since the oldest reading in an answer that was current was taken. */
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

function current<T extends { readonly schema: number }>(
  answer: IAnswer<T>
): IAnswer<T> {
  const { schema } = answer.value;
  if (schema !== SCHEMA) {
    throw new ApiError('outdated', `${schema} is not ${SCHEMA}`);
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
