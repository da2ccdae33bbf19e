/** Functions that fetch from the server extension; every failure is an `ApiError` in plain words. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { Cluster, ClusterCreate, Diff, ErrorBody, Usage } from './wire';

/** A refusal or failure; `kind` is the contract's, or `missing` and `connection` where no server extension answered. */
export class ApiError extends Error {
  constructor(
    readonly kind: string,
    message: string,
    readonly hint = ''
  ) {
    super(message);
  }
}

export interface IApi {
  clusters(): Promise<Cluster[]>;
  create(body: Partial<ClusterCreate>): Promise<Cluster>;
  remove(id: string): Promise<void>;
  diff(kernel: string, cluster: string): Promise<Diff>;
  usage(): Promise<Usage>;
}

/** The REST API of the server extension. */
export class Api implements IApi {
  constructor(private readonly _settings: ServerConnection.ISettings) {}

  clusters(): Promise<Cluster[]> {
    return this._ask<Cluster[]>('clusters');
  }

  create(body: Partial<ClusterCreate>): Promise<Cluster> {
    return this._ask<Cluster>('clusters', {
      method: 'POST',
      body: JSON.stringify(body)
    });
  }

  async remove(id: string): Promise<void> {
    await this._ask<unknown>(`clusters/${encodeURIComponent(id)}`, {
      method: 'DELETE'
    });
  }

  diff(kernel: string, cluster: string): Promise<Diff> {
    const query = URLExt.objectToQueryString({ kernel, cluster });
    return this._ask<Diff>(`diff${query}`);
  }

  usage(): Promise<Usage> {
    return this._ask<Usage>('usage');
  }

  private async _ask<T>(path: string, init: RequestInit = {}): Promise<T> {
    const url = `${URLExt.join(this._settings.baseUrl, 'coiled-jupyter/api')}/${path}`;
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this._settings);
    } catch {
      throw new ApiError('connection', 'The Jupyter server does not answer');
    }
    if (response.status === 204) {
      return undefined as T;
    }
    let body: unknown;
    try {
      body = await response.json();
    } catch {
      body = null;
    }
    if (response.ok && body !== null) {
      return body as T;
    }
    const problem = (body as Partial<ErrorBody> | null)?.error;
    if (problem && typeof problem === 'object') {
      throw new ApiError(problem.kind, problem.message, problem.hint);
    }
    throw new ApiError(
      response.status === 404 ? 'missing' : 'unavailable',
      `The server answered ${response.status}`
    );
  }
}
