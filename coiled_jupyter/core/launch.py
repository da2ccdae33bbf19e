"""What a cluster is started from: all that its supervisor needs, resolved and validated."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from .paces import NORMAL, Paces
from .wire import Adaptive, Cluster

LOCAL = "local"
"""The factory of the clusters whose processes their supervisors start on this machine."""


def on_this_machine(cluster: Cluster) -> bool:
    """Whether the supervisor of a cluster has started its processes here: it can restart them on another Python."""
    return cluster.source == "managed" and cluster.factory == LOCAL


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


class ClusterClass(Struct, kw_only=True, frozen=True):
    """A class with the interface of ``distributed.deploy.Cluster``, and what it is made with.

    Attributes
    ----------
    module, name
        Where it is imported from in the interpreter of the cluster; a function, or a method of a class with its name after a
        dot, that returns a cluster will do.
    args, kwargs
        What it is called with, as JSON; may hold secrets, so they're never stored, logged or shown.
    requires
        The distributions that have these modules, for who lacks them.
    adapts
        Who decides how many workers there are while it adapts: the supervisor (``own``) or the class (``platform``).
    counted
        Whether its threads count for the limit in cores; false where the platform has a limit of its own.
    step
        How many workers come and go together, such as those of one job.
    queue
        The command that tells the state and reason of jobs, one ``id state reason`` a line; ``{ids}`` stands for their ids.
    encrypted
        Whether it gets certificates, as its argument `security` and in Dask's configuration: files on the disk of `logs`.
    logs
        The folder on a shared disk where the platform writes what workers print; empty if there is none.
    joined
        Whether the cluster runs already: it is taken in the size that it has, and goes on when it is followed no longer.

    """

    module: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    adapts: Literal["own", "platform"] = "own"
    counted: bool = True
    step: int = 1
    queue: tuple[str, ...] = ()
    encrypted: bool = False
    logs: str = ""
    joined: bool = False


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
    session
        ``server:PID`` of the Jupyter server that started it, ``kernel:PID`` of the one whose kernel did; empty: a shell.
    cluster_class
        What starts the cluster in a process of its own; None: the supervisor starts scheduler and nannies itself.
    address, tls
        Of a cluster that somebody else runs, which is only followed; then nothing is started.
    relayed
        Whether that is the address of a relay in a notebook's kernel.
    paces
        How often the supervisor looks and how long it waits.

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
    session: str = ""
    cluster_class: ClusterClass | None = None
    address: str | None = None
    tls: Certificates | None = None
    relayed: bool = False
    paces: Paces = NORMAL

    @property
    def cores(self) -> int:
        """Cores to reserve for the start: threads of all workers; none where these aren't ours or don't count."""
        return self.workers * self.threads_per_worker if self.address is None and self.counted else 0

    @property
    def counted(self) -> bool:
        """Whether its threads count for the limit in cores."""
        return self.cluster_class is None or self.cluster_class.counted
