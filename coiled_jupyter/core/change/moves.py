"""Decides which workers restart in which order, which can't, and what that loses.

A plan never promises more than a roll can keep: what only a restart of the scheduler changes is either a replacement of
the whole cluster, or refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from ..wire import PlanLost, PlanRoll
from .survey import Survey, SurveyPlace, SurveyWorker

ROOM = 0.6
"""The part of a worker's memory limit up to which it takes what others hand over; Dask begins to spill above."""
AT_ONCE = 3
"""While any worker holds or executes anything, at most one of so many restarts at a time."""


def batches(
    workers: Sequence[SurveyWorker], group_of: Mapping[str, str]
) -> tuple[tuple[PlanRoll, ...], PlanLost, bool]:
    """Return in which order workers restart, what that loses, and whether a temporary second worker is needed.

    Sized so that what a batch holds fits into the others; all at once where nobody holds or does anything.
    """
    if not workers:
        return (), PlanLost(), False
    idle = not any(w.alone or w.running or w.futures or w.scattered or w.actors for w in workers)
    if idle:
        return _rolls([list(workers)], group_of), PlanLost(), False
    alone = len(workers) == 1
    ordered = sorted(workers, key=lambda w: (w.alone, w.address))
    size = max(len(workers) // AT_ONCE, 1)
    rolled: list[list[SurveyWorker]] = []
    lost, reasons = PlanLost(), []
    for worker in ordered:
        if worker.actors:
            reasons.append(f"worker {worker.name} holds {worker.actors} actors, which can't move")
            lost = _add(lost, replace(worker, futures=0, scattered=0, running=0))
        full = not alone and not fits([worker], workers)
        if full:
            reasons.append(f"what worker {worker.name} holds doesn't fit into the others")
            lost = _add(lost, replace(worker, actors=0, running=0))
        batch = rolled[-1] if rolled else []
        if batch and len(batch) < size and fits([*batch, worker], workers):
            batch.append(worker)
        else:
            rolled.append([worker])
    why = "; ".join(dict.fromkeys(reasons))
    return _rolls(rolled, group_of), replace(lost, why=f"{why[:1].upper()}{why[1:]}." if why else ""), alone


def fits(moving: Sequence[SurveyWorker], workers: Iterable[SurveyWorker]) -> bool:
    """Whether what some of the workers hold alone has room in the memory of the others."""
    addresses = {worker.address for worker in moving}
    room = sum(_room(other) for other in workers if other.address not in addresses)
    return sum(worker.alone for worker in moving) <= room


def lacking_needs(
    workers: Iterable[SurveyWorker], needs: Mapping[str, Iterable[str]], layers: Iterable[Mapping[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Return, by worker, what its values need to be unpickled and some layer (distributions by name) lacks.

    Of a layer without distributions it isn't known what it has.
    """
    known = [set(layer) for layer in layers if layer]
    found = {}
    for worker in workers:
        lacking = {name for name in needs.get(worker.address, ()) for layer in known if name not in layer}
        if lacking:
            found[worker.address] = tuple(sorted(lacking))
    return found


def loss_of_all(workers: Iterable[SurveyWorker], why: str) -> PlanLost:
    """Return what is lost when a whole cluster is restarted."""
    lost = PlanLost()
    for worker in workers:
        lost = _add(lost, worker)
    return replace(lost, why=why if lost != PlanLost() else "")


def loses_results(lost: PlanLost) -> bool:
    """Whether anything is lost that has to be computed again, or can't be."""
    return bool(lost.futures or lost.scattered or lost.running or lost.actors)


def unmovable(survey: Survey, place: SurveyPlace | None, worker: SurveyWorker) -> str | None:
    """Return why a worker can't move to a layer, and who can do it, or None."""
    if worker.nanny is None:
        return "It has no nanny that could restart it: whoever started it has to do that."
    if worker.nanny_process is None or place is None:
        return f"Its nanny doesn't answer: {survey.reasons.get(worker.nanny, 'no reason is known')}"
    if worker.nanny_process == survey.scheduler:
        return (
            "Its nanny shares a process with the scheduler, as in a LocalCluster: open the cluster again, in the "
            "environment that it is to have."
        )
    if place.implementation != "cpython":
        return f"Layers are made for CPython only; this is {place.implementation}."
    if place.home is None:
        return f"No folder on {place.host} can be written by its user: whoever runs the cluster has to install it."
    return None


def _rolls(rolled: Sequence[Sequence[SurveyWorker]], group_of: Mapping[str, str]) -> tuple[PlanRoll, ...]:
    rolls = []
    for number, batch in enumerate(rolled, 1):
        of: dict[str, list[str]] = {}
        for worker in batch:
            of.setdefault(group_of.get(worker.address, ""), []).append(worker.address)
        rolls += [PlanRoll(group=group, workers=tuple(names), batch=number) for group, names in sorted(of.items())]
    return tuple(rolls)


def _room(worker: SurveyWorker) -> int:
    if worker.memory_limit is None:
        return 1 << 50
    # What it said of its memory may be older than what it holds.
    return max(int(worker.memory_limit * ROOM) - max(worker.memory, worker.alone), 0)


def _add(lost: PlanLost, worker: SurveyWorker) -> PlanLost:
    return replace(
        lost,
        futures=lost.futures + worker.futures,
        scattered=lost.scattered + worker.scattered,
        running=lost.running + worker.running,
        actors=lost.actors + worker.actors,
    )
