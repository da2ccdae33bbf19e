/** Whatever the panel says in words of its own went through the translator. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';
import { act } from 'react';

import breaksJson from '../../../../tests/wire/diff-breaks.json';
import failedJson from '../../../../tests/wire/cluster-failed.json';
import idleJson from '../../../../tests/wire/cluster-idle.json';
import startingJson from '../../../../tests/wire/cluster-starting.json';
import { Model } from '../../model/model';
import { Panel } from '../../panel/panel';
import type { Cluster, Diff } from '../../api/wire';
import {
  answer,
  cluster,
  FakeApi,
  FakeKernels,
  NOW,
  openAll,
  settle
} from '../fakes';

(
  globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
).IS_REACT_ACT_ENVIRONMENT = true;

const plain = nullTranslator.load('coiled_jupyter');
const bundle: TranslationBundle = new Proxy(plain, {
  get: (target, key) => {
    const value: unknown = Reflect.get(target, key);
    return typeof value === 'function' && key !== 'dcnpgettext_locale'
      ? (...given: unknown[]) =>
          `⟦${String((value as (...given: unknown[]) => string).apply(target, given))}⟧`
      : value;
  }
});

/** Texts in brackets, inner ones first, taken out. */
function rest(text: string): string {
  const less = text.replace(/⟦[^⟦⟧]*⟧/g, '');
  return less === text ? text : rest(less);
}

const ATTRIBUTES = [
  'aria-label',
  'title',
  'placeholder',
  'aria-valuetext',
  'alt'
];

describe('What the panel says', () => {
  it('went through the translator, unless it is what the server told', async () => {
    const api = new FakeApi();
    api.list = [
      cluster('c1'),
      ...([idleJson, startingJson, failedJson] as unknown as Cluster[]).map(
        (other, index) => ({ ...other, id: `other${index}` })
      )
    ];
    const golden = breaksJson as unknown as Diff;
    const taken_at = new Date(NOW).toISOString();
    api.diff = async (id, other) =>
      answer({
        ...golden,
        kernel: { ...golden.kernel!, id },
        cluster: { ...golden.cluster, id: other },
        taken_at
      });
    const model = new Model({
      api,
      kernels: new FakeKernels(),
      now: () => NOW,
      auto: false
    });
    const panel = new Panel(model, new CommandRegistry(), bundle);
    await act(async () => {
      Widget.attach(panel, document.body);
      await model.refresh();
      await settle();
    });
    await openAll(panel.node);
    const told = JSON.stringify([model.clusters, model.usage, model.diff]);
    const said: string[] = [];
    const walker = document.createTreeWalker(panel.node, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      said.push(walker.currentNode.textContent ?? '');
    }
    for (const node of panel.node.querySelectorAll('*')) {
      said.push(...ATTRIBUTES.map(name => node.getAttribute(name) ?? ''));
    }
    const words = said.filter(text => /[A-Za-z]{2}/.test(text));
    expect(words.length).toBeGreaterThan(20);
    // Data are shown as they are, but for the beginning of a long path.
    const untranslated = words
      .flatMap(text => rest(text).split(/[\s…]+/))
      .filter(word => /[A-Za-z]{2}/.test(word) && !told.includes(word));
    expect(untranslated).toEqual([]);
    act(() => panel.dispose());
    model.dispose();
  });
});
