"""Restarts the workers of a sync, batch by batch, after each has handed over its results."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...core.change.moves import fits
from ...core.change.state import SyncSpec
from ...core.errors import CoiledError, Unavailable
from .host import Host
from .progress import Progress

if TYPE_CHECKING:
    # Dask is imported when a sync needs it, so that supervisors start fast.
    from ...links.nodes.restarts import Blocked

RETIRE_SECONDS = 60.0
"""Seconds that workers may take to hand over their results."""
RESTART_SECONDS = 60.0
JOIN_SECONDS = 60.0
FOLLOW_SECONDS = 15.0
"""Seconds that a worker may stay away if its nanny didn't confirm the restart."""
LEND_SECONDS = 30.0
SHUFFLE_SECONDS = 0.05
"""Seconds between looks at shuffles that go on: between two of them there may be only a moment."""
RESTARTED_AT_ONCE = 16


class _Stuck(CoiledError):
    """A worker can't be moved without loss; the roll goes back."""

    kind = "unavailable"


class _Full(_Stuck):
    """The scheduler refused to retire this many workers at once; it may accept fewer."""


class _Began(Exception):
    """A shuffle has begun in which retired workers take part: outputs that are assigned to them would wait for ever."""


class Moving:
    """Restarts the workers of one sync."""

    def __init__(self, host: Host, spec: SyncSpec, progress: Progress) -> None:
        self._host, self._spec, self._progress = host, spec, progress
        self._lent: str | None = None
        self._held = False

    async def move(self, step: str) -> None:
        """Restart every worker of the plan, and show the progress in `step`."""
        if self._spec.alone:
            self._lent = await self._host.lend(LEND_SECONDS)
            if self._lent is None and not self._spec.lost_ok:
                raise _Stuck("There is no room for a temporary worker that would keep the results")
            if self._lent is not None:
                self._progress.log("A temporary worker takes over the only one's results")
        planned: dict[int, list[str]] = {}
        for roll in self._spec.rolls:
            planned.setdefault(roll.batch, []).extend(roll.workers)
        for number, batch in sorted(planned.items()):
            self._progress.finish(step, "running", f"batch {number} of {len(planned)}")
            await self.restart(batch, self._spec.drain_seconds)
        await self.end_lent(self._spec.drain_seconds)

    async def end_lent(self, drain: float) -> None:
        """End the temporary worker, if there is one, as late as `restart` would restart it."""
        if self._lent is None:
            return
        await self._host.observe()
        workers = [worker.id for worker in self._host.cluster.workers if worker.name == self._lent]
        if workers:
            await self._prepare(workers, drain)
        await self.take_back()

    async def take_back(self) -> None:
        """End the temporary worker, if there is one, whatever it executes and holds."""
        if self._lent is not None:
            await self._host.take_back(self._lent)
            self._lent = None

    async def restart(self, batch: Sequence[str], drain: float) -> None:
        """Restart workers at once, or one by one if the scheduler can't retire all of them at once.

        Shuffles and tasks may go on for `drain` seconds in all; if they take longer, Unavailable is raised.
        """
        await self._host.observe()
        names = {worker.id: worker.name for worker in self._host.cluster.workers}
        # Workers that have left or were replaced meanwhile are verified afterwards.
        workers = [worker for worker in batch if worker in names]
        if not workers:
            return
        restarts = self._host.node_link.restarts
        try:
            await self._prepare(workers, drain)
        except _Full:
            if len(workers) == 1:
                raise
            # The cluster has come into use since the batches were planned.
            for worker in workers:
                await self.restart([worker], drain)
            return
        for first in range(0, len(workers), RESTARTED_AT_ONCE):
            some, left = workers[first : first + RESTARTED_AT_ONCE], workers[first:]
            if first and await restarts.hold_shuffles(some, left):
                # It has begun while the others restarted.
                await restarts.cancel_retirement(left)
                await self.restart(left, drain)
                return
            # One that its owner has ended meanwhile won't come back.
            some = await restarts.registered(some)
            late = await self._restart(some, names)
            if late:
                raise Unavailable(f"Worker {', '.join(sorted(late)[:5])} didn't come back in the new environment")
            self._progress.log(f"Restarted: worker {', '.join(sorted(names[worker] for worker in some))}")

    async def _restart(self, workers: Sequence[str], names: Mapping[str, str]) -> set[str]:
        """Restart workers that nothing keeps any more, and return the names of those that didn't come back."""
        restarts = self._host.node_link.restarts
        held = [names[worker] for worker in workers]
        gateway = await restarts.hold_workers(held)
        if gateway and not self._held:
            self._held = True
            self._progress.log("The gateway isn't told of workers that restart until they are back")
        waited = False
        try:
            done = await restarts.restart(workers, RESTART_SECONDS)
            sure = [names[worker] for worker in workers if worker in done]
            late = await restarts.wait_for_workers(sure, frozenset(workers), JOIN_SECONDS)
            unsure = [names[worker] for worker in workers if worker not in done]
            late |= await restarts.wait_for_workers(unsure, frozenset(workers), FOLLOW_SECONDS)
            waited = True
            return late
        finally:
            if gateway:
                # One that is away, but was not waited for, may come back: it is held until then, or until its time is over.
                with contextlib.suppress(CoiledError):
                    await asyncio.shield(restarts.release_workers(held, away=waited))

    async def _prepare(self, workers: Sequence[str], drain: float) -> None:
        """Retire workers, and wait until they take part in no shuffle, execute nothing, and hold nothing alone.

        The first of them are to leave at once, as a shuffle that begins waits for that. If anything fails, all operate as
        before.
        """
        restarts = self._host.node_link.restarts
        deadline = time.monotonic() + drain
        try:
            # A silent nanny would restart its worker at any later time.
            await restarts.check_nannies(workers)
            while True:
                await self._wait_for_shuffles(workers, deadline, drain)
                try:
                    await self._retire(workers)
                    await self._drain(workers, deadline, drain)
                    await self._empty(workers, deadline)
                    await restarts.check_nannies(workers)
                    found = await restarts.hold_shuffles(workers[:RESTARTED_AT_ONCE], workers)
                    if found and not self._may_lose(deadline):
                        raise _Began
                except _Began:
                    await restarts.cancel_retirement(workers)
                    continue
                return
        except (CoiledError, asyncio.CancelledError):
            with contextlib.suppress(CoiledError):
                await asyncio.shield(restarts.cancel_retirement(workers))
            raise

    async def _wait_for_shuffles(self, workers: Sequence[str], deadline: float, bound: float) -> None:
        """Wait until workers that aren't retired take part in no shuffle: it would begin anew without them."""
        said = False
        while found := await self._host.node_link.restarts.shuffles(workers):
            which = "A shuffle" if len(found) == 1 else f"{len(found)} shuffles"
            which += f" on {max(found)} workers" if max(found) != 1 else " on 1 worker"
            if time.monotonic() > deadline:
                if self._spec.lost_ok:
                    self._progress.log(f"{which} ran longer than {bound:g} s, and is restarted")
                    return
                raise _Stuck(
                    f"{which} ran longer than {bound:g} s, so they were left as they are; try again when it has ended, "
                    "allow more time, or agree to lose results"
                )
            if not said:
                self._progress.log(f"Waiting: {which[:1].lower()}{which[1:]} has to end first")
                said = True
            await asyncio.sleep(SHUFFLE_SECONDS)

    async def _check_shuffles(self, workers: Sequence[str], deadline: float) -> None:
        if await self._host.node_link.restarts.shuffles(workers) and not self._may_lose(deadline):
            raise _Began

    def _may_lose(self, deadline: float) -> bool:
        """Whether the bound is reached, and the user has agreed to losses in that case."""
        return self._spec.lost_ok and time.monotonic() > deadline

    async def _retire(self, workers: Sequence[str]) -> None:
        """Retire workers; _Stuck if the scheduler refuses.

        A refused worker isn't restarted even if it holds nothing, because it still takes tasks.
        """
        nodes = self._host.node_link
        loads = await nodes.surveyor.worker_loads()
        moving = [load for load in loads if load.address in workers]
        # Otherwise the scheduler would move results until nannies kill the recipients for their memory use.
        accepted = await nodes.restarts.retire(workers, RETIRE_SECONDS) if fits(moving, loads) else set()
        if self._spec.lost_ok:
            return
        for load in moving:
            if load.address in accepted:
                continue
            if load.actors:
                raise _Stuck(f"Worker {load.name} can't hand over its results: {load.actors} actors live on it")
            raise _Full(f"Worker {load.name} can't hand over its results: the others have no room for them")

    async def _empty(self, workers: Sequence[str], bound: float) -> None:
        """Retire workers until they hold nothing alone: a worker tells of a result some time after its task has ended."""
        deadline = time.monotonic() + RETIRE_SECONDS
        while True:
            await self._check_shuffles(workers, bound)
            await self._retire(workers)
            if self._spec.lost_ok:
                return
            loads = await self._host.node_link.surveyor.worker_loads()
            left = [
                load for load in loads if load.address in workers and (load.alone or load.futures or load.scattered)
            ]
            if not left:
                return
            if time.monotonic() > deadline:
                raise _Stuck(f"Worker {left[0].name} can't hand over its results: it still holds some alone")
            await asyncio.sleep(0.05)

    async def _drain(self, workers: Sequence[str], deadline: float, bound: float) -> None:
        restarts = self._host.node_link.restarts
        pause = 0.02
        while True:
            await self._check_shuffles(workers, deadline)
            executing = await restarts.executing(workers)
            busy = [worker for worker, count in executing.items() if count]
            if not busy:
                return
            if time.monotonic() > deadline:
                why = _why(list((await restarts.blocked(busy)).values()))
                raise _Stuck(
                    f"A task on {len(busy)} of the workers ran longer than {bound:g} s{why}, so they were left as they "
                    "are; try again when it has ended, or allow more time"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)


def _why(found: Sequence[Blocked]) -> str:
    """Say, in brackets, why tasks may not end."""
    waits = sorted({name for one in found for name in one.waits})
    parts = [f"it waits for {'an' if name[:1] in 'AEIO' else 'a'} {name}" for name in waits]
    if any(one.seceded for one in found):
        parts.append("it has seceded from the worker's threads, as with worker_client")
    return f" ({'; '.join(parts)})" if parts else ""
