"""Makes the rows of a diff: the status and the severity of each package, and the sentences for both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from .. import rules as rulebook
from ..rules import ORDER, RuleSet
from ..sealing import covers
from ..wire import Package, Row, RowGroup, RowSide, RowSoftware, RowStatus, Severity
from .findings import Finder, Finding
from .packages import is_module, plainly_same
from .sentences import SEAL, listed
from .sides import Sides

STATUSES: tuple[RowStatus, ...] = get_args(RowStatus)
"""The statuses of a row; of several that hold, the first is shown."""
_RANK = {severity: rank for rank, severity in enumerate(ORDER)}
_SAME: tuple[RowStatus, Severity, str, str] = ("same", "same", "", "")


class Rows:
    """The rows of one kernel and all groups of a cluster."""

    def __init__(self, sides: Sides, software: Mapping[str, str], rules: RuleSet, seen: Mapping[str, str]) -> None:
        self.sides = sides
        self.software = software
        self.rules = rules
        self.seen = seen
        self.finder = Finder(sides, rules)

    def all(self) -> list[Row]:
        """Return all rows, in no order."""
        names = {*self.sides.kernel.packages, *self.sides.marked}
        for side in self.sides.groups:
            # Code in a worker's folder that the notebook doesn't have is no difference to the notebook.
            names.update(name for name, package in side.packages.items() if not is_module(package))
        names |= {"python"}
        return [self._row(name) for name in names]

    def _row(self, name: str) -> Row:
        mine = self.sides.kernel.packages.get(name)
        theirs = [side.packages.get(name) for side in self.sides.groups]
        if mine is None:
            theirs = [None if package is not None and is_module(package) else package for package in theirs]
        if name not in self.sides.marked and mine is not None and all(plainly_same(mine, other) for other in theirs):
            status, severity, why, fix = _SAME
        else:
            status, severity, why, fix = self._judge(name, mine, theirs)
        if name in self.seen and status != "same":
            severity, why = "breaks", f"A task has failed: {self.seen[name].rstrip('.')}. {why}".strip()
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
                for side, package in zip(self.sides.groups, theirs, strict=True)
            ),
            software=RowSoftware(version=self.software[name]) if name in self.software else None,
            status=status,
            severity=severity,
            use=mine.use if mine else "",
            needed_by=mine.needed_by if mine else "",
            why=why,
            fix=fix,
            modules=next((package.modules for package in (mine, *theirs) if package is not None), ()),
            # Every notebook imports Python, so only rules say what its difference means.
            matters=_matters(status, severity, None if name == "python" else mine),
        )

    def _judge(
        self, name: str, mine: Package | None, theirs: Sequence[Package | None]
    ) -> tuple[RowStatus, Severity, str, str]:
        """Return the first status that holds, the worst severity, and what both are due to."""
        found = [*self.finder.clash(name), *self.finder.split(name, mine, theirs)]
        if name in self.sides.marked:
            found += self.finder.damage(name)
        for side, other in zip(self.sides.groups, theirs, strict=True):
            found += self.finder.pair(name, mine, side, other)
        restart = self.finder.restart(name, mine, theirs)
        found += restart
        if not found:
            return _SAME
        if len(found) == 1 and name not in self.sides.marked:
            # Most rows that differ: nothing to weigh.
            return found[0].status, found[0].spec.severity, *self._say(found[0], found)
        statuses = {finding.status for finding in found}
        # A place that is not known could have any version, so whether nodes are split isn't known either.
        status = next(s for s in STATUSES if s in statuses)
        worst = min(found, key=_rank)
        first = restart[0] if status == "restart_needed" else min((f for f in found if f.status == status), key=_rank)
        # Each thing that breaks tasks has to be mended, so each is said; of lesser ones the worst.
        breaking = [f for f in found if f.spec.severity == "breaks"]
        picked = _unique([first, worst, *breaking, *restart[:1]])
        said = [self._say(finding, found) for finding in picked]
        why = [text for text, _ in said if text] + self._edits(name)
        # What is said of both sides holds for the scheduler too.
        both = any(f.status == "differs" and f.spec.role != "scheduler" for f in picked)
        fix = [
            text
            for finding, (_, text) in zip(picked, said, strict=True)
            if text and not (both and finding.status == "differs" and finding.spec.role == "scheduler" and text != SEAL)
        ]
        return status, worst.spec.severity, " ".join(dict.fromkeys(why)), " ".join(dict.fromkeys(fix))

    def _say(self, finding: Finding, found: Sequence[Finding]) -> tuple[str, str]:
        """Return the sentences of a finding, for all sides on which the same was found."""
        alike = [f for f in found if f.spec is finding.spec and f.status == finding.status]
        several = len(alike) > 1
        values = {
            "name": finding.name,
            "kernel": listed(f.kernel for f in alike) if several else finding.kernel,
            "cluster": listed(f.cluster for f in alike) if several else finding.cluster,
            "where": self.sides.where(tuple(f.side for f in alike)),
            "uses": _uses(self.sides.kernel.packages.get(finding.name)),
            **finding.values,
        }
        why, fix = rulebook.words(finding.spec.why, values), rulebook.words(finding.spec.fix, values)
        if self.sides.unsealed and covers(finding.name) and all(f.side.scheduler for f in alike):
            fix = SEAL
        return f"{finding.lead} {why}".strip(), fix

    def _edits(self, name: str) -> list[str]:
        return [
            f"Changed after its installation on {self.sides.where((side,))}: {side.edited[name]}."
            for side in self.sides.all
            if name in side.edited
        ]


def _uses(mine: Package | None) -> str:
    """Return, as a clause, how the notebook uses a package."""
    if mine is not None and mine.use == "needed":
        return f"{mine.needed_by}, which this notebook imports, needs it"
    if mine is not None and mine.use == "loaded":
        return "it is loaded in this notebook"
    return "this notebook imports it"


def _matters(status: RowStatus, severity: Severity, mine: Package | None) -> bool:
    """Whether a difference matters to the notebook; what was loaded for another reason than its imports doesn't."""
    if status == "same" or severity == "same":
        return False
    return severity in ("breaks", "risky") or (mine is not None and mine.use in ("imported", "needed"))


def order(row: Row) -> tuple[int, bool, str]:
    """Return the place of a row: by severity, then what is in use, then by name."""
    return _RANK[row.severity], not row.in_use, row.name


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    # What one rule found in several places is one sentence.
    found: dict[tuple[int, RowStatus], Finding] = {}
    for finding in findings:
        found.setdefault((id(finding.spec), finding.status), finding)
    return list(found.values())


def _rank(finding: Finding) -> int:
    return _RANK[finding.spec.severity]
