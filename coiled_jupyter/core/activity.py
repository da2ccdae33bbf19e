"""Keeps what the threads of a cluster did lately, as its scheduler tells it (``texts.activity``): hostile until checked here."""

from __future__ import annotations

from array import array
from collections import deque
from typing import Annotated, get_args

import msgspec
from msgspec import Meta, Struct

from .clients import decode, show
from .errors import Unavailable
from .wire.activity import Action, ActivityLane, ActivityPrefix, ActivityStream, ActivityWorker

ACTIONS: tuple[Action, ...] = get_args(Action)
KEPT = 100_000
"""Spans that are kept."""
AT_ONCE = 20_000
"""Spans of one answer."""
LIMIT = 20_000
FAR = 10**14
"""No time is as far from another, in tenths of a millisecond: three centuries."""

_Text = Annotated[str, Meta(max_length=500)]
_Count = Annotated[int, Meta(ge=0, lt=10**18)]
_Column = Annotated[tuple[Annotated[int, Meta(gt=-FAR, lt=FAR)], ...], Meta(max_length=LIMIT)]


class _Stream(Struct, frozen=True):
    base: Annotated[float, Meta(ge=0, lt=1e11)]
    next: _Count
    missed: _Count
    more: bool
    lanes: Annotated[tuple[tuple[_Text, _Text], ...], Meta(max_length=LIMIT)]
    prefixes: Annotated[tuple[_Text, ...], Meta(max_length=LIMIT)]
    lane: _Column
    prefix: _Column
    action: _Column
    start: _Column
    length: _Column


class _Worker(Struct, frozen=True):
    id: _Text
    name: _Text
    status: _Text
    threads: _Count
    cpu: _Count
    memory: _Count
    managed: _Count
    spilled: _Count
    limit: _Count | None
    received: _Count
    sent: _Count
    executing: _Count
    processing: _Count
    stored: _Count
    seen: Annotated[float, Meta(ge=0, lt=1e11)]


class _Prefix(Struct, frozen=True):
    name: _Text
    states: Annotated[dict[_Text, _Count], Meta(max_length=20)]


class Told(Struct, frozen=True):
    """An answer of ``texts.activity``."""

    now: Annotated[float, Meta(ge=0, lt=1e11)]
    stream: _Stream
    workers: Annotated[tuple[_Worker, ...], Meta(max_length=5000)]
    prefixes: Annotated[tuple[_Prefix, ...], Meta(max_length=1000)]
    tasks: _Count
    queued: _Count
    no_worker: _Count
    processing: _Count

    def shown_workers(self) -> tuple[ActivityWorker, ...]:
        """Return the workers as they are shown."""
        return tuple(
            ActivityWorker(
                **{
                    **msgspec.structs.asdict(worker),
                    "id": show(worker.id),
                    "name": show(worker.name),
                    "status": show(worker.status, 40),
                }
            )
            for worker in self.workers
        )

    def shown_prefixes(self) -> tuple[ActivityPrefix, ...]:
        """Return the prefixes as they are shown."""
        return tuple(
            ActivityPrefix(name=show(prefix.name), states={show(s, 40): n for s, n in prefix.states.items()})
            for prefix in self.prefixes
        )


class _Failed(Struct, frozen=True):
    error: _Text


def told(text: str) -> Told:
    """Decode an answer; Unavailable with its reason where there is none, Invalid where it isn't what was asked for."""
    if text.startswith('{"error"'):
        raise Unavailable(show(decode(text, _Failed).error))
    found = decode(text, Told)
    stream = found.stream
    columns = (stream.lane, stream.prefix, stream.action, stream.start, stream.length)
    tables = ((stream.lane, stream.lanes), (stream.prefix, stream.prefixes), (stream.action, ACTIONS))
    if len({len(column) for column in columns}) != 1 or any(
        column and not 0 <= min(column) <= max(column) < len(table) for column, table in tables
    ):
        raise Unavailable("The scheduler's answer has an unexpected form, so it wasn't read")
    return found


class _Part:
    """Spans that came at once; `end` is how many there were up to their last one."""

    def __init__(self, stream: _Stream, begin: int) -> None:
        self.lanes = [ActivityLane(worker=show(worker), thread=show(thread)) for worker, thread in stream.lanes]
        self.prefixes = [show(prefix) for prefix in stream.prefixes]
        self.lane, self.prefix = array("i", stream.lane), array("i", stream.prefix)
        self.action, self.length = bytes(stream.action), array("q", (max(length, 0) for length in stream.length))
        self.start = array("q")
        at = 0
        for start in stream.start:
            at = max(-FAR, min(at + start, FAR))
            self.start.append(at)
        self.begin, self.end = begin, begin + len(self.start)


class History:
    """The spans of one scheduler that came last, numbered from 0 in the order in which they came."""

    def __init__(self) -> None:
        self._parts: deque[_Part] = deque()
        self._count = 0
        self._missed: dict[int, int] = {}
        self.base: float | None = None
        self.asked = 0
        """How many of its tasks the scheduler has told, to be asked for the next."""

    def add(self, stream: _Stream) -> None:
        """Add what a scheduler has told; of another `base`, everything before is forgotten."""
        if stream.base != self.base:
            self.base, self._missed = stream.base, {}
            self._parts.clear()
        self.asked = stream.next
        if stream.missed:
            self._missed[self._count] = stream.missed
        if stream.start:
            part = _Part(stream, self._count)
            self._parts.append(part)
            self._count = part.end
        while self._parts and self._count - self._parts[0].end >= KEPT:
            self._parts.popleft()
        self._missed = {at: n for at, n in self._missed.items() if self._count - at <= KEPT}

    def after(self, number: int | None) -> tuple[int, ActivityStream]:
        """Return the spans from `number` on, or the last ones, with the number to continue from; `number` may be stale."""
        first = self._parts[0].begin if self._parts else self._count
        if number is None or number > self._count:
            begin, missed = max(first, self._count - AT_ONCE), 0
        else:
            begin = max(number, first)
            missed = begin - number + sum(n for at, n in self._missed.items() if number <= at)
        end = min(begin + AT_ONCE, self._count)
        lanes: dict[ActivityLane, int] = {}
        prefixes: dict[str, int] = {}
        lane: list[int] = []
        prefix: list[int] = []
        action: list[int] = []
        start: list[int] = []
        length: list[int] = []
        last = 0
        for part in self._parts:
            if part.end <= begin or part.begin >= end:
                continue
            cut = slice(max(begin - part.begin, 0), end - part.begin)
            of_lane = [lanes.setdefault(one, len(lanes)) for one in part.lanes]
            of_prefix = [prefixes.setdefault(one, len(prefixes)) for one in part.prefixes]
            lane += [of_lane[n] for n in part.lane[cut]]
            prefix += [of_prefix[n] for n in part.prefix[cut]]
            action += part.action[cut]
            length += part.length[cut]
            for at in part.start[cut]:
                start.append(at - last)
                last = at
        return end, ActivityStream(
            base=self.base or 0.0,
            lanes=tuple(lanes),
            prefixes=tuple(prefixes),
            actions=ACTIONS,
            lane=tuple(lane),
            prefix=tuple(prefix),
            action=tuple(action),
            start=tuple(start),
            length=tuple(length),
            missed=missed,
            more=end < self._count,
        )
