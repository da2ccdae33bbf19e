"""Finds the clusters that notebooks opened by themselves, and reads them through the notebooks' clients.

Kernels are asked by this module's tasks only, after each cell and every few seconds, and only while a page or a command
shows clusters; a slow kernel delays no other. A request is one control message, answered in milliseconds while cells run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from .. import tasks
from ..core.clients import Answer, KernelClient, cluster_id, show
from ..core.errors import CoiledError, NotFound
from ..core.groups import Readings, group
from ..core.identity import SchedulerState, dashboard_url, decode_identity, decode_state
from ..core.paces import NORMAL, Paces
from ..core.snapshot import settled, still
from ..core.times import now
from ..core.wire import (
    Activity,
    Change,
    ClientInfo,
    Cluster,
    ClusterSoftware,
    Cores,
    Desired,
    Memory,
    SchedulerInfo,
    Unread,
)
from ..links.activity import ActivityReader
from ..links.kernel import KernelReading
from ..links.reader import SCHEDULER, Reader
from ..links.through_kernel import ThroughKernelLink

DEADLINE = 3.0

_INPROC = "This cluster runs inside the notebook's kernel itself, so its packages are the kernel's"
_CONNECTING = "The notebook's client has lost the scheduler and is connecting to it again"


class Kernels(Protocol):
    """What is needed of ``links.kernel.KernelLink``."""

    def kernel_ids(self) -> list[str]:
        """Return the ids of the kernels whose handler answers now."""

    def activity(self, kernel_id: str) -> object:
        """Return a value that changes when a cell has ended, or None while one runs."""

    async def read(self, kernel_id: str) -> KernelReading:
        """Return a reading and its time."""

    async def clients(self, kernel_id: str) -> tuple[KernelClient, ...]:
        """Return the live Dask clients of a kernel."""

    async def call(
        self, kernel_id: str, client_id: str, operation: str, *, deadline: float = 5.0, **request: Any
    ) -> dict[str, Answer]:
        """Send one request through a Dask client of a kernel."""

    async def seal(self, kernel_id: str, scheduler: str, *, seal: bool) -> None:
        """Have a kernel's Dask clients send sealed graphs to a scheduler from now on, or end that."""

    def process(self, kernel_id: str) -> object:
        """Return what identifies the process of a kernel, equal as long as it is the same one; None if there is none."""

    async def roll(self, kernel_id: str, **request: Any) -> str:
        """Send a request to ``texts/local_roll.py`` in a kernel and return its answer."""

    async def relay(self, kernel_id: str, **request: Any) -> str:
        """Send a request to ``texts/relay.py`` in a kernel and return its answer."""


class NoKernels:
    """The kernels outside a Jupyter server: none."""

    def kernel_ids(self) -> list[str]:
        """Return none."""
        return []

    def activity(self, kernel_id: str) -> object:
        """Return None."""
        return None

    async def read(self, kernel_id: str) -> KernelReading:
        """Refuse."""
        raise NotFound("There are no kernels outside a Jupyter server")

    async def clients(self, kernel_id: str) -> tuple[KernelClient, ...]:
        """Return none."""
        return ()

    async def call(
        self, kernel_id: str, client_id: str, operation: str, *, deadline: float = 5.0, **request: Any
    ) -> dict[str, Answer]:
        """Refuse."""
        raise NotFound("There are no kernels outside a Jupyter server")

    async def seal(self, kernel_id: str, scheduler: str, *, seal: bool) -> None:
        """Refuse."""
        raise NotFound("There are no kernels outside a Jupyter server")

    def process(self, kernel_id: str) -> object:
        """Return None."""
        return None

    async def roll(self, kernel_id: str, **request: Any) -> str:
        """Refuse."""
        raise NotFound("There are no kernels outside a Jupyter server")

    async def relay(self, kernel_id: str, **request: Any) -> str:
        """Refuse."""
        raise NotFound("There are no kernels outside a Jupyter server")


def _unneeded(kernel_id: str, client: KernelClient) -> None:
    return


class _Found:
    """One cluster, and the client through which it is read."""

    def __init__(self, cluster: Cluster, kernel: str, client: KernelClient) -> None:
        self.cluster, self.kernel, self.client = cluster, kernel, client
        self.readings = Readings()
        self.wanted: frozenset[str] = frozenset()
        self.reader: Reader | None = None
        self.activity = ActivityReader()
        self.observed_at = self.read_at = float("-inf")
        self.lock = asyncio.Lock()


