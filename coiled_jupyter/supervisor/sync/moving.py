"""Restarts the workers of a sync, batch by batch, after each has handed over its results."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from ...core.change.moves import fits
from ...core.change.state import SyncSpec
from ...core.errors import CoiledError, Unavailable
from .host import Host
from .progress import Progress

RETIRE_SECONDS = 60.0
"""Seconds that workers may take to hand over their results."""
RESTART_SECONDS = 60.0
JOIN_SECONDS = 60.0
FOLLOW_SECONDS = 15.0
"""Seconds that a worker may stay away if its nanny didn't confirm the restart."""
LEND_SECONDS = 30.0
RESTARTED_AT_ONCE = 16


class _Stuck(CoiledError):
    """A worker can't be moved without loss; the roll goes back."""

    kind = "unavailable"


class _Full(_Stuck):
    """The scheduler refused to retire this many workers at once; it may accept fewer."""


class Moving:
    """Restarts the workers of one sync."""

    def __init__(self, host: Host, spec: SyncSpec, progress: Progress) -> None:
        self._host, self._spec, self._progress = host, spec, progress
        self._lent: str | None = None

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
        await self.end_lent()

    async def end_lent(self) -> None:
        """End the temporary worker, if there is one."""
        if self._lent is not None:
            await self._host.take_back(self._lent)
            self._lent = None

    async def restart(self, batch: Sequence[str], drain: float) -> None:
        """Restart workers at once, or one by one if the scheduler can't retire all of them at once.

        A task may execute for `drain` seconds more; if it takes longer, Unavailable is raised.
        """
        await self._host.observe()
        names = {worker.id: worker.name for worker in self._host.cluster.workers}
        # Workers that have left or were replaced meanwhile are verified afterwards.
        workers = [worker for worker in batch if worker in names]
        if not workers:
            return
        restarts = self._host.node_link.restarts
        try:
            # A silent nanny would restart its worker at any later time.
            await restarts.check_nannies(workers)
            await self._retire(workers)
            await self._drain(workers, drain)
            await self._empty(workers)
            await restarts.check_nannies(workers)
        except _Full:
            await restarts.cancel_retirement(workers)
            if len(workers) == 1:
                raise
            # The cluster has come into use since the batches were planned.
            for worker in workers:
                await self.restart([worker], drain)
            return
        except (CoiledError, asyncio.CancelledError):
            with contextlib.suppress(CoiledError):
                await asyncio.shield(restarts.cancel_retirement(workers))
            raise
        for some in (workers[i : i + RESTARTED_AT_ONCE] for i in range(0, len(workers), RESTARTED_AT_ONCE)):
            done = await restarts.restart(some, RESTART_SECONDS)
            sure = [names[worker] for worker in some if worker in done]
            late = await restarts.wait_for_workers(sure, frozenset(some), JOIN_SECONDS)
            unsure = [names[worker] for worker in some if worker not in done]
            late |= await restarts.wait_for_workers(unsure, frozenset(some), FOLLOW_SECONDS)
            if late:
                raise Unavailable(f"Worker {', '.join(sorted(late)[:5])} didn't come back in the new environment")
            self._progress.log(f"Restarted: worker {', '.join(sorted([*sure, *unsure]))}")

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

    async def _empty(self, workers: Sequence[str]) -> None:
        """Retire workers until they hold nothing alone: a worker tells of a result some time after its task has ended."""
        deadline = time.monotonic() + RETIRE_SECONDS
        while True:
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

    async def _drain(self, workers: Sequence[str], bound: float) -> None:
        deadline = time.monotonic() + bound
        pause = 0.02
        while True:
            executing = await self._host.node_link.restarts.executing(workers)
            busy = sum(1 for count in executing.values() if count)
            if not busy:
                return
            if time.monotonic() > deadline:
                raise _Stuck(
                    f"A task on {busy} of the workers ran longer than {bound:g} s, so they were left as they are; "
                    "try again when it has ended, or allow more time"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)
