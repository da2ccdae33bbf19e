"""The places that are compared: what each has installed, what is wrong with it, and how several are named."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from .. import rules as rulebook
from ..rules import Damage, RuleSet, minor
from ..sealing import covers, is_sealed
from ..wire import Environment, Package
from .packages import is_native

_DAMAGES: tuple[Damage, ...] = ("missing_files", "duplicate", "conda_conflict", "no_record", "leftover")
_SHOWN_NODES = 3


class Side:
    """One environment, indexed by what the comparison asks of it."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.packages = {package.name: package for package in environment.packages}
        # The interpreter is a row like any other; nothing that is installed can take its name.
        self.packages.pop("python", None)
        if environment.python:
            name = environment.implementation
            version = environment.python if name == "cpython" else f"{name} {environment.python}"
            self.packages["python"] = Package(
                name="python", version=version, content=environment.library, use="imported"
            )
        found = self.packages.get("distributed")
        self.dask = found.version if found is not None else ""
        self.damaged: dict[str, Damage] = {}
        self.folders: dict[str, str] = {}
        self.edited: dict[str, str] = {}
        self.unreadable: set[str] = set()
        self.cut = environment.level != "all"
        for problem in environment.problems:
            folder = problem.where.replace("\\", "/").rstrip("/").rpartition("/")[2]
            if problem.kind == "truncated":
                self.cut = True
            elif problem.kind == "unreadable":
                if problem.package:
                    self.unreadable.add(problem.package)
            elif problem.kind == "edited":
                if problem.package:
                    self.edited[problem.package] = problem.where
            else:
                name = problem.package or folder or problem.where or "unnamed"
                known = self.damaged.get(name)
                if known is None or _DAMAGES.index(problem.kind) < _DAMAGES.index(known):
                    self.damaged[name] = problem.kind
                    self.folders[name] = problem.where
        # Files of a package that isn't listed: what the list says of it can't be the truth.
        self.unreadable |= self.edited.keys() - self.packages.keys()

    @property
    def scheduler(self) -> bool:
        """Whether this is the scheduler."""
        return self.environment.role == "scheduler"

    @property
    def looked(self) -> bool:
        """Whether its files were looked at."""
        return self.environment.content_at is not None

    @cached_property
    def conda(self) -> bool:
        """Whether conda has installed anything here."""
        return any(package.channel is not None for package in self.environment.packages)

    @cached_property
    def python(self) -> tuple[str, str]:
        """Its implementation and minor version, on which compiled code depends."""
        return self.environment.implementation, minor(self.environment.python)

    def knows(self, name: str) -> bool:
        """Whether the absence of `name` means that it isn't installed."""
        return name not in self.unreadable and not self.cut and name != "python"

    def needs_not(self, name: str, other: Side, rules: RuleSet) -> str | None:
        """Return why this side, which lacks `name`, needn't have it though `other` has, or None."""
        place = f"{self.environment.platform}, Python {self.environment.python}"
        if rules.only_where(name, self.environment) is not None:
            return f"{name} isn't made for the other side's platform ({place})."
        package = other.packages[name]
        markers = other.environment.conditional.get(name)
        if markers and not package.requested and not rulebook.needed(markers, self.environment):
            return f"Needed only where {' or '.join(markers[:2])}, which isn't so on the other side ({place})."
        if is_native(package) and not self.conda:
            return f"{name} is a library of conda's, and the other side has no conda packages."
        return None


class Sides:
    """A kernel and all groups of a cluster, whose scheduler has this id."""

    def __init__(
        self,
        kernel: Environment,
        groups: Sequence[Environment],
        scheduler: str | None = None,
        *,
        sealing: bool = False,
    ) -> None:
        self.sealed = is_sealed(kernel, [group for group in groups if group.role == "worker"], scheduler)
        """Whether the scheduler is seen to need none of the packages of the graphs that it gets."""
        self.unsealed = sealing and not self.sealed
        self.kernel = Side(kernel)
        self.groups = [Side(group) for group in groups]
        self.all = (self.kernel, *self.groups)
        self.workers = sum(len(side.environment.nodes) for side in self.groups if not side.scheduler)
        self.marked = {name for side in self.all for name in (*side.damaged, *side.edited, *side.unreadable)}
        """Names of packages of which something is wrong on a side, or not known."""
        self._places: dict[tuple[Side, ...], str] = {}

    def spares(self, name: str, side: Side) -> bool:
        """Whether what a side has of a package can't matter, since it is a scheduler that gets sealed graphs."""
        return self.sealed and side.scheduler and covers(name)

    def where(self, sides: tuple[Side, ...]) -> str:
        """Say which nodes these are, such as "2 of 64 workers and the scheduler"."""
        if sides not in self._places:
            self._places[sides] = self._place(sides)
        return self._places[sides]

    def _place(self, sides: tuple[Side, ...]) -> str:
        unique = dict.fromkeys(sides)
        count = sum(len(side.environment.nodes) for side in unique if side.environment.role == "worker")
        parts = ["the notebook's kernel"] if self.kernel in unique else []
        scheduler = any(side.scheduler for side in unique)
        if count and count == self.workers and scheduler and not parts:
            return "the cluster"
        if count:
            parts.append("workers" if count == self.workers else f"{count} of {self.workers} workers")
        if scheduler:
            parts.append("the scheduler")
        return " and ".join(parts)

    def some_workers(self, nodes: Sequence[str]) -> str:
        """Name some of the workers by number and address."""
        if len(nodes) == 1:
            return f"Worker {nodes[0]}"
        shown = ", ".join(sorted(nodes)[:_SHOWN_NODES]) + (" and others" if len(nodes) > _SHOWN_NODES else "")
        return f"{len(nodes)} of {self.workers} workers ({shown})"
