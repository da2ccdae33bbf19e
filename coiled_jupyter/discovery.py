"""Finds the clusters that notebooks opened by themselves, and reads them through the client that the notebook has.

Kernels are asked by a task of this module only, after each cell and every few seconds, and only while somebody looks;
a slow kernel holds no other up. What is asked is one control message, answered in some milliseconds while cells run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from . import tasks
from .core.clients import Answer, KernelClient, cluster_id, decode_identity, decode_scheduler_clients, show
from .core.cluster import Readings, now, settled, still
from .core.environment import group
from .core.errors import CoiledError, NotFound
from .core.wire import (
    Change,
    ClientInfo,
    Cluster,
    ClusterSoftware,
    Cores,
    Desired,
    Memory,
    SchedulerInfo,
    Tasks,
    Unread,
)
from .links.kernel import KernelReading
from .links.reader import SCHEDULER, Reader
from .links.through_kernel import ThroughKernelLink

LOOK_SECONDS = 30.0
"""How long after a question somebody counts as looking."""
ASK_SECONDS = 3.0
TICK_SECONDS = 1.0
FRESH_SECONDS = 2.0
DEADLINE = 3.0

_INPROC = "This cluster runs inside the notebook's kernel itself, so its libraries are the kernel's"
_CONNECTING = "The notebook's client has lost the scheduler and is connecting to it again"


class Kernels(Protocol):
    """What is needed of ``links.kernel.KernelLink``."""

    def kernel_ids(self) -> list[str]:
        """Return the ids of the kernels whose handler answers now."""

    def activity(self, kernel_id: str) -> object:
        """Return a mark that changes when a cell has ended, or None while one runs."""

    async def read(self, kernel_id: str) -> KernelReading:
        """Return a reading and its time."""

    async def clients(self, kernel_id: str) -> tuple[KernelClient, ...]:
        """Return the live Dask clients of a kernel."""

    async def call(
        self, kernel_id: str, client_id: str, operation: str, *, deadline: float = 5.0, **request: Any
    ) -> dict[str, Answer]:
        """Send one request through a Dask client of a kernel."""


class _Found:
    """One cluster, and the client that it is read through."""

    def __init__(self, cluster: Cluster, kernel: str, client: KernelClient) -> None:
        self.cluster, self.kernel, self.client = cluster, kernel, client
        self.readings = Readings()
        self.wanted: frozenset[str] = frozenset()
        self.reader: Reader | None = None
        self.observed_at = self.read_at = float("-inf")
        self.lock = asyncio.Lock()


class Discovery:
    """The clusters that notebooks of this server opened.

    Parameters
    ----------
    label
        Returns the name of a kernel's notebook, or None.
    known
        Returns the ids of the schedulers of clusters that are looked after otherwise.
    changed
        Called when a cluster came, changed or went.
    conda_names
        Returns conda's names of distributions (`core.conda`).

    """

    def __init__(
        self,
        kernels: Kernels,
        *,
        label: Callable[[str], Awaitable[str | None]],
        known: Callable[[], Iterable[str]],
        changed: Callable[[Change], None],
        conda_names: Callable[[], Mapping[str, str | None]],
    ) -> None:
        self._conda_names = conda_names
        self._kernels, self._label, self._known, self._changed = kernels, label, known, changed
        self._clients: dict[str, tuple[KernelClient, ...]] = {}
        self._labels: dict[str, str | None] = {}
        self._found: dict[str, _Found] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._looked_at = float("-inf")
        self._log = logging.getLogger(__name__)

    def start(self) -> None:
        """Begin to follow the kernels."""
        self._task = asyncio.create_task(self._run(), name="coiled-jupyter discovery")

    async def close(self) -> None:
        """End all tasks."""
        await tasks.end([self._task, *self._tasks.values()])

    def look(self) -> None:
        """Take note that somebody looks; after a pause the kernels are asked at once."""
        paused = not self._watched()
        self._looked_at = time.monotonic()
        if paused:
            self._wake.set()

    def clusters(self) -> list[Cluster]:
        """Return the clusters that are there."""
        return [found.cluster for found in self._found.values()]

    def notebooks(self, scheduler: str) -> dict[str, str | None]:
        """Return the clients that kernels of this server have at a scheduler, with the name of the notebook."""
        return {
            client.id: self._labels.get(kernel)
            for kernel, clients in self._clients.items()
            for client in clients
            if client.scheduler == scheduler
        }

    async def readings(self, cluster_id: str, wanted: Iterable[str] = ()) -> Readings:
        """Return the readings of all nodes, at most some seconds old where the nodes answer.

        `wanted` are import names of code beside the notebook, which is looked for on the nodes.
        """
        found = self._found.get(cluster_id)
        if found is None:
            raise NotFound("There is no cluster with this id", "Its notebook may have closed it")
        async with found.lock:
            if time.monotonic() - found.read_at < FRESH_SECONDS and set(wanted) <= found.wanted:
                return found.readings
            found.wanted = frozenset(wanted)
            try:
                found.readings = await self._read(found)
                found.read_at = time.monotonic()
            except CoiledError as error:
                # What was read before stays, with its time; with anything unread nothing is claimed of it.
                unread = (Unread(node="cluster", reason=error.message),)
                return msgspec.structs.replace(found.readings, unread=unread)
            self._update(found, **self._group(found))
            return found.readings

    # ---- following --------------------------------------------------------------------------------------------

    def _watched(self) -> bool:
        return time.monotonic() - self._looked_at < LOOK_SECONDS

    async def _run(self) -> None:
        while True:
            try:
                self._reconcile()
            except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
                self._log.exception("looking for the notebooks' clusters failed")
            await asyncio.sleep(TICK_SECONDS)

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
                    if (seen is not None and seen != mark) or time.monotonic() - asked_at >= ASK_SECONDS:
                        mark, asked_at = seen, time.monotonic()
                        await self._ask(kernel_id)
            except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
                self._log.exception("asking kernel %s for its clusters failed", kernel_id)
            # Whether anybody looks or not: waiting for an event that is set never lets the loop go on, since Python 3.12.
            self._wake.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_SECONDS)

    async def _ask(self, kernel_id: str) -> None:
        try:
            clients = await self._kernels.clients(kernel_id)
        except CoiledError as error:
            # A kernel that is silent for a while still has its clients: their age tells.
            self._log.debug("the clients of kernel %s: %s", kernel_id, error.message)
            return
        if clients or self._clients.get(kernel_id):
            self._clients[kernel_id] = clients
            name = await self._label(kernel_id)
            self._labels[kernel_id] = name and show(name)
            self._join()
        for found in [f for f in self._found.values() if f.kernel == kernel_id]:
            if time.monotonic() - found.observed_at >= FRESH_SECONDS:
                try:
                    await self._observe(found)
                except CoiledError as error:
                    self._log.debug("cluster %s: %s", found.cluster.id, error.message)

    def _join(self) -> None:
        """Make the clusters what the kernels' clients say; one for each scheduler that nobody else looks after."""
        known = set(self._known())
        by_scheduler: dict[str, list[tuple[str, KernelClient]]] = {}
        for kernel_id, clients in self._clients.items():
            for client in clients:
                if client.scheduler and client.scheduler not in known:
                    by_scheduler.setdefault(client.scheduler, []).append((kernel_id, client))
        present = {cluster_id(scheduler): pairs for scheduler, pairs in by_scheduler.items()}
        for key in set(self._found) - set(present):
            gone = self._found.pop(key).cluster
            self._changed(Change(kind="cluster", id=key, revision=gone.revision + 1))
        for key, pairs in present.items():
            # The notebook that started the cluster rather than one that only connected; a client that answers first.
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

    # ---- asking the cluster -----------------------------------------------------------------------------------

    def _link(self, found: _Found) -> ThroughKernelLink:
        return ThroughKernelLink(self._kernels, found.kernel, found.client.id, found.client.address)

    async def _observe(self, found: _Found) -> tuple[str, ...]:
        """Ask the scheduler who is there; return the workers' addresses, or raise CoiledError."""
        client, link, seen = found.client, self._link(found), now()
        scheduler = client.scheduler or ""
        try:
            identity = decode_identity(await link.identity(DEADLINE))
        except CoiledError as error:
            why = error.data.get("why")
            if why in ("late", "connection"):
                self._update(found, status="unreachable", reason=f"The scheduler doesn't answer: {error.message}")
            elif why == "busy":
                # That says nothing of the cluster, only of the way to it.
                self._update(found, reason=error.message)
            raise
        notebooks = self.notebooks(scheduler)
        try:
            told = await link.scheduler_clients(scheduler, DEADLINE)
            clients = decode_scheduler_clients(told, own=notebooks)
        except CoiledError:
            clients = marked((), notebooks)
        workers = identity.worker_list(seen, {node: e.id for e in found.readings.environments for node in e.nodes})
        busy, threads = sum(worker.busy for worker in workers), sum(worker.threads for worker in workers)
        limits = [worker.memory_limit for worker in workers]
        waiting = Tasks(
            running=identity.tasks("executing"),
            queued=identity.tasks("ready", "waiting"),
            done_per_second=None,
            in_memory=identity.in_memory(),
        )
        found.observed_at = time.monotonic()
        self._update(
            found,
            status="running" if busy or waiting.running else "idle",
            reason=_INPROC if client.inproc else None,
            workers=workers,
            desired=Desired(workers=len(workers)),
            cores=Cores(busy=busy, allocated=threads, requested=threads),
            memory=Memory(
                used=sum(worker.memory for worker in workers),
                limit=sum(x for x in limits if x is not None) if limits and None not in limits else None,
            ),
            tasks=waiting,
            clients=len(clients),
            other_clients=clients,
            seen_at=seen,
        )
        return tuple(identity.workers)

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
            found.reader = Reader(self._link(found), conda_names=self._conda_names)
        return await found.reader.read(dict.fromkeys(workers, 0.0), found.wanted)

    def _group(self, found: _Found) -> dict[str, Any]:
        """Return what the readings tell of the cluster: each worker's group, and the workers' Python."""
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
        """Change a cluster; a new revision and a notice follow where anything but a time or memory changed."""
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
    """Return the clients of a scheduler with those of notebooks of this server marked, or added where they are missing."""
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


def _cluster(key: str, client: KernelClient) -> Cluster:
    """Return a cluster of which only the client is known yet."""
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
        scheduler=SchedulerInfo(address=show(client.address), id=show(client.scheduler or ""), dashboard=None),
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
