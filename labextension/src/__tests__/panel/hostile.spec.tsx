/** Whatever a node, a package or an installer calls itself is shown as text, wherever the panel shows it. */
import { ReactWidget } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';
import * as React from 'react';
import { act } from 'react';

import breaksJson from '../../../../tests/wire/diff-breaks.json';
import failedJson from '../../../../tests/wire/cluster-failed.json';
import idleJson from '../../../../tests/wire/cluster-idle.json';
import startingJson from '../../../../tests/wire/cluster-starting.json';
import { chooseCluster } from '../../dialogs';
import type { IDialogContext } from '../../dialogs/context';
import { Model } from '../../model/model';
import { Panel } from '../../panel/panel';
import { WhatIsLost } from '../../dialogs/whatIsLost';
import type { Cluster, Diff, Sync } from '../../api/wire';
import {
  answer,
  cluster,
  FakeApi,
  FakeKernels,
  NOW,
  openAll,
  settle,
  sync
} from '../fakes';

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

const trans = nullTranslator.load('coiled_jupyter');

const RUN = 'window.hostile=1';
const HARMLESS = '⟦plain⟧';
const PAYLOADS = [
  `<script>${RUN}</script>`,
  `</script><script>${RUN}</script>`,
  `<SCRIPT SRC=//evil.example/x.js></SCRIPT>`,
  `<img src=x onerror=${RUN}>`,
  `<img src="https://evil.example/pixel">`,
  `"><img src=x onerror=${RUN}>`,
  `'><img src=x onerror=${RUN}>`,
  `\`><img src=x onerror=${RUN}>`,
  `" onmouseover="${RUN}" x="`,
  `' onfocus='${RUN}' autofocus x='`,
  `<svg onload=${RUN}>`,
  `<svg><script>${RUN}</script></svg>`,
  `<svg><animate onbegin=${RUN} attributeName=x dur=1s>`,
  `<math><mi xlink:href="javascript:${RUN}">x</mi></math>`,
  `<iframe src="javascript:${RUN}"></iframe>`,
  `<iframe srcdoc="<script>${RUN}</script>"></iframe>`,
  `<object data="javascript:${RUN}"></object>`,
  `<embed src="javascript:${RUN}">`,
  `<a href="javascript:${RUN}">x</a>`,
  `javascript:${RUN}`,
  `data:text/html,<script>${RUN}</script>`,
  `<body onload=${RUN}>`,
  `<details open ontoggle=${RUN}>`,
  `<input autofocus onfocus=${RUN}>`,
  `<form action="https://evil.example"><button>x</button></form>`,
  `<video><source onerror=${RUN}></video>`,
  `<style>@import url(https://evil.example/x.css)</style>`,
  `<link rel=stylesheet href=https://evil.example/x.css>`,
  `<meta http-equiv=refresh content="0;url=https://evil.example">`,
  `<base href="https://evil.example/">`,
  `<template><script>${RUN}</script></template>`,
  `<noscript><p title="</noscript><img src=x onerror=${RUN}>">`,
  `<!--<img src="--><img src=x onerror=${RUN}>-->`,
  `<![CDATA[<img src=x onerror=${RUN}>]]>`,
  `&lt;img src=x onerror=${RUN}&gt;`,
  `&#60;script&#62;${RUN}&#60;/script&#62;`,
  `<img/src/onerror=${RUN}//`,
  `{{constructor.constructor('${RUN}')()}}`,
  `\${${RUN}}`,
  `%1 %2 %3`,
  `<b\u0000>\u202e<i>x`,
  '[x](javascript:window.hostile=1)'
];

/** Keys whose values the wire types choose from a few, or times. */
const CHOSEN =
  /^(schema|verdict|level|status|severity|kind|role|state|direction|cause|how|since|lease_until|last_seen)$|_at$/;

/** Every string that a peer could have chosen begins with the payload; ids stay different from each other. */
function spoilt<T>(value: T, payload: string, key = ''): T {
  if (typeof value === 'string') {
    const chosen =
      CHOSEN.test(key) ||
      (key === 'source' && /^(managed|attached|discovered)$/.test(value));
    return (chosen ? value : payload + value) as T;
  }
  if (Array.isArray(value)) {
    return value.map(it => spoilt<unknown>(it, payload)) as T;
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([name, it]) => [
        name,
        spoilt<unknown>(it, payload, name)
      ])
    ) as T;
  }
  return value;
}

