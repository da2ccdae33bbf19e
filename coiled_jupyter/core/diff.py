"""Compares a kernel's environment with a cluster's and says what it means: rows and the verdict.

The verdict's law: a `block` row → breaks; else anything unread, old or not read in full → unknown; else a row at `warn`
or a note in use → differs; else, while the files of any place haven't been looked at → unknown; else equal. Nothing
else is ever green.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct, field
from msgspec.structs import replace

from . import rules as rulebook
from .cluster import age
from .rules import ORDER, Case, Damage, Evidence, Kind, RuleSet, RuleSpec, equal_versions, is_version, minor
from .wire import (
    Checked,
    Diff,
    DiffCluster,
    DiffGroup,
    DiffKernel,
    Environment,
    Level,
    Package,
    Row,
    RowGroup,
    RowSide,
    RowSoftware,
    RowStatus,
    Severities,
    Severity,
    Source,
    Unread,
    Verdict,
)

STALE_SECONDS = 30.0
CONTENT_SECONDS = 60.0
"""How long a look at files holds; it's made every 20 seconds, unless a disk hangs."""
_STATUSES: tuple[RowStatus, ...] = (
    "broken",
    "unknown",
    "split",
    "differs",
    "only_kernel",
    "only_cluster",
    "content_differs",
    "restart_needed",
    "same",
)
_RANK = {severity: rank for rank, severity in enumerate(ORDER)}
_DAMAGES: tuple[Damage, ...] = ("missing_files", "duplicate", "conda_conflict", "no_record", "leftover")
_SHOWN_NODES = 3
OLDER = "what was there before"
"""What a process tells to run where its code was replaced or edited under it, and no version says so."""


def compare(
    kernel: Environment | None,
    groups: Sequence[Environment],
    *,
    cluster_id: str,
    cluster_name: str,
    kernel_id: str | None,
    kernel_label: str,
    at: str,
    unread: Sequence[Unread] = (),
    software: Mapping[str, str] | None = None,
    rules: RuleSet | None = None,
) -> Diff:
    """Compare a kernel with all groups of a cluster.

    Parameters
    ----------
    kernel
        None where it couldn't be read; `unread` says why.
    unread
        What couldn't be read; with anything here the verdict is never `equal`.
    at
        The present time, against which the readings' ages are judged.
    rules
        What decides severities; None is the shipped rules.

    """
    rows = _Comparison(kernel, groups, software or {}, rules or rulebook.shipped()).rows() if kernel and groups else []
    read = [environment for environment in (kernel, *groups) if environment is not None]
    missing = [*unread, *(entry for environment in read for entry in _unread_parts(environment))]
    if kernel is None and not any(entry.node == "kernel" for entry in missing):
        missing.append(Unread(node="kernel", reason="The kernel could not be read"))
    if not groups and not missing:
        missing.append(Unread(node="cluster", reason="No node of the cluster has been read yet"))
    level = _level(read) if kernel is not None and groups else "none"
    in_full = [environment for environment in read if environment.level == "all"]
    looked = [age(environment.content_at, at) for environment in in_full]
    content = bool(in_full) and all(seconds is not None and seconds <= CONTENT_SECONDS for seconds in looked)
    severities = Counter(row.severity for row in rows)
    counts = Counter(row.status for row in rows)
    ages = [age(environment.taken_at, at) for environment in read]
    return Diff(
        verdict=verdict(rows, unread=missing, level=level, ages=ages, content=content),
        level=level,
        kernel=DiffKernel(
            id=kernel_id,
            label=kernel_label,
            python=kernel.python if kernel else None,
            digest=kernel.digest if kernel else None,
        ),
        cluster=DiffCluster(
            id=cluster_id,
            name=cluster_name,
            groups=tuple(
                DiffGroup(
                    id=g.id, role=g.role, host=g.host, prefix=g.prefix, python=g.python, digest=g.digest, nodes=g.nodes
                )
                for g in groups
            ),
        ),
        counts={status: counts[status] for status in _STATUSES},
        severities=Severities(**{severity: severities[severity] for severity in ORDER}),
        unread=tuple(missing),
        checked=Checked(content=content),
        rows=tuple(rows),
        taken_at=min((e.taken_at for e in read), default=at),
    )


