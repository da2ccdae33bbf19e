"""Decides what is news in a snapshot of a cluster: not a time, and not memory that has hardly moved."""

from __future__ import annotations

from msgspec.structs import replace

from .wire import Cluster

MEMORY_STEP = 0.05
"""Memory that moved by less than this part of itself is told as before: it moves all the time, also in idle workers."""
MEMORY_FLOOR = 8 * 1024 * 1024
"""Bytes; likewise."""


def settled(before: Cluster, after: Cluster) -> Cluster:
    """Return `after` with the memory of `before` wherever that has hardly moved; the sum is that of the workers."""
    known = {worker.id: worker.memory for worker in before.workers}
    workers = tuple(replace(worker, memory=_settled(known.get(worker.id), worker.memory)) for worker in after.workers)
    if not workers:
        return after
    used = after.memory.used + sum(w.memory for w in workers) - sum(w.memory for w in after.workers)
    return replace(after, workers=workers, memory=replace(after.memory, used=used))


def _settled(before: int | None, after: int) -> int:
    if before is None or abs(after - before) > max(MEMORY_STEP * before, MEMORY_FLOOR):
        return after
    return before


def timeless(cluster: Cluster) -> Cluster:
    """Return a cluster without the times at which it, its workers and its clients were seen."""
    return replace(
        cluster,
        seen_at=None,
        workers=tuple(replace(worker, seen_at="") for worker in cluster.workers),
        other_clients=tuple(replace(client, last_seen=None) for client in cluster.other_clients),
    )


def still(cluster: Cluster) -> Cluster:
    """Return a cluster without what moves all the time: those times, and the memory in use."""
    calm = timeless(cluster)
    return replace(
        calm,
        memory=replace(calm.memory, used=0),
        workers=tuple(replace(worker, memory=0) for worker in calm.workers),
    )
