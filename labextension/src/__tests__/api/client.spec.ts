import { ServerConnection } from '@jupyterlab/services';

import errorJson from '../../../../tests/wire/error.json';
import { Api, ApiError, SCHEMA } from '../../api/client';
import { activity, diff, plan } from '../fakes';

/** An API against a server that gives one answer. */
function serve(answer: Response | Error) {
  const requests: Request[] = [];
  const fetch: ServerConnection.ISettings['fetch'] = async (input, init) => {
    requests.push(new Request(input, init));
    if (answer instanceof Error) {
      throw answer;
    }
    return answer;
  };
  const settings = ServerConnection.makeSettings({
    baseUrl: 'http://lab.test/user/me/',
    token: 'secret',
    fetch
  });
  return { api: new Api(settings), requests };
}

/** An API against a server that gives these answers, one after the other. */
function serveAll(answers: Response[]) {
  const requests: Request[] = [];
  const fetch: ServerConnection.ISettings['fetch'] = async (input, init) => {
    requests.push(new Request(input, init));
    return answers.shift()!;
  };
  const settings = ServerConnection.makeSettings({
    baseUrl: 'http://lab.test/user/me/',
    token: 'secret',
    fetch
  });
  return { api: new Api(settings), requests, answers };
}

function json(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), { status });
}

async function refused(asked: Promise<unknown>): Promise<ApiError> {
  const reason = await asked.then(
    () => null,
    (error: unknown) => error
  );
  expect(reason).toBeInstanceOf(ApiError);
  return reason as ApiError;
}