def verdict(
    rows: Iterable[Row],
    *,
    unread: Sequence[Unread],
    level: Level,
    ages: Sequence[float | None],
    content: bool = False,
    stale: float = STALE_SECONDS,
) -> Verdict:
    """Apply the verdict's law; `equal` needs `content`, that the files of every place have been looked at."""
    rows = list(rows)
    if any(row.severity == "block" for row in rows):
        return "breaks"
    if unread or level != "all" or not ages or any(seconds is None or seconds > stale for seconds in ages):
        return "unknown"
    if not rows or any(row.status == "unknown" and row.severity != "ok" for row in rows):
        return "unknown"
    if any(row.severity == "warn" or (row.severity == "note" and row.in_use) for row in rows):
        return "differs"
    return "equal" if content else "unknown"


def _level(environments: Sequence[Environment]) -> Level:
    levels = {environment.level for environment in environments}
    return "none" if "none" in levels else "versions" if "versions" in levels else "all"


def _unread_parts(environment: Environment) -> Iterable[Unread]:
    """Say what of a place that was read could not be, where no package's row can."""
    node = "kernel" if environment.role == "kernel" else environment.nodes[0] if environment.nodes else "cluster"
    for problem in environment.problems:
        if problem.kind == "truncated":
            yield Unread(node=node, reason="The list of packages was cut: there are more than can be compared")
        elif problem.kind == "unreadable" and problem.package is None:
            yield Unread(node=node, reason=f"Could not be read: {problem.where}")
        elif problem.kind == "edited" and problem.package is None:
            yield Unread(node=node, reason=f"Changed after its installation, and of no known package: {problem.where}")


# ---- rows -----------------------------------------------------------------------------------------------------------


class _Side:
    """One environment, indexed by what the comparison asks of it."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.packages = {package.name: package for package in environment.packages}
        # The interpreter is a row like any other; nothing that is installed can take its name.
        self.packages.pop("python", None)
        if environment.python:
            name = environment.implementation
            version = environment.python if name == "cpython" else f"{name} {environment.python}"
            self.packages["python"] = Package(name="python", version=version, in_use=True)
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
        return self.environment.role == "scheduler"

    @cached_property
    def conda(self) -> bool:
        """Whether conda has installed anything here."""
        return any(package.channel is not None for package in self.environment.packages)

    @cached_property
    def python(self) -> tuple[str, str]:
        return self.environment.implementation, minor(self.environment.python)

    def knows(self, name: str) -> bool:
        """Whether the absence of `name` means that it isn't installed."""
        return name not in self.unreadable and not self.cut and name != "python"

    def needs_not(self, name: str, other: _Side, rules: RuleSet) -> str | None:
        """Return why this side, which lacks `name`, needn't have it though `other` has, or None."""
        place = f"{self.environment.platform}, Python {self.environment.python}"
        if rules.only_where(name, self.environment) is not None:
            return f"{name} isn't made for the other side's platform ({place})."
        package = other.packages[name]
        markers = other.environment.conditional.get(name)
        if markers and not package.requested and not rulebook.needed(markers, self.environment):
            return f"Needed only where {' or '.join(markers[:2])}, which isn't so on the other side ({place})."
        if _native(package) and not self.conda:
            return f"{name} is a library of conda's, and the other side has no conda packages."
        return None


class _Finding(Struct, frozen=True):
    """Something found about a package on some sides, rated by a rule."""

    name: str
    status: RowStatus
    spec: RuleSpec
    side: _Side
    kernel: str = ""
    cluster: str = ""
    lead: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


