"""Fetches the wheels of a layer to this machine, and sends them to a node that can't."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from ... import tasks
from ...core.change.state import SyncPlace, SyncSpec
from ...core.change.survey import SurveyPlace
from ...core.errors import Timeout
from ...software import index as indexes
from ...software.resolve import target_of
from ...software.wheels import Remote, fetch, find
from .host import Host
from .progress import Progress

FETCHES = 4
"""Wheels that are fetched at once."""
TOLD_SECONDS = 5.0
"""Seconds after which it is said again how far the sending to a node is."""


class Sending:
    """What one sync sends to nodes."""

    def __init__(self, host: Host, spec: SyncSpec, progress: Progress) -> None:
        self._host, self._spec, self._progress = host, spec, progress
        self._gate = asyncio.Semaphore(FETCHES)
        self._fetched: dict[str, asyncio.Lock] = {}
        """By the URL of a wheel: for the second place it is there already."""

    async def wheels(self, place: SyncPlace, known: SurveyPlace, seconds: float) -> tuple[str, ...]:
        """Send the wheels of a place's lock that an index has, and return their paths there.

        Raises
        ------
        Impossible
            There is no wheel for the node, the index has another file than the lock names, or one arrived damaged.
        Unavailable, Timeout
            A wheel can't be fetched, the node no longer answers, or it takes longer than `seconds`.

        """
        index = indexes.parse(self._spec.index_options)
        own = [wheel.name for wheel in place.wheels]
        found = await find(target_of(known), place.lock, index=index, without=own)
        fetching = [asyncio.ensure_future(self._fetch(remote, index)) for remote in found]
        try:
            return await asyncio.wait_for(self._send(place, known, found, fetching), seconds)
        except asyncio.TimeoutError:
            raise Timeout(f"The wheels were not sent to {place.host} within {seconds:.0f} s", "Try again") from None
        finally:
            await tasks.end(fetching)

    async def _fetch(self, remote: Remote, index: indexes.Index) -> tuple[Path, str]:
        async with self._fetched.setdefault(remote.url, asyncio.Lock()), self._gate:
            return await fetch(remote, index=index)

    async def _send(
        self,
        place: SyncPlace,
        known: SurveyPlace,
        found: Sequence[Remote],
        fetching: Sequence[asyncio.Future[tuple[Path, str]]],
    ) -> tuple[str, ...]:
        self._progress.log(f"Sending {len(found)} wheels to {place.host}")
        crossed, told = 0, time.monotonic()
        paths: list[str] = []

        def tell() -> None:
            nonlocal told
            told = time.monotonic()
            self._progress.log(
                f"{len(paths)} of {len(found)} wheels are on {place.host}; {crossed / 1e6:.1f} MB were sent"
            )

        def sent(count: int) -> None:
            nonlocal crossed
            crossed += count
            if time.monotonic() - told > TOLD_SECONDS:
                tell()

        for remote, fetched in zip(found, fetching, strict=True):
            content, digest = await fetched
            paths.append(
                await self._host.node_link.layers.send(
                    known.speaker, remote.file, content, host=place.host, sha256=digest, sent=sent
                )
            )
        tell()
        return tuple(paths)
