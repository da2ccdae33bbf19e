"""Asks the places of a cluster whether they reach the package index, and remembers where a build has shown that they don't."""

from __future__ import annotations

import asyncio
import os
import time

import msgspec

from ...core.change.survey import IndexQuestion, Survey, SurveyPlace
from ...core.errors import CoiledError
from ...software import uv
from .host import Host

ASK_SECONDS = 5.0
"""Seconds that a place may take to answer."""
ASKED_SECONDS = 60.0
"""Seconds for which an answer is used again: a plan is made when it is shown, and once more when it is used."""
FAILED_SECONDS = 3600.0
"""Seconds for which a failed build counts, whatever a place answers."""


class Reaching:
    """What is known of the places of one cluster."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._answers: dict[tuple[str, bytes], tuple[float, bool | None]] = {}
        """By place and question, until when an answer is used, and the answer."""
        self._failed: dict[str, float] = {}
        """By place, until when its last build counts."""

    async def ask(self, survey: Survey, question: IndexQuestion | None) -> tuple[SurveyPlace, ...]:
        """Return the places of a survey with what they answer, in a few seconds; without a question none is asked."""
        if question is None:
            return survey.places
        return tuple(await asyncio.gather(*(self._of(place, survey, question) for place in survey.places)))

    async def _of(self, place: SurveyPlace, survey: Survey, question: IndexQuestion) -> SurveyPlace:
        if place.home is None or place.speaker in survey.reasons:
            # No layer can be built there.
            return place
        if self._failed.get(place.key, 0.0) > time.monotonic():
            return msgspec.structs.replace(place, fetches=False)
        key = place.key, msgspec.json.encode(question)
        until, answer = self._answers.get(key, (0.0, None))
        if until < time.monotonic():
            answer = await self._ask(place, question)
            self._answers[key] = time.monotonic() + ASKED_SECONDS, answer
        return msgspec.structs.replace(place, fetches=answer)

    async def _ask(self, place: SurveyPlace, question: IndexQuestion) -> bool | None:
        try:
            installer = installer_there(place)
            if installer is None and not place.pip:
                return None
            layers = self._host.node_link.layers
            return await layers.reaches(place.speaker, place.executable, installer, question, ASK_SECONDS)
        except CoiledError:
            return None

    def failed(self, place: str) -> None:
        """Remember that a build in a place, by its key, could not fetch what it needed."""
        self._failed[place] = time.monotonic() + FAILED_SECONDS


def installer_there(place: SurveyPlace) -> str | None:
    """Return the path of a uv that is in a place already: its own, or ours if it is this host."""
    if place.uv is None and place.host == os.uname().nodename:
        return uv.binary()
    return place.uv