class _Comparison:
    """One kernel against all groups of a cluster."""

    def __init__(
        self, kernel: Environment, groups: Sequence[Environment], software: Mapping[str, str], rules: RuleSet
    ) -> None:
        self.kernel = _Side(kernel)
        self.sides = [_Side(group) for group in groups]
        self.software = software
        self.rules = rules
        self.workers = sum(len(side.environment.nodes) for side in self.sides if not side.scheduler)
        self._places: dict[tuple[_Side, ...], str] = {}
        every = (self.kernel, *self.sides)
        self.marked = {name for side in every for name in (*side.damaged, *side.edited, *side.unreadable)}

    def rows(self) -> list[Row]:
        """Return all rows in their order."""
        names = {*self.kernel.packages, *self.marked}
        for side in self.sides:
            # Code in a worker's folder that the notebook doesn't have is no difference to the notebook.
            names.update(name for name, package in side.packages.items() if not _is_module(package))
        names |= {"python"}
        return sorted(
            (self._row(name) for name in names), key=lambda row: (_RANK[row.severity], not row.in_use, row.name)
        )

    def _row(self, name: str) -> Row:
        mine = self.kernel.packages.get(name)
        theirs = [side.packages.get(name) for side in self.sides]
        if mine is None:
            theirs = [None if package is not None and _is_module(package) else package for package in theirs]
        if name not in self.marked and mine is not None and all(_plainly_same(mine, other) for other in theirs):
            status, severity, why, fix = _SAME
        else:
            status, severity, why, fix = self._judge(name, mine, theirs)
        severity, why, fix = self.rules.decided(name, status, severity, why, fix)
        return Row(
            name=name,
            kernel=RowSide(
                version=mine.version, loaded=mine.loaded[0].version if mine.loaded else None, source=mine.source
            )
            if mine
            else None,
            groups=tuple(
                RowGroup(
                    group=side.environment.id,
                    version=package.version if package else None,
                    loaded=package.loaded if package else (),
                    source=package.source if package else None,
                )
                for side, package in zip(self.sides, theirs, strict=True)
            ),
            software=RowSoftware(version=self.software[name]) if name in self.software else None,
            status=status,
            severity=severity,
            in_use=bool(mine and mine.in_use),
            why=why,
            fix=fix,
        )

    # ---- judging one package ------------------------------------------------------------------------------------

    def _judge(
        self, name: str, mine: Package | None, theirs: Sequence[Package | None]
    ) -> tuple[RowStatus, Severity, str, str]:
        """Return the first status that holds, the worst severity, and what both are due to."""
        found = self._split(name, mine, theirs)
        if name in self.marked:
            found += self._damage(name)
        for side, other in zip(self.sides, theirs, strict=True):
            found += self._pair(name, mine, side, other)
        restart = self._restart(name, mine, theirs)
        found += restart
        if not found:
            return _SAME
        if len(found) == 1 and name not in self.marked:
            # Most rows that differ: nothing to weigh.
            return found[0].status, found[0].spec.severity, *self._say(found[0], found)
        statuses = {finding.status for finding in found}
        # A place that is not known could have any version, so whether nodes are split isn't known either.
        status = next(s for s in _STATUSES if s in statuses)
        worst = min(found, key=_rank)
        first = restart[0] if status == "restart_needed" else min((f for f in found if f.status == status), key=_rank)
        # Each thing that breaks tasks has to be mended, so each is said; of lesser ones the worst.
        breaking = [f for f in found if f.spec.severity == "block"]
        said = [self._say(finding, found) for finding in _unique([first, worst, *breaking, *restart[:1]])]
        why = [text for text, _ in said if text] + self._edits(name)
        fix = [text for _, text in said if text]
        return status, worst.spec.severity, " ".join(dict.fromkeys(why)), " ".join(dict.fromkeys(fix))

    def _say(self, finding: _Finding, found: Sequence[_Finding]) -> tuple[str, str]:
        """Return the sentences of a finding, for all sides on which the same was found."""
        alike = [f for f in found if f.spec is finding.spec and f.status == finding.status]
        several = len(alike) > 1
        values = {
            "name": finding.name,
            "kernel": _listed(f.kernel for f in alike) if several else finding.kernel,
            "cluster": _listed(f.cluster for f in alike) if several else finding.cluster,
            "where": self._where(tuple(f.side for f in alike)),
            **finding.values,
        }
        why, fix = rulebook.words(finding.spec.why, values), rulebook.words(finding.spec.fix, values)
        return f"{finding.lead} {why}".strip(), fix

    def _case(self, name: str, status: RowStatus, mine: Package | None, other: Package | None, side: _Side) -> Case:
        kind: Kind = "package"
        if (mine and _is_module(mine)) or (other and _is_module(other)):
            kind = "module"
        elif (mine or other) and (mine is None or _native(mine)) and (other is None or _native(other)):
            kind = "conda"
        return Case(
            name=name,
            status=status,
            kernel=mine.version if mine else "",
            cluster=other.version if other else "",
            in_use=bool(mine and mine.in_use),
            requested=bool(mine and mine.requested),
            kind=kind,
            role=side.environment.role,
            same_platform=side.environment.platform == self.kernel.environment.platform,
            same_python=side.python == self.kernel.python,
        )

    def _found(self, case: Case, side: _Side) -> _Finding:
        return _Finding(case.name, case.status, self.rules.rule(case), side, case.kernel, case.cluster)

    def _pair(self, name: str, mine: Package | None, side: _Side, other: Package | None) -> list[_Finding]:
        """Compare what is installed in the kernel's environment with what is in one group's."""
        unknown = (mine is None and not self.kernel.knows(name)) or (other is None and not side.knows(name))
        unreadable = name in self.kernel.unreadable or name in side.unreadable
        if unreadable or (unknown and (mine is not None or other is not None or name == "python")):
            return [self._found(self._case(name, "unknown", mine, other, side), side)]
        if mine is None and other is None:
            return []
        if mine is None or other is None:
            absent: RowStatus = "only_kernel" if other is None else "only_cluster"
            lacks, has = (side, self.kernel) if other is None else (self.kernel, side)
            reason = lacks.needs_not(name, has, self.rules)
            if reason is not None:
                return [_Finding(name, absent, RuleSpec(severity="ok", why=reason), side)]
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
                else _Finding(name, "differs", _RUNS_THE_SAME, side, mine.version, other.version)
                for version in old
            ]
        evidence = self._other_content(mine, other, side)
        if evidence is None:
            return []
        return [self._found(replace(case, status="content_differs", evidence=evidence), side)]

    def _other_content(self, mine: Package, other: Package, side: _Side) -> Evidence | None:
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
        if not _same_source(mine.source, other.source, self.kernel.environment.host == side.environment.host):
            return "source"
        builds = [(package.channel, package.build) for package in (mine, other) if package.channel is not None]
        return "build" if alike and len(builds) == 2 and builds[0] != builds[1] else None

    def _damage(self, name: str) -> list[_Finding]:
        found = []
        for side in (self.kernel, *self.sides):
            damage = side.damaged.get(name)
            if damage is not None:
                package, mine = side.packages.get(name), self.kernel.packages.get(name)
                case = self._case(name, "broken", mine, package if side is not self.kernel else mine, side)
                values = {"process": side.folders[name], "repair": _repair(name, damage, side.folders[name], package)}
                found.append(
                    _Finding(name, "broken", self.rules.rule(replace(case, problem=damage)), side, values=values)
                )
        return found

    def _restart(self, name: str, mine: Package | None, theirs: Sequence[Package | None]) -> list[_Finding]:
        """Say which processes run something else than what is installed; the worst rating first."""
        if not (mine and mine.loaded) and not any(other and other.loaded for other in theirs):
            return []
        who: list[str] = []
        told: list[str] = []
        runs: list[_Finding] = []
        place = self.kernel
        here = running(mine, untold=True) if mine else []
        if mine is not None and here:
            who.append("the notebook's kernel")
            told.append(f"The notebook's kernel still runs {_still(here, mine.version)}.")
        stale: dict[tuple[str, str], list[str]] = {}
        for side, other in zip(self.sides, theirs, strict=True):
            old = running(other, untold=True) if other else []
            if other is None:
                continue
            for loaded in other.loaded if old else ():
                if loaded.version in old:
                    place = side
                    key = ("the scheduler" if side.scheduler else "workers", f"{loaded.version}\0{other.version}")
                    stale.setdefault(key, []).extend(loaded.nodes)
            # What the older code was isn't known, so neither is what it breaks.
            if mine is not None and (here or old) and OLDER not in (*here, *old):
                for left in here or [mine.version]:
                    for right in old or [other.version]:
                        if not equal_versions(left, right):
                            case = replace(self._case(name, "differs", mine, other, side), kernel=left, cluster=right)
                            runs.append(replace(self._found(case, side), status="restart_needed"))
        for (role, versions), nodes in sorted(stale.items()):
            loaded_version, _, installed = versions.partition("\0")
            what = "The scheduler" if role == "the scheduler" else self._workers(nodes)
            verb = "runs" if len(nodes) == 1 or role == "the scheduler" else "run"
            told.append(f"{what} still {verb} {_still([loaded_version], installed)}.")
            who.append(
                "the scheduler, with all of its cluster" if role == "the scheduler" else what[:1].lower() + what[1:]
            )
        if not told:
            return []
        spec = self.rules.rule(self._case(name, "restart_needed", mine, mine, place))
        values = {"process": " ".join(told), "where": " and ".join(dict.fromkeys(who))}
        return [_Finding(name, "restart_needed", spec, place, values=values), *runs]

    def _workers(self, nodes: Sequence[str]) -> str:
        if len(nodes) == 1:
            return f"Worker {nodes[0]}"
        shown = ", ".join(sorted(nodes)[:_SHOWN_NODES]) + (" and others" if len(nodes) > _SHOWN_NODES else "")
        return f"{len(nodes)} of {self.workers} workers ({shown})"

    def _split(self, name: str, mine: Package | None, theirs: Sequence[Package | None]) -> list[_Finding]:
        """Say in counts how nodes differ among themselves, if they do."""
        if len(theirs) < 2:
            return []
        known = [
            (side, other)
            for side, other in zip(self.sides, theirs, strict=True)
            if other is not None or (side.knows(name) and not self._excused(name, side, theirs))
        ]
        versions = _distinct([other.version if other else None for _, other in known])
        if len(versions) < 2:
            return []
        workers: Counter[str | None] = Counter()
        scheduler: list[str | None] = []
        for side, other in known:
            version = next(v for v in versions if _equal(v, other.version if other else None))
            if side.scheduler:
                scheduler.append(version)
            else:
                workers[version] += len(side.environment.nodes)
        own = mine.version if mine else None
        ordered = sorted(workers, key=lambda v: (not _equal(v, own), -workers[v], v or ""))
        parts = []
        for position, version in enumerate(ordered):
            count = f"{workers[version]} of {self.workers} workers" if not position else str(workers[version])
            if len(ordered) == 1:
                count = "The worker" if self.workers == 1 else f"All {self.workers} workers"
            parts.append(f"{count} {_have(name, version, workers[version], short=bool(position))}")
            if mine is not None and _equal(version, own):
                parts[-1] += " as the notebook does"
        for version in scheduler:
            parts.append(f"the scheduler {_have(name, version, 1, short=bool(parts))}")
        odd, place = (
            ("scheduler", next(s for s, _ in known if s.scheduler))
            if len(workers) < 2 and scheduler
            else (
                "worker",
                next(s for s, _ in known if not s.scheduler) if workers else known[0][0],
            )
        )
        other = next((o for s, o in known if o is not None), None)
        case = replace(
            self._case(name, "split", mine, other, place), role="scheduler" if odd == "scheduler" else "worker"
        )
        text = ", ".join(parts)
        return [replace(self._found(case, place), lead=f"{text[:1].upper()}{text[1:]}.")]

    def _excused(self, name: str, side: _Side, theirs: Sequence[Package | None]) -> bool:
        """Whether a group that lacks a package needn't have it, though other places have."""
        owners = [self.kernel] if name in self.kernel.packages else []
        owners += [owner for owner, package in zip(self.sides, theirs, strict=True) if package is not None]
        return bool(owners) and all(side.needs_not(name, owner, self.rules) is not None for owner in owners)

    def _edits(self, name: str) -> list[str]:
        return [
            f"Changed after its installation on {self._where((side,))}: {side.edited[name]}."
            for side in (self.kernel, *self.sides)
            if name in side.edited
        ]

    def _where(self, sides: tuple[_Side, ...]) -> str:
        """Say which nodes these are, such as "2 of 64 workers and the scheduler"."""
        if sides not in self._places:
            self._places[sides] = self._place(sides)
        return self._places[sides]

    def _place(self, sides: tuple[_Side, ...]) -> str:
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


