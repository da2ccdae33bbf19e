/** Which operations a cluster allows, and how large it can become; the server decides both. */
import { ServerConnection } from '@jupyterlab/services';
import { hasEnded } from './model';
import type { Cluster, Usage } from '../api/wire';

/** Whether a cluster allows an operation now. */
export type Allowed = (cluster: Cluster) => boolean;

/** Whether a cluster can be stopped and connected to; one that a notebook opened belongs to that notebook. */
export const isOurs: Allowed = ({ source }) => source !== 'discovered';

/** Whether a cluster goes on when nobody here follows it. */
export const goesOn: Allowed = ({ joined, source }) =>
  source === 'attached' || joined;

const isManaged: Allowed = ({ source }) => source === 'managed';

const lasts: Allowed = cluster =>
  !hasEnded(cluster) && cluster.status !== 'stopping';

/** Whether a cluster can be scaled and restarted. */
export const canSteer: Allowed = cluster =>
  isManaged(cluster) && lasts(cluster) && cluster.status !== 'starting';

export const canKeep: Allowed = cluster => isManaged(cluster) && lasts(cluster);

export const canRename: Allowed = cluster => isOurs(cluster) && lasts(cluster);

/** Whether a cluster's logs can be read, even after its end. */
export const hasLogs: Allowed = isManaged;

export const hasDashboard: Allowed = cluster => dashboardOf(cluster) !== null;

/** The URL of a cluster's dashboard, if it is http(s); a path is one of the Jupyter server. */
export function dashboardOf(cluster: Cluster): string | null {
  const told = hasEnded(cluster) ? null : cluster.scheduler?.dashboard;
  if (!told) {
    return null;
  }
  try {
    const url = new URL(told, ServerConnection.makeSettings().baseUrl);
    return /^https?:$/.test(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Threads of one worker, or null if unknown. */
export function threadsOf(cluster: Cluster): number | null {
  const { workers } = cluster.desired;
  const told = cluster.workers[0]?.threads ?? cluster.cores.requested / workers;
  return Number.isSafeInteger(told) && told > 0 ? told : null;
}

/** Cores that a cluster may have: the limit less those of other clusters. */
export function coresFor(cluster: Cluster, usage: Usage): number {
  const others = usage.clusters
    .filter(({ counted, id }) => counted && id !== cluster.id)
    .map(({ cores }) => Math.max(cores.allocated, cores.requested));
  return Math.max(
    others.reduce((left, cores) => left - cores, usage.cores.limit),
    0
  );
}

/** Cores that are neither in use nor reserved. */
export function coresLeft(usage: Usage): number {
  const { allocated, requested, limit } = usage.cores;
  return Math.max(limit - Math.max(allocated, requested), 0);
}
