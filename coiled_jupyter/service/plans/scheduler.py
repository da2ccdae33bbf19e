"""Plans how a scheduler that doesn't restart is to take a notebook's graphs, or why it can't."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ...core.change import actions as deciding
from ...core.change.goals import refusal
from ...core.change.state import SyncPlace
from ...core.compare.sentences import SEAL
from ...core.sealing import covers, is_sealed, obstacle
from ...core.times import now
from ...core.wire import Environment, PlanAction, PlanScheduler, Row
from . import sentences
from .gather import PlanInputs


class ForScheduler(Struct, frozen=True):
    """What is done for a scheduler, and what would need its restart."""

    ways: tuple[PlanScheduler, ...] = ()
    refused: tuple[PlanAction, ...] = ()

    @property
    def sealed(self) -> str:
        """Why clients send sealed graphs, as a sentence; empty where they needn't."""
        return next((way.text for way in self.ways if way.way == "seal"), "")


def for_scheduler(
    inputs: PlanInputs, names: frozenset[str] | None, places: Sequence[SyncPlace], *, python_refused: bool
) -> ForScheduler:
    """Return what the scheduler of a roll to these places needs; `names` is the scope, None for all packages."""
    scheduler = inputs.scheduler
    if scheduler is None:
        return ForScheduler()
    added = next((place.expected for place in places if place.host == scheduler.host), {})
    present = {package.name: package.version for package in scheduler.packages}
    found = deciding.remaining(inputs.kernel, scheduler, added, inputs.rules, now())
    rows = [
        row for row in found if (names is None or row.name in names) and not (row.name == "python" and python_refused)
    ]
    # What other packages were sealed for stays so.
    spared = [row for row in (found if inputs.cluster.environment.sealed else rows) if covers(row.name)]
    why = obstacle(inputs.kernel, scheduler) if spared else None
    ways = []
    lacking = tuple(
        sorted(name for name in _lacking(inputs, scheduler, names) if name in added and name not in present)
    )
    if lacking:
        text = f"The scheduler can import {sentences.some(lacking)} from the new environment, without a restart."
        ways.append(PlanScheduler(way="append", names=lacking, text=text))
    if spared and why is None:
        keeps = [f"{row.name} {present[row.name]}" for row in spared if row.name in present]
        names_of = tuple(row.name for row in spared)
        ways.append(PlanScheduler(way="seal", names=names_of, text=sentences.sealed(keeps, names_of)))
    who = sentences.who_restarts(managed=inputs.managed)
    refused = [_refused(row, present, scheduler.id, who) for row in rows if not covers(row.name)]
    if why is not None:
        refused += [_refused(row, present, scheduler.id, f"{why} {who}") for row in rows if covers(row.name)]
    if spared and why is None and inputs.cluster.environment.sealed and not places and not _sealed(inputs):
        # There is nothing left to do on the cluster, but in the kernel.
        refused += [_refused(row, present, inputs.kernel.id, SEAL) for row in spared]
    return ForScheduler(tuple(ways), tuple(refused))


def _sealed(inputs: PlanInputs) -> bool:
    info = inputs.cluster.scheduler
    return is_sealed(inputs.kernel, inputs.workers, info.id if info else None)


def _lacking(inputs: PlanInputs, scheduler: Environment, names: frozenset[str] | None) -> set[str]:
    """Return the packages that matter to the notebook and that the scheduler can't import."""
    rows = deciding.remaining(inputs.kernel, scheduler, {}, inputs.rules, now())
    return {row.name for row in rows if names is None or row.name in names}


def _refused(row: Row, present: dict[str, str], group: str, what: str) -> PlanAction:
    after = row.kernel.version if row.kernel else None
    return refusal(row.name, group, f"{row.why} {what}", present.get(row.name), after)