_SAME: tuple[RowStatus, Severity, str, str] = ("same", "ok", "", "")
_RUNS_THE_SAME = RuleSpec(
    severity="ok", why="The scheduler's disk has {name} {cluster}, and its process runs {kernel} as the notebook does."
)


def _unique(findings: Iterable[_Finding]) -> list[_Finding]:
    # What one rule found in several places is one sentence.
    found: dict[tuple[int, RowStatus], _Finding] = {}
    for finding in findings:
        found.setdefault((id(finding.spec), finding.status), finding)
    return list(found.values())


def _rank(finding: _Finding) -> int:
    return _RANK[finding.spec.severity]


def _is_module(package: Package) -> bool:
    return package.source is not None and package.source.kind == "module"


def _native(package: Package) -> bool:
    """Whether this is a package of conda's that is no Python distribution, as its build tells."""
    if package.channel is None or package.in_use or package.loaded or package.content is not None:
        return False
    return "py" not in (package.build or "") or package.name in ("python-abi", "libpython")


def _plainly_same(mine: Package, other: Package | None) -> bool:
    """Whether two packages are equal in all that is compared, without a closer look."""
    return (
        other is not None
        and mine.version == other.version
        and mine.source is None
        and other.source is None
        and mine.content == other.content
        and mine.build == other.build
        and mine.channel == other.channel
        and (not mine.loaded or not running(mine, untold=True))
        and (not other.loaded or not running(other, untold=True))
    )


