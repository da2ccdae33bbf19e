"""The server itself: its version and limits, the report for a bug, and the notices of changes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .base import Request, Time, Wire
from .clusters import Cluster, LogLine
from .diff import Diff
from .environments import Environment
from .errors import Problematic
from .plans import Plan
from .software import Software, SoftwarePackage
from .syncs import Layer, Sync
from .usage import Usage


class Option(Wire, frozen=True, kw_only=True):
    """An option that a cluster factory declares.

    Attributes
    ----------
    minimum, maximum
        Bounds of a number.
    pattern
        The regular expression that a whole text must match; without one a text is a word that no shell interprets.
    choices
        The values that a text may have; empty: any that `pattern` allows.
    required
        Whether a cluster can't be created without it.

    """

    type: Literal["boolean", "integer", "number", "string"]
    description: str
    default: str | int | float | bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    required: bool = False


class Factory(Wire, frozen=True, kw_only=True):
    """A kind of cluster that can be created.

    Attributes
    ----------
    title
        What a person reads, such as ``Slurm``.
    takes
        The fields of ``POST clusters`` that it can follow, besides `name`, `workers`, `adaptive` and those of packages.
    requires
        The distributions that the environment of the cluster needs for it.
    missing
        Those that the Jupyter server's own environment lacks.
    absent
        The commands of the platform that aren't on the Jupyter server's machine: such a kind is of no use here.
    workers
        How many workers it starts with where nothing else is said.
    asks
        Whether its platform declares more options, and tells which clusters run there: ``POST factories/{name}/offers``.

    """

    name: str
    title: str
    description: str
    options: dict[str, Option]
    takes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    workers: int = 2
    asks: bool = False


class OffersAsk(Request, frozen=True, kw_only=True):
    """Body of ``POST factories/{name}/offers``: the kernel whose Python asks; null is the Jupyter server's own."""

    kernel: Annotated[str, Meta(max_length=200)] | None = None


class RunningThere(Wire, frozen=True, kw_only=True):
    """A cluster of the user's that runs at a platform, and can be joined by its name."""

    name: str
    status: str
    started_at: Time


class Offers(Wire, frozen=True, kw_only=True):
    """What a platform declares for new clusters, and which of the user's clusters run there."""

    options: dict[str, Option]
    clusters: tuple[RunningThere, ...]


class Limits(Wire, frozen=True, kw_only=True):
    """The limits on the cores, workers and clusters of this user at one time."""

    cores: int
    workers: int
    clusters: int


class About(Wire, frozen=True, kw_only=True):
    """Answer of ``GET about``. `problem` is what prevents clusters from being read or started, such as a folder."""

    version: str
    schema: int
    uv: str | None
    limits: Limits
    factories: tuple[Factory, ...]
    problem: Problematic | None = None


class Doctor(Wire, frozen=True, kw_only=True):
    """A report for a bug, without secrets.

    Attributes
    ----------
    contents
        What the report contains, in plain words.
    system
        The machine and the Python of the server.
    packages
        The packages that are installed beside the server.
    environments, logs
        For each cluster, by its id: its groups, and the last lines that its processes printed.
    plans
        The plans of the last ten minutes; from a shell one plan for each cluster.
    failed
        What could not be included, with the reason.

    """

    contents: tuple[str, ...]
    about: About
    system: dict[str, str]
    packages: tuple[SoftwarePackage, ...]
    usage: Usage | None
    clusters: tuple[Cluster, ...]
    kernel: Environment | None
    environments: dict[str, tuple[Environment, ...]]
    diffs: tuple[Diff, ...]
    plans: tuple[Plan, ...]
    syncs: tuple[Sync, ...]
    layers: tuple[Layer, ...]
    software: tuple[Software, ...]
    logs: dict[str, tuple[LogLine, ...]]
    failed: tuple[str, ...]
    taken_at: Time


class Change(Wire, frozen=True, kw_only=True):
    """An event on Jupyter's event bus: this resource has changed and can be requested again."""

    kind: Literal["cluster", "environment", "usage", "kernel", "sync"]
    id: str
    revision: int
