"""Usage: cores, memory and tasks, of one cluster and of all clusters of a user on a host."""

from __future__ import annotations

from .base import Time, Wire


class Cores(Wire, frozen=True, kw_only=True):
    """Threads of workers: `busy` ones execute tasks, `allocated` ones exist, `requested` ones were requested."""

    busy: int
    allocated: int
    requested: int


class Memory(Wire, frozen=True, kw_only=True):
    """Memory of all workers, in bytes. The `limit` of a local cluster is at most the memory of the machine."""

    used: int
    limit: int | None


class Tasks(Wire, frozen=True, kw_only=True):
    """Tasks of the workers. A rate is null until it has been measured.

    Attributes
    ----------
    queued
        Tasks that are ready to run and wait for a thread, at a worker or at the scheduler.
    in_memory
        Results that the workers hold, each copy counted; null if a worker's version of Dask does not report it.

    """

    running: int
    queued: int
    done_per_second: float | None
    in_memory: int | None = None


class UsageCores(Wire, frozen=True, kw_only=True):
    """Cores that this user's clusters use on this host. `limit` is the lowest limit in force."""

    busy: int
    allocated: int
    requested: int
    limit: int


class ClusterUsage(Wire, frozen=True, kw_only=True):
    """The part of one cluster. Attached clusters are listed, but their usage is not `counted` in the totals."""

    id: str
    name: str
    counted: bool
    cores: Cores
    memory: Memory
    seen_at: Time | None


class Usage(Wire, frozen=True, kw_only=True):
    """Answer of ``GET usage``. All figures are from one reading."""

    cores: UsageCores
    memory: Memory
    tasks: Tasks
    clusters: tuple[ClusterUsage, ...]
    taken_at: Time
