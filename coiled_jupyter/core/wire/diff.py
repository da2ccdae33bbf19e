"""The diff: a kernel compared with a cluster, a row for each package, and the verdict."""

from __future__ import annotations

from typing import Literal, TypeAlias

from .base import SCHEMA, Time, Wire
from .environments import Level, Loaded, Role, Source, Use

RowStatus: TypeAlias = Literal[
    "broken",
    "unknown",
    "split",
    "differs",
    "only_kernel",
    "only_cluster",
    "content_differs",
    "restart_needed",
    "same",
]
Severity: TypeAlias = Literal["breaks", "risky", "minor", "same"]
"""What a row means for tasks: they fail, they may give other results, nothing is known to depend on it, no difference."""
Verdict: TypeAlias = Literal["breaks", "unknown", "risky", "compatible", "equal"]


class DiffKernel(Wire, frozen=True, kw_only=True):
    """The kernel of a diff. `id` is null outside of a Jupyter server."""

    id: str | None
    label: str
    python: str | None
    digest: str | None


class DiffGroup(Wire, frozen=True, kw_only=True):
    """A group: nodes with the same role, host, prefix and digest."""

    id: str
    role: Role
    host: str
    prefix: str
    python: str
    digest: str
    nodes: tuple[str, ...]


class DiffCluster(Wire, frozen=True, kw_only=True):
    """The cluster of a diff, with its groups of nodes."""

    id: str
    name: str
    groups: tuple[DiffGroup, ...]


class Unread(Wire, frozen=True, kw_only=True):
    """A node that could not be read, with the reason in plain words. The kernel is the node ``kernel``."""

    node: str
    reason: str


class Checked(Wire, frozen=True, kw_only=True):
    """What was compared beyond names and versions. `content` is true if the files of every place were read."""

    content: bool


class RowSide(Wire, frozen=True, kw_only=True):
    """A package as the kernel has it. `loaded` is null unless the process has loaded another version."""

    version: str
    loaded: str | None = None
    source: Source | None = None


class RowGroup(Wire, frozen=True, kw_only=True):
    """A package as one group has it. `version` is null if it is not installed there."""

    group: str
    version: str | None
    loaded: tuple[Loaded, ...] = ()
    source: Source | None = None


class RowSoftware(Wire, frozen=True, kw_only=True):
    """A package as the cluster's software environment pins it."""

    version: str


class Row(Wire, frozen=True, kw_only=True):
    """One package in the comparison. `why` and `fix` are sentences in plain English."""

    name: str
    kernel: RowSide | None
    groups: tuple[RowGroup, ...]
    software: RowSoftware | None
    status: RowStatus
    severity: Severity
    use: Use
    """How the notebook uses it, as of a package of an environment."""
    needed_by: str
    why: str
    fix: str
    modules: tuple[str, ...] = ()
    """The modules by which it is imported, where these have other names."""
    condition: bool = False
    """Whether it is no package, but something else that results depend on; its versions are values."""
    matters: bool = False
    """Whether the difference matters to this notebook: it breaks, is risky, or the notebook imports or needs it."""

    @property
    def in_use(self) -> bool:
        """Whether the notebook uses it in any way."""
        return bool(self.use)


class Severities(Wire, frozen=True, kw_only=True):
    """The number of rows of each severity."""

    breaks: int = 0
    risky: int = 0
    minor: int = 0
    same: int = 0


class Diff(Wire, frozen=True, kw_only=True):
    """A kernel compared with a cluster: the verdict, and a row for each package."""

    verdict: Verdict
    deciding: int
    """The number of packages that the verdict is due to; 0 where it is ``equal`` or ``unknown``."""
    level: Level
    kernel: DiffKernel
    cluster: DiffCluster
    counts: dict[RowStatus, int]
    severities: Severities
    unread: tuple[Unread, ...]
    checked: Checked
    rows: tuple[Row, ...]
    taken_at: Time
    unsealed: bool = False
    """Whether the cluster takes sealed graphs, for what its scheduler lacks, and this notebook isn't seen to send such."""
    schema: int = SCHEMA
