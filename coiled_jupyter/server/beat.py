"""Tells pages, without their asking, that what they show still holds: a beat on the event bus while somebody looks."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from .. import tasks
from ..core.choice import ENDED
from ..core.cluster import age as since
from ..core.errors import CoiledError
from ..core.wire import Change, Cluster, ClusterUsage, Diff, Environment, Usage
from ..service import Service

BEAT_SECONDS = 4.0
CURRENT_SECONDS = 5.0
"""What was read longer ago isn't confirmed: the page has to ask, and sees how old it is."""
LOOK_SECONDS = 600.0
"""How long a comparison is kept current after a page has asked for it."""
LOOKS = 4
"""So many comparisons are kept current, those that were asked for last."""

# Whether files were looked at is content, when is not: content_at stays where it is null.
_TIMES = re.compile(rb'"(?:(?:taken_at|seen_at|last_seen)":(?:"[^"]*"|null)|content_at":"[^"]*"),?')


def tag(answer: bytes) -> str:
    """Return what stands for an answer's content, the times at which it was read aside."""
    return hashlib.blake2b(_TIMES.sub(b"", answer), digest_size=8).hexdigest()


def age(value: Any) -> float:
    """Return the seconds since the oldest reading in an answer of the service; 0.0 where it has none."""
    if isinstance(value, Usage):
        return _since(value.clusters)
    return _since(value if isinstance(value, list) else [value])


def _since(things: Iterable[Any]) -> float:
    read = [since(_read_at(thing)) for thing in things]
    return max((seconds for seconds in read if seconds is not None), default=0.0)


def _read_at(thing: Any) -> str | None:
    if isinstance(thing, Cluster):
        return None if thing.status in ENDED else thing.seen_at
    if isinstance(thing, ClusterUsage):
        return thing.seen_at
    return thing.taken_at if isinstance(thing, Diff | Environment) else None


class Beat:
    """What pages have asked for, read again at each beat.

    Parameters
    ----------
    service
        Reads.
    diff
        Compares a kernel with a cluster, both by id, as the route does.
    listened
        Whether any page listens to the event bus.
    emit
        Publishes a notice.

    """

    def __init__(
        self,
        service: Service,
        diff: Callable[[str, str], Any],
        *,
        listened: Callable[[], bool],
        emit: Callable[[Change], None],
    ) -> None:
        self._service = service
        self._diff = diff
        self._listened = listened
        self._emit = emit
        self._looks: dict[tuple[str, str], float] = {}
        self._task: asyncio.Task[None] | None = None
        self._log = logging.getLogger(__name__)

    def start(self) -> None:
        """Begin to beat."""
        self._task = asyncio.create_task(self._run(), name="coiled-jupyter beat")

    async def close(self) -> None:
        """End."""
        await tasks.end([self._task])

    def look(self, kernel: str, cluster: str) -> None:
        """Take note that a page shows this comparison."""
        self._looks.pop((kernel, cluster), None)
        self._looks[kernel, cluster] = time.monotonic()
        for pair in list(self._looks)[:-LOOKS]:
            del self._looks[pair]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.beat()
            except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
                self._log.exception("a beat failed")

    async def beat(self) -> None:
        """Read what pages show, and tell which answers hold; nothing where no page listens."""
        moment = time.monotonic()
        self._looks = {pair: at for pair, at in self._looks.items() if moment - at < LOOK_SECONDS}
        if not self._looks or not self._listened():
            self._looks.clear()
            return
        asked = [asyncio.ensure_future(self._read(*pair)) for pair in self._looks]
        await asyncio.wait(asked, timeout=BEAT_SECONDS)
        for question in asked:
            question.cancel()
        read = [question.result() for question in asked if question.done() and not question.cancelled()]
        # These are at hand: read last, they are the newest.
        answers = [self._service.clusters(), self._service.usage(), *(diff for diff in read if diff is not None)]
        aged = [(answer, age(answer)) for answer in answers]
        current = [(answer, old) for answer, old in aged if old <= CURRENT_SECONDS]
        if current:
            tags = " ".join(tag(msgspec.json.encode(answer)) for answer, _ in current)
            self._emit(Change(kind="beat", id=tags, revision=round(1000 * max(old for _, old in current))))

    async def _read(self, kernel: str, cluster: str) -> Diff | None:
        try:
            found: Diff = await self._diff(kernel, cluster)
        except CoiledError:
            self._looks.pop((kernel, cluster), None)
            return None
        return found
