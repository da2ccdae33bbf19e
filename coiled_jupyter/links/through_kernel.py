"""Reaches a cluster's nodes through the Dask client of a notebook's kernel, where only that client can.

The Jupyter server's process imports this, so no Dask here. The requests are those of ``texts/clients.py``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from .. import texts
from ..core.change.survey import SurveyWorker
from ..core.clients import SIZE_LIMIT, WRAPPED_LIMIT, Answer, Answers, Ticket, decode, failed, text_of, value_of
from ..core.errors import CoiledError, Unavailable
from . import quiet

AT_ONCE = 200
"""The most workers of one request, whose answers the kernel keeps until they are fetched."""
PIECES = 5000
"""The most answers of which a count of what workers hold consists; whoever sends more isn't a scheduler."""


class KernelCalls(Protocol):
    """What is needed of ``links.kernel.KernelLink``."""

    async def call(
        self, kernel_id: str, client_id: str, operation: str, *, deadline: float = 5.0, **request: Any
    ) -> dict[str, Answer]:
        """Send one request through a Dask client of a kernel."""


async def answers(
    ask: Callable[[dict[str, Any]], Awaitable[str]], client_id: str, operation: str, deadline: float, **request: Any
) -> dict[str, Answer]:
    """Send one request through a Dask client of a kernel, as ``KernelLink.call`` does, and return the answers.

    `ask` sends a content to the handler of ``texts/kernel_handler.py`` and returns the text of its reply.
    """
    end = time.monotonic() + deadline + 2.0
    asked = {"client": client_id, "operation": operation, "deadline": deadline, **request}
    begun = decode(await ask({"verb": "begin", "request": asked}), Ticket)
    if begun.ticket is None:
        raise failed(begun.error)
    places = {"scheduler", *request.get("workers", ())}
    found: dict[str, Answer] = {}
    pause = 0.005
    while True:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.1)
        part = decode(await ask({"verb": "result", "ticket": begun.ticket}), Answers, limit=WRAPPED_LIMIT)
        found.update((place, answer) for place, answer in part.answers.items() if place in places)
        if part.done or time.monotonic() > end:
            break
    if part.error is not None and not found:
        raise failed(part.error)
    return found


class _Walk(msgspec.Struct, frozen=True):
    walk: int | None
    workers: tuple[SurveyWorker, ...]


class ThroughKernelLink:
    """A ``NodeLink`` over a live Dask client of a kernel.

    Parameters
    ----------
    client
        The client's id.
    address
        The scheduler's address as the client knows it; it may not resolve outside the kernel.

    """

    def __init__(self, kernels: KernelCalls, kernel_id: str, client: str, address: str) -> None:
        self.address = address
        self._kernels, self._kernel, self._client = kernels, kernel_id, client

    async def _call(self, operation: str, deadline: float, **request: Any) -> dict[str, Answer]:
        return await self._kernels.call(self._kernel, self._client, operation, deadline=deadline, **request)

    async def identity(self, deadline: float = 5.0) -> dict[str, Any]:
        """Return the scheduler's identity."""
        answers = await self._call("identity", deadline)
        return _object(text_of(answers.get("scheduler")))

    async def evaluate_on_scheduler(self, expression: str, names: dict[str, Any], deadline: float = 5.0) -> str:
        """Evaluate a text in the scheduler's process and return its answer."""
        asked = {"expression": expression, "names": names, "quiet": quiet.worded("scheduler", expression, names)}
        answers = await self._call("run_on_scheduler", deadline, **asked, next=quiet.NEXT)
        return text_of(answers.get("scheduler"))

    async def evaluate_on_workers(
        self,
        workers: Sequence[str],
        expression: str,
        names: dict[str, Any],
        deadline: float = 5.0,
        *,
        nanny: bool = False,
    ) -> dict[str, str | CoiledError]:
        """Evaluate a text in the process of each worker (or of its nanny), and return each answer by address."""
        worded = quiet.worded("nanny" if nanny else "worker", expression, names)
        asked: dict[str, Any] = {"expression": expression, "names": names, "nanny": nanny, "quiet": worded}
        found: dict[str, str | CoiledError] = {}
        for part in _parts(workers):
            found.update(await self._many("run_on_workers", part, deadline, **asked))
        return found

    async def versions(self, workers: Sequence[str], deadline: float = 5.0) -> dict[str, Any]:
        """Return the answers of Dask's own versions handler, by address and for ``scheduler``; an error for a silent place."""
        found: dict[str, Any] = {}
        for part in _parts(workers) or [[]]:
            for place, answer in (await self._many("versions", part, deadline)).items():
                try:
                    found[place] = answer if isinstance(answer, CoiledError) else _object(answer)
                except CoiledError as error:
                    found[place] = error
        return found

    async def _many(
        self, operation: str, workers: Sequence[str], deadline: float, **request: Any
    ) -> dict[str, str | CoiledError]:
        places = ["scheduler", *workers] if operation == "versions" else workers
        try:
            answers = await self._call(operation, deadline, workers=list(workers), **request)
        except CoiledError as error:
            return dict.fromkeys(places, error)
        return {place: value_of(answers.get(place)) for place in places}

    async def scheduler_state(self, scheduler: str, deadline: float = 5.0) -> str:
        """Return the clients and the queue of the scheduler with this id (``core.identity.decode_state``)."""
        return await self.evaluate_on_scheduler(texts.OF_SCHEDULER, texts.scheduler_names(scheduler), deadline)

    async def worker_loads(self, scheduler: str, deadline: float = 5.0) -> tuple[SurveyWorker, ...]:
        """Return what each worker of the scheduler with this id holds and executes, according to the scheduler."""
        loads: list[SurveyWorker] = []
        walk: int | None = None
        for _ in range(PIECES):
            names = texts.short_names("scheduler", "walk", scheduler, walk)
            answer = await self.evaluate_on_scheduler(texts.SHORT, names, deadline)
            if answer == "absent":
                await self.evaluate_on_scheduler(texts.KEEP, texts.kept_names("scheduler"), deadline)
                answer = await self.evaluate_on_scheduler(texts.SHORT, names, deadline)
            piece = decode(answer, _Walk)
            loads += piece.workers
            walk = piece.walk
            if walk is None:
                return tuple(loads)
        raise Unavailable("The scheduler holds too much for its workers' loads to be counted", "Try again")


def _parts(workers: Sequence[str]) -> list[Sequence[str]]:
    return [workers[start : start + AT_ONCE] for start in range(0, len(workers), AT_ONCE)]


def _object(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text[: SIZE_LIMIT + 1])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unavailable("The answer has an unexpected form, so it wasn't read")
    return found
