"""Environments: what one place has installed, what its processes run, and what is wrong with it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import field

from .base import Time, Wire

Role: TypeAlias = Literal["kernel", "scheduler", "worker"]
Level: TypeAlias = Literal["all", "versions", "none"]
Use: TypeAlias = Literal["", "loaded", "needed", "imported"]
"""How much of a place was read: every distribution, the ten names that Dask's own handler reports, or nothing."""


class Source(Wire, frozen=True, kw_only=True):
    """The origin (PEP 610) of a distribution that was not installed from an index, without credentials.

    The kind ``module`` is no distribution: it is a file or folder of Python code that the notebook has imported.
    """

    url: str
    kind: Literal["editable", "directory", "vcs", "archive", "module"]
    commit: str | None = None


class Loaded(Wire, frozen=True, kw_only=True):
    """A version that processes have loaded, with the nodes (ids or addresses) that run it."""

    version: str
    nodes: tuple[str, ...]


class Package(Wire, frozen=True, kw_only=True):
    """One distribution of an environment. `name` is normalized (PEP 503), `version` is the text found on disk.

    Attributes
    ----------
    content
        A digest of the code that an import would load; null until the files have been read.
    build, channel
        The build and the channel of a package that conda installed.
    requested
        Whether it was installed by name, and not only because another package requires it.
    use
        How a process of this environment uses it: ``imported`` by the notebook's own code, ``needed`` by what that imports,
        ``loaded`` by something else; empty where none has loaded it for the user.
    needed_by
        The package that needs it, where the use is ``needed``.

    """

    name: str
    version: str
    loaded: tuple[Loaded, ...] = ()
    source: Source | None = None
    installer: str | None = None
    content: str | None = None
    build: str | None = None
    channel: str | None = None
    requested: bool = False
    use: Use = ""
    needed_by: str = ""
    modules: tuple[str, ...] = ()
    """The modules by which it is imported, where these have other names."""
    files: dict[str, str] = field(default_factory=dict)
    """Of code that no distribution brought: a digest of each of its files, by name, where these are few."""

    @property
    def in_use(self) -> bool:
        """Whether it is used in any way."""
        return bool(self.use)


class Problem(Wire, frozen=True, kw_only=True):
    """A defect of an installation: its kind, the package, where it was found, and how it is repaired."""

    kind: Literal[
        "duplicate", "leftover", "unreadable", "no_record", "missing_files", "edited", "conda_conflict", "truncated"
    ]
    package: str | None
    where: str
    fix: str


class Environment(Wire, frozen=True, kw_only=True):
    """What one place has installed, as last read. A cluster has one environment for each group of nodes."""

    id: str
    role: Role
    host: str
    prefix: str
    python: str
    implementation: str
    platform: str
    packages: tuple[Package, ...]
    problems: tuple[Problem, ...]
    level: Level
    digest: str
    nodes: tuple[str, ...]
    taken_at: Time
    content_at: Time | None = None
    """When the files were last compared with the records of their installation; null if they have not been."""
    conditions: dict[str, str] = field(default_factory=dict)
    """What of its processes, besides code, results depend on, by the variable that sets it; secrets are only told as set."""
    library: str | None = None
    """A digest of Python's standard library; null until the files have been read."""
    sealed: tuple[str, ...] = ()
    """The ids of the schedulers to which Dask clients of its processes send sealed graphs; ``*`` is every scheduler."""
    conditional: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Markers (PEP 508) of packages that are required on some platforms or Python versions only, by package."""
