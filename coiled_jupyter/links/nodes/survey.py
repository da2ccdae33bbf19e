"""Surveys a cluster: where its processes run, what its workers hold, and what those values need to be unpickled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ...core.change.survey import Survey, SurveyPlace, SurveyProcess, SurveyWorker
from ...core.errors import CoiledError
from .calls import CALL_SECONDS, Count, NannyProcess, NodeCalls, Text

SPEAKERS = 3
"""Nannies of one place that are asked about it in turn until one answers."""
ABSENT_SECONDS = 3.0
"""Seconds after which a silent nanny without a registered worker counts as ended."""
PICKLE_BYTES = 256 * 1024 * 1024
"""Bytes that one worker pickles at most to find what its values need; arrays count by their shape only."""


class ValueNeeds(Struct, frozen=True, kw_only=True):
    """What the values of a worker need to be unpickled elsewhere.

    Attributes
    ----------
    distributions, modules
        Normalized names; modules are those that belong to no distribution.
    unfinished
        Number of values not fully examined: too many, too large, on disk, or not picklable.

    """

    distributions: Annotated[tuple[Text, ...], Meta(max_length=20_000)] = ()
    modules: Annotated[tuple[Text, ...], Meta(max_length=20_000)] = ()
    unfinished: Count = 0


class _Walk(Struct, frozen=True):
    walk: int | None
    workers: tuple[SurveyWorker, ...]


class _Details(Struct, frozen=True):
    python: Text
    implementation: Text
    platform: Text
    machine: Text
    libc: Text
    executable: Text
    uv: Text | None
    pip: bool
    home: Text | None
    free: Count | None
    layers: dict[Text, Count]


class _Look(Struct, frozen=True):
    look: int


class _Looked(Struct, frozen=True):
    found: ValueNeeds | None


class Surveyor:
    """Surveys one cluster."""

    def __init__(self, calls: NodeCalls) -> None:
        self._calls = calls

    async def survey(self) -> Survey:
        """Return the survey; its `reasons` say, by address, why a node is silent or a nanny can't use a layer."""
        about = await self._calls.about()
        loads = await self.worker_loads()
        nannies = list(dict.fromkeys(worker.nanny for worker in loads if worker.nanny))
        absent = [nanny for nanny in self._calls.remember(nannies) if nanny not in nannies]
        answers, starting = await asyncio.gather(self._calls.nanny_processes(nannies), self._starting(absent))
        reasons = {nanny: answer.message for nanny, answer in answers.items() if isinstance(answer, CoiledError)}
        processes = {nanny: answer for nanny, answer in answers.items() if isinstance(answer, NannyProcess)}
        reasons |= {nanny: process.obstacle for nanny, process in processes.items() if process.obstacle}
        places = await self._places(processes, reasons)
        keys = {place.key for place in places}
        workers = tuple(
            msgspec.structs.replace(
                worker,
                nanny_process=None if process is None else SurveyProcess(host=process.host, pid=process.pid),
                place=None if process is None or process.place not in keys else process.place,
            )
            for worker in loads
            for process in [processes.get(worker.nanny or "")]
        )
        return Survey(
            scheduler=SurveyProcess(host=about.host, pid=about.pid),
            workers=workers,
            places=tuple(places),
            encrypted=self._calls.link.address.partition("://")[0] in ("tls", "wss"),
            reasons=reasons,
            starting=starting,
            installers=about.installers,
        )

    async def worker_loads(self) -> tuple[SurveyWorker, ...]:
        """Return what each worker holds and executes according to the scheduler; nannies aren't asked."""
        loads: list[SurveyWorker] = []
        walk: int | None = None
        while True:
            piece = await self._calls.scheduler(_Walk, "walk", walk)
            loads += piece.workers
            walk = piece.walk
            if walk is None:
                return tuple(loads)

    async def _starting(self, absent: Sequence[str]) -> tuple[str, ...]:
        """Return those nannies without a registered worker that will start one; forget those that have ended."""
        found = []
        for nanny, process in (await self._calls.nanny_processes(absent, ABSENT_SECONDS)).items():
            if isinstance(process, CoiledError):
                self._calls.forget(nanny)
            elif process.nannies.get(nanny) in ("init", "starting", "running", "paused"):
                found.append(nanny)
        return tuple(found)

    async def _places(self, processes: Mapping[str, NannyProcess], reasons: dict[str, str]) -> list[SurveyPlace]:
        members: dict[str, list[str]] = {}
        for nanny, process in processes.items():
            members.setdefault(process.place, []).append(nanny)

        async def place(key: str, nannies: Sequence[str]) -> SurveyPlace | None:
            for nanny in nannies[:SPEAKERS]:
                try:
                    details = await self._calls.one("nanny", nanny, _Details, "details")
                except CoiledError as error:
                    reasons[nanny] = error.message
                    continue
                process = processes[nanny]
                return SurveyPlace(
                    key=key,
                    host=process.host,
                    prefix=process.prefix,
                    speaker=nanny,
                    layer=process.layer,
                    **msgspec.structs.asdict(details),
                )
            return None

        found = await asyncio.gather(*(place(key, nannies) for key, nannies in members.items()))
        return [place for place in found if place is not None]

    async def value_needs(self, workers: Sequence[str], seconds: float) -> dict[str, ValueNeeds]:
        """Return what the values of each worker need to be unpickled; workers that don't answer are left out."""
        found: dict[str, ValueNeeds] = {}
        begun = await self._calls.each("worker", workers, _Look, "needs", seconds, PICKLE_BYTES)
        looks = {worker: answer.look for worker, answer in begun.items() if isinstance(answer, _Look)}
        deadline = time.monotonic() + seconds + CALL_SECONDS
        pause = 0.01
        while looks and time.monotonic() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
            answers = await asyncio.gather(
                *(self._calls.each("worker", [worker], _Looked, "needed", look) for worker, look in looks.items())
            )
            for worker, looked in (pair for answer in answers for pair in answer.items()):
                if isinstance(looked, _Looked) and looked.found is None:
                    continue
                if isinstance(looked, _Looked) and looked.found is not None:
                    found[worker] = looked.found
                del looks[worker]
        return found
