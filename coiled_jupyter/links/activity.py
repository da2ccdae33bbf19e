"""Reads what a cluster is doing from its scheduler: once a second for all who look, and never when nobody does."""

from __future__ import annotations

import asyncio
import secrets
import time

from .. import texts
from ..core.activity import History, Told, told
from ..core.errors import Invalid, Unavailable
from ..core.times import now
from ..core.wire import Activity
from .ports import NodeLink

ASK_SECONDS = 0.9
"""How long one reading is enough for whoever else looks."""
PARTS = 4
"""The most requests of one reading, each of which holds the scheduler's loop for some milliseconds."""
PAUSE_SECONDS = 0.05
SECONDS = 4.0


class ActivityReader:
    """The activity of one cluster, of whose schedulers one follows the other."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(4)
        self._history = History()
        self._scheduler = ""
        self._told: Told | None = None
        self._asked_at, self._taken_at = float("-inf"), ""
        self._lock = asyncio.Lock()

    async def read(self, link: NodeLink, cluster: str, scheduler: str, after: str | None) -> Activity:
        """Return what has happened since an earlier answer with the cursor `after`.

        Raises
        ------
        Invalid
            `after` is no cursor.
        Unavailable, Timeout
            The scheduler doesn't answer, or refuses.

        """
        number = self._number(after)
        async with self._lock:
            if scheduler != self._scheduler or time.monotonic() - self._asked_at >= ASK_SECONDS:
                await self._ask(link, scheduler)
            found, taken_at = self._told, self._taken_at
        if found is None:
            raise Unavailable("The scheduler was not read", "Try again")
        end, stream = self._history.after(number)
        return Activity(
            cluster=cluster,
            cursor=f"{self._id}.{end}",
            taken_at=taken_at,
            now=found.now,
            stream=stream,
            workers=found.shown_workers(),
            prefixes=found.shown_prefixes(),
            tasks=found.tasks,
            queued=found.queued,
            no_worker=found.no_worker,
            processing=found.processing,
        )

    def _number(self, after: str | None) -> int | None:
        if after is None:
            return None
        of, _, number = after.partition(".")
        if not (number.isascii() and number.isdecimal()) or len(number) > 15:
            raise Invalid("after", "`after` is the `cursor` of an earlier answer")
        # One of another process, which has ended since, says nothing here.
        return int(number) if of == self._id else None

    async def _ask(self, link: NodeLink, scheduler: str) -> None:
        if scheduler != self._scheduler:
            self._history, self._told = History(), None
        for part in range(PARTS):
            if part:
                await asyncio.sleep(PAUSE_SECONDS)
            names = texts.short_names("activity", "read", scheduler, self._history.asked)
            text = await link.evaluate_on_scheduler(texts.SHORT, names, SECONDS)
            if text == "absent":
                await link.evaluate_on_scheduler(texts.KEEP, texts.kept_names("activity"), SECONDS)
                text = await link.evaluate_on_scheduler(texts.SHORT, names, SECONDS)
            found = told(text)
            self._told, self._taken_at, self._scheduler = found, now(), scheduler
            self._history.add(found.stream)
            if not found.stream.more:
                break
        self._asked_at = time.monotonic()
