"""What a cluster is started from, and what its supervisor tells of its nodes."""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec
from msgspec import Struct, field

from .wire import Adaptive, Cluster, Environment, Unread

MEMORY_STEP = 0.05
"""Memory that moved by less than this part of itself is told as before: it moves all the time, also in idle workers."""
MEMORY_FLOOR = 8 * 1024 * 1024
"""Bytes; likewise."""


class BuildSpec(Struct, kw_only=True, frozen=True):
    """A software environment to build before the cluster starts.

    Attributes
    ----------
    requirements
        Checked requirement lines: names, extras, versions, markers; never options, URLs or paths.
    python
        A version such as ``3.12``, or the path of the interpreter to build on; None is the builder's own.
    index_options
        Options for uv about indexes, from the server's configuration only.
    allow_source_builds
        Whether source distributions may be built, which runs their code.
    lock
        The lock of these requirements, where it is known already.
    links
        Folders of wheels of this machine that it holds.

    """

    requirements: tuple[str, ...]
    python: str | None = None
    index_options: tuple[str, ...] = ()
    allow_source_builds: bool = False
    lock: str = ""
    links: tuple[str, ...] = ()


class Certificates(Struct, kw_only=True, frozen=True):
    """Paths of PEM files for TLS."""

    ca: str
    cert: str
    key: str


class LaunchSpec(Struct, kw_only=True, frozen=True):
    """All that a supervisor needs, resolved and validated by the service; crosses by the supervisor's stdin only.

    Attributes
    ----------
    interpreter
        Path of the Python that runs scheduler and nannies; None when `build` makes one.
    memory_limit
        Bytes for each worker; None lets Dask divide the machine's.
    environ
        Variables for the workers; may hold secrets, so it's never stored, logged or shown.
    layer
        Path of a layer that workers start in from their first process on (none before layers exist).
    core_limit
        The limit of who started it, which holds for whoever starts another meanwhile; 0: none is known.
    address, tls
        Of a cluster that somebody else runs, which is only followed; then nothing is started.

    """

    id: str
    name: str
    factory: str = "local"
    interpreter: str | None = None
    build: BuildSpec | None = None
    software: str | None = None
    layer: str | None = None
    workers: int = 2
    threads_per_worker: int = 1
    memory_limit: int | None = None
    adaptive: Adaptive | None = None
    environ: dict[str, str] = field(default_factory=dict)
    options: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    lease_seconds: float = 600.0
    core_limit: int = 0
    created_at: str = ""
    address: str | None = None
    tls: Certificates | None = None

    @property
    def cores(self) -> int:
        """Cores to reserve for the start: threads of all workers; none where the workers aren't ours."""
        return self.workers * self.threads_per_worker if self.address is None else 0


class Readings(Struct, kw_only=True, frozen=True):
    """The last reading of every node of a cluster: one environment per group, and what could not be read.

    `taken_at` is None until a first reading ended.
    """

    environments: tuple[Environment, ...] = ()
    unread: tuple[Unread, ...] = ()
    taken_at: str | None = None


def now() -> str:
    """Return the present time, RFC 3339 in UTC with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(time: str | None, at: str | None = None) -> float | None:
    """Return the seconds from `time` to `at` (default: now), or None when there is no time."""
    if time is None:
        return None
    end = datetime.fromisoformat((at or now()).replace("Z", "+00:00"))
    return (end - datetime.fromisoformat(time.replace("Z", "+00:00"))).total_seconds()


def settled(before: Cluster, after: Cluster) -> Cluster:
    """Return `after` with the memory of `before` wherever that has hardly moved; the sum is that of the workers."""
    known = {worker.id: worker.memory for worker in before.workers}
    workers = tuple(
        msgspec.structs.replace(worker, memory=_settled(known.get(worker.id), worker.memory))
        for worker in after.workers
    )
    if not workers:
        return after
    used = after.memory.used + sum(w.memory for w in workers) - sum(w.memory for w in after.workers)
    return msgspec.structs.replace(after, workers=workers, memory=msgspec.structs.replace(after.memory, used=used))


def _settled(before: int | None, after: int) -> int:
    if before is None or abs(after - before) > max(MEMORY_STEP * before, MEMORY_FLOOR):
        return after
    return before


def timeless(cluster: Cluster) -> Cluster:
    """Return a cluster without the times at which it, its workers and its clients were seen."""
    return msgspec.structs.replace(
        cluster,
        seen_at=None,
        workers=tuple(msgspec.structs.replace(worker, seen_at="") for worker in cluster.workers),
        other_clients=tuple(msgspec.structs.replace(client, last_seen=None) for client in cluster.other_clients),
    )


def still(cluster: Cluster) -> Cluster:
    """Return a cluster without what moves all the time: those times, and the memory in use."""
    calm = timeless(cluster)
    return msgspec.structs.replace(
        calm,
        memory=msgspec.structs.replace(calm.memory, used=0),
        workers=tuple(msgspec.structs.replace(worker, memory=0) for worker in calm.workers),
    )
