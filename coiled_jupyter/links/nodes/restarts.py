"""Restarts workers without losing their results: retires them, waits for their tasks, and has nannies restart them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence

from msgspec import Struct

from ...core.errors import CoiledError, Timeout, Unavailable
from .calls import Count, NodeCalls, Nothing, PresentWorker, Text

HOLD_SECONDS = 15.0
"""Seconds after which new shuffles no longer wait for workers to leave that were to be restarted."""
AWAY_SECONDS = 150.0
"""Seconds that a gateway isn't told that a held worker has left: more than a restart and the wait for it may take."""


class _Executing(Struct, frozen=True):
    executing: Count
    queued: tuple[str, ...]


class _Shuffles(Struct, frozen=True):
    shuffles: tuple[Count, ...]


class _Gateway(Struct, frozen=True):
    gateway: bool


class Blocked(Struct, frozen=True):
    """What the executing tasks of a worker do: how many have seceded, and what others wait for, such as ``Event``."""

    seceded: Count = 0
    waits: tuple[Text, ...] = ()


class _Restarted(Struct, frozen=True):
    """A worker before it was restarted."""

    name: str
    worker: PresentWorker


class Restarts:
    """The restarts of one cluster's workers; the caller decides their order, and what happens when one fails."""

    def __init__(self, calls: NodeCalls) -> None:
        self._calls = calls
        self._before: dict[str, _Restarted] = {}

    async def retire(self, workers: Sequence[str], deadline: float) -> set[str]:
        """Retire workers without removing them; return those that have handed over what they hold.

        The scheduler refused the others: never restart these. Tasks that had not begun go to other workers.
        """
        try:
            accepted = await self._calls.link.retire(workers, deadline, remove=False)
        except Timeout:
            return set()
        if accepted:
            await self._reschedule(sorted(accepted))
        return accepted

    async def _reschedule(self, workers: Sequence[str]) -> None:
        answers = await self._calls.each("worker", workers, _Executing, "executing")
        queued = {worker: list(a.queued) for worker, a in answers.items() if isinstance(a, _Executing) and a.queued}
        if queued:
            await self._calls.scheduler(Nothing, "reschedule", queued)

    async def cancel_retirement(self, workers: Sequence[str]) -> None:
        """Return retired workers to normal operation, and stop the transfer of their values."""
        await self._calls.scheduler(Nothing, "cancel_retirement", list(workers))

    async def executing(self, workers: Sequence[str]) -> dict[str, int]:
        """Return the number of executing tasks by worker; Unavailable if one that is still registered doesn't answer."""
        answers = await self._calls.each("worker", workers, _Executing, "executing")
        silent = {worker: answer for worker, answer in answers.items() if isinstance(answer, CoiledError)}
        there = await self.registered(list(silent)) if silent else []
        for worker in there:
            raise silent[worker]
        return {worker: answer.executing for worker, answer in answers.items() if isinstance(answer, _Executing)}

    async def registered(self, workers: Sequence[str]) -> list[str]:
        """Return those of these workers that are registered at the scheduler."""
        present = {one.address for one in (await self._calls.present()).values()}
        return [worker for worker in workers if worker in present]

    async def shuffles(self, workers: Sequence[str]) -> tuple[int, ...]:
        """Return, of each active p2p shuffle in which one of these workers takes part, the number of its workers."""
        return (await self._calls.scheduler(_Shuffles, "shuffles", list(workers))).shuffles

    async def hold_shuffles(
        self, leaving: Sequence[str], others: Sequence[str] = (), seconds: float = HOLD_SECONDS
    ) -> tuple[int, ...]:
        """Return what `shuffles` returns of all these workers; if that is nothing, new ones wait until some have left.

        A shuffle assigns its outputs to all workers that are registered when it begins, also to those that are leaving.
        """
        return (await self._calls.scheduler(_Shuffles, "hold_shuffles", list(leaving), list(others), seconds)).shuffles

    async def hold_workers(self, names: Collection[str], seconds: float = AWAY_SECONDS) -> bool:
        """Keep the gateway, if the cluster is one's, from ending workers of these names that leave; return whether it is.

        Each is held until it has come back or `seconds` have passed, whatever becomes of this process. Impossible is raised
        if this gateway can't be kept from it.
        """
        return (await self._calls.scheduler(_Gateway, "hold_workers", sorted(names), seconds)).gateway

    async def release_workers(self, names: Collection[str], *, away: bool) -> None:
        """End that for workers that are there; with `away` also for the others, which the gateway then replaces."""
        await self._calls.scheduler(_Gateway, "release_workers", sorted(names), away)

    async def blocked(self, workers: Sequence[str]) -> dict[str, Blocked]:
        """Return what the executing tasks of each worker do; workers that don't answer are left out."""
        answers = await self._calls.each("worker", workers, Blocked, "blocked")
        return {worker: answer for worker, answer in answers.items() if isinstance(answer, Blocked)}

    async def check_nannies(self, workers: Sequence[str]) -> None:
        """Raise Unavailable, naming a worker, unless the nannies of all workers answer."""
        present = (await self._calls.present()).items()
        nannies = {one.nanny: name for name, one in present if one.nanny and one.address in workers}
        for nanny, answer in (await self._calls.nanny_processes(list(nannies))).items():
            if isinstance(answer, CoiledError):
                raise Unavailable(f"The nanny of worker {nannies[nanny]} doesn't answer: {answer.message}")

    async def restart(self, workers: Sequence[str], deadline: float) -> set[str]:
        """Have nannies restart their workers; return the old addresses of those whose nanny confirmed it.

        A confirmation proves nothing: wait for the new worker, and read what it runs.
        """
        present = await self._calls.present()
        chosen = {one.address: _Restarted(name, one) for name, one in present.items() if one.nanny}
        chosen = {worker: chosen[worker] for worker in workers if worker in chosen}
        self._before |= chosen
        nannies = {before.worker.nanny or "": worker for worker, before in chosen.items()}
        return {nannies[nanny] for nanny in await self._calls.link.restart_nannies(sorted(nannies), deadline)}

    async def wait_for_workers(self, names: Collection[str], old: Collection[str], seconds: float) -> set[str]:
        """Wait until new workers of these names have registered; return the names that haven't.

        Parameters
        ----------
        old
            Their addresses before the restart. A worker without a name of its own is named by its address, so it returns
            under another name and is recognized by its nanny. One that keeps its port is told from its predecessor by
            its id.

        """
        if not names:
            return set()
        deadline = time.monotonic() + seconds
        known = [self._before[address] for address in old if address in self._before]
        ids = {before.worker.id for before in known}
        nannies = {before.name: before.worker.nanny for before in known}
        pause = 0.02
        while True:
            new = {
                name: one.nanny
                for name, one in (await self._calls.present()).items()
                if one.status == "running"
                and one.id not in ids
                and (one.address not in old or one.address in self._before)
            }
            late = {name for name in names if name not in new and nannies.get(name, "") not in new.values()}
            if not late or time.monotonic() > deadline:
                return late
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)