class Discovery:
    """The clusters that notebooks of this server opened.

    Parameters
    ----------
    label
        Returns the name of a kernel's notebook, or None.
    known
        Returns the ids of schedulers whose clusters have supervisors.
    met
        Called with a kernel and its client of such a scheduler, again and again.
    changed
        Called when a cluster appears, changes or goes.
    conda_names
        Returns conda's names of distributions (`core.conda`).
    paces
        How often kernels and clusters are asked.

    """

    def __init__(
        self,
        kernels: Kernels,
        *,
        label: Callable[[str], Awaitable[str | None]],
        known: Callable[[], Iterable[str]],
        met: Callable[[str, KernelClient], None] = _unneeded,
        changed: Callable[[Change], None],
        conda_names: Callable[[], Mapping[str, str | None]],
        paces: Paces = NORMAL,
    ) -> None:
        self._paces = paces
        self._conda_names = conda_names
        self._kernels, self._label, self._known, self._changed = kernels, label, known, changed
        self._met = met
        self._clients: dict[str, tuple[KernelClient, ...]] = {}
        self._labels: dict[str, str | None] = {}
        self._found: dict[str, _Found] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._looked_at = float("-inf")
        self._log = logging.getLogger(__name__)

    def start(self) -> None:
        """Start to follow the kernels."""
        self._task = asyncio.create_task(self._run(), name="coiled-jupyter discovery")

    async def close(self) -> None:
        """End all tasks."""
        await tasks.end([self._task, *self._tasks.values()])

    def look(self) -> None:
        """Record that a page or a command shows clusters; after a pause, ask the kernels at once."""
        paused = not self._watched()
        self._looked_at = time.monotonic()
        if paused:
            self._wake.set()

    def clusters(self) -> list[Cluster]:
        """Return the discovered clusters, with the kernels that have a client of each."""
        return [
            msgspec.structs.replace(found.cluster, kernels=self.kernels(found.client.scheduler or ""))
            for found in self._found.values()
        ]

    def notebooks(self, scheduler: str) -> dict[str, str | None]:
        """Return the clients of this server's kernels at a scheduler, with the names of their notebooks."""
        return {
            client.id: self._labels.get(kernel)
            for kernel, clients in self._clients.items()
            for client in clients
            if client.scheduler == scheduler
        }

    def kernels(self, scheduler: str) -> tuple[str, ...]:
        """Return the ids of this server's kernels that have a client which is connected to a scheduler."""
        return tuple(
            sorted(
                kernel
                for kernel, clients in self._clients.items()
                if any(client.scheduler == scheduler and client.status == "running" for client in clients)
            )
        )

    async def readings(self, cluster_id: str, wanted: Iterable[str] = (), *, current: bool = False) -> Readings:
        """Return the readings of all nodes; those of nodes that answer are at most a few seconds old.

        `wanted` are import names of code beside the notebook, to look for on the nodes. A `current` reading was begun
        after this call, so that what is decided by it isn't decided by what was there before.
        """
        found = self._get(cluster_id)
        oldest = time.monotonic() - (0.0 if current else self._paces.fresh)
        async with found.lock:
            if found.read_at >= oldest and set(wanted) <= found.wanted:
                return found.readings
            found.wanted = frozenset(wanted)
            begun = time.monotonic()
            try:
                found.readings = await self._read(found)
                found.read_at = begun
            except CoiledError as error:
                # Earlier readings stay, with their time; an unread node makes the verdict unknown.
                unread = (Unread(node="cluster", reason=error.message),)
                return msgspec.structs.replace(found.readings, unread=unread)
            self._update(found, **self._group(found))
            return found.readings

    async def read_anew(self, cluster_id: str) -> Readings:
        """Return new readings of all nodes, whatever is known of them; raises as they do where the scheduler is silent."""
        found = self._get(cluster_id)
        async with found.lock:
            found.reader = None
            begun = time.monotonic()
            found.readings = await self._read(found)
            found.read_at = begun
            self._update(found, **self._group(found))
            return found.readings

    async def activity(self, cluster_id: str, after: str | None) -> Activity:
        """Return what a cluster is doing; raises as `links.activity.ActivityReader.read`, and NotFound."""
        found = self._get(cluster_id)
        return await found.activity.read(self._link(found), cluster_id, found.client.scheduler or "", after)

    def client(self, cluster_id: str) -> tuple[str, KernelClient]:
        """Return the kernel and its client through which a cluster is reached, or raise NotFound."""
        found = self._get(cluster_id)
        return found.kernel, found.client

    def link(self, cluster_id: str) -> ThroughKernelLink:
        """Return the way to a cluster's nodes, or raise NotFound."""
        return self._link(self._get(cluster_id))

    def _get(self, cluster_id: str) -> _Found:
        found = self._found.get(cluster_id)
        if found is None:
            raise NotFound("There is no cluster with this id", "Its notebook may have closed it")
        return found

    # ---- following --------------------------------------------------------------------------------------------

    def _watched(self) -> bool:
        return time.monotonic() - self._looked_at < self._paces.look

    async def _run(self) -> None:
        while True:
            try:
                self._reconcile()
            except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
                self._log.exception("discovering the notebooks' clusters failed")
            await asyncio.sleep(self._paces.tick)

    def _reconcile(self) -> None:
        present = set(self._kernels.kernel_ids())
        for kernel_id in set(self._tasks) - present:
            self._tasks.pop(kernel_id).cancel()
            self._clients.pop(kernel_id, None)
            self._labels.pop(kernel_id, None)
        for kernel_id in present:
            task = self._tasks.get(kernel_id)
            if task is None or task.done():
                self._tasks[kernel_id] = asyncio.create_task(self._follow(kernel_id), name=f"clients of {kernel_id}")
        self._join()

    async def _follow(self, kernel_id: str) -> None:
        mark: object = None
        asked_at = float("-inf")
        while True:
            try:
                if self._watched():
                    seen = self._kernels.activity(kernel_id)
                    if (seen is not None and seen != mark) or time.monotonic() - asked_at >= self._paces.ask:
                        mark, asked_at = seen, time.monotonic()
                        await self._ask(kernel_id)
            except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
                self._log.exception("asking kernel %s for its clusters failed", kernel_id)
            # In any case: since Python 3.12, waiting for an event that is set doesn't yield to the event loop.
            self._wake.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._paces.tick)

    async def _ask(self, kernel_id: str) -> None:
        try:
            clients = await self._kernels.clients(kernel_id)
        except CoiledError as error:
            # A silent kernel still has its clients; their age shows the silence.
            self._log.debug("the clients of kernel %s: %s", kernel_id, error.message)
            return
        if clients or self._clients.get(kernel_id):
            self._clients[kernel_id] = clients
            name = await self._label(kernel_id)
            self._labels[kernel_id] = name and show(name)
            self._join()
        for found in [f for f in self._found.values() if f.kernel == kernel_id]:
            if time.monotonic() - found.observed_at >= self._paces.fresh:
                try:
                    await self._observe(found)
                except CoiledError as error:
                    self._log.debug("cluster %s: %s", found.cluster.id, error.message)

    def _join(self) -> None:
        """Update the clusters from the kernels' clients: one per scheduler without a supervisor."""
        known = set(self._known())
        by_scheduler: dict[str, list[tuple[str, KernelClient]]] = {}
        for kernel_id, clients in self._clients.items():
            for client in clients:
                if client.scheduler in known:
                    self._met(kernel_id, client)
                elif client.scheduler:
                    by_scheduler.setdefault(client.scheduler, []).append((kernel_id, client))
        present = {cluster_id(scheduler): pairs for scheduler, pairs in by_scheduler.items()}
        for key in set(self._found) - set(present):
            gone = self._found.pop(key).cluster
            self._changed(Change(kind="cluster", id=key, revision=gone.revision + 1))
        for key, pairs in present.items():
            # Prefer a client that answers, and the notebook that started the cluster to one that only connected.
            kernel_id, client = min(
                pairs,
                key=lambda pair: (
                    pair[1].cluster_class is None,
                    pair[1].status != "running",
                    pair[1].asynchronous,
                    pair[1].id,
                ),
            )
            if key not in self._found:
                self._found[key] = _Found(_cluster(key, client), kernel_id, client)
            found = self._found[key]
            if (found.kernel, found.client.id) != (kernel_id, client.id):
                found.reader = None
            found.kernel, found.client = kernel_id, client
            fields: dict[str, Any] = {"opened_by": self._labels.get(kernel_id) or "a notebook"}
            if client.status != "running":
                fields |= {"status": "unreachable", "reason": _CONNECTING}
            self._update(found, **fields)

    # ---- reading a cluster ------------------------------------------------------------------------------------

    def _link(self, found: _Found) -> ThroughKernelLink:
        return ThroughKernelLink(self._kernels, found.kernel, found.client.id, found.client.address)

    async def _observe(self, found: _Found) -> tuple[str, ...]:
        """Ask the scheduler for its workers and clients; return the workers' addresses, or raise CoiledError."""
        client, link, seen = found.client, self._link(found), now()
        scheduler = client.scheduler or ""
        try:
            identity = decode_identity(await link.identity(DEADLINE))
        except CoiledError as error:
            why = error.data.get("why")
            if why in ("late", "connection"):
                self._update(found, status="unreachable", reason=f"The scheduler doesn't answer: {error.message}")
            elif why == "busy":
                # The kernel or its client failed, not the cluster.
                self._update(found, reason=error.message)
            raise
        notebooks = self.notebooks(scheduler)
        try:
            state = decode_state(await link.scheduler_state(scheduler, DEADLINE), own=notebooks)
        except CoiledError:
            state = SchedulerState(marked((), notebooks))
        groups = {node: e.id for e in found.readings.environments for node in e.nodes}
        cores = identity.cores()
        found.observed_at = time.monotonic()
        self._update(
            found,
            status="running" if cores.busy else "idle",
            reason=_INPROC if client.inproc else None,
            workers=identity.workers(seen, groups),
            desired=Desired(workers=len(identity.nodes)),
            cores=cores,
            memory=identity.memory(),
            tasks=identity.tasks(state.queued),
            scheduler=_scheduler(client, dashboard_url(client.address, identity.dashboard, state)),
            clients=len(state.clients),
            other_clients=state.clients,
            seen_at=seen,
        )
        return tuple(identity.nodes)

    async def _read(self, found: _Found) -> Readings:
        workers = await self._observe(found)
        if found.client.inproc:
            kernel = await self._kernels.read(found.kernel)
            at, ages = kernel.taken_at, dict.fromkeys((SCHEDULER, *workers), kernel.content_age)
            environments = (
                *group(dict.fromkeys(workers, kernel.reading), "worker", taken_at=at, content_ages=ages),
                *group({SCHEDULER: kernel.reading}, "scheduler", taken_at=at, content_ages=ages),
            )
            return Readings(environments=environments, taken_at=at)
        if found.reader is None:
            found.reader = Reader(self._link(found), sweep_seconds=self._paces.sweep, conda_names=self._conda_names)
        return await found.reader.read(dict.fromkeys(workers, 0.0), found.wanted)

    def _group(self, found: _Found) -> dict[str, Any]:
        """Return the fields of the cluster that readings decide: each worker's group, and the workers' Python."""
        environments = [e for e in found.readings.environments if e.role == "worker"]
        groups = {node: e.id for e in environments for node in e.nodes}
        pythons = {e.python for e in environments}
        return {
            "workers": tuple(
                msgspec.structs.replace(worker, group=groups.get(worker.id)) for worker in found.cluster.workers
            ),
            "environment": ClusterSoftware(
                software=None, layer=None, python=pythons.pop() if len(pythons) == 1 else None
            ),
        }

    def _update(self, found: _Found, **fields: Any) -> None:
        """Change a cluster; publish a new revision if anything but a time or memory has changed."""
        before = found.cluster
        after = settled(before, msgspec.structs.replace(before, **fields))
        if after.status != before.status:
            after = msgspec.structs.replace(after, since=now())
        if still(after) != still(before):
            after = msgspec.structs.replace(after, revision=before.revision + 1)
        found.cluster = after
        if after.revision != before.revision and found is self._found.get(after.id):
            self._changed(Change(kind="cluster", id=after.id, revision=after.revision))


