"""Decides which packages an environment is to have: workers to be as a kernel, or a new kernel to be as the workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..compare.packages import running
from ..compare.sentences import repair
from ..compare.sides import Side
from ..errors import Invalid
from ..rules import RuleSet, equal_versions
from ..wire import Environment, Package, PlanAction, PlanCreate, Row

SCHEDULER_BOUND = frozenset({"cloudpickle", "dask", "distributed", "msgpack", "tornado"})
"""Packages of which workers and their scheduler must have the same version to understand each other."""


class Goal(Struct, frozen=True, kw_only=True):
    """What one place is to have, as far as an index has it.

    Attributes
    ----------
    required
        ``name==version`` of what its workers wouldn't run without.
    preferred
        ``name==version``, the most important first.
    chosen
        Names that the sync is about; all else that is preferred is there already.
    local
        Packages of the kernel that no index has, by name; they are sent as wheels.
    removed
        Names to remove.
    instead
        ``name==version`` of what stays where the preferred version can't be had.
    hints
        ``name==version`` that the matched side has of what else may be required.
    doubtful
        Packages whose installation is damaged on the side that is to be matched, by name, with the reason why each stays
        as it is: their metadata may name a version that nobody runs.

    """

    required: tuple[str, ...]
    preferred: tuple[str, ...]
    chosen: frozenset[str]
    local: Mapping[str, Package]
    removed: frozenset[str] = frozenset()
    instead: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    doubtful: Mapping[str, str] = {}


class Available(Struct, frozen=True, kw_only=True):
    """What a goal resolves to: all versions that a layer would have, and why some of the preferred ones can't be."""

    versions: Mapping[str, str]
    refused: Mapping[str, str] = {}


class KernelGoal(Struct, frozen=True, kw_only=True):
    """What a new environment on the kernel's machine is to have, to be as the workers.

    Attributes
    ----------
    workers
        The workers as one environment: the packages that all of them have alike.
    refused
        Packages that stay different, and why.
    apart
        Packages of the kernel that a new environment lacks, though the workers lack them too.

    """

    workers: Environment
    goal: Goal
    refused: tuple[PlanAction, ...]
    apart: tuple[PlanAction, ...]


def refusal(name: str, group: str, why: str, before: str | None = None, after: str | None = None) -> PlanAction:
    """Return the action that says why a package can't be changed in a group, and who can change it."""
    return PlanAction(kind="refuse", name=name, before=before, after=after, group=group, why=why)


def scope_names(scope: str | Sequence[str], rows: Sequence[Row]) -> frozenset[str] | None:
    """Return the names of a scope, None for all; Invalid where it names a package that neither side has."""
    if scope == "all":
        return None
    if scope == "notebook":
        # Every notebook runs on Python.
        return frozenset({"python", *(row.name for row in rows if row.matters)})
    if scope == "rated":
        return frozenset(row.name for row in rows if row.severity in ("breaks", "risky"))
    known = {row.name for row in rows}
    for position, name in enumerate(scope):
        if name not in known:
            raise Invalid(f"scope[{position}]", f"Neither side has a package called {name[:80]!r}")
    return frozenset(scope)


def removable(body: PlanCreate) -> frozenset[str] | None:
    """Return which of the packages that only the cluster has are to go, None for all: those that were asked for."""
    if body.remove_extra:
        return None
    return frozenset() if isinstance(body.scope, str) else frozenset(body.scope)


def extra_packages(kernel: Environment, groups: Iterable[Environment], rules: RuleSet) -> frozenset[str]:
    """Return the packages that only the cluster has; what its scheduler needs and tools of a notebook don't count."""
    theirs = {package.name for group in groups for package in group.packages if travels(package)}
    return frozenset(theirs - {package.name for package in kernel.packages} - rules.tools() - SCHEDULER_BOUND)


def cluster_goal(
    kernel: Environment,
    present: Environment,
    scheduler: Environment | None,
    rows: Sequence[Row],
    names: frozenset[str] | None,
    rules: RuleSet,
    removable: frozenset[str] | None = frozenset(),
) -> Goal:
    """Return what workers with the packages of `present` are to have, to be as `kernel` as far as `names` goes.

    `scheduler` is what they must match; None where the scheduler is restarted with them. What `kernel` lacks stays, last of
    all, unless it is `removable` (None: all of it).
    """
    mine = {package.name: package for package in kernel.packages if travels(package)}
    theirs = {package.name: package for package in present.packages if travels(package)}
    rated = {row.name: row for row in rows}
    bound = {} if scheduler is None else {p.name: _runs(p) for p in scheduler.packages if p.name in SCHEDULER_BOUND}
    order = {"breaks": 0, "risky": 1, "minor": 2, "same": 3}

    def important(name: str) -> tuple[int, bool, str]:
        row = rated.get(name)
        return (order[row.severity], not row.in_use, name) if row else (4, True, name)

    chosen = frozenset(
        name for name in (mine.keys() | theirs.keys() if names is None else names) if name in mine or name in theirs
    ) - set(bound)
    tools = rules.tools()
    extra = theirs.keys() - mine.keys() - tools - bound.keys()
    going = extra if removable is None else extra & removable
    chosen = (chosen | going if removable is None else chosen) - (extra - going)
    doubtful = _doubtful(kernel, mine, chosen)
    chosen -= doubtful.keys()
    targets: dict[str, str] = {}
    local: dict[str, Package] = {}
    removed: set[str] = set()
    for name in sorted(chosen, key=important):
        package = mine.get(name)
        if package is None:
            # The tools of a notebook are no difference, so theirs stay.
            if name in tools:
                targets[name] = theirs[name].version
            else:
                removed.add(name)
            continue
        if name in tools and name not in theirs:
            continue
        if rules.only_where(name, present) is not None:
            continue
        if package.source is not None:
            local[name] = package
        else:
            targets[name] = package.version
    for name in sorted(theirs.keys() - chosen - bound.keys() - removed, key=important):
        targets.setdefault(name, theirs[name].version)
    return Goal(
        required=tuple(f"{name}=={version}" for name, version in sorted(bound.items())),
        preferred=tuple(f"{name}=={version}" for name, version in targets.items()),
        chosen=chosen,
        local=local,
        removed=frozenset(removed),
        instead=tuple(
            f"{name}=={theirs[name].version}"
            for name, version in {**targets, **{name: package.version for name, package in local.items()}}.items()
            if name in theirs and theirs[name].source is None and version != theirs[name].version
        ),
        hints=tuple(
            f"{name}=={package.version}"
            for name, package in sorted(mine.items())
            if package.source is None and name not in doubtful and targets.get(name) != package.version
        ),
        doubtful=doubtful,
    )


