"""Follows the clusters of this user on this host: receives what supervisors send, and detects dead supervisors."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable

import msgspec

from .. import tasks
from ..configuration import Configuration
from ..core.choice import ENDED
from ..core.errors import CoiledError
from ..core.launch import LaunchSpec
from ..core.snapshot import settled, timeless
from ..core.times import now
from ..core.wire import Change, Cluster, Sync
from ..ledger import AsyncLedger, Ledger, Row
from ..ledger.owners import ticks
from ..paths import alive_path
from ..supervisor import client as supervisors

LEDGER_SECONDS = 3.0
"""Seconds that reading the ledger may take: a dead cluster is detected without it."""
CLOSE_SECONDS = 10.0
"""Seconds that closing waits for released supervisors."""
_OUTLIVING: list[supervisors.Process[bytes]] = []
"""Supervisors that outlive this service: Python warns when a running child process is garbage-collected."""
_log = logging.getLogger(__name__)


class _Watch:
    """One cluster as this process follows it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.row: Row | None = None
        """Its last row in the ledger."""
        self.client: supervisors.SupervisorClient | None = None
        self.task: asyncio.Task[None] | None = None
        self.answered = False


class Following:
    """One watch for each cluster of the ledger.

    Parameters
    ----------
    server
        Whether this process is a Jupyter server: clusters that it or its kernels started end with it.
    changed
        Called after each change of a cluster.
    synced
        Called with each state of a sync that a supervisor sends.

    """

    def __init__(
        self,
        configuration: Configuration,
        ledger: AsyncLedger,
        *,
        server: bool,
        changed: Callable[[Change], None],
        synced: Callable[[Sync], None],
    ) -> None:
        self._configuration, self._ledger, self._server = configuration, ledger, server
        self._changed, self._synced = changed, synced
        self._watches: dict[str, _Watch] = {}
        self._children: dict[str, supervisors.Process[bytes]] = {}
        self._task: asyncio.Task[None] | None = None
        self._looked = False
        self.problem: CoiledError | None = None
        """Why the ledger couldn't be read the last time; None if it could."""

    async def start(self) -> None:
        """Read the ledger now and regularly from now on."""
        await self._look_safely()
        self._task = asyncio.create_task(self._run(), name="coiled-jupyter clusters")

    async def close(self, *, release: bool) -> None:
        """Stop following; with `release`, clusters of this session that nobody else uses stop at once."""
        watches = list(self._watches.values())
        await tasks.end([self._task, *(watch.task for watch in watches)])
        ending = [w.cluster.id for w in watches if release and w.cluster.status not in ENDED and self._ours(w)]
        released = await asyncio.gather(*(self._release(cluster_id) for cluster_id in ending))
        waited = [child for i, done in zip(ending, released, strict=True) if done and (child := self._children.get(i))]
        deadline = asyncio.get_running_loop().time() + CLOSE_SECONDS
        while any(child.poll() is None for child in waited) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        _OUTLIVING.extend(child for child in self._children.values() if child.poll() is None)

    def _ours(self, watch: _Watch) -> bool:
        """Return whether a cluster ends with this process: not one of a shell or of another running server."""
        session = watch.row.spec.session if watch.row and watch.row.spec else ""
        kind, _, pid = session.partition(":")
        if watch.cluster.id in self._children or pid == str(os.getpid()):
            return True
        # The server that started it was killed, and this one is its successor.
        return self._server and kind == "server" and ticks(int(pid)) is None

    def _session(self) -> str:
        if self._server:
            return f"server:{os.getpid()}"
        parent = os.environ.get("JPY_PARENT_PID", "")
        return f"kernel:{parent}" if parent.isdecimal() else ""

    async def _release(self, cluster_id: str) -> bool:
        with contextlib.suppress(CoiledError):
            client = await supervisors.SupervisorClient.connect(cluster_id, timeout=2)
            try:
                await client.release()
            except CoiledError:
                _log.warning("cluster %s could not be released", cluster_id)
            else:
                return True
            finally:
                await client.close()
        return False

    # ---- clusters ---------------------------------------------------------------------------------------------

    def clusters(self) -> list[Cluster]:
        """Return all clusters as last sent; CoiledError if the ledger could never be read."""
        if not self._looked and self.problem is not None:
            raise self.problem
        return [watch.cluster for watch in self._watches.values()]

    def schedulers(self) -> list[str]:
        """Return the ids of the schedulers that have supervisors."""
        live = [watch.cluster for watch in self._watches.values() if watch.cluster.status not in ENDED]
        return [cluster.scheduler.id for cluster in live if cluster.scheduler and cluster.scheduler.id]

    def core_limit(self) -> int:
        """Return the core limit in force: the lowest with which any live cluster was started."""
        rows = [watch.row for watch in self._watches.values() if watch.row and (watch.row.cores or not watch.row.ended)]
        limits = [row.spec.core_limit for row in rows if row.spec is not None and row.spec.core_limit]
        return min([self._configuration.core_limit, *limits])

    def connected(self, cluster_id: str) -> bool:
        """Whether this cluster's supervisor sends changes to this process now."""
        watch = self._watches.get(cluster_id)
        return watch is not None and watch.client is not None and watch.answered

    def followed(self, cluster_id: str) -> bool:
        """Whether this cluster's supervisor has answered to this process."""
        watch = self._watches.get(cluster_id)
        return watch is not None and watch.answered

    async def client(self, cluster_id: str) -> supervisors.SupervisorClient:
        """Return a connection to a cluster's supervisor, waiting for one that has just been started, or raise Unavailable."""
        deadline = asyncio.get_running_loop().time() + 5
        while True:
            try:
                return await supervisors.SupervisorClient.connect(cluster_id, timeout=2)
            except CoiledError:
                # A supervisor that has just been started isn't listening yet.
                if not self._starting(cluster_id) or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.05)

    # ---- changes by this process ------------------------------------------------------------------------------

    async def begin(self, spec: LaunchSpec) -> Cluster:
        """Reserve the cores of a cluster, start its supervisor and follow it."""
        settings = self._configuration
        spec = msgspec.structs.replace(spec, session=self._session())
        cluster = await self._ledger.ask(
            lambda held: held.reserve(spec, core_limit=settings.core_limit, cluster_limit=settings.cluster_limit)
        )
        try:
            self._children[spec.id] = await asyncio.to_thread(supervisors.start, spec)
        except CoiledError:
            self._ledger.keep(f"cluster {spec.id}", lambda held: held.delete(spec.id))
            raise
        # A read of the ledger may have found it meanwhile.
        watch = self._watches.setdefault(spec.id, _Watch(cluster))
        self._follow_on(watch)
        self._signal(watch)
        return cluster

    def update(self, cluster: Cluster) -> None:
        """Record a cluster as its supervisor answered it."""
        watch = self._watches.get(cluster.id)
        if watch is not None:
            self._update(watch, cluster)

    async def forget(self, cluster_id: str) -> None:
        """Remove a cluster from the ledger and the list."""
        await self._ledger.ask(lambda held: held.delete(cluster_id))
        self._drop(cluster_id)

    async def look(self) -> None:
        """Update the watches from the ledger; CoiledError if it can't be read."""
        rows = {row.id: row for row in await self._ledger.ask(_rows, LEDGER_SECONDS)}
        self._looked = True
        for cluster_id, watch in list(self._watches.items()):
            # If its row, or the whole file, is gone, a live supervisor writes it again.
            if cluster_id not in rows and not self._lives(watch):
                self._drop(cluster_id)
        for row in rows.values():
            if row.id not in self._watches:
                self._watches[row.id] = _Watch(row.snapshot)
                self._signal(self._watches[row.id])
            self._watches[row.id].row = row
            self._follow_on(self._watches[row.id])
        for cluster_id, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[cluster_id]

    async def _look_safely(self) -> None:
        try:
            await self.look()
        except CoiledError as error:
            # Routes report this too, until a later read succeeds.
            if self.problem is None:
                _log.error("%s; %s", error.message, error.hint)
            self.problem = error
        except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
            _log.exception("reading the ledger of clusters failed")
        else:
            self.problem = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._configuration.paces.adopt)
            await self._look_safely()

    # ---- one cluster ------------------------------------------------------------------------------------------

    def _follow_on(self, watch: _Watch) -> None:
        """Follow a cluster that has not ended, again if its task has died."""
        if (watch.task is None or watch.task.done()) and watch.cluster.status not in ENDED:
            watch.task = asyncio.create_task(self._follow(watch), name=f"follow {watch.cluster.id}")

    async def _follow(self, watch: _Watch) -> None:
        """Keep `watch.cluster` up to date until the cluster has ended."""
        misses = 0
        # Up to Python 3.11, `asyncio.wait_for` can swallow a cancellation, so the condition is checked too.
        while watch.cluster.status not in ENDED and self._follows(watch):
            try:
                if await self._listen(watch):
                    misses = 0
                misses += 1
                if self._follows(watch):
                    await self._judge(watch)
            except CoiledError as error:
                _log.debug("cluster %s: %s", watch.cluster.id, error.message)
            except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
                _log.exception("following cluster %s failed", watch.cluster.id)
            if watch.cluster.status not in ENDED:
                await asyncio.sleep(min(0.05 * 2**misses, 2.0))

    async def _listen(self, watch: _Watch) -> bool:
        """Record what a supervisor sends until its connection ends, and return whether it sent anything."""
        sent = False
        try:
            watch.client = await supervisors.SupervisorClient.connect(watch.cluster.id, timeout=2)
            async for state in watch.client.watch():
                if not self._follows(watch):
                    break
                sent = watch.answered = True
                if isinstance(state, Sync):
                    self._synced(state)
                else:
                    self._update(watch, state)
        except CoiledError as error:
            _log.debug("cluster %s: %s", watch.cluster.id, error.message)
        finally:
            if watch.client is not None:
                await watch.client.close()
                watch.client = None
        return sent

    async def _judge(self, watch: _Watch) -> None:
        """Decide the status of a cluster without a connection: by the ledger or, if that can't be read, by its process."""
        cluster_id, gone = watch.cluster.id, False
        try:
            # A supervisor that ends between the two writes its end before, so what is read after that is final.
            for _ in range(2):
                row = await self._ledger.ask(lambda held: held.get(cluster_id), LEDGER_SECONDS)
                if row is not None:
                    watch.row = row
                if lives := self._lives(watch):
                    break
            gone = row is None and not lives
        except CoiledError as error:
            _log.debug("cluster %s: %s", cluster_id, error.message)
        if gone:
            self._drop(cluster_id)
        elif watch.row is not None and watch.row.ended:
            self._update(watch, watch.row.snapshot)
        elif not self._lives(watch):
            spec = watch.row.spec if watch.row else None
            if spec is not None and spec.address is not None:
                await self._resume(spec)
            else:
                self._lose(watch)

    def _lives(self, watch: _Watch) -> bool:
        """Return whether a supervisor lives: connected, started by this process, or the owner in its last row."""
        if watch.client is not None or self._starting(watch.cluster.id):
            return True
        return watch.row is not None and not watch.row.ended and watch.row.owner_alive()

    def _starting(self, cluster_id: str) -> bool:
        child = self._children.get(cluster_id)
        return child is not None and child.poll() is None

    async def _resume(self, spec: LaunchSpec) -> None:
        """Start a new supervisor of an attached cluster whose last one has ended."""
        if await self._ledger.ask(lambda held: held.take(spec.id), LEDGER_SECONDS):
            with contextlib.suppress(CoiledError):
                self._children[spec.id] = await asyncio.to_thread(supervisors.start, spec)

    def _lose(self, watch: _Watch) -> None:
        lost = msgspec.structs.replace(
            watch.cluster,
            status="lost",
            since=now(),
            reason="The cluster's supervisor is gone, and its workers with it",
            workers=(),
            revision=watch.cluster.revision + 1,
        )
        self._update(watch, lost)
        self._ledger.keep(f"cluster {lost.id}", lambda held: _end(held, lost))

    def _follows(self, watch: _Watch) -> bool:
        """Return whether this watch is still the one of its cluster."""
        return self._watches.get(watch.cluster.id) is watch

    def _update(self, watch: _Watch, cluster: Cluster) -> None:
        # A cluster that was forgotten isn't published.
        if cluster == watch.cluster or not self._follows(watch):
            return
        before, watch.cluster = watch.cluster, settled(watch.cluster, cluster)
        # A new time alone isn't published.
        if timeless(before) != timeless(watch.cluster):
            self._signal(watch)

    def _drop(self, cluster_id: str) -> None:
        watch = self._watches.pop(cluster_id, None)
        if watch is not None:
            if watch.task and watch.task is not asyncio.current_task():
                watch.task.cancel()
            self._signal(watch, 1)

    def _signal(self, watch: _Watch, later: int = 0) -> None:
        self._changed(Change(kind="cluster", id=watch.cluster.id, revision=watch.cluster.revision + later))


def _rows(ledger: Ledger) -> list[Row]:
    """Return the rows; free the cores of ended clusters that have no process left."""
    rows = ledger.list()
    for row in rows:
        if row.ended and row.cores and not _alive(row.id):
            ledger.release(row.id)
    return rows


def _end(ledger: Ledger, cluster: Cluster) -> None:
    """Record the end of a cluster, unless its supervisor has."""
    row = ledger.get(cluster.id)
    if row is not None and not row.ended:
        ledger.snapshot(cluster.id, cluster, ended=True)


def _alive(cluster_id: str) -> bool:
    """Return whether any process of a cluster lives: supervisor, launcher, guard and nodes hold its lock."""
    try:
        with alive_path(cluster_id).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
