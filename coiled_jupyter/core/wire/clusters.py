"""Clusters: what is requested, what is observed, and the requests that create, attach, change and restart them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from .base import Request, Time, Wire
from .software import PythonVersion, Requirements
from .usage import Cores, Memory, Tasks

ClusterStatus: TypeAlias = Literal[
    "starting", "running", "idle", "degraded", "unreachable", "stopping", "stopped", "failed", "lost"
]
ClusterSource: TypeAlias = Literal["managed", "attached", "discovered"]
StepState: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]


class Step(Wire, frozen=True, kw_only=True):
    """One step of a start. `seconds` is its duration, or the time that has passed while it runs."""

    name: str
    state: StepState
    seconds: float | None = None
    text: str = ""


class Adaptive(Wire, frozen=True, kw_only=True):
    """The bounds of adaptive scaling, in workers."""

    minimum: Annotated[int, Meta(ge=0)]
    maximum: Annotated[int, Meta(ge=0)]


class Desired(Wire, frozen=True, kw_only=True):
    """The size and the lease that were requested, as opposed to what is observed.

    Attributes
    ----------
    lease_seconds
        How long the cluster keeps running when no server, kernel or client uses it; null if not started here.
    kept
        Whether a user chose that time. If so, a server that stops does not shorten it.

    """

    workers: int
    adaptive: Adaptive | None = None
    lease_seconds: float | None = None
    kept: bool = False


class Worker(Wire, frozen=True, kw_only=True):
    """One worker as last seen. Memory is in bytes; `busy` is the number of threads that execute tasks."""

    id: str
    name: str
    status: str
    host: str
    threads: int
    busy: int
    memory: int
    memory_limit: int | None
    group: str | None
    restarts: int
    seen_at: Time


class SchedulerInfo(Wire, frozen=True, kw_only=True):
    """The address of the scheduler, and the id by which its clients are matched to the cluster.

    `dashboard` is the URL of Dask's own, relative to the server's where the administrator has set that; null if there is none.
    """

    address: str
    id: str | None
    dashboard: str | None


class ClusterSoftware(Wire, frozen=True, kw_only=True):
    """What the processes of a cluster run from. `python` is a version, null until the workers have been read."""

    software: str | None
    layer: str | None
    python: str | None = None
    prefix: str | None = None
    sealed: bool = False
    """Whether clients have to send sealed graphs, since the scheduler keeps other packages than the workers have."""


class ClientInfo(Wire, frozen=True, kw_only=True):
    """A Dask client that is connected to a scheduler.

    Attributes
    ----------
    versions
        The versions of the packages that Dask's own check compares, as the client reports them; may be empty.
    own
        Whether it runs in a kernel of this server; `opened_by` is the notebook of that kernel.

    """

    id: str
    host: str | None
    last_seen: Time | None
    versions: dict[str, str]
    own: bool = False
    opened_by: str | None = None


class Cluster(Wire, frozen=True, kw_only=True):
    """A cluster: what was requested, what is observed, and when it was observed."""

    id: str
    name: str
    source: ClusterSource
    opened_by: str | None
    factory: str
    status: ClusterStatus
    since: Time
    reason: str | None
    steps: tuple[Step, ...]
    desired: Desired
    workers: tuple[Worker, ...]
    scheduler: SchedulerInfo | None
    cores: Cores
    memory: Memory
    tasks: Tasks | None
    environment: ClusterSoftware
    lease_until: Time | None
    clients: int
    created_at: Time
    seen_at: Time | None
    revision: int
    other_clients: tuple[ClientInfo, ...] = ()
    """The clients of its scheduler, if they are known. `own` is true for those of this server's kernels."""
    kernels: tuple[str, ...] = ()
    """The kernels of this server that have a live client of it now: their notebooks are compared with it."""
    counted: bool = True
    """Whether its cores count for the limit, if it was started here: some platforms have limits of their own."""
    joined: bool = False
    """Whether it ran at a platform already, and goes on there when it is detached from here."""
    warnings: tuple[str, ...] = ()
    """What its supervisor could not do, such as writing the ledger, in sentences. The cluster itself keeps running."""


