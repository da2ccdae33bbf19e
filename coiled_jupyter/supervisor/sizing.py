"""Scales the workers of a managed cluster, on request, adaptively, or by a temporary worker; and restarts them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from .. import tasks
from ..core.errors import CoiledError, Timeout
from ..core.launch import LaunchSpec
from ..core.wire import Adaptive, Worker
from ..ledger import AsyncLedger, Ledger
from .connection import Connection
from .fleet import STOP_SECONDS, Fleet
from .snapshot import Snapshot
from .watching import Watching

if TYPE_CHECKING:
    from ..links.scheduler import SchedulerLink

RETIRE_SECONDS = 30.0
RESTART_SECONDS = 30.0
RESTARTS_AT_ONCE = 8
LEAVE_SECONDS = STOP_SECONDS + 3.0
"""How long cores of leaving workers are awaited: these are killed by then, and were seen to end."""
CALM_LOOKS = 3
"""Consecutive checks at which adaptive scaling must want fewer workers before some are closed."""
_log = logging.getLogger("coiled_jupyter.supervisor")


class Recommended:
    """Follows recommended numbers of workers: up at once, down when they have been lower for `CALM_LOOKS` checks."""

    def __init__(self) -> None:
        self._calm = 0

    def forget(self) -> None:
        """Begin anew, as after a request."""
        self._calm = 0

    def follow(self, target: int, present: int, bounds: Adaptive) -> int | None:
        """Return the number to change to now, within the bounds, or None."""
        wanted = min(max(target, bounds.minimum), bounds.maximum)
        self._calm = self._calm + 1 if wanted < present else 0
        if wanted <= present and self._calm < CALM_LOOKS:
            return None
        self._calm = 0
        return wanted


class Sizing:
    """Reserves cores before workers start, and releases them after workers were seen to end.

    A request whose deadline passes before anything has begun raises Timeout, and nothing happens.
    """

    def __init__(
        self,
        spec: LaunchSpec,
        ledger: AsyncLedger,
        snapshot: Snapshot,
        connection: Connection,
        watching: Watching,
        fleet: Callable[[], Fleet],
        background: tasks.Background,
    ) -> None:
        self._spec, self._ledger, self._snapshot, self._connection = spec, ledger, snapshot, connection
        self._watching, self._fleet, self._background = watching, fleet, background
        self._lock = asyncio.Lock()
        self._starting = 0
        self._recommended = Recommended()

    async def scale(self, workers: int, until: float) -> tuple[int | None, int | None]:
        """Scale to `workers`, as far as cores are free; return what was granted and the limit if that is fewer."""
        async with self._lock:
            return await self._scale(workers, until, None)

    async def adapt_within(self, minimum: int, maximum: int, until: float) -> tuple[int | None, int | None]:
        """Scale adaptively from now on; the maximum is reduced to the free cores."""
        async with self._lock:
            fleet = self._fleet()
            leaving = fleet.processes - len(fleet.names)
            most, limit = await self._ledger.ask(self._free)
            allowed = max(min(maximum, most - leaving), min(minimum, len(fleet.names)))
            bounds = Adaptive(minimum=min(minimum, allowed), maximum=allowed)
            self._recommended.forget()
            present = self._snapshot.cluster.desired.workers
            await self._scale(min(max(present, bounds.minimum), bounds.maximum), until, bounds)
            return (allowed, limit) if allowed < maximum else (None, None)

    def steady(self) -> None:
        """Do nothing: without bounds, nobody changes the size."""

    async def adapt(self) -> None:
        """Follow the scheduler's recommendation: up at once, down when it has been lower for some checks."""
        bounds = self._snapshot.cluster.desired.adaptive
        if bounds is None:
            return
        target = await self._connection.link.adaptive_target()
        wanted = self._recommended.follow(target, self._snapshot.cluster.desired.workers, bounds)
        if wanted is not None:
            async with self._lock:
                if self._snapshot.cluster.desired.adaptive == bounds:
                    await self._scale(wanted, float("inf"), bounds)

    async def _scale(self, workers: int, until: float, adaptive: Adaptive | None) -> tuple[int | None, int | None]:
        fleet = self._fleet()
        deadline = time.monotonic() + LEAVE_SECONDS
        try:
            while True:
                # Cores of leaving workers count until these were seen to end.
                leaving = fleet.processes - len(fleet.names)
                room, limit = await self._room(workers + leaving)
                granted = min(max(room - leaving, min(len(fleet.names), workers)), workers)
                if granted == workers or not leaving or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.1)
            names = await self._least(len(fleet.names) - granted)
            if time.monotonic() > until:
                raise Timeout("The cluster's supervisor couldn't do this in time, and did nothing", "Try again")
            # No await from here on, so that it is done as a whole or not at all.
            _log.info("%s workers wanted, %s granted", workers, granted)
            desired = msgspec.structs.replace(self._snapshot.cluster.desired, workers=granted, adaptive=adaptive)
            self._snapshot.set(desired=desired)
            if names:
                fleet.leave(names)
                self._background.begin(self._dismiss(names))
            fleet.grow(granted)
        finally:
            self._starting = 0
            # Release reserved cores that aren't used.
            if fleet is self._fleet():
                self._give_back()
        return (granted, limit) if granted < workers else (None, None)

    async def _room(self, workers: int) -> tuple[int, int]:
        """Reserve cores for up to `workers`; return how many of these may run, and the limit."""
        if workers <= self._fleet().processes:
            return workers, 0
        self._starting = workers
        threads = self._spec.threads_per_worker
        most = self._spec.core_limit or 1 << 30
        cores, limit = await self._ledger.ask(
            lambda ledger: ledger.resize(self._spec.id, workers * threads, step=threads, core_limit=most)
        )
        return cores // threads, limit

    def _give_back(self) -> None:
        """Have the ledger lower the reservation to the workers that run or start when it is written."""
        threads = self._spec.threads_per_worker
        self._ledger.keep(
            "cores",
            lambda ledger: ledger.give_back(self._spec.id, self._needed() * threads),
        )

    def _needed(self) -> int:
        return max(self._fleet().processes, self._starting, self._snapshot.cluster.desired.workers)

    def _free(self, ledger: Ledger) -> tuple[int, int]:
        """Return how many workers this cluster could have now, and the limit, without a reservation."""
        threads = self._spec.threads_per_worker
        limit = ledger.limit(self._spec.core_limit or 1 << 30)
        others = sum(row.cores for row in ledger.list() if row.id != self._spec.id)
        return max(limit - others, 0) // threads, limit

    async def _least(self, count: int) -> list[str]:
        """Return the names of the `count` workers to close first."""
        if count <= 0:
            return []
        names = self._fleet().names
        named = {worker.id: worker.name for worker in self._snapshot.cluster.workers}
        absent = [name for name in reversed(names) if name not in named.values()]
        least: list[str] = []
        with contextlib.suppress(CoiledError):
            least = [named[w] for w in await self._connection.link.workers_to_close(count, 2.0) if w in named]
        order = dict.fromkeys([*absent, *least, *reversed(names)])
        return [name for name in order if name in names][:count]

    async def _dismiss(self, names: list[str]) -> None:
        """Retire workers, and end them."""
        fleet = self._fleet()
        addresses = [worker.id for worker in self._snapshot.cluster.workers if worker.name in names]
        try:
            if addresses and fleet.names and not await self._connection.link.retire(addresses, RETIRE_SECONDS):
                _log.warning("the others have no room for the results of workers %s; they are computed again", names)
        except CoiledError as error:
            _log.warning("workers %s could not hand over their results: %s", names, error.message)
        await fleet.end(names)
        self._watching.forget_workers(names)
        self._give_back()

    async def lend(self, seconds: float) -> str | None:
        """Start a temporary worker and return its name, or None if no core is free or it doesn't join."""
        async with self._lock:
            fleet = self._fleet()
            before = fleet.names
            wanted = fleet.processes + 1
            room, _ = await self._room(wanted)
            if room >= wanted:
                fleet.grow(len(before) + 1)
            self._starting = 0
            if room < wanted:
                return None
            name = next(name for name in fleet.names if name not in before)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                await self._watching.observe()
                if any(worker.name == name for worker in self._snapshot.cluster.workers):
                    return name
                await asyncio.sleep(0.05)
        except BaseException:
            self._background.begin(self.take_back(name))
            raise
        await self.take_back(name)
        return None

    async def take_back(self, name: str) -> None:
        """Retire and end a temporary worker."""
        self._fleet().leave([name])
        await self._dismiss([name])

    async def restart_workers(self) -> None:
        """Restart every worker by its nanny; replace the nanny too if it doesn't answer."""
        for name in await restart_workers(self._connection.link, self._snapshot.cluster.workers):
            _log.warning("worker %s didn't restart in time and is replaced", name)
            self._fleet().kill(name)


async def restart_workers(link: SchedulerLink, workers: Sequence[Worker]) -> list[str]:
    """Restart workers by their nannies, and return the names of those that didn't restart."""
    # A few at a time, so that other requests to the scheduler don't wait for all of them.
    some = asyncio.Semaphore(RESTARTS_AT_ONCE)

    async def restart(worker: Worker) -> bool:
        async with some:
            return await link.restart_worker(worker.id, RESTART_SECONDS)

    done = await asyncio.gather(*map(restart, workers))
    return [worker.name for worker, restarted in zip(workers, done, strict=True) if not restarted]