/** Draw the panel with everything open; return its elements by name, and what it says. */
async function drawn(payload: string): Promise<[string[], string]> {
  const api = new FakeApi();
  const taken_at = new Date(NOW).toISOString();
  api.list = spoilt(
    [
      cluster('c1', { created_at: '2027-01-01T00:00:00.000Z' }),
      ...([idleJson, startingJson, failedJson] as unknown as Cluster[]).map(
        (other, at) => ({ ...other, id: `other${at}` })
      ),
      {
        ...cluster('there', {
          tasks: { running: 1, queued: 0, done_per_second: null, in_memory: 1 },
          clients: 2,
          other_clients: [
            {
              id: 'Client-1',
              host: 'h',
              last_seen: null,
              versions: { dask: '1' },
              own: false,
              opened_by: null
            },
            {
              id: 'Client-2',
              host: null,
              last_seen: null,
              versions: {},
              own: true,
              opened_by: 'a.ipynb'
            }
          ]
        }),
        source: 'attached' as const
      },
      { ...cluster('found'), source: 'discovered' as const }
    ],
    payload
  );
  const compared = api.list[0].id;
  const golden = spoilt(breaksJson as unknown as Diff, payload);
  api.diff = async () =>
    answer({
      ...golden,
      kernel: { ...golden.kernel, id: 'k1' },
      cluster: { ...golden.cluster, id: compared },
      taken_at
    });
  const ended: Sync = sync('s1', {
    state: 'failed',
    log: { lines: ['said'], next: 1 },
    result: {
      text: 'It failed',
      groups: [
        {
          group: 'g1',
          role: 'worker',
          host: 'h',
          nodes: ['w'],
          verified: false,
          text: 'odd'
        }
      ],
      lost: { futures: 1, scattered: 0, running: 0, actors: 0, why: 'why' }
    }
  });
  api.synced = [{ ...spoilt(ended, payload), cluster: compared }];
  const model = new Model({
    api,
    kernels: new FakeKernels(),
    now: () => NOW,
    auto: false
  });
  const panel = new Panel(model, new CommandRegistry(), trans);
  const there = api.list.find(({ source }) => source === 'attached')!;
  const parts = [
    panel,
    ReactWidget.create(
      <WhatIsLost cluster={there} model={model} trans={trans} />
    )
  ];
  const context = { model, trans } as IDialogContext;
  const chosen = chooseCluster(api.list, 'Choose', context);
  await act(async () => {
    parts.forEach(part => Widget.attach(part, document.body));
    await model.syncs.refresh();
    await model.refresh();
    await settle();
  });
  await openAll(panel.node, '[aria-expanded=false]:not([aria-haspopup])');
  const elements = [...document.querySelectorAll('*')];
  for (const element of elements) {
    for (const { name, value } of element.attributes) {
      expect(name).not.toMatch(/^on|^(href|src|srcdoc|action|data)$/);
      expect(name === 'style' && value.includes('evil')).toBe(false);
    }
  }
  const dialog = document.querySelector('.jp-Dialog-body')!;
  const said = [...parts.map(({ node }) => node), dialog]
    .map(({ textContent }) => textContent)
    .join('');
  document.querySelector<HTMLElement>('.jp-Dialog .jp-mod-reject')!.click();
  await chosen;
  act(() => parts.forEach(part => part.dispose()));
  model.dispose();
  return [elements.map(({ tagName }) => tagName), said];
}

describe('The panel', () => {
  let plain: string[];
  let spoken: string;

  beforeAll(async () => {
    [plain, spoken] = await drawn(HARMLESS);
  });

  it.each(PAYLOADS)('shows %s as text', async payload => {
    const [elements, said] = await drawn(payload);
    expect(elements).toEqual(plain);
    // Rows, cards, syncs, versions, hosts and reasons: whatever is said says it as it is.
    expect(said.split(payload)).toEqual(spoken.split(HARMLESS));
    expect(spoken.split(HARMLESS).length).toBeGreaterThan(40);
    expect('hostile' in window).toBe(false);
  });
});
