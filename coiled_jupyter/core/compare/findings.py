"""Finds what differs, is damaged or isn't known of a package, side by side; a rule rates each finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from ..rules import Case, Evidence, Kind, RuleSet, RuleSpec, equal_versions
from ..wire import Package, Role, RowStatus
from .packages import OLDER, distinct, is_module, is_native, running, same_source, same_version
from .sentences import files_that_differ, have, listed, repair, still
from .sides import Side, Sides

_RUNS_THE_SAME = RuleSpec(
    severity="same",
    why="The scheduler's disk has {name} {cluster}, and its process runs {kernel} as the notebook does.",
)


_SPARED = RuleSpec(
    severity="same",
    why="The scheduler keeps {has}: this notebook sends it sealed graphs, so it doesn't load the package for them.",
)


class Finding(Struct, frozen=True):
    """Something found about a package on some sides, rated by a rule."""

    name: str
    status: RowStatus
    spec: RuleSpec
    side: Side
    kernel: str = ""
    cluster: str = ""
    lead: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


class Finder:
    """Looks for findings of one package after another, on the same sides and by the same rules."""

    def __init__(self, sides: Sides, rules: RuleSet) -> None:
        self.sides = sides
        self.kernel = sides.kernel
        self.groups = sides.groups
        self.rules = rules
        self._clashes = self._clashing()

    def split(self, name: str, mine: Package | None, theirs: Sequence[Package | None]) -> list[Finding]:
        """Say in counts how nodes differ among themselves, if they do."""
        if len(theirs) < 2:
            return []
        known = [
            (side, other)
            for side, other in zip(self.groups, theirs, strict=True)
            if (other is not None or (side.knows(name) and not self._excused(name, side, theirs)))
            and not self.sides.spares(name, side)
        ]
        versions = distinct([other.version if other else None for _, other in known])
        if len(versions) < 2:
            return []
        workers: Counter[str | None] = Counter()
        scheduler: list[str | None] = []
        for side, other in known:
            version = next(v for v in versions if same_version(v, other.version if other else None))
            if side.scheduler:
                scheduler.append(version)
            else:
                workers[version] += len(side.environment.nodes)
        own = mine.version if mine else None
        ordered = sorted(workers, key=lambda v: (not same_version(v, own), -workers[v], v or ""))
        parts = []
        for position, version in enumerate(ordered):
            count = f"{workers[version]} of {self.sides.workers} workers" if not position else str(workers[version])
            if len(ordered) == 1:
                count = "The worker" if self.sides.workers == 1 else f"All {self.sides.workers} workers"
            parts.append(f"{count} {have(name, version, workers[version], short=bool(position))}")
            if mine is not None and same_version(version, own):
                parts[-1] += " as the notebook does"
        for version in scheduler:
            parts.append(f"the scheduler {have(name, version, 1, short=bool(parts))}")
        # Where all workers agree, the scheduler is the odd one.
        odd: Role = "scheduler" if scheduler and len(workers) < 2 else "worker"
        place = next((side for side, _ in known if side.scheduler == (odd == "scheduler")), known[0][0])
        other = next((o for s, o in known if o is not None), None)
        case = replace(self._case(name, "split", mine, other, place), role=odd)
        text = ", ".join(parts)
        return [replace(self._found(case, place), lead=f"{text[:1].upper()}{text[1:]}.")]

    def clash(self, name: str) -> list[Finding]:
        """Say which packages of the notebook's can't be imported on a group because of what it has of this one."""
        found: dict[int, tuple[Case, list[Side], list[str], list[str]]] = {}
        for side, package, beside in self._clashes.get(name, ()):
            mine = self.kernel.packages[package]
            other = side.packages[name]
            case = replace(
                self._case(name, "differs", self.kernel.packages.get(name), other, side),
                problem="clash", imported=mine.use in ("imported", "needed"), in_use=mine.in_use,
            )  # fmt: skip
            _, sides, packages, lacks = found.setdefault(id(self.rules.rule(case)), (case, [], [], []))
            sides.append(side)
            packages.append(f"{package} {side.packages[package].version}")
            lacks.append(f"{beside} {side.packages[beside].version}")
        return [
            replace(self._found(case, side), values={"package": listed(packages), "process": listed(lacks)})
            for case, sides, packages, lacks in found.values()
            for side in dict.fromkeys(sides)
        ]

    def damage(self, name: str) -> list[Finding]:
        """Say on which sides the installation of a package is damaged, and how it is repaired."""
        found = []
        for side in self.sides.all:
            damage = side.damaged.get(name)
            if damage is not None:
                package, mine = side.packages.get(name), self.kernel.packages.get(name)
                case = self._case(name, "broken", mine, package if side is not self.kernel else mine, side)
                values = {"process": side.folders[name], "repair": repair(name, damage, side.folders[name], package)}
                found.append(
                    Finding(name, "broken", self.rules.rule(replace(case, problem=damage)), side, values=values)
                )
        return found

    def pair(self, name: str, mine: Package | None, side: Side, other: Package | None) -> list[Finding]:
        """Compare what is installed in the kernel's environment with what is in one group's."""
        unknown = (mine is None and not self.kernel.knows(name)) or (other is None and not side.knows(name))
        # Code of no package is found only by looking at files.
        unknown = unknown or (other is None and mine is not None and is_module(mine) and not side.looked)
        unreadable = name in self.kernel.unreadable or name in side.unreadable
        if unreadable or (unknown and (mine is not None or other is not None or name == "python")):
            return [self._found(self._case(name, "unknown", mine, other, side), side)]
        if mine is None and other is None:
            return []
        if self.sides.spares(name, side):
            return self._spared(name, mine, side, other)
        if mine is None or other is None:
            absent: RowStatus = "only_kernel" if other is None else "only_cluster"
            lacks, has = (side, self.kernel) if other is None else (self.kernel, side)
            reason = lacks.needs_not(name, has, self.rules)
            if reason is not None:
                return [Finding(name, absent, RuleSpec(severity="same", why=reason), side)]
            return [self._found(self._case(name, absent, mine, other, side), side)]
        case = self._case(name, "differs", mine, other, side)
        if not equal_versions(mine.version, other.version):
            old = running(other) if side.scheduler else []
            if not old:
                return [self._found(case, side)]
            # The scheduler is rated by what it runs: its disk matters only after the restart that its row asks for.
            return [
                self._found(replace(case, cluster=version), side)
                if not equal_versions(mine.version, version)
                else Finding(name, "differs", _RUNS_THE_SAME, side, mine.version, other.version)
                for version in old
            ]
        evidence = self._other_content(mine, other, side)
        if evidence is None:
            return []
        found = self._found(replace(case, status="content_differs", evidence=evidence), side)
        return [replace(found, lead=files_that_differ(mine.files, other.files)) if evidence == "content" else found]

    def _spared(self, name: str, mine: Package | None, side: Side, other: Package | None) -> list[Finding]:
        """Say what a scheduler that gets sealed graphs has, if that isn't what the notebook has."""
        runs = other and next(iter(running(other)), other.version)
        if mine is not None and other is not None and runs and equal_versions(mine.version, runs):
            return []
        status: RowStatus = "only_kernel" if other is None else "only_cluster" if mine is None else "differs"
        has = f"{name} {runs}" if runs else f"no {name}"
        return [Finding(name, status, _SPARED, side, mine.version if mine else "", runs or "", values={"has": has})]

    def restart(self, name: str, mine: Package | None, theirs: Sequence[Package | None]) -> list[Finding]:
        """Say which processes run something else than what is installed; the worst rating first."""
        if not (mine and mine.loaded) and not any(other and other.loaded for other in theirs):
            return []
        who: list[str] = []
        said: list[str] = []
        runs: list[Finding] = []
        place = self.kernel
        here = running(mine, with_older=True) if mine else []
        if mine is not None and here:
            who.append("the notebook's kernel")
            said.append(f"The notebook's kernel still runs {still(here, mine.version)}.")
        stale: dict[tuple[bool, str, str], list[str]] = {}
        for side, other in zip(self.groups, theirs, strict=True):
            if other is None or self.sides.spares(name, side):
                continue
            old = running(other, with_older=True)
            for loaded in other.loaded:
                if loaded.version in old:
                    place = side
                    key = (not side.scheduler, loaded.version, other.version)
                    stale.setdefault(key, []).extend(loaded.nodes)
            # What the older code was isn't known, so neither is what it breaks.
            if mine is not None and (here or old) and OLDER not in (*here, *old):
                for left in here or [mine.version]:
                    for right in old or [other.version]:
                        if not equal_versions(left, right):
                            case = replace(self._case(name, "differs", mine, other, side), kernel=left, cluster=right)
                            runs.append(replace(self._found(case, side), status="restart_needed"))
        for (workers, version, installed), nodes in sorted(stale.items()):
            what = self.sides.some_workers(nodes) if workers else "The scheduler"
            verb = "run" if workers and len(nodes) > 1 else "runs"
            said.append(f"{what} still {verb} {still([version], installed)}.")
            who.append(what[:1].lower() + what[1:] if workers else "the scheduler, with all of its cluster")
        if not said:
            return []
        spec = self.rules.rule(self._case(name, "restart_needed", mine, mine, place))
        values = {"process": " ".join(said), "where": " and ".join(dict.fromkeys(who))}
        return [Finding(name, "restart_needed", spec, place, values=values), *runs]

    def _clashing(self) -> dict[str, list[tuple[Side, str, str]]]:
        """Return by row the groups, packages, and what these can't be beside there; what differs from here is at fault."""
        found: dict[str, list[tuple[Side, str, str]]] = {}
        for side in self.groups:
            for name, beside in self.rules.clashes(side.packages):
                own = self.kernel.packages.get(name)
                changed = [
                    each
                    for each in (beside, name)
                    for mine in [self.kernel.packages.get(each)]
                    if mine is not None and not equal_versions(mine.version, side.packages[each].version)
                ]
                # Where neither differs, the notebook can't import it either.
                if own is not None and changed:
                    found.setdefault(changed[0], []).append((side, name, beside))
        return found

    def _other_content(self, mine: Package, other: Package, side: Side) -> Evidence | None:
        """Return what shows that two packages of one version aren't the same code, or None."""
        alike = self.kernel.environment.platform == side.environment.platform and self.kernel.python == side.python
        edited = [mine.name in each.edited for each in (self.kernel, side)]
        both_pure = all((package.content or "").startswith("pure:") for package in (mine, other))
        if mine.content and other.content and (both_pure or alike):
            if mine.content != other.content:
                return "content"
            # A digest covers code; a file that was changed on one side only may be another.
            return "edited" if any(edited) and not all(edited) else None
        if any(edited):
            return "edited"
        if not same_source(mine.source, other.source, self.kernel.environment.host == side.environment.host):
            return "source"
        builds = [(package.channel, package.build) for package in (mine, other) if package.channel is not None]
        return "build" if alike and len(builds) == 2 and builds[0] != builds[1] else None

    def _excused(self, name: str, side: Side, theirs: Sequence[Package | None]) -> bool:
        """Whether a group that lacks a package needn't have it, though other places have."""
        owners = [self.kernel] if name in self.kernel.packages else []
        owners += [owner for owner, package in zip(self.groups, theirs, strict=True) if package is not None]
        return bool(owners) and all(side.needs_not(name, owner, self.rules) is not None for owner in owners)

    def _case(self, name: str, status: RowStatus, mine: Package | None, other: Package | None, side: Side) -> Case:
        kind: Kind = "package"
        if (mine and is_module(mine)) or (other and is_module(other)):
            kind = "module"
        elif (mine or other) and (mine is None or is_native(mine)) and (other is None or is_native(other)):
            kind = "conda"
        return Case(
            name=name,
            status=status,
            kernel=mine.version if mine else "",
            cluster=other.version if other else "",
            dask=self.kernel.dask,
            imported=bool(mine and mine.use in ("imported", "needed")),
            in_use=bool(mine and mine.in_use),
            requested=bool(mine and mine.requested),
            kind=kind,
            role=side.environment.role,
            same_platform=side.environment.platform == self.kernel.environment.platform,
            same_python=side.python == self.kernel.python,
        )

    def _found(self, case: Case, side: Side) -> Finding:
        return Finding(case.name, case.status, self.rules.rule(case), side, case.kernel, case.cluster)
