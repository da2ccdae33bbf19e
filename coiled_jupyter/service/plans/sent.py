"""Plans what is sent to nodes that can't fetch it: which places get wheels from this machine, how many, and their size."""

from __future__ import annotations

from msgspec.structs import replace

from ...core.change.goals import refusal
from ...core.change.state import SyncPlace
from ...core.change.survey import SurveyPlace
from ...core.errors import CoiledError, Impossible
from ...core.wire import PlanAction
from ...software.resolve import Target, target_of
from ...software.wheels import Remote, find, sized
from . import sentences
from .draft import Draft
from .gather import PlanInputs


async def sending(inputs: PlanInputs, draft: Draft) -> Draft:
    """Return the draft with what is sent to places that don't reach the index, or may not.

    A layer that is there already needs nothing. Raises Unavailable if the index doesn't answer this machine either.
    """
    if draft.how != "roll" or draft.blocked:
        return draft
    finding = _Finding(inputs)
    places: list[SyncPlace] = []
    blocked: list[PlanAction] = []
    hosts: dict[tuple[tuple[Remote, ...], bool], list[str]] = {}
    for place in draft.places:
        there = inputs.places.get(place.key)
        if there is None or there.fetches is True or not place.lock or place.layer in there.layers:
            places.append(place)
            continue
        surely = there.fetches is False
        try:
            found = await finding.of(place, there)
        except CoiledError as error:
            if surely and not isinstance(error, Impossible):
                raise
            if surely:
                blocked.append(refusal("workers", _group(inputs, place), error.message))
            # Another may fetch what has to be built from its source, or what this machine doesn't reach.
            places.append(place)
            continue
        places.append(replace(place, send="yes" if surely else "may"))
        hosts.setdefault((found, surely), []).append(place.host)
    if blocked:
        return replace(draft, blocked=blocked, rolls=())
    sent = [
        sentences.sent(tuple(dict.fromkeys(names)), [wheel.size for wheel in found], surely=surely)
        for (found, surely), names in hosts.items()
        if found
    ]
    return replace(draft, places=places, sent=tuple(sent))


class _Finding:
    """Finds the wheels of each lock once: places are often alike."""

    def __init__(self, inputs: PlanInputs) -> None:
        self._index = inputs.index
        self._found: dict[tuple[Target, str], tuple[Remote, ...]] = {}

    async def of(self, place: SyncPlace, there: SurveyPlace) -> tuple[Remote, ...]:
        """Return the wheels of a place's lock that an index has, with their sizes as far as they are known."""
        target = target_of(there)
        if (target, place.lock) not in self._found:
            own = [wheel.name for wheel in place.wheels]
            found = await find(target, place.lock, index=self._index, without=own)
            self._found[target, place.lock] = await sized(found, index=self._index)
        return self._found[target, place.lock]


def _group(inputs: PlanInputs, place: SyncPlace) -> str:
    groups = inputs.groups
    return next((groups.get(worker.address, "") for worker in inputs.survey.workers if worker.place == place.key), "")
