/** What may be done to a cluster, and how large it can become; the server has the last word on both. */
import { hasEnded } from './model';
import type { Cluster, Usage } from './wire';

/** A question to a cluster: whether something may be done to it now. */
export type Allowed = (cluster: Cluster) => boolean;

/** Whether it is ours to stop and to connect to; what a notebook opened by itself belongs to that notebook. */
export const isOurs: Allowed = ({ source }) => source !== 'discovered';

const isManaged: Allowed = ({ source }) => source === 'managed';

const lasts: Allowed = cluster =>
  !hasEnded(cluster) && cluster.status !== 'stopping';

/** Whether its size may be changed and its processes restarted. */
export const canSteer: Allowed = cluster =>
  isManaged(cluster) && lasts(cluster) && cluster.status !== 'starting';

export const canKeep: Allowed = cluster => isManaged(cluster) && lasts(cluster);

export const canRename: Allowed = cluster => isOurs(cluster) && lasts(cluster);

/** Whether what its processes print can be read, also when it has ended. */
export const hasLogs: Allowed = isManaged;

export const hasDashboard: Allowed = cluster => dashboardOf(cluster) !== null;

/** The address of its dashboard, if that is one of the web: a scheduler can tell any text. */
export function dashboardOf(cluster: Cluster): string | null {
  const told = hasEnded(cluster) ? null : cluster.scheduler?.dashboard;
  try {
    const url = new URL(told ?? '');
    return /^https?:$/.test(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Threads of one worker, or null before anything tells it. */
export function threadsOf(cluster: Cluster): number | null {
  const { workers } = cluster.desired;
  const told = cluster.workers[0]?.threads ?? cluster.cores.requested / workers;
  return Number.isSafeInteger(told) && told > 0 ? told : null;
}

/** Cores that a cluster may have in all: the limit without what the others have. */
export function coresFor(cluster: Cluster, usage: Usage): number {
  const others = usage.clusters
    .filter(({ counted, id }) => counted && id !== cluster.id)
    .map(({ cores }) => Math.max(cores.allocated, cores.requested));
  return Math.max(
    others.reduce((left, cores) => left - cores, usage.cores.limit),
    0
  );
}
