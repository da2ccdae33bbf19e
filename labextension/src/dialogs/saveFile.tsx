/** The dialogs that save a file, which is shown first; nothing is sent anywhere. */
import { Dialog } from '@jupyterlab/apputils';
import * as React from 'react';

import type { Cluster } from '../api/wire';
import type { IDialogContext } from './context';
import { FocusedDialog } from './dialog';

type Context = Pick<IDialogContext, 'model' | 'save' | 'trans'>;

/** Export the state of a cluster. */
export async function exportCluster(
  cluster: Cluster,
  context: Context
): Promise<void> {
  const { trans } = context;
  await review(
    {
      title: trans.__('Export %1?', cluster.name),
      lead: trans.__(
        'What is known of %1: its state, workers, addresses and clients. It has no secrets.',
        cluster.name
      ),
      contents: [],
      name: `${plain(cluster.name)}.json`,
      text: JSON.stringify(cluster, null, 2)
    },
    context
  );
}

/** Save the report of a problem. */
export async function reportProblem(context: Context): Promise<void> {
  const { model, trans } = context;
  const report = await model.doctor();
  await review(
    {
      title: trans.__('Report a problem with Coiled Jupyter'),
      lead: trans.__(
        'This is what a report needs. Look through it before you pass it on: nothing is sent from here.'
      ),
      contents: report.contents,
      name: 'coiled-jupyter-report.json',
      text: JSON.stringify(report, null, 2)
    },
    context
  );
}

interface IFile {
  title: string;
  lead: string;
  /** The contents in sentences. */
  contents: readonly string[];
  name: string;
  text: string;
}

async function review(
  { contents, lead, name, text, title }: IFile,
  { save = download, trans }: Context
): Promise<void> {
  const { button } = await new FocusedDialog({
    title,
    body: (
      <div className="jp-Coiled-form jp-Coiled-review">
        <p>{lead}</p>
        {contents.length > 0 && (
          <ul>
            {contents.map(line => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        )}
        <pre
          className="jp-Coiled-whole"
          tabIndex={0}
          role="region"
          aria-label={trans.__('What is in the file')}
        >
          {text}
        </pre>
      </div>
    ),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Save as File') })
    ]
  }).launch();
  if (button.accept) {
    save(name, text);
  }
}

/** Return a name that is valid on every file system. */
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
