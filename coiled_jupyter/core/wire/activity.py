"""Activity: what the threads, the workers and the tasks of a cluster are doing."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .base import Time, Wire

Action = Literal["compute", "transfer", "disk-read", "disk-write", "deserialize", "erred"]
"""What a thread did for a task; ``erred`` is a computation that failed."""


class ActivityLane(Wire, frozen=True, kw_only=True):
    """A thread of a worker, by the worker's address."""

    worker: str
    thread: str


class ActivityStream(Wire, frozen=True, kw_only=True):
    """What threads did for tasks that have ended, in columns of equal length, by the time that the scheduler learned of it.

    Attributes
    ----------
    base
        From when starts count, in seconds since 1970 by the clock of the scheduler.
    lanes, prefixes, actions
        The names to which the columns point; a prefix is what the keys of similar tasks begin with.
    start
        Tenths of a millisecond since the start before it in the column; the first since `base`.
    length
        Tenths of a millisecond.
    missed
        Tasks that ended since the last answer, or before the first one, and are no longer known.
    more
        Whether there is more, for the next request.

    """

    base: float
    lanes: tuple[ActivityLane, ...]
    prefixes: tuple[str, ...]
    actions: tuple[Action, ...]
    lane: tuple[int, ...]
    prefix: tuple[int, ...]
    action: tuple[int, ...]
    start: tuple[int, ...]
    length: tuple[int, ...]
    missed: int
    more: bool


class ActivityWorker(Wire, frozen=True, kw_only=True):
    """A worker as its last heartbeat has told it. Sizes are in bytes, rates in bytes per second.

    Attributes
    ----------
    cpu
        Per cent of one core.
    managed
        The part of `memory` that results take; the rest is the process itself and what tasks use.
    spilled
        Results on the worker's disk.
    received, sent
        The network of the worker's host.
    processing
        Tasks that were given to it, of which it executes `executing`.
    stored
        Results that it holds.
    seen
        Seconds since that heartbeat.

    """

    id: str
    name: str
    status: str
    threads: int
    cpu: int
    memory: int
    managed: int
    spilled: int
    limit: int | None
    received: int
    sent: int
    executing: int
    processing: int
    stored: int
    seen: float


class ActivityPrefix(Wire, frozen=True, kw_only=True):
    """How many tasks of a prefix are in which of Dask's states."""

    name: str
    states: dict[str, int]


class Activity(Wire, frozen=True, kw_only=True):
    """Answer of ``GET clusters/{id}/activity``.

    Attributes
    ----------
    cursor
        To be sent as ``after`` with the next request, which is then answered what has happened since.
    now
        The clock of the scheduler when it was asked, in seconds since 1970.
    prefixes
        At most 200: those of which most is still to be done first.
    tasks, queued, no_worker, processing
        Tasks that the scheduler knows; of these, those that wait for a free thread, those that no worker may run, and
        those that workers were given.

    """

    cluster: str
    cursor: Annotated[str, Meta(max_length=64)]
    taken_at: Time
    now: float
    stream: ActivityStream
    workers: tuple[ActivityWorker, ...]
    prefixes: tuple[ActivityPrefix, ...]
    tasks: int
    queued: int
    no_worker: int
    processing: int