class ClientCode(Wire, frozen=True, kw_only=True):
    """Code for a cell that connects to a cluster. `missing` is the package that the kernel would need for it, or null."""

    code: str
    missing: str | None


class KernelInterpreter(Request, frozen=True, kw_only=True):
    """The interpreter of a kernel of this server: the workers run in the kernel's own environment."""

    kernel: str


class AdaptiveRequest(Request, frozen=True, kw_only=True):
    """The bounds of adaptive scaling, in workers."""

    minimum: Annotated[int, Meta(ge=0)]
    maximum: Annotated[int, Meta(ge=0)]


class ClusterCreate(Request, frozen=True, kw_only=True):
    """Body of ``POST clusters``, with at most one of `software`, `kernel`, `interpreter` and `requirements`."""

    name: Annotated[str, Meta(min_length=1, max_length=80)] | None = None
    factory: Annotated[str, Meta(max_length=80)] | None = None
    workers: Annotated[int, Meta(ge=0)] | None = None
    threads_per_worker: Annotated[int, Meta(ge=1)] | None = None
    memory_limit: Annotated[int, Meta(ge=1)] | Annotated[str, Meta(max_length=32)] | None = None
    adaptive: AdaptiveRequest | None = None
    environ: dict[Annotated[str, Meta(max_length=200)], Annotated[str, Meta(max_length=8192)]] | None = None
    options: dict[Annotated[str, Meta(max_length=80)], str | int | float | bool | None] | None = None
    software: Annotated[str, Meta(max_length=80)] | None = None
    kernel: Annotated[str, Meta(max_length=200)] | None = None
    interpreter: KernelInterpreter | None = None
    requirements: Requirements | None = None
    python: PythonVersion | None = None


class TLSFiles(Request, frozen=True, kw_only=True):
    """Paths of PEM files, which have to be inside the folders of the setting `tls_roots`."""

    ca_file: Annotated[str, Meta(min_length=1, max_length=4096)]
    cert_file: Annotated[str, Meta(min_length=1, max_length=4096)]
    key_file: Annotated[str, Meta(min_length=1, max_length=4096)]


class ClusterAttach(Request, frozen=True, kw_only=True):
    """Body of ``POST clusters`` that attaches a cluster that was started elsewhere, by its scheduler's address."""

    address: Annotated[str, Meta(min_length=1, max_length=500)]
    name: Annotated[str, Meta(min_length=1, max_length=80)] | None = None
    tls: TLSFiles | None = None


class ClusterChange(Request, frozen=True, kw_only=True):
    """Body of ``PATCH clusters/{id}``, with exactly one of these keys. `adaptive` null ends adaptive scaling."""

    workers: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    adaptive: AdaptiveRequest | UnsetType | None = UNSET
    name: Annotated[str, Meta(min_length=1, max_length=80)] | UnsetType = UNSET
    lease_seconds: Annotated[float, Meta(ge=0, le=2592000)] | UnsetType = UNSET


class ChangedCluster(Cluster, frozen=True, kw_only=True):
    """Answer of ``PATCH clusters/{id}``: the cluster, and after a change of its size what was granted.

    Attributes
    ----------
    granted
        The number of workers (for adaptive scaling the maximum) if fewer fit than were requested, else null.
    limit
        The limit in cores that allowed no more, else null.

    """

    granted: int | None = None
    limit: int | None = None


class ClusterRestart(Request, frozen=True, kw_only=True):
    """Body of ``POST clusters/{id}/restart``: restart the workers, or all processes at the same address."""

    what: Literal["workers", "cluster"]


class LogLine(Wire, frozen=True, kw_only=True):
    """One line of the output of a node. `at` is null if its time is not known."""

    at: Time | None
    node: str
    text: str


class Logs(Wire, frozen=True, kw_only=True):
    """Lines of the output of a cluster's nodes, oldest first. `next` is the parameter `after` of the next request."""

    lines: tuple[LogLine, ...]
    nodes: tuple[str, ...]
    next: str
