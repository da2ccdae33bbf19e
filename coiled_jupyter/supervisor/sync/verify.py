"""Verifies a sync: reads every worker anew and compares it with the plan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from ...core.change.journal import misfit, verified
from ...core.change.state import StatePlace
from ...core.change.survey import Survey, installs
from ...core.errors import Unavailable
from ...core.wire import Environment, SyncGroup
from .host import Host
from .moving import Moving

LOOKS = 3
"""Attempts to move workers that were started in between, in another environment."""
READ_SECONDS = 30.0
AS_IT_WAS = "as it was"
"""What is said of a group that went back."""


class Verifying:
    """Verifies the workers of one sync."""

    def __init__(self, host: Host, moving: Moving) -> None:
        self._host, self._moving = host, moving
        self._others: frozenset[str] = frozenset()
        self._installs = ""
        self.groups: tuple[SyncGroup, ...] = ()
        """What was last read of each group, whether it is as it should be or not."""

    def leave_out(self, survey: Survey, planned: frozenset[str]) -> None:
        """Exclude workers that can't be moved, or are in no planned place."""
        self._others = frozenset(w.address for w in survey.workers if w.nanny is None or w.place not in planned)

    async def workers(
        self, target: Mapping[str, StatePlace], drain: float, fine: str = "as planned", *, sealed: bool
    ) -> tuple[SyncGroup, ...]:
        """Return what was read of every worker; Unavailable if any isn't as planned. `fine` is said of those that are.

        Workers that were started before their nanny used the layer, such as after a kill, are moved first.
        """
        for last in (False,) * LOOKS + (True,):
            groups, elsewhere, count = await self._look(target, fine, sealed=sealed)
            self.groups = groups
            if not elsewhere or last:
                break
            size = max(count // 2, 1)
            for some in (elsewhere[i : i + size] for i in range(0, len(elsewhere), size)):
                await self._moving.restart(some, drain)
        wrong = [group for group in groups if not group.verified]
        if wrong:
            raise Unavailable(misfit(wrong, self._installs))
        return groups

    async def _look(
        self, target: Mapping[str, StatePlace], fine: str, *, sealed: bool
    ) -> tuple[tuple[SyncGroup, ...], list[str], int]:
        """Return what the groups of workers have, which workers run elsewhere, and the number of workers."""
        deadline = time.monotonic() + READ_SECONDS
        while True:
            survey = await self._host.node_link.surveyor.survey()
            self._installs = installs(survey.installers)
            concerned = {w.address: w for w in survey.workers if w.address not in self._others and w.nanny}
            readings = await self._host.read_anew()
            workers = [environment for environment in readings.environments if environment.role == "worker"]
            unread = [entry for entry in readings.unread if entry.node not in {"scheduler", *self._others}]
            read = {node for environment in workers for node in environment.nodes}
            silent = [w for w in concerned.values() if w.place is None]
            # A starting worker may have been started before its nanny used the layer.
            if not unread and not silent and not survey.starting and concerned.keys() <= read:
                break
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{len(unread)} of the workers could not be read: {unread[0].reason}"
                    if unread
                    else f"The nanny of worker {silent[0].name} doesn't answer"
                    if silent
                    else f"The nanny {survey.starting[0]} doesn't bring its next worker"
                    if survey.starting
                    else "A worker could not be read, since it joined a moment ago"
                )
            await asyncio.sleep(0.2)
        groups, elsewhere = [], []
        for environment in workers:
            nodes = [node for node in environment.nodes if node in concerned]
            place = next((target[key] for node in nodes if (key := concerned[node].place or "") in target), None)
            if place is not None:
                groups.append(verified(environment, place, place.path, fine, sealed=sealed))
                elsewhere += nodes if environment.prefix != place.path else []
        if not groups:
            raise Unavailable("No worker that belongs to the plan could be read")
        return tuple(groups), elsewhere, len(survey.workers)

    async def restarted(
        self, base: StatePlace, target: Mapping[str, StatePlace], drain: float, *, sealed: bool
    ) -> Sequence[SyncGroup]:
        """Verify and return every node of a restarted cluster: some workers run in layers, all else in the base."""
        moved = await self.workers(target, drain, sealed=sealed) if target else ()
        return await self._nodes(
            lambda environment: None if target and environment.role == "worker" else base,
            moved,
            "The new cluster isn't as planned",
        )

    async def brought_back(self, base: StatePlace, layers: Mapping[str, StatePlace]) -> Sequence[SyncGroup]:
        """Verify and return every node of a cluster that went back; `layers` are by their folders."""

        def expected(environment: Environment) -> StatePlace:
            if environment.role != "worker" or not layers:
                return base
            return layers.get(environment.prefix, next(iter(layers.values())))

        return await self._nodes(expected, (), "The old cluster was restarted, but isn't as it was", AS_IT_WAS)

    async def _nodes(
        self,
        expected: Callable[[Environment], StatePlace | None],
        known: Sequence[SyncGroup],
        fault: str,
        fine: str = "as planned",
    ) -> Sequence[SyncGroup]:
        readings = await self._host.read_anew()
        placed = [(e, place) for e in readings.environments if (place := expected(e)) is not None]
        found = [verified(environment, place, place.path, fine) for environment, place in placed]
        groups = self.groups = (*known, *found)
        wrong = next((group.text for group in groups if not group.verified), None)
        if wrong is not None or readings.unread or not found:
            raise Unavailable(f"{fault}: {wrong or 'a node could not be read'}")
        return groups