def running(package: Package, *, untold: bool = False) -> list[str]:
    """Return the versions that processes run though another is installed; with `untold` also `OLDER`."""
    # A module's own `__version__` isn't always a version; such a text can't show that an old one runs.
    return [
        loaded.version
        for loaded in package.loaded
        if (untold and loaded.version == OLDER)
        or (
            loaded.version != package.version
            and is_version(loaded.version)
            and not equal_versions(loaded.version, package.version)
        )
    ]


def _still(versions: Sequence[str], installed: str) -> str:
    return (
        "what was there before its files were changed"
        if OLDER in versions
        else f"{_listed(versions)}, though {installed} is installed"
    )


def _same_source(a: Source | None, b: Source | None, same_host: bool) -> bool:
    if a is None or b is None:
        return a is b
    if (a.kind, a.url, a.commit) != (b.kind, b.url, b.commit):
        return False
    return a.kind == "vcs" or same_host or not a.url.startswith("file:")


def _repair(name: str, damage: Damage, folder: str, package: Package | None) -> str:
    if damage == "leftover":
        return f"Remove the folder {folder}."
    installer = package.installer if package else None
    if installer == "conda" or damage == "conda_conflict":
        return f"Repair it with `conda install --force-reinstall {name}`."
    uv, pip = f"`uv pip install --reinstall {name}`", f"`pip install --force-reinstall {name}`"
    return (
        f"Repair it with {uv}."
        if installer == "uv"
        else f"Repair it with {pip}."
        if installer == "pip"
        else (f"Repair it with {uv} or {pip}.")
    )


def _have(name: str, version: str | None, count: int, *, short: bool) -> str:
    if version is None:
        return "doesn't have it" if count == 1 and not short else "lack it" if count > 1 else "lacks it"
    verb = "has" if count == 1 else "have"
    return f"{verb} {version}" if short else f"{verb} {name} {version}".rstrip()


def _equal(a: str | None, b: str | None) -> bool:
    return a is b if a is None or b is None else equal_versions(a, b)


def _distinct(versions: Iterable[str | None]) -> list[str | None]:
    distinct: list[str | None] = []
    for version in versions:
        if not any(_equal(known, version) for known in distinct):
            distinct.append(version)
    return distinct


def _listed(versions: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(version for version in versions if version))