describe('Api', () => {
  it('asks below the base URL', async () => {
    const { api, requests } = serve(json([]));
    expect((await api.clusters()).value).toEqual([]);
    expect(requests[0].url).toMatch(
      /^http:\/\/lab\.test\/user\/me\/coiled-jupyter\/api\/clusters(\?|$)/
    );
  });

  it('encodes ids', async () => {
    const { api, requests } = serve(json(diff()));
    await api.diff('a&b', '../c');
    const url = new URL(requests[0].url);
    expect(url.pathname).toBe('/user/me/coiled-jupyter/api/diff');
    expect(url.searchParams.get('kernel')).toBe('a&b');
    expect(url.searchParams.get('cluster')).toBe('../c');
  });

  it('asks for activity from where it was', async () => {
    const { api, requests } = serveAll([json(activity()), json(activity())]);
    expect((await api.activity('a/b', null)).cursor).toBe('a.0');
    await api.activity('a/b', 'f00.7&x');
    const [first, next] = requests.map(it => new URL(it.url));
    expect(first.pathname).toMatch(/\/api\/clusters\/a%2Fb\/activity$/);
    expect(first.searchParams.has('after')).toBe(false);
    expect(next.searchParams.get('after')).toBe('f00.7&x');
  });

  it('deletes without expecting a body', async () => {
    const { api, requests } = serve(new Response(null, { status: 204 }));
    await api.remove('../../api/kernels');
    expect(requests[0].method).toBe('DELETE');
    expect(requests[0].url).toContain(
      'coiled-jupyter/api/clusters/..%2F..%2Fapi%2Fkernels'
    );
  });

  it('creates', async () => {
    const { api, requests } = serve(json({ id: 'c1' }, 202));
    expect((await api.create({ workers: 2 })).id).toBe('c1');
    expect(requests[0].method).toBe('POST');
    expect(await requests[0].json()).toEqual({ workers: 2 });
  });

  it('changes one cluster', async () => {
    const { api, requests } = serve(json({ id: 'c1' }));
    await api.change('a/b', { adaptive: null });
    expect(requests[0].method).toBe('PATCH');
    expect(requests[0].url).toContain('api/clusters/a%2Fb');
    // Null ends adaptive scaling; left out it would say nothing.
    expect(await requests[0].text()).toBe('{"adaptive":null}');
  });

  it('restarts', async () => {
    const { api, requests } = serve(json({ id: 'c1' }, 202));
    await api.restart('c1', 'workers');
    expect(requests[0].method).toBe('POST');
    expect(requests[0].url).toContain('api/clusters/c1/restart');
    expect(await requests[0].json()).toEqual({ what: 'workers' });
  });

  it('reads logs of all nodes, or on where it stopped', async () => {
    const { api, requests } = serve(json({ lines: [], nodes: [], next: 'x' }));
    await api.logs('c1', { node: null, after: null });
    expect(new URL(requests[0].url).searchParams.has('node')).toBe(false);
    expect(new URL(requests[0].url).searchParams.has('after')).toBe(false);
    const other = serve(json({ lines: [], nodes: [], next: 'y' }));
    await other.api.logs('c1', { node: '0', after: '0:7,scheduler:9' });
    const query = new URL(other.requests[0].url).searchParams;
    expect([query.get('node'), query.get('after')]).toEqual([
      '0',
      '0:7,scheduler:9'
    ]);
  });

  it('plans', async () => {
    const { api, requests } = serve(json(plan(), 201));
    const body = { cluster: 'c1', kernel: 'k1', scope: ['numpy'] };
    expect(await api.plan(body)).toEqual(plan());
    expect(requests[0].method).toBe('POST');
    expect(new URL(requests[0].url).pathname).toMatch(/api\/plans$/);
    expect(await requests[0].json()).toEqual(body);
  });

  it.each([
    ['GET', 'plans/a%2Fb', (api: Api) => api.planOf('a/b')],
    ['GET', 'syncs/a%2Fb', (api: Api) => api.sync('a/b', null)],
    ['GET', 'syncs/a%2Fb?after=0', (api: Api) => api.sync('a/b', 0)],
    ['DELETE', 'syncs/a%2Fb', (api: Api) => api.cancelSync('a/b')],
    ['POST', 'syncs/a%2Fb/undo', (api: Api) => api.undoSync('a/b')],
    ['GET', 'syncs', (api: Api) => api.syncs()],
    ['GET', 'layers', (api: Api) => api.layers()],
    ['DELETE', 'layers/a%2Fb', (api: Api) => api.removeLayer('a/b')]
  ])('asks %s %s', async (method, path, ask) => {
    const { api, requests } = serve(json({}));
    await ask(api);
    expect(requests[0].method).toBe(method);
    const [, asked] = requests[0].url.split('/coiled-jupyter/api/');
    // The lab adds the time to what it reads.
    const [plain] = asked.split(/[?&]\d{10,}/);
    expect(plain).toBe(path);
  });

  it('names the plan that holds where the one asked for does not', async () => {
    const error = {
      kind: 'conflict',
      message: 'The cluster has changed',
      hint: '',
      data: { plan: 'p2' }
    };
    const { api, requests } = serve(json({ error }, 409));
    expect(await refused(api.startSync('p1'))).toMatchObject({
      kind: 'conflict',
      plan: 'p2'
    });
    expect(await requests[0].json()).toEqual({ plan: 'p1' });
  });

  it("gives the server's own words", async () => {
    const error = {
      kind: 'too_many',
      message: '4 more cores than are left',
      hint: 'Stop a cluster',
      data: {}
    };
    const { api } = serve(json({ error }, 429));
    expect(await refused(api.create({}))).toMatchObject({
      kind: 'too_many',
      message: '4 more cores than are left',
      hint: 'Stop a cluster'
    });
  });

  it('tells which field is wrong', async () => {
    const { api } = serve(json(errorJson, 400));
    const error = await refused(api.attach({ address: 'x' }));
    expect([error.field, error.hint]).toEqual([
      'workers',
      'Give a whole number'
    ]);
  });

  it.each([
    ['connection', new TypeError('Failed to fetch')],
    ['missing', new Response('<html>404</html>', { status: 404 })],
    ['missing', json({ message: 'Not Found', error: 'x' }, 404)],
    ['forbidden', json({ message: 'Forbidden' }, 403)],
    ['unavailable', new Response('Bad gateway', { status: 502 })],
    ['unreadable', new Response('<html>Sign in</html>', { status: 200 })],
    ['unreadable', json(null)],
    ['outdated', json(diff({ schema: SCHEMA + 1 }))]
  ])('tells %s', async (kind, answer) => {
    const { api } = serve(answer);
    expect((await refused(api.diff('k', 'c'))).kind).toBe(kind);
  });

  it('knows the version of the server', async () => {
    const { api } = serve(json({ schema: SCHEMA + 1 }));
    expect((await refused(api.about())).kind).toBe('outdated');
  });

  describe('an answer that the page has', () => {
    const AT = Date.parse('2026-03-01T12:00:00.000Z');
    const headers = (seconds: number, more: Record<string, string>) => ({
      Date: new Date(AT + seconds * 1000).toUTCString(),
      ETag: '"t1"',
      ...more
    });
    const sent = (body: unknown) =>
      new Response(JSON.stringify(body), {
        headers: headers(0, { 'Coiled-Jupyter-Age': '300' })
      });
    const holds = (more: Record<string, string> = {}) =>
      new Response(null, { status: 304, headers: headers(7, more) });

    it('is not sent again, and is as old as the server says', async () => {
      const { api, requests, answers } = serveAll([
        sent(diff()),
        holds({ 'Coiled-Jupyter-Age': '1500' })
      ]);
      const first = await api.diff('k1', 'c1');
      expect(first).toMatchObject({
        tag: '"t1"',
        sent: AT,
        held: AT,
        age: 300
      });
      const second = await api.diff('k1', 'c1', first);
      expect(requests[1].headers.get('If-None-Match')).toBe('"t1"');
      expect(second.value).toBe(first.value);
      expect(second).toMatchObject({ sent: AT, held: AT + 7000, age: 1500 });
      expect(answers).toEqual([]);
    });

    it('of another cluster is not offered', async () => {
      const { api, requests } = serveAll([sent(diff()), sent(diff())]);
      const first = await api.diff('k1', 'c1');
      await api.diff('k1', 'c2', first);
      expect(requests[1].headers.has('If-None-Match')).toBe(false);
    });

    it('that was changed here is asked for whole', async () => {
      const { api, requests } = serveAll([sent([]), sent([])]);
      const first = await api.clusters();
      await api.clusters({ ...first, tag: null });
      expect(requests[1].headers.has('If-None-Match')).toBe(false);
    });

    it('is as old as the last word on it where nothing in it is current', async () => {
      const { api } = serveAll([sent([]), holds()]);
      const second = await api.clusters(await api.clusters());
      expect(second).toMatchObject({ held: AT + 7000, age: 0 });
    });
  });
});