def marked(clients: Iterable[ClientInfo], notebooks: Mapping[str, str | None]) -> tuple[ClientInfo, ...]:
    """Return a scheduler's clients with those of this server's notebooks marked, or added if they are missing."""
    listed = [
        msgspec.structs.replace(client, own=True, opened_by=notebooks[client.id]) if client.id in notebooks else client
        for client in clients
    ]
    missing = sorted(set(notebooks) - {client.id for client in listed})
    listed += [
        ClientInfo(id=show(key), host=None, last_seen=None, versions={}, own=True, opened_by=notebooks[key])
        for key in missing
    ]
    return tuple(listed)


def _scheduler(client: KernelClient, dashboard: str | None) -> SchedulerInfo:
    return SchedulerInfo(address=show(client.address), id=show(client.scheduler or ""), dashboard=dashboard)


def _cluster(key: str, client: KernelClient) -> Cluster:
    """Return a cluster of which only a client is known."""
    seen = now()
    kind = show(client.cluster_class or "")
    name = show(" ".join(filter(None, (kind, client.cluster_name)))) if kind else show(f"Dask at {client.address}")
    return Cluster(
        id=key,
        name=name[:80],
        source="discovered",
        opened_by=None,
        factory=kind,
        status="running",
        since=seen,
        reason=_INPROC if client.inproc else None,
        steps=(),
        desired=Desired(workers=max(0, client.workers)),
        workers=(),
        scheduler=_scheduler(client, None),
        cores=Cores(busy=0, allocated=0, requested=0),
        memory=Memory(used=0, limit=None),
        tasks=None,
        environment=ClusterSoftware(software=None, layer=None),
        lease_until=None,
        clients=1,
        created_at=seen,
        seen_at=seen,
        revision=1,
    )
