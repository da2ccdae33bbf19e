/** What leaves the page as a file: it is shown first, whole, and saved where the user says so. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { ApiError } from './api';
import type { Model } from './model';
import type { Cluster } from './wire';
import { problemWords } from './words';

export interface ISavingOptions {
  model: Model;
  trans: TranslationBundle;
  /** Hand a file to the user; a browser's own download unless a test looks. */
  save?: (name: string, text: string) => void;
}

/** Save what is known of a cluster. */
export async function exportCluster(
  cluster: Cluster,
  { trans, save = download }: ISavingOptions
): Promise<void> {
  const text = JSON.stringify(cluster, null, 2);
  const lead = trans.__(
    'What is known of %1: its state, workers, addresses and clients. It has no secrets.',
    cluster.name
  );
  if (await review(trans.__('Export %1?', cluster.name), [lead], text, trans)) {
    save(`${plain(cluster.name)}.json`, text);
  }
}

/** Gather what a report of a problem needs; nothing is sent anywhere. */
export async function reportProblem({
  model,
  trans,
  save = download
}: ISavingOptions): Promise<void> {
  const title = trans.__('Report a problem with Coiled Jupyter');
  let text: string;
  let contents: readonly string[];
  try {
    const report = await model.doctor();
    ({ contents } = report);
    text = JSON.stringify(report, null, 2);
  } catch (reason) {
    if (!(reason instanceof ApiError)) {
      throw reason;
    }
    const words = problemWords(reason, trans);
    const node = document.createElement('div');
    node.textContent = [words.text, words.hint].filter(Boolean).join('. ');
    await showDialog({
      title,
      body: new Widget({ node }),
      buttons: [Dialog.okButton({ label: trans.__('Close') })]
    });
    return;
  }
  const lead = trans.__(
    'This is what a report needs. Look through it before you pass it on: nothing is sent from here.'
  );
  if (await review(title, [lead, ...contents], text, trans)) {
    save('coiled-jupyter-report.json', text);
  }
}

/** Show a text, and return whether it shall be saved. */
async function review(
  title: string,
  lines: readonly string[],
  text: string,
  trans: TranslationBundle
): Promise<boolean> {
  const node = document.createElement('div');
  node.className = 'jp-Coiled-form jp-Coiled-review';
  const [lead, ...more] = lines;
  const paragraph = document.createElement('p');
  paragraph.textContent = lead;
  const list = document.createElement('ul');
  for (const line of more) {
    const item = document.createElement('li');
    item.textContent = line;
    list.append(item);
  }
  const whole = document.createElement('pre');
  whole.textContent = text;
  whole.className = 'jp-Coiled-whole';
  whole.tabIndex = 0;
  whole.setAttribute('role', 'region');
  whole.setAttribute('aria-label', trans.__('What is in the file'));
  node.append(paragraph, ...(more.length ? [list] : []), whole);
  const { button } = await showDialog({
    title,
    body: new Widget({ node }),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Save as File') })
    ]
  });
  return button.accept;
}

/** A name that every file system takes. */
function plain(name: string): string {
  return name.replace(/[^\w.-]+/g, '_').slice(0, 80) || 'cluster';
}

function download(name: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(
    new Blob([text], { type: 'application/json' })
  );
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
