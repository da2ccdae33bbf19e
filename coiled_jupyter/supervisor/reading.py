"""Reads what is installed and loaded on the cluster's nodes: one reading at a time, for the newest request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from .. import tasks
from ..core.errors import CoiledError
from ..core.groups import Readings
from ..core.wire import Unread
from .snapshot import Snapshot


class Reader(Protocol):
    """Reads nodes (``links.reader.Reader``)."""

    @property
    def complete(self) -> bool:
        """Whether the files of every place were examined recently."""

    async def read(self, workers: Mapping[str, float], wanted: Iterable[str] = ()) -> Readings:
        """Read the scheduler and `workers`: by address, the seconds since their last heartbeat."""


class Observed(Protocol):
    """The observed workers."""

    silent: dict[str, float]
    groups: dict[str, str]

    async def observe(self) -> None:
        """Observe the scheduler's workers now."""

    def absent(self) -> tuple[int, int]:
        """Return how many wanted workers are missing, and how many others have just been started."""


class Reading:
    """The readings of one cluster.

    Parameters
    ----------
    new_reader
        Returns a reader without earlier readings.

    """

    def __init__(self, snapshot: Snapshot, observed: Observed, new_reader: Callable[[], Reader]) -> None:
        self._snapshot, self._observed, self._new_reader = snapshot, observed, new_reader
        self.readings = Readings()
        self._reader: Reader | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[Readings] | None = None
        self._begun_at = float("-inf")
        self._wanted: frozenset[str] = frozenset()
        self._asked: frozenset[str] = frozenset()
        self._known: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Start with a new reader: earlier readings no longer count."""
        self._reader = self._new_reader()

    def forget(self) -> None:
        """Drop the readings of processes that have ended."""
        self._reader, self.readings, self._known = None, Readings(), frozenset()

    def look_again(self) -> None:
        """Read all nodes at the next check."""
        self._known = frozenset()

    def due(self, *, watched: bool) -> bool:
        """Return whether the nodes have changed since they were read, or a watcher waits for the files to be examined."""
        if self._reader is None or self._lock.locked():
            return False
        # Files are examined in the background of a reading: a later reading has the result.
        return self._nodes() != self._known or (watched and not self._reader.complete)

    async def follow(self) -> None:
        """Read the present nodes."""
        self._known = self._nodes()
        await self.read(tuple(self._wanted))

    async def read(self, wanted: tuple[str, ...] = (), within: float = 0.0) -> Readings:
        """Read every node; those that don't answer in time are in `unread`.

        What others have begun to read since this call, or `within` seconds before it, is a reading for this one too.
        """
        oldest = time.monotonic() - within
        while (readings := await self._try(wanted, oldest)) is None:
            pass
        return readings

    async def anew(self) -> Readings:
        """Read every node with a new reader."""
        if self._reader is not None:
            self.begin()
            self._begun_at = float("-inf")
            if self._task is not None:
                # A reading in progress may wait until its deadline for a worker that has ended since.
                self._task.cancel()
        return await self.read(tuple(self._wanted))

    def _nodes(self) -> frozenset[str]:
        return frozenset(worker.id for worker in self._snapshot.cluster.workers)

    def _covers(self, wanted: tuple[str, ...], oldest: float) -> bool:
        """Return whether the last readings were begun after `oldest`, and cover the present nodes and `wanted`."""
        recent = self.readings.taken_at is not None and self._begun_at >= oldest
        return recent and self._asked == self._nodes() and set(wanted) <= self._wanted

    async def _try(self, wanted: tuple[str, ...], oldest: float) -> Readings | None:
        """Return the readings, or None if a new reader has been started meanwhile."""
        async with self._lock:
            reader = self._reader
            if reader is None:
                return self.readings
            with contextlib.suppress(CoiledError):
                # Observe first: a worker that has just joined must not be left out.
                await self._observed.observe()
            if self._covers(wanted, oldest):
                return self.readings
            begun = time.monotonic()
            self._wanted = frozenset(wanted)
            silent = {node: self._observed.silent.get(node, 0.0) for node in self._nodes()}
            self._asked = frozenset(silent)
            self._task = asyncio.create_task(reader.read(silent, wanted))
            try:
                await asyncio.wait({self._task})
                if reader is not self._reader:
                    return None
                found = self._task.result()
            finally:
                await tasks.end([self._task])
                self._task = None
            self._begun_at = begun
            self._enter(found)
            return self.readings

    def _enter(self, found: Readings) -> None:
        cluster = self._snapshot.cluster
        missing, _ = self._observed.absent()
        if missing > 0:
            gap = Unread(
                node="workers",
                reason=f"{missing} of {cluster.desired.workers} workers {'is' if missing == 1 else 'are'} missing",
            )
            found = msgspec.structs.replace(found, unread=(*found.unread, gap))
        before = [(e.id, e.nodes) for e in self.readings.environments]
        self.readings = found
        self._observed.groups = {node: e.id for e in found.environments for node in e.nodes}
        if before != [(e.id, e.nodes) for e in found.environments]:
            pythons = {e.python for e in found.environments if e.role == "worker"}
            python = pythons.pop() if len(pythons) == 1 else None
            software = msgspec.structs.replace(cluster.environment, python=python)
            self._snapshot.set(revision=cluster.revision, environment=software)
