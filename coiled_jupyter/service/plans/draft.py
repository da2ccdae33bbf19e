"""The part of a plan that roll, replace and back decide, and which workers can move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ...core.change import moves
from ...core.change.goals import refusal
from ...core.change.state import SyncPlace
from ...core.change.survey import SurveyWorker
from ...core.launch import BuildSpec
from ...core.wire import Environment, PlanAction, PlanLost, PlanRoll, PlanScheduler
from . import sentences
from .gather import PlanInputs


class Draft(Struct, frozen=True, kw_only=True):
    """The decided part of a plan.

    Attributes
    ----------
    blocked
        Refusals that prevent the whole plan.
    alone
        Whether a single worker needs a temporary second one.
    waits
        What is waited for before workers restart.
    build, lock, interpreter
        For a replacement: what the new environment is built from, or an existing Python.
    scheduler, sealed
        What is done for the scheduler, and why clients send sealed graphs, as a sentence.
    sent
        What this machine sends to nodes that can't fetch it, as sentences.

    """

    how: str
    layer: str
    actions: Sequence[PlanAction] = ()
    refused: Sequence[PlanAction] = ()
    blocked: Sequence[PlanAction] = ()
    places: Sequence[SyncPlace] = ()
    rolls: Sequence[PlanRoll] = ()
    lost: PlanLost = PlanLost()
    alone: bool = False
    waits: tuple[str, ...] = ()
    build: BuildSpec | None = None
    lock: str = ""
    interpreter: str | None = None
    scheduler: tuple[PlanScheduler, ...] = ()
    sealed: str = ""
    sent: tuple[str, ...] = ()


class Movable(Struct, frozen=True):
    """The workers that can move to a layer, and refusals of the others."""

    workers: Sequence[SurveyWorker]
    refused: Sequence[PlanAction]

    def by_place(self, inputs: PlanInputs) -> list[tuple[str, list[Environment]]]:
        """Return each place with the groups of its workers."""
        found: dict[str, list[Environment]] = {}
        for worker in self.workers:
            group = next((e for e in inputs.workers if worker.address in e.nodes), None)
            if group is not None and worker.place is not None and group.level == "all":
                groups = found.setdefault(worker.place, [])
                if group not in groups:
                    groups.append(group)
        return sorted(found.items())


def movable(inputs: PlanInputs) -> Movable:
    """Return the workers that can move to a layer."""
    workers = []
    refused: dict[tuple[str, str], PlanAction] = {}
    places, groups = inputs.places, inputs.groups
    known = {place.layer for state in inputs.states for place in state.places}
    for worker in inputs.survey.workers:
        place = places.get(worker.place or "")
        why = moves.unmovable(inputs.survey, place, worker)
        if why is None and place is not None and place.layer is not None and place.layer not in known:
            # The state to go back to is unknown until the cluster is attached again and its nannies are asked.
            why = sentences.UNKNOWN_LAYER
        group = groups.get(worker.address, "")
        if why is None:
            workers.append(worker)
        else:
            refused.setdefault((group, why), refusal("workers", group, why))
    return Movable(workers, tuple(refused.values()))


def rolled(
    inputs: PlanInputs,
    candidates: Movable,
    layer: str,
    places: Sequence[SyncPlace],
    actions: Sequence[PlanAction],
    refused: Sequence[PlanAction],
    expected: Mapping[str, Mapping[str, str]],
) -> Draft:
    """Return the draft of a roll of these places' workers; `expected` are the packages of each place, by its key."""
    concerned = {place.key for place in places}
    workers = [worker for worker in candidates.workers if worker.place in concerned]
    names, groups = {worker.address: worker.name for worker in workers}, inputs.groups
    lacking = moves.lacking_needs(workers, inputs.survey.needs, [expected.get(key, {}) for key in concerned])
    # A value that can't be unpickled is lost; a worker that has to compute it again fails.
    blocked = [
        refusal(missing[0], groups.get(worker, ""), sentences.lacks(names[worker], missing))
        for worker, missing in lacking.items()
    ]
    draft = Draft(how="roll", layer=layer, actions=actions, refused=refused, blocked=blocked, places=places)
    if blocked:
        return draft
    rolls, lost, alone = moves.batches(workers, groups)
    if alone and not inputs.managed:
        lost, alone = moves.loss_of_all(workers, sentences.NO_SECOND), False
    body = inputs.body
    waits = sentences.waits(workers, body.drain_seconds, lost_ok="lost_results" in body.confirm)
    return replace(draft, rolls=rolls, lost=lost, alone=alone, waits=waits)
