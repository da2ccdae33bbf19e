"""Estimates how long a sync takes: from what its steps took here before, and from rough figures where nothing is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from msgspec import Struct

from ..wire import Sync
from .journal import BUILD, MOVE, RESTART, TEST_START, VERIFY
from .state import SyncSpec

LAST = 5
"""The last syncs of a kind that are learned from: a machine or an index may have changed since."""
ROUND = (1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 480, 600, 900, 1800, 3600)


class Durations(Struct, frozen=True, kw_only=True):
    """Seconds that steps take: a build, the check of what is there, and what restarts.

    Attributes
    ----------
    build, check
        Of a new environment, and of one that is there already.
    batch, worker
        Of a batch of one worker, and of each further worker that starts with it.
    restart, node
        Of a test start with the restart of a whole cluster, and of each worker of it.
    verify
        Of reading every node again.

    """

    build: float = 7.0
    check: float = 1.0
    batch: float = 2.0
    worker: float = 1.0
    restart: float = 6.0
    node: float = 1.0
    verify: float = 1.0


ROUGH = Durations()
"""Figures of an ordinary machine, where nothing was measured."""


def learned(syncs: Iterable[tuple[Sync, SyncSpec]]) -> Durations:
    """Return the durations that the steps of earlier syncs had, newest first; medians of the last few."""
    found: dict[str, list[float]] = {}

    def add(name: str, seconds: float | None) -> None:
        known = found.setdefault(name, [])
        if seconds is not None and seconds > 0 and len(known) < LAST:
            known.append(seconds)

    for sync, spec in syncs:
        took = {step.name: step.seconds for step in sync.steps if step.state == "done"}
        # Of a step that was cut short nothing is learned.
        add("build" if spec.builds else "check", took.get(BUILD))
        if sync.state != "done":
            continue
        add("verify", took.get(VERIFY))
        if spec.how == "roll":
            sizes = _sizes(spec)
            moved = took.get(MOVE)
            if sizes and moved is not None:
                add("batch", max(moved - ROUGH.worker * (sum(sizes) - len(sizes)), 0.1) / len(sizes))
        elif TEST_START in took and RESTART in took:
            add("restart", (took[TEST_START] or 0.0) + (took[RESTART] or 0.0))
    learned = {name: median(seconds) for name, seconds in found.items() if seconds}
    if "restart" in learned:
        # What was measured has its workers in it.
        learned["node"] = 0.0
    return Durations(**learned)


def _sizes(spec: SyncSpec) -> list[int]:
    numbers = sorted({roll.batch for roll in spec.rolls})
    return [sum(len(roll.workers) for roll in spec.rolls if roll.batch == number) for number in numbers]


def expected_seconds(how: str, known: Durations, *, build: bool, batch_sizes: Sequence[int]) -> float:
    """Return roughly how long a sync takes, as a round figure: it is never known exactly."""
    seconds = (known.build if build else known.check) + known.verify
    if how == "replace":
        return about(seconds + known.restart + known.node * sum(batch_sizes))
    return about(seconds + sum(known.batch + known.worker * (size - 1) for size in batch_sizes))


def about(seconds: float) -> float:
    """Return the round figure that is nearest to a duration, at least a second."""
    return float(min(ROUND, key=lambda figure: abs(figure - seconds))) if seconds < ROUND[-1] else round(seconds, -3)
