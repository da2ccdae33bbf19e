/** Components with the JSON that the server's tests have made (tests/wire). */
import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { renderToStaticMarkup } from 'react-dom/server';

import breaksJson from '../../../tests/wire/diff-breaks.json';
import equalJson from '../../../tests/wire/diff-equal.json';
import failedJson from '../../../tests/wire/cluster-failed.json';
import idleJson from '../../../tests/wire/cluster-idle.json';
import startingJson from '../../../tests/wire/cluster-starting.json';
import unknownJson from '../../../tests/wire/diff-unknown.json';
import usageJson from '../../../tests/wire/usage.json';
import { clientCode } from '../commands';
import { ClusterCard } from '../components/cluster';
import { CoreMeter } from '../components/cores';
import { SoftwareTable } from '../components/software';
import { Verdict } from '../components/verdict';
import type { Cluster, Diff, Usage } from '../wire';

const trans = nullTranslator.load('coiled_jupyter');
const breaks = breaksJson as unknown as Diff;
const equal = equalJson as unknown as Diff;
const unknown = unknownJson as unknown as Diff;

function draw(element: JSX.Element): HTMLElement {
  const node = document.createElement('div');
  node.innerHTML = renderToStaticMarkup(element);
  return node;
}

function card(cluster: unknown): HTMLElement {
  return draw(
    <ClusterCard
      cluster={cluster as Cluster}
      now={Date.parse('2026-01-01T00:01:00.000Z')}
      trans={trans}
      onStop={() => undefined}
      onInsert={() => undefined}
    />
  );
}

describe('SoftwareTable', () => {
  it('shows what differs with status, severity, icon and words', () => {
    const node = draw(<SoftwareTable diff={breaks} trans={trans} />);
    const numpy = node.querySelector('[data-package=numpy]')!;
    expect(numpy.getAttribute('data-status')).toBe('differs');
    expect(numpy.getAttribute('data-severity')).toBe('block');
    expect(numpy.textContent).toContain('✕');
    expect(numpy.textContent).toContain('versions differ');
    expect(numpy.textContent).toContain('2.4.6');
    expect(numpy.textContent).toContain('1.26.4');
  });

  it('keeps equal rows away until asked for', () => {
    const node = draw(<SoftwareTable diff={breaks} trans={trans} />);
    expect(node.querySelector('[data-package=dask]')).toBeNull();
    const pills = [...node.querySelectorAll('button[aria-pressed]')];
    expect(pills.map(pill => pill.getAttribute('aria-pressed'))).toEqual([
      'true',
      'true',
      'true',
      'false'
    ]);
  });

  it('has no rows to show for equal environments', () => {
    const node = draw(<SoftwareTable diff={equal} trans={trans} />);
    expect(node.querySelectorAll('[data-package]')).toHaveLength(0);
  });

  it('counts versions where nodes differ among themselves', () => {
    const node = draw(<SoftwareTable diff={breaks} trans={trans} />);
    const toolz = node.querySelector('[data-package=toolz]')!;
    expect(toolz.getAttribute('data-status')).toBe('split');
    expect(toolz.textContent).toContain('2 versions');
  });
});

describe('Verdict', () => {
  it.each([
    [breaks, 'breaks', 'will break'],
    [equal, 'equal', 'Equal']
  ])('says %#', (diff, verdict, words) => {
    const node = draw(
      <Verdict
        judgement={{ verdict: diff.verdict, reason: null }}
        diff={diff}
        trans={trans}
      />
    );
    const line = node.querySelector('[data-verdict]')!;
    expect(line.getAttribute('data-verdict')).toBe(verdict);
    expect(line.textContent).toContain(words);
    expect(node.querySelector('[aria-live=polite]')).not.toBeNull();
  });

  it('names what was not read', () => {
    const node = draw(
      <Verdict
        judgement={{
          verdict: 'unknown',
          reason: { kind: 'unread', diff: unknown }
        }}
        diff={unknown}
        trans={trans}
      />
    );
    expect(node.textContent).toContain('The kernel is starting');
  });
});

describe('ClusterCard', () => {
  it('shows state, workers and Python', () => {
    const node = card(idleJson);
    const shown = node.querySelector('[data-cluster-id=c1]')!;
    expect(shown.getAttribute('data-status')).toBe('running');
    expect(shown.textContent).toContain('1 of 2 workers');
    expect(shown.textContent).toContain('Python 3.11.7');
    expect(shown.textContent).toContain('…/software/abc');
  });

  it('shows the steps of a start, and the reason of a failure', () => {
    expect(
      card(startingJson)
        .querySelector('[data-step="Start workers"]')!
        .getAttribute('data-state')
    ).toBe('running');
    expect(card(failedJson).textContent).toContain('no version of numpy==99');
  });

  it('shows hostile names as text', () => {
    const node = card(idleJson);
    expect(node.querySelector('img')).toBeNull();
    expect(node.textContent).toContain('<img src=x onerror=alert(1)>');
  });
});

describe('CoreMeter', () => {
  it('tells usage against the limit to a screen reader', () => {
    const meter = draw(
      <CoreMeter usage={usageJson as unknown as Usage} trans={trans} />
    ).querySelector('[role=meter]')!;
    expect(meter.getAttribute('aria-valuenow')).toBe('1');
    expect(meter.getAttribute('aria-valuemax')).toBe('100');
    expect(meter.getAttribute('aria-valuetext')).toContain('98 free');
  });
});

describe('clientCode', () => {
  it('keeps a hostile name inside its literal', () => {
    const code = clientCode({ name: 'a"); import os; ("' });
    expect(code).toContain('connect("a\\"); import os; (\\"")');
  });
});
