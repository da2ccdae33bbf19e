"""Observes scheduler, workers and clients, and derives the cluster's status."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..core.errors import CoiledError
from ..core.identity import Identity, SchedulerState, dashboard_url, decode_identity, decode_state
from ..core.launch import LaunchSpec, on_this_machine
from ..core.times import now
from ..core.wire import ClusterStatus, SchedulerInfo
from ..factories import local
from ..texts import OF_SCHEDULER, scheduler_names
from .connection import Connection
from .fleet import Fleet
from .snapshot import Snapshot

_log = logging.getLogger("coiled_jupyter.supervisor")


class Watching:
    """Observes one cluster.

    Parameters
    ----------
    fleet
        Returns the nannies that this supervisor has started; None if somebody else starts the workers.
    planned
        Whether workers are being restarted on purpose, which doesn't count as a restart.
    waiting
        Returns what a platform says of wanted workers that aren't there, and whether something is wrong with them.

    """

    def __init__(
        self,
        spec: LaunchSpec,
        snapshot: Snapshot,
        connection: Connection,
        fleet: Callable[[], Fleet | None],
        planned: Callable[[], bool],
        waiting: Callable[[], tuple[bool, str | None]],
    ) -> None:
        self._spec, self._snapshot, self._connection = spec, snapshot, connection
        self._fleet, self._planned, self._waiting = fleet, planned, waiting
        self.silent: dict[str, float] = {}
        """By address, the seconds since the last heartbeat of each worker, by this process's clock."""
        self.groups: dict[str, str] = {}
        """By address, the environment that was read of each node."""
        self._heartbeats: dict[str, tuple[float | None, float]] = {}
        self._addresses: dict[str, str] = {}
        self._restarts: dict[str, int] = {}
        self._missed: dict[str, float] = {}
        self._listed_at, self._state, self._was_busy = float("-inf"), SchedulerState(), False

    def forget(self) -> None:
        """Drop the state of processes that have ended."""
        self.silent, self.groups, self._heartbeats = {}, {}, {}

    def forget_workers(self, names: list[str]) -> None:
        """Drop the state of workers that were ended on purpose."""
        for name in names:
            self._addresses.pop(name, None)
            self._restarts.pop(name, None)

    async def observe(self) -> None:
        """Update workers and clients from the scheduler; CoiledError if it doesn't answer."""
        link = self._connection.link
        identity = decode_identity(await link.identity())
        seen = now()
        self._record(identity)
        managed = self._spec.address is None
        wanted = self._snapshot.cluster.desired.workers * self._spec.threads_per_worker
        cores = identity.cores(wanted if managed else None)
        # What a relay of ours leads to is reached at that relay alone.
        own = None if managed and self._connection.relayed else identity.address
        state = await self._fetch_state(identity.id, bool(cores.busy))
        self._snapshot.set(
            workers=identity.workers(seen, self.groups, self._restarts),
            scheduler=SchedulerInfo(
                address=own or link.address,
                id=identity.id,
                # A relay has the scheduler's own port, and not that of its pages.
                dashboard=self._connection.dashboard
                if self._connection.relayed
                else dashboard_url(link.address, identity.dashboard, state),
            ),
            cores=cores,
            memory=identity.memory(local.machine_memory() if on_this_machine(self._snapshot.cluster) else None),
            tasks=identity.tasks(state.queued),
            clients=len(state.clients),
            other_clients=state.clients,
            seen_at=seen,
        )

    async def count_clients(self) -> None:
        """Update the clients now: the last answer may be some seconds old."""
        self._listed_at = float("-inf")
        try:
            await self.observe()
        except CoiledError:
            _log.debug("the scheduler didn't answer", exc_info=True)

    def _record(self, identity: Identity) -> None:
        moment = time.monotonic()
        for address, node in identity.nodes.items():
            # The age of a heartbeat by this process's clock; the scheduler's may differ.
            if self._heartbeats.get(address, (None, 0.0))[0] != node.last_seen or address not in self._heartbeats:
                self._heartbeats[address] = (node.last_seen, moment)
            # A restarted worker has a new address, whether its nanny or this process restarted it.
            if self._addresses.setdefault(node.name, address) != address:
                self._addresses[node.name] = address
                self._restarts[node.name] = self._restarts.get(node.name, 0) + (not self._planned())
        self._heartbeats = {address: self._heartbeats[address] for address in identity.nodes}
        self.silent = {address: moment - at for address, (_, at) in self._heartbeats.items()}

    async def _fetch_state(self, scheduler: str, busy: bool) -> SchedulerState:
        """Return the scheduler's clients and queue, cached for some seconds: each request is a line in its log."""
        # When the scheduler becomes idle, its queue has become empty.
        ended = self._was_busy and not busy
        if time.monotonic() - self._listed_at >= self._spec.paces.clients or ended:
            try:
                link = self._connection.link
                answer = await link.evaluate_on_scheduler(OF_SCHEDULER, scheduler_names(scheduler), 2.0)
                self._state = decode_state(answer)
                self._listed_at, self._was_busy = time.monotonic(), busy
            except CoiledError:
                _log.debug("the scheduler didn't list its clients", exc_info=True)
        return self._state

    def absent(self) -> tuple[int, int]:
        """Return how many wanted workers are missing, and how many others have just been started."""
        fleet = self._fleet()
        if fleet is None:
            return 0, 0
        absent = self._absent_names(fleet)
        coming = len(fleet.young() & set(absent))
        return len(absent) - coming, coming

    def _absent_names(self, fleet: Fleet) -> list[str]:
        present = {worker.name for worker in self._snapshot.cluster.workers}
        return [name for name in fleet.names if name not in present]

    def judge(self, *, moving: bool) -> None:
        """Set the status from the last observation; `moving` is whether a sync restarts workers."""
        cluster = self._snapshot.cluster
        busy = cluster.cores.busy or (cluster.tasks and cluster.tasks.running)
        calm: ClusterStatus = "running" if busy else "idle"
        if moving:
            self._snapshot.set(status=calm, reason="Workers are being moved to another environment in batches")
            return
        self._replace_missed()
        missing, coming = self.absent()
        wanted = cluster.desired.workers
        silent = [w for w in cluster.workers if self.silent.get(w.id, 0.0) > self._spec.paces.silent]
        if missing > 0:
            self._snapshot.set(
                status="degraded", reason=f"{missing} of {wanted} workers {'is' if missing == 1 else 'are'} missing"
            )
        elif silent:
            names = ", ".join(w.name or w.id for w in silent[:5]) + (", …" if len(silent) > 5 else "")
            self._snapshot.set(status="degraded", reason=f"No heartbeat for some seconds from worker {names}")
        else:
            verb = "is" if coming == 1 else "are"
            reason = f"{coming} of {wanted} workers {verb} starting" if coming else None
            wrong, waiting = self._waiting()
            self._snapshot.set(status="degraded" if wrong else calm, reason=waiting or reason)

    def _replace_missed(self) -> None:
        """Kill nannies that live but don't bring their worker back, such as a stopped one, for `Fleet.replace`."""
        fleet = self._fleet()
        if fleet is None:
            return
        moment = time.monotonic()
        self._missed = {name: self._missed.get(name, moment) for name in self._absent_names(fleet)}
        for name, since in list(self._missed.items()):
            if moment - since > self._spec.paces.missed:
                _log.warning("worker %s has been missing for %.0f s and is replaced", name, moment - since)
                del self._missed[name]
                fleet.kill(name)
