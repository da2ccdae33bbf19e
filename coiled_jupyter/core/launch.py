"""What a cluster is started from: all that its supervisor needs, resolved and validated."""

from __future__ import annotations

from msgspec import Struct, field

from .paces import NORMAL, Paces
from .wire import Adaptive


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
    session
        ``server:PID`` of the Jupyter server that started it, ``kernel:PID`` of the one whose kernel did; empty: a shell.
    address, tls
        Of a cluster that somebody else runs, which is only followed; then nothing is started.
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
    address: str | None = None
    tls: Certificates | None = None
    paces: Paces = NORMAL

    @property
    def cores(self) -> int:
        """Cores to reserve for the start: threads of all workers; none where the workers aren't ours."""
        return self.workers * self.threads_per_worker if self.address is None else 0