def _doubtful(source: Environment, packages: Mapping[str, Package], names: frozenset[str]) -> dict[str, str]:
    """Return the `names` whose installation is damaged where a goal comes from, and why they can't be followed."""
    side = Side(source)
    whose = "The notebook's" if source.role == "kernel" else "The workers'"
    return {
        name: f"{whose} installation of {name} is damaged, so it isn't known which version to have. "
        + repair(name, side.damaged[name], side.folders[name], packages.get(name))
        # A folder that an interrupted install has left beside it doesn't make what is installed doubtful.
        for name in sorted(names & side.damaged.keys())
        if side.damaged[name] != "leftover"
    }


def kernel_goal(
    kernel: Environment,
    groups: Sequence[Environment],
    rows: Sequence[Row],
    names: frozenset[str] | None,
    rules: RuleSet,
    needed: frozenset[str],
) -> KernelGoal:
    """Return what an environment beside `kernel` is to have, to be as the workers of `groups` as far as `names` goes.

    `needed` is what ipykernel requires there: of that, and of the notebook's tools, a kernel keeps its own, or it may not
    start.
    """
    workers, split = _as_one(groups)
    mine = {package.name: package for package in kernel.packages if travels(package)}
    theirs = {package.name: package for package in workers.packages}
    scope = mine.keys() | theirs.keys() | split.keys() if names is None else names
    own = needed | rules.tools()
    rated = {row.name for row in rows if row.severity != "same"}
    why: dict[str, str] = {}
    for name in scope | mine.keys():
        here, there = mine.get(name), theirs.get(name)
        if here is not None and here.source is not None:
            if name in own or name not in scope or there is not None or name in split:
                why[name] = f"It isn't from an index: install it in the new kernel yourself, from {here.source.url}."
        elif name not in scope or name == "python":
            continue
        elif name in split and name not in rules.tools():
            why[name] = f"The workers differ among themselves: {split[name]}."
        elif there is not None and there.source is not None and name not in own:
            why[name] = f"The workers have it from {there.source.url}, which is no index."
        elif name in own and here is not None and (name in rated or names is not None) and not _alike(here, there):
            why[name] = "The new kernel needs it to start, and keeps the notebook's version."
    chosen = (frozenset(scope) - own - split.keys() - {"python"}) - why.keys()
    goal = cluster_goal(workers, kernel, None, rows, chosen, rules, chosen)
    left = {name for name in why if name in mine and mine[name].source is not None}
    pins = [f"{name}=={mine[name].version}" for name in sorted(own) if name in mine and name not in left]
    pins += [pin for pin in goal.preferred if pin.partition("==")[0] not in own | left]
    refused: list[PlanAction] = []
    apart: list[PlanAction] = []
    for name, reason in sorted(why.items()):
        before, after = (side[name].version if name in side else None for side in (mine, theirs))
        action = refusal(name, kernel.id, reason, before, after)
        differs = name in scope and (name in split or (name in theirs and not _alike(theirs[name], mine.get(name))))
        (apart if name in left and not differs else refused).append(action)
    return KernelGoal(
        workers=workers, goal=replace(goal, preferred=tuple(pins)), refused=tuple(refused), apart=tuple(apart)
    )


def _alike(a: Package, b: Package | None) -> bool:
    return b is not None and equal_versions(a.version, b.version)


def _as_one(groups: Sequence[Environment]) -> tuple[Environment, dict[str, str]]:
    """Return what all groups have alike, and by name how they differ in the rest."""
    tables = [{package.name: package for package in group.packages if travels(package)} for group in groups]
    alike: list[Package] = []
    split: dict[str, str] = {}
    for name in sorted({name for table in tables for name in table}):
        found = [table.get(name) for table in tables]
        first = found[0]
        if first is not None and all(_alike(first, package) for package in found):
            alike.append(first)
        else:
            split[name] = " and ".join(sorted({p.version if p else "none" for p in found}))
    return replace(groups[0], packages=tuple(alike)), split


def travels(package: Package) -> bool:
    """Whether there can be a wheel of a package: not of Python itself, code beside a notebook, or conda's other kinds."""
    if package.name == "python" or (package.source is not None and package.source.kind == "module"):
        return False
    return package.channel is None or "py" in (package.build or "")


def _runs(package: Package) -> str:
    # The process decides what a worker must fit, not its disk.
    return next(iter(running(package)), package.version)
