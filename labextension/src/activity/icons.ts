/** Icons of the panes' toolbars. */
import { LabIcon } from '@jupyterlab/ui-components';

function icon(name: string, path: string): LabIcon {
  return new LabIcon({
    name: `coiled-jupyter:${name}`,
    svgstr: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" width="16"><path class="jp-icon3" fill="#616161" d="${path}"/></svg>`
  });
}

export const zoomInIcon = icon('zoom-in', 'M7 2h2v5h5v2H9v5H7V9H2V7h5z');
export const zoomOutIcon = icon('zoom-out', 'M2 7h12v2H2z');
export const earlierIcon = icon(
  'earlier',
  'M10.5 2 12 3.5 7.5 8l4.5 4.5-1.5 1.5-6-6z'
);
export const laterIcon = icon('later', 'M5.5 2 4 3.5 8.5 8 4 12.5 5.5 14l6-6z');
export const fitIcon = icon(
  'fit',
  'M1 2h2v12H1zm12 0h2v12h-2zM4 8l3-3v2h2V5l3 3-3 3V9H7v2z'
);
export const presentIcon = icon(
  'present',
  'M2 3l6 5-6 5zm7 0h2v10H9zm3 0h2v10h-2z'
);
