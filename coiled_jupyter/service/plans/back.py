"""Plans the way back to an earlier state of a cluster: to its layers, or to its earlier Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from ...core.change import actions as deciding
from ...core.change.goals import Available, Goal, refusal
from ...core.change.moves import loss_of_all
from ...core.change.state import BASE, State, StatePlace, SyncPlace, place_of
from ...core.errors import NotFound
from ...core.wire import Environment, PlanAction
from . import sentences
from .draft import Draft, Movable, rolled
from .gather import PlanInputs


def back(inputs: PlanInputs, layer: str, candidates: Movable) -> Draft:
    """Return the draft of going back to a state, by its id; NotFound if the cluster never had it."""
    state = next((state for state in inputs.states if state.id == layer), None)
    if state is None:
        raise NotFound("There is no such earlier state of this cluster", "See GET layers")
    if layer == inputs.state:
        return Draft(how="roll", layer=layer, refused=candidates.refused)
    if state.interpreter and str(Path(state.interpreter).parent.parent) != inputs.cluster.environment.prefix:
        return replace(_back_to_interpreter(inputs, state), refused=candidates.refused)
    found: list[PlanAction] = []
    places: list[SyncPlace] = []
    refused = [*candidates.refused]
    kept = _kept(inputs, state)
    for key, groups in candidates.by_place(inputs):
        known = kept.get(key)
        if known is None:
            refused.append(refusal("workers", groups[0].id, f"{groups[0].host} wasn't part of that state."))
            continue
        found += _actions(inputs, groups, known.expected, layer)
        # Others may have changed the base environment since, so its packages aren't verified.
        places.append(known if known.layer is not None else replace(known, expected={}))
    expected = {key: place.expected for key, place in kept.items()}
    draft = rolled(inputs, candidates, layer, places, found, refused, expected)
    return replace(draft, sealed=sentences.SEALED if state.sealed else "")


def _kept(inputs: PlanInputs, state: State) -> dict[str, StatePlace]:
    """Return, by place, what a state had on the Python that the cluster runs."""
    if state.how != "replace":
        return {place.key: place for place in state.places}
    # The whole cluster was started on that Python, whatever layers its nannies use now.
    return {key: place_of(place, expected=_expected(state)) for key, place in inputs.places.items()}


def _back_to_interpreter(inputs: PlanInputs, state: State) -> Draft:
    """Return the draft of restarting the whole cluster on the Python of a state, and in its layers if it had any."""
    layered = [place for place in state.places if place.layer is not None]
    expected, bare = _expected(state), _expected(state)
    if layered:
        # The scheduler never runs in a layer.
        on_it = (s for s in inputs.states if s.interpreter == state.interpreter)
        bare = next((_expected(s) for s in on_it if s.how == "replace" or s.id == BASE), {})
    known = {} if layered or state.id == BASE else expected
    return Draft(
        how="replace",
        layer=state.id,
        actions=[
            *_actions(inputs, inputs.workers, expected, state.id),
            *_actions(inputs, [inputs.scheduler] if inputs.scheduler else [], bare, state.id),
        ],
        places=[SyncPlace(key="", host="", prefix="", layer=state.id, expected=known), *layered],
        lost=loss_of_all(inputs.survey.workers, sentences.ALL_RESTART),
        interpreter=state.interpreter,
    )


def _expected(state: State) -> dict[str, str]:
    return dict(state.places[0].expected) if state.places else {}


def _actions(
    inputs: PlanInputs, groups: Sequence[Environment], expected: Mapping[str, str], layer: str
) -> list[PlanAction]:
    if not expected:
        return []
    goal = Goal(required=(), preferred=(), chosen=frozenset(), local={})
    found = deciding.actions(inputs.kernel, groups, goal, Available(versions=expected), ())
    why = sentences.BASE_HAS_IT if layer == BASE else sentences.STATE_HAD_IT
    return [replace(action, why=why, cause="base" if layer == BASE else "state") for action in found]
