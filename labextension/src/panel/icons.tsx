/** The icons of states, told apart by their shapes, in the colour of the text around them; and buttons of one icon. */
import { LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IJudgement } from '../model/model';
import type { Cluster, Diff, Row, Step } from '../api/wire';

function drawn(name: string, body: string): LabIcon {
  return new LabIcon({
    name: `coiled-jupyter:${name}`,
    svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5">${body}</svg>`
  });
}

const RING = '<circle cx="8" cy="8" r="6.2"/>';

const dot = drawn('dot', '<circle cx="8" cy="8" r="3.5" fill="currentColor"/>');
const ring = drawn('ring', '<circle cx="8" cy="8" r="3.5"/>');
const cross = drawn(
  'cross',
  RING + '<path d="M5.7 5.7l4.6 4.6m0-4.6l-4.6 4.6"/>'
);
const triangle = drawn(
  'triangle',
  '<path d="M8 2.2l6 11.3H2zM8 6.4v3.4M8 10.9v1.2"/>'
);
const minus = drawn('minus', RING + '<path d="M5 8h6"/>');
const check = drawn('check', RING + '<path d="M5 8.2l2.2 2.1L11 6"/>');
const doubt = drawn(
  'doubt',
  RING +
    '<path d="M6.2 6.3a1.8 1.8 0 1 1 2.7 1.6c-.6.3-.9.7-.9 1.4M8 10.6v1.2"/>'
);
const busy = drawn('busy', '<path d="M8 1.8A6.2 6.2 0 1 1 1.8 8" />');
export const clock = drawn('clock', RING + '<path d="M8 4.3V8l2.6 1.6"/>');

export const SEVERITY_ICONS: Record<Row['severity'], LabIcon> = {
  breaks: cross,
  risky: triangle,
  minor: minus,
  same: check
};

export const STEP_ICONS: Record<Step['state'], LabIcon> = {
  waiting: ring,
  running: busy,
  done: check,
  failed: cross,
  cancelled: minus
};

export const CLUSTER_ICONS: Record<Cluster['status'] | 'unknown', LabIcon> = {
  starting: busy,
  running: dot,
  idle: dot,
  degraded: triangle,
  unreachable: doubt,
  stopping: busy,
  stopped: ring,
  failed: cross,
  lost: cross,
  unknown: doubt
};

const VERDICT_ICONS: Record<Diff['verdict'], LabIcon> = {
  breaks: cross,
  risky: triangle,
  compatible: check,
  equal: check,
  unknown: doubt
};

/** The icon of what is known. */
export function verdictIcon({ reason, verdict }: IJudgement): LabIcon {
  return reason?.kind === 'syncing' ? busy : VERDICT_ICONS[verdict];
}

export interface IIconProps {
  icon: LabIcon;
  /** What it says, where no text beside it does. */
  label?: string;
}

export function Icon({ icon, label }: IIconProps): JSX.Element {
  return (
    <span
      className="jp-Coiled-icon"
      data-icon={icon.name}
      role={label && 'img'}
      aria-label={label}
      aria-hidden={label ? undefined : true}
    >
      <icon.react tag={null} />
    </span>
  );
}

export interface IIconButtonProps extends React.ButtonHTMLAttributes<HTMLButtonElement> {
  icon: LabIcon;
  label: string;
}

/** A button of one icon, whose name is its tooltip too. */
export function IconButton(props: IIconButtonProps): JSX.Element {
  const { icon, label, ...more } = props;
  return (
    <button
      className="jp-Coiled-iconButton"
      aria-label={label}
      title={label}
      {...more}
    >
      <Icon icon={icon} />
    </button>
  );
}

export interface IMenuButtonProps {
  icon: LabIcon;
  label: string;
  /** Open the menu at the button; whether by the keyboard. */
  onMenu: (button: HTMLElement, keyboard: boolean) => void;
}

export function MenuButton({
  onMenu,
  ...props
}: IMenuButtonProps): JSX.Element {
  return (
    <IconButton
      {...props}
      aria-haspopup="menu"
      aria-expanded="false"
      // A click by the keyboard has no count.
      onClick={event => onMenu(event.currentTarget, event.detail === 0)}
    />
  );
}
