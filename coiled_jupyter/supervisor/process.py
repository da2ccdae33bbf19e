"""The process per cluster: builds its environment, starts, watches and replaces its processes, reads its nodes, ends it.

Rules: desired state here, observed state in the snapshot; state first, then signal; cores are given back to the ledger
only after every process was seen to end; whatever happens, no process of the cluster is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from .. import tasks
from ..core.clients import decode_scheduler_clients
from ..core.cluster import LaunchSpec, Readings, now, still
from ..core.errors import CoiledError, Conflict, Invalid, Unavailable
from ..core.sync import SyncSpec
from ..core.wire import (
    Adaptive,
    ClientInfo,
    Cluster,
    ClusterChange,
    ClusterSoftware,
    ClusterStatus,
    Cores,
    Memory,
    SchedulerInfo,
    Step,
    StepState,
    Sync,
    Tasks,
    Unread,
    Worker,
)
from ..factories import local
from ..ledger import Ledger
from ..paths import alive_path, cluster_dir, socket_path
from ..texts import OF_SCHEDULER, scheduler_names
from . import logs
from .client import Changed
from .fleet import STOP_SECONDS, Fleet
from .nodes import Node, Nodes
from .syncing import Syncing

if TYPE_CHECKING:
    from ..links.reader import Reader

POLL_SECONDS = 1.0
REQUEST_BYTES = 4 * 1024 * 1024
START_SECONDS = 60.0
BEAT_SECONDS = 3.0
CLIENT_SECONDS = 5.0
TIDY_SECONDS = 10.0
RETIRE_SECONDS = 30.0
RESTART_SECONDS = 30.0
RESTARTS_AT_ONCE = 8
MISSED_SECONDS = 90.0
"""A worker that its scheduler misses for so long is replaced with its nanny, which by itself gives up after 60."""
SILENT_SECONDS = 6.0
"""A worker tells of itself each half second or some seconds; after so long without it is named."""
MEND_SECONDS = 60.0
"""How long a cluster whose start in another environment failed waits for its sync to bring the old one back."""
LOST_SECONDS = 30.0
"""How long a new process looks for the scheduler of a cluster before a sync that was interrupted counts as lost."""
CALM_LOOKS = 3
"""Looks in a row at which adaptive scaling must want fewer workers before some go."""
_log = logging.getLogger("coiled_jupyter.supervisor")


class Supervisor:
    """Looks after one cluster until it has ended."""

    def __init__(self, spec: LaunchSpec) -> None:
        self.spec = spec
        self.folder = cluster_dir(spec.id)
        self.ledger = Ledger()
        row = self.ledger.get(spec.id)
        if row is None:
            raise SystemExit("the ledger has no such cluster")
        self.ledger.claim(spec.id)
        self.cluster: Cluster = row.snapshot
        self.readings = Readings()
        self._read_at = 0.0
        self._reading_lock = asyncio.Lock()
        self._reading: asyncio.Task[Readings] | None = None
        self._link: Any = None
        self._alive = self._hold()
        self._nodes, self._fleet = self._new_nodes()
        self._scheduler: Node | None = None
        self._port = 0
        self._again = asyncio.Event()
        self._steering = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calm = 0
        self._tidied_at = 0.0
        self._restarts: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        self._watchers: set[asyncio.StreamWriter] = set()
        self._held_at = time.monotonic()
        self._released = False
        self._unwatched = False
        self._stopping = asyncio.Event()
        self._why: str | None = None
        self._missed: dict[str, float] = {}
        self._step_started: dict[str, float] = {}
        self._interpreter = ""
        self._known: frozenset[str] = frozenset()
        self._asked: frozenset[str] = frozenset()
        self._reader: Reader | None = None
        self._wanted: frozenset[str] = frozenset()
        self._silent: dict[str, float] = {}
        self._heard: dict[str, tuple[Any, float]] = {}
        self._listed_at = 0.0
        self._wish: _Wish | None = None
        self._new_reader: Callable[[], Reader] | None = None
        self.syncing = Syncing(self)

    def _hold(self) -> int:
        """Return a locked descriptor; the lock ends when this process and all that is ours have ended."""
        descriptor = os.open(alive_path(self.spec.id), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def _new_nodes(self) -> tuple[Nodes, Fleet]:
        nodes = Nodes(lambda name: logs.log_path(self.spec.id, name))
        return nodes, Fleet(nodes, self._nanny_arguments, self.spec.environ)

    def _nanny_arguments(self, name: str) -> list[str]:
        address = self.cluster.scheduler.address if self.cluster.scheduler else ""
        return local.nanny_arguments(self.spec, address, name, self.folder)

    # ---- life -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the cluster from its first to its last state."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, "Its supervisor was told to end by a signal")
        server = await self._listen()
        status: ClusterStatus = "stopped"
        reason: str | None = None
        try:
            work = asyncio.create_task(self._live())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if work.done():
                work.result()
            else:
                await tasks.end([work])
            reason = self._why
        except CoiledError as error:
            _log.error("%s", error.message)
            status, reason = "failed", error.message
        except Exception:  # noqa: BLE001 - outermost edge: whatever happened, the processes are ended below
            _log.exception("the supervisor failed")
            status, reason = "failed", "The supervisor met a fault of ours; see the cluster's log"
        finally:
            await self.syncing.close()
            await tasks.end(list(self._tasks))
            # An attached cluster goes on without us, and whoever looks next starts another one of this process.
            if self.spec.address is None or not self._unwatched:
                await self._conclude(status, reason)
            await self._say_goodbye(server)

    def _stop(self, why: str) -> None:
        self._why = self._why or why
        self._stopping.set()

    async def _conclude(self, status: ClusterStatus, reason: str | None) -> None:
        self._finish_steps("failed" if status == "failed" else "cancelled")
        self._set(status="stopping" if status == "stopped" else self.cluster.status, reason=reason)
        await self._end_nodes()
        self._set(
            status=status,
            since=now(),
            reason=reason,
            workers=(),
            cores=Cores(busy=0, allocated=0, requested=0),
            memory=Memory(used=0, limit=None),
            tasks=None,
            clients=0,
            other_clients=(),
            lease_until=None,
        )
        self.ledger.snapshot(self.spec.id, self.cluster, ended=True)
        self.ledger.release(self.spec.id)

    async def _say_goodbye(self, server: asyncio.AbstractServer) -> None:
        await asyncio.sleep(0.05)
        server.close()
        for writer in list(self._watchers):
            writer.close()
        if self._link is not None:
            self._link.close()
        self._clean()

    def _clean(self) -> None:
        for name in ("ca.pem", "cert.pem", "key.pem", "scheduler.json", "s"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "scratch", ignore_errors=True)

    async def _live(self) -> None:
        if self.spec.address is not None:
            await self._connect(self.spec.address)
            return
        self._interpreter = await self._environment()
        await self._start_scheduler()
        await self._start_workers()
        self._set(status="running", since=now(), reason=None)
        while not self._stopping.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._again.wait(), POLL_SECONDS)
            if self._again.is_set():
                self._again.clear()
                await self._begin_again()
            else:
                await self._look()

    async def _begin_again(self) -> None:
        """Start anew, on another Python where a sync wishes that; its failure is the sync's to mend."""
        wish, self._wish = self._wish, None
        try:
            if wish is not None:
                self._interpreter = wish.interpreter
            await self._start_again()
        except CoiledError as error:
            if wish is None:
                raise
            await self._end_nodes()
            if not wish.done.done():
                wish.done.set_exception(error)
            try:
                # The sync has the old environment started again.
                await asyncio.wait_for(self._again.wait(), MEND_SECONDS)
            except asyncio.TimeoutError:
                raise error from None
        else:
            if wish is not None:
                prefix = str(Path(wish.interpreter).parent.parent)
                self._set(environment=msgspec.structs.replace(self.cluster.environment, prefix=prefix))
                # A sync that was cancelled meanwhile waits for the old one.
                if not wish.done.done():
                    wish.done.set_result(None)

    async def _start_again(self) -> None:
        """End all processes and start them anew, at the same address and with the same certificates."""
        self._link.close()
        await self._end_nodes()
        self._reader = None
        self.readings, self._known, self._silent, self._heard = Readings(), frozenset(), {}, {}
        (self.folder / "scheduler.json").unlink(missing_ok=True)
        self._nodes, self._fleet = self._new_nodes()
        await self._start_scheduler()
        await self.syncing.repoint()
        await self._start_workers()
        self._set(status="running", since=now(), reason=None)

    async def _connect(self, address: str) -> None:
        """Follow a cluster that somebody else runs."""
        self._step("Connect", "running")
        modules = await asyncio.to_thread(_import_link)
        self._use(modules, address, msgspec.structs.asdict(self.spec.tls) if self.spec.tls else None)
        adopted, since = None, time.monotonic()
        while not self._stopping.is_set():
            await self._look()
            if self.cluster.status != "unreachable":
                if self.cluster.steps[0].state != "done":
                    self._step("Connect", "done")
                scheduler = self.cluster.scheduler.id if self.cluster.scheduler else None
                # Another scheduler at the same address knows nothing of what the last one was told.
                if scheduler != adopted:
                    with contextlib.suppress(CoiledError):
                        await self.syncing.adopt()
                        adopted = scheduler
            elif adopted is None and time.monotonic() - since > LOST_SECONDS:
                self.syncing.lose("Its process was ended, and the cluster has gone, so nothing is claimed of it.")
            await asyncio.sleep(POLL_SECONDS)

    def _use(self, modules: tuple[Any, Any, Any], address: str, tls: dict[str, str] | None) -> None:
        """Talk to the scheduler at this address."""
        link, reader, rulebook = modules
        self._link = link.SchedulerLink(address, link.TLSFiles(**tls) if tls else None)
        book = rulebook.RuleBook()
        self._new_reader = lambda: reader.Reader(self._link, conda_names=lambda: book.rules().conda)
        self._reader = self._new_reader()

    async def _end_nodes(self) -> None:
        # Nannies first: a worker that has lost its scheduler takes seconds to give up.
        await self._fleet.close()
        if self._scheduler is not None:
            self._nodes.signal(self._scheduler, signal.SIGCONT, group=True)
            self._nodes.signal(self._scheduler, signal.SIGTERM)
        await self._nodes.close(STOP_SECONDS)

    # ---- start ------------------------------------------------------------------------------------------------

    async def _environment(self) -> str:
        if self.spec.build is None:
            interpreter = self.spec.interpreter or ""
        else:
            from ..software import build as software

            locked = self.spec.build.lock
            if not locked:
                self._step("Resolve packages", "running")
                locked = await software.lock(self.spec.build)
                self._step("Resolve packages", "done")
            self._step("Build environment", "running")
            built = await software.build(self.spec.build, locked)
            self._step("Build environment", "done")
            interpreter = built.interpreter
        prefix = str(Path(interpreter).parent.parent)
        environment = ClusterSoftware(software=self.spec.software, layer=self.spec.layer, python=None, prefix=prefix)
        self._set(environment=environment)
        return interpreter

    async def _start_scheduler(self) -> None:
        self._step("Start scheduler", "running")
        if not os.access(self._interpreter, os.X_OK):
            raise Unavailable(f"There is no Python at {self._interpreter}")
        scratch = self.folder / "scratch"
        scratch.mkdir(mode=0o700, exist_ok=True)
        environ = local.environ(self.spec, self._interpreter, self.folder)
        await self._nodes.open(local.argv(self._interpreter), environ, scratch, self._alive)
        # This process imports Dask at the same time.
        importing = asyncio.create_task(asyncio.to_thread(_import_link))
        if not self._port:
            await asyncio.to_thread(local.write_tls, self.folder)
        self._scheduler = self._start_node(self._port)
        modules = await importing
        try:
            address = await self._address(self._scheduler)
        except Unavailable:
            if not self._port or not self._scheduler.ended:
                raise
            # Somebody else has taken the port since; the panel and `connect` find the new one.
            _log.warning("the scheduler couldn't start at port %s again and takes another", self._port)
            self._scheduler = self._start_node(0)
            address = await self._address(self._scheduler)
        self._port = int(address.rpartition(":")[2])
        self._use(modules, address, {name: str(path) for name, path in local.tls_paths(self.folder).items()})
        self._set(scheduler=SchedulerInfo(address=address, id=None, dashboard=None))
        self._step("Start scheduler", "done")

    def _start_node(self, port: int) -> Node:
        # Dask would make it as the umask says; it names the address only, but it's this user's as all the rest.
        os.close(os.open(self.folder / "scheduler.json", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        return self._nodes.start("scheduler", local.scheduler_arguments(self.spec, self.folder, port), {})

    async def _address(self, scheduler: Node) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError):
                return str(json.loads((self.folder / "scheduler.json").read_text(encoding="utf-8"))["address"])
            if scheduler.ended:
                raise Unavailable(f"The scheduler ended while starting: {self._last_words()}")
            await asyncio.sleep(0.01)
        raise Unavailable(f"The scheduler didn't start within {START_SECONDS:.0f} s")

    def _last_words(self) -> str:
        return logs.last_words(self.spec.id, [*reversed(self._fleet.names), "scheduler", "launcher"])

    async def _start_workers(self) -> None:
        self._step("Start workers", "running")
        wanted = self.cluster.desired.workers
        self._fleet.grow(wanted)
        deadline = time.monotonic() + START_SECONDS + 5 * wanted
        while True:
            with contextlib.suppress(CoiledError):
                await self._observe()
            if len(self.cluster.workers) >= wanted:
                break
            if self._fleet.ended():
                raise Unavailable(f"A worker ended while starting: {self._last_words()}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{len(self.cluster.workers)} of {wanted} workers started in time")
            await asyncio.sleep(0.02)
        self._step("Start workers", "done")

    # ---- watching ---------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        if self._scheduler is not None and self._scheduler.ended:
            raise Unavailable("The scheduler ended unexpectedly, and the cluster's results with it")
        self._fleet.replace()
        self._tidy()
        try:
            await self._observe()
            if self._stopping.is_set():
                return
        except CoiledError as error:
            why = error.message
            if self.spec.address is not None:
                why = await self._link.diagnose()
            self._set(status="unreachable", reason=f"The scheduler doesn't answer: {why}")
        else:
            self._judge()
            if self.cluster.desired.adaptive is not None and not self.syncing.running:
                await self._adapt(self.cluster.desired.adaptive)
        await self._lease()
        nodes = frozenset(worker.id for worker in self.cluster.workers)
        # The files are looked at beside a reading: a later one tells what was found.
        unfinished = self._watchers and self._reader is not None and not self._reader.complete
        changed = (nodes != self._known or unfinished) and self.cluster.status != "unreachable"
        # While workers are moved each newcomer would have all read; who wants to know it meanwhile asks.
        if changed and not self.syncing.moving and not self._reading_lock.locked():
            self._known = nodes
            # Beside the looks: a node that is silent or gone would hold up the replacement of others.
            self._begin(self._read(tuple(self._wanted)))

    def _judge(self) -> None:
        """Set the status by what was just observed."""
        wanted = self.cluster.desired.workers
        missing, coming = self._absent()
        if self.syncing.moving:
            self._set(status=self._calm_status(), reason="Workers are moved to another environment, some at a time")
            return
        self._replace_missed()
        silent = [w for w in self.cluster.workers if self._silent.get(w.id, 0.0) > SILENT_SECONDS]
        if missing > 0:
            self._set(status="degraded", reason=f"{missing} of {wanted} workers are missing")
        elif silent:
            names = ", ".join(w.name or w.id for w in silent[:5]) + (", …" if len(silent) > 5 else "")
            self._set(status="degraded", reason=f"Not heard of for some seconds: worker {names}")
        else:
            reason = f"{coming} of {wanted} workers are starting" if coming else None
            self._set(status=self._calm_status(), reason=reason)

    def _calm_status(self) -> ClusterStatus:
        busy = self.cluster.cores.busy or (self.cluster.tasks and self.cluster.tasks.running)
        return "running" if busy else "idle"

    def _absent(self) -> tuple[int, int]:
        """Return how many wanted workers are missing, and how many others are only just starting."""
        if self.spec.address is not None:
            return 0, 0
        present = {worker.name for worker in self.cluster.workers}
        absent = [name for name in self._fleet.names if name not in present]
        coming = len(self._fleet.young() & set(absent))
        return len(absent) - coming, coming

    def _replace_missed(self) -> None:
        """End nannies that live and yet don't bring their worker back, as one that is stopped; `Fleet.replace` goes on."""
        present, at = {worker.name for worker in self.cluster.workers}, time.monotonic()
        absent = [name for name in self._fleet.names if name not in present]
        self._missed = {name: self._missed.get(name, at) for name in absent}
        for name, since in list(self._missed.items()):
            if at - since > MISSED_SECONDS:
                _log.warning("worker %s has been missing for %.0f s and is replaced", name, at - since)
                del self._missed[name]
                self._fleet.kill(name)

    def _tidy(self) -> None:
        """Every now and then: bound the logs, and enter the cluster again where the ledger has lost it."""
        if self.spec.address is not None or time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return
        self._tidied_at = time.monotonic()
        try:
            logs.trim(self.spec.id)
            self.ledger.restore(self.spec, self.cluster, self._fleet.processes * self.spec.threads_per_worker)
        except (OSError, CoiledError):
            _log.warning("the cluster's files could not be tidied", exc_info=True)

    async def _lease(self) -> None:
        if self.syncing.running:
            # It ends by itself; whoever comes next sees how.
            self._held_at = time.monotonic()
            return
        # One that comes from here on is for the next look.
        released, self._released = self._released, False
        if released:
            await self._count_anew()
        if self._held():
            return
        seconds = self.cluster.desired.lease_seconds
        left = self._held_at + (self.spec.lease_seconds if seconds is None else seconds) - time.monotonic()
        if left <= 0 or (released and not self.cluster.desired.kept):
            if not released:
                await self._count_anew()
            if self._held():
                return
            _log.info("nobody holds this cluster any more")
            self._unwatched = True
            self._stop(
                "The last server that held it ended"
                if released
                else "No server, kernel or client has held it for as long as its lease"
            )
        elif self.spec.address is not None:
            return
        elif self.cluster.lease_until is None:
            end = datetime.now(timezone.utc) + timedelta(seconds=left)
            self._set(lease_until=end.isoformat(timespec="milliseconds").replace("+00:00", "Z"))

    async def _count_anew(self) -> None:
        """Ask who the clients are: the last answer may be some seconds old."""
        self._listed_at = 0.0
        with contextlib.suppress(CoiledError):
            await self._observe()

    def _held(self) -> bool:
        """Whether a server, kernel, shell or client holds the cluster; then its lease begins anew."""
        if self._watchers or (self.cluster.clients and self.spec.address is None):
            self._held_at = time.monotonic()
            self._set(lease_until=None)
            return True
        return False

    async def _observe(self) -> None:
        identity = await self._link.identity()
        seen = now()
        nodes = {node: e.id for e in self.readings.environments for node in e.nodes}
        # The age of a heartbeat by this process's clock; the scheduler's may differ.
        present = time.monotonic()
        for address, info in identity["workers"].items():
            if self._heard.get(address, (None, 0.0))[0] != info.get("last_seen"):
                self._heard[address] = (info.get("last_seen"), present)
        self._heard = {address: self._heard[address] for address in identity["workers"] if address in self._heard}
        self._silent = {address: present - at for address, (_, at) in self._heard.items()}
        for address, info in identity["workers"].items():
            # Whether its nanny or this process brought it back, a worker has a new address then.
            name = str(info.get("name", ""))
            if self._addresses.setdefault(name, address) != address:
                self._addresses[name] = address
                # What a sync restarts isn't a fault that somebody should see.
                self._restarts[name] = self._restarts.get(name, 0) + (not self.syncing.running)
        workers = tuple(
            _worker(address, info, seen, nodes.get(address), self._restarts)
            for address, info in sorted(identity["workers"].items(), key=lambda item: str(item[1].get("name")))
        )
        told = [info.get("metrics", {}).get("task_counts") for info in identity["workers"].values()]
        counts = [count or {} for count in told]
        allocated = sum(worker.threads for worker in workers)
        wanted = self.cluster.desired.workers * self.spec.threads_per_worker
        requested = wanted if self.spec.address is None else allocated
        limit = sum(worker.memory_limit or 0 for worker in workers)
        if self.spec.address is None:
            limit = min(limit, local.machine_memory())
        busy = sum(worker.busy for worker in workers)
        scheduler = SchedulerInfo(
            address=identity["address"], id=str(identity.get("id")), dashboard=_dashboard(self.spec, identity)
        )
        others = await self._clients(str(identity.get("id")))
        self._set(
            workers=workers,
            scheduler=scheduler,
            cores=Cores(busy=busy, allocated=allocated, requested=requested),
            memory=Memory(used=sum(w.memory for w in workers), limit=limit or None),
            tasks=Tasks(
                running=sum(_count(c, "executing") for c in counts),
                queued=sum(_count(c, "ready") + _count(c, "waiting") for c in counts),
                done_per_second=None,
                # A Dask before 2023 tells it by another name.
                in_memory=None if None in told else sum(_count(c, "memory") for c in counts),
            ),
            clients=len(others),
            other_clients=others,
            seen_at=seen,
        )

    async def _clients(self, scheduler: str) -> tuple[ClientInfo, ...]:
        """Return the clients of the scheduler as of some seconds ago: each question is a line in its log."""
        known = self.cluster.other_clients
        if time.monotonic() - self._listed_at < CLIENT_SECONDS:
            return known
        try:
            told = await self._link.evaluate_on_scheduler(OF_SCHEDULER, scheduler_names(scheduler), 2.0)
            known = decode_scheduler_clients(told)
            self._listed_at = time.monotonic()
        except CoiledError:
            _log.debug("the scheduler didn't tell its clients", exc_info=True)
        return known

    # ---- steering ---------------------------------------------------------------------------------------------

    async def _change(self, change: ClusterChange) -> Changed:
        """Change size, name or lease; what takes time goes on after the answer."""
        granted = limit = None
        async with self._steering:
            if isinstance(change.name, str):
                await asyncio.to_thread(self.ledger.rename, self.spec.id, change.name)
                self._set(name=change.name)
            elif self.spec.address is not None:
                raise Conflict("This cluster isn't ours to change", "Ask who runs it")
            elif isinstance(change.lease_seconds, (int, float)):
                desired = msgspec.structs.replace(
                    self.cluster.desired, lease_seconds=float(change.lease_seconds), kept=True
                )
                self._set(desired=desired, lease_until=None)
            elif isinstance(change.workers, int):
                self._check_steerable()
                # First of all: it may not come between.
                self._set(desired=msgspec.structs.replace(self.cluster.desired, adaptive=None))
                granted, limit = await self._scale(change.workers)
            elif change.adaptive is None:
                self._set(desired=msgspec.structs.replace(self.cluster.desired, adaptive=None))
            elif change.adaptive is not msgspec.UNSET:
                self._check_steerable()
                granted, limit = await self._bound(change.adaptive.minimum, change.adaptive.maximum)
            self.ledger.snapshot(self.spec.id, self.cluster)
        return Changed(self.cluster, granted, limit)

    def _check_steerable(self) -> None:
        if self.syncing.running:
            raise Conflict("The cluster is being synchronized", "Try again when that has ended, or cancel it")
        if self.cluster.status in ("starting", "stopping") or self._again.is_set() or self._stopping.is_set():
            raise Conflict(f"The cluster is {self.cluster.status}", "Try again when it runs")

    async def _room(self, workers: int) -> tuple[int, int]:
        """Reserve cores for up to `workers` and return how many of them may run, and the limit."""
        threads = self.spec.threads_per_worker
        cores, limit = await asyncio.to_thread(
            self.ledger.resize,
            self.spec.id,
            workers * threads,
            step=threads,
            core_limit=self.spec.core_limit or 1 << 30,
        )
        return cores // threads, limit

    async def _scale(self, workers: int) -> tuple[int | None, int | None]:
        """Want so many workers, as far as cores are free; what was granted and the limit where it is less."""
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            # Cores of workers that still leave are counted until these were seen to end.
            leaving = self._fleet.processes - len(self._fleet.names)
            room, limit = await self._room(workers + leaving)
            granted = min(max(room - leaving, min(len(self._fleet.names), workers)), workers)
            if granted == workers or not leaving or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        _log.info("%s workers wanted, %s granted", workers, granted)
        self._set(desired=msgspec.structs.replace(self.cluster.desired, workers=granted))
        surplus = len(self._fleet.names) - granted
        if surplus > 0:
            names = await self._least(surplus)
            self._fleet.leave(names)
            self._begin(self._dismiss(names))
        self._fleet.grow(granted)
        return (granted, limit) if granted < workers else (None, None)

    async def _bound(self, minimum: int, maximum: int) -> tuple[int | None, int | None]:
        """Scale by the work there is from now on; the maximum is cut to what is free."""
        leaving = self._fleet.processes - len(self._fleet.names)
        most, limit = await asyncio.to_thread(self._free)
        allowed = max(min(maximum, most - leaving), min(minimum, len(self._fleet.names)))
        bounds = Adaptive(minimum=min(minimum, allowed), maximum=allowed)
        self._calm = 0
        self._set(desired=msgspec.structs.replace(self.cluster.desired, adaptive=bounds))
        await self._scale(min(max(self.cluster.desired.workers, bounds.minimum), bounds.maximum))
        return (allowed, limit) if allowed < maximum else (None, None)

    def _free(self) -> tuple[int, int]:
        """Return how many workers this cluster could have now, and the limit; nothing is reserved."""
        threads = self.spec.threads_per_worker
        limit = self.ledger.limit(self.spec.core_limit or 1 << 30)
        others = sum(row.cores for row in self.ledger.list() if row.id != self.spec.id)
        return max(limit - others, 0) // threads, limit

    async def _adapt(self, bounds: Adaptive) -> None:
        """Follow the scheduler's wish: up at once, down when it has wanted less for some looks."""
        try:
            target = await self._link.adaptive_target()
        except CoiledError:
            return
        wanted = min(max(target, bounds.minimum), bounds.maximum)
        present = self.cluster.desired.workers
        self._calm = self._calm + 1 if wanted < present else 0
        if wanted > present or self._calm >= CALM_LOOKS:
            self._calm = 0
            async with self._steering:
                if self.cluster.desired.adaptive == bounds:
                    await self._scale(wanted)

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _least(self, count: int) -> list[str]:
        """Return the names of `count` workers that are missed least."""
        named = {worker.id: worker.name for worker in self.cluster.workers}
        absent = [name for name in reversed(self._fleet.names) if name not in named.values()]
        least: list[str] = []
        with contextlib.suppress(CoiledError):
            least = [named[w] for w in await self._link.workers_to_close(count, 2.0) if w in named]
        order = dict.fromkeys([*absent, *least, *reversed(self._fleet.names)])
        return [name for name in order if name in self._fleet.names][:count]

    async def _dismiss(self, names: list[str]) -> None:
        """Let workers hand what they hold to the others, and end them."""
        addresses = [worker.id for worker in self.cluster.workers if worker.name in names]
        try:
            if addresses and self._fleet.names and not await self._link.retire(addresses, RETIRE_SECONDS):
                _log.warning("the others have no room for what workers %s hold; it is computed again", names)
        except CoiledError as error:
            _log.warning("workers %s could not hand over what they hold: %s", names, error.message)
        await self._fleet.end(names)
        for name in names:
            self._addresses.pop(name, None)
            self._restarts.pop(name, None)
        cores = self._fleet.processes * self.spec.threads_per_worker
        await asyncio.to_thread(self.ledger.give_back, self.spec.id, cores)

    async def _restart(self, what: str) -> None:
        if self.spec.address is not None:
            raise Conflict("This cluster isn't ours to restart", "Ask who runs it")
        self._check_steerable()
        if what == "cluster":
            steps = tuple(Step(name=name, state="waiting") for name in ("Start scheduler", "Start workers"))
            self._step_started.clear()
            self._set(status="starting", reason=None, steps=steps, workers=())
            self._again.set()
        else:
            self._begin(self._restart_workers())

    async def _restart_workers(self) -> None:
        """Start every worker anew by its nanny; one that doesn't answer together with its nanny."""
        asked = {worker.id: worker.name for worker in self.cluster.workers}
        # Some at a time: what else is asked of the scheduler must not wait for them.
        some = asyncio.Semaphore(RESTARTS_AT_ONCE)

        async def restart(address: str) -> bool:
            async with some:
                return bool(await self._link.restart_worker(address, RESTART_SECONDS))

        done = await asyncio.gather(*map(restart, asked))
        for name, restarted in zip(asked.values(), done, strict=True):
            if not restarted:
                _log.warning("worker %s didn't restart in time and is replaced", name)
                self._fleet.kill(name)

    # ---- for a sync -------------------------------------------------------------------------------------------

    @property
    def link(self) -> Any:
        """The way to the scheduler; Unavailable before there is one."""
        if self._link is None:
            raise Unavailable("The cluster's scheduler isn't there yet")
        return self._link

    @property
    def interpreter(self) -> str:
        """The Python that the processes run; empty where they aren't ours."""
        return self._interpreter

    @property
    def alive(self) -> int:
        """The descriptor of the lock that all that is ours holds."""
        return self._alive

    def new_link(self, address: str) -> Any:
        """Return a way to another scheduler with this cluster's certificates."""
        tls = {name: str(path) for name, path in local.tls_paths(self.folder).items()}
        link, _, _ = _import_link()
        return link.SchedulerLink(address, link.TLSFiles(**tls))

    def set(self, **fields: Any) -> None:
        """Change the snapshot."""
        self._set(**fields)

    async def observe(self) -> None:
        """Look at the scheduler now."""
        await self._observe()

    async def read_anew(self) -> Readings:
        """Read every node, trusting nothing that was read before."""
        if self._new_reader is not None:
            self._reader = self._new_reader()
            self._read_at = float("-inf")
            if self._reading is not None:
                # It may wait for a worker that was there when it began, until its deadline.
                self._reading.cancel()
        return await self._read(tuple(self._wanted))

    def look_again(self) -> None:
        """Read all nodes at the next look."""
        self._known = frozenset()

    async def lend(self, seconds: float) -> str | None:
        """Start one worker more than are wanted, and return its name; None where it isn't ours, or no core is free."""
        if self.spec.address is not None:
            return None
        async with self._steering:
            before = self._fleet.names
            leaving = self._fleet.processes - len(before)
            room, _ = await self._room(len(before) + leaving + 1)
            if room < len(before) + leaving + 1:
                return None
            self._fleet.grow(len(before) + 1)
            name = next(name for name in self._fleet.names if name not in before)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                await self._observe()
                if any(worker.name == name for worker in self.cluster.workers):
                    return name
                await asyncio.sleep(0.05)
        except BaseException:
            self._begin(self.take_back(name))
            raise
        await self.take_back(name)
        return None

    async def take_back(self, name: str) -> None:
        """End a worker that was lent; what it holds goes to the others."""
        self._fleet.leave([name])
        await self._dismiss([name])

    async def start_on(self, interpreter: str) -> None:
        """Start all of the cluster anew on another Python; raise Unavailable where that fails."""
        wish = self._wish = _Wish(interpreter)
        steps = tuple(Step(name=name, state="waiting") for name in ("Start scheduler", "Start workers"))
        self._step_started.clear()
        self._set(status="starting", reason="It starts anew in another environment", steps=steps, workers=())
        self._again.set()
        await wish.done

    def push_sync(self, sync: Sync) -> None:
        """Tell the watchers of a sync."""
        self._send(msgspec.json.encode({"sync": sync}) + b"\n")

    # ---- reading ----------------------------------------------------------------------------------------------

    async def _read(self, wanted: tuple[str, ...] = ()) -> Readings:
        """Read every node anew; what doesn't answer in time is named."""
        while (readings := await self._try_to_read(wanted)) is None:
            pass
        return readings

    async def _try_to_read(self, wanted: tuple[str, ...]) -> Readings | None:
        """Return the readings, or None where all is to be read anew meanwhile."""
        async with self._reading_lock:
            reader = self._reader
            if reader is None:
                return self.readings
            with contextlib.suppress(CoiledError):
                # Who is there now: a worker that has just joined must not be left out.
                await self._observe()
            if self._fresh(0.3) and set(wanted) <= self._wanted:
                return self.readings
            self._wanted = frozenset(wanted)
            silent = {worker.id: self._silent.get(worker.id, 0.0) for worker in self.cluster.workers}
            self._asked = frozenset(silent)
            self._reading = asyncio.create_task(reader.read(silent, wanted))
            try:
                await asyncio.wait({self._reading})
                if reader is not self._reader:
                    return None
                found = self._reading.result()
            finally:
                await tasks.end([self._reading])
                self._reading = None
            count = self.cluster.desired.workers
            missing, _ = self._absent()
            if missing > 0:
                gap = Unread(node="workers", reason=f"{missing} of {count} workers are missing")
                found = msgspec.structs.replace(found, unread=(*found.unread, gap))
            before = [(e.id, e.nodes) for e in self.readings.environments]
            self.readings = found
            self._read_at = time.monotonic()
            if before != [(e.id, e.nodes) for e in found.environments]:
                pythons = {e.python for e in found.environments if e.role == "worker"}
                python = pythons.pop() if len(pythons) == 1 else None
                software = msgspec.structs.replace(self.cluster.environment, python=python)
                self._set(revision=self.cluster.revision, environment=software)
            return self.readings

    def _fresh(self, seconds: float) -> bool:
        """Whether the last readings are at most `seconds` old and of the nodes that are there now."""
        same = self._asked == frozenset(worker.id for worker in self.cluster.workers)
        return same and self.readings.taken_at is not None and time.monotonic() - self._read_at < seconds

    # ---- state ------------------------------------------------------------------------------------------------

    def _set(self, **fields: Any) -> None:
        """Change the snapshot; a new revision, the ledger and the watchers follow where anything but a time changed."""
        changed = msgspec.structs.replace(self.cluster, **fields)
        # Memory moves all the time; a page that shows it asks for it.
        quiet = {"since": "", "memory": self.cluster.memory}
        same = msgspec.structs.replace(still(changed), **quiet) == msgspec.structs.replace(still(self.cluster), **quiet)
        status_changed = changed.status != self.cluster.status
        if status_changed and "since" not in fields:
            changed = msgspec.structs.replace(changed, since=now())
        elif "since" not in fields:
            changed = msgspec.structs.replace(changed, since=self.cluster.since)
        if "revision" in fields:
            same = False
        self.cluster = changed if same else msgspec.structs.replace(changed, revision=self.cluster.revision + 1)
        if not same:
            if status_changed or "steps" in fields:
                self.ledger.snapshot(self.spec.id, self.cluster)
            self._push()

    def _push(self) -> None:
        self._send(msgspec.json.encode({"cluster": self.cluster}) + b"\n")

    def _send(self, line: bytes) -> None:
        for writer in list(self._watchers):
            if writer.transport.get_write_buffer_size() < 1 << 20:
                writer.write(line)

    def _step(self, name: str, state: StepState, text: str = "") -> None:
        _log.info("%s: %s", name, state)
        started = self._step_started.setdefault(name, time.monotonic())
        seconds = round(time.monotonic() - started, 3)
        step = Step(name=name, state=state, seconds=seconds, text=text)
        self._set(steps=tuple(step if old.name == name else old for old in self.cluster.steps))

    def _finish_steps(self, state: StepState) -> None:
        for step in self.cluster.steps:
            if step.state == "running":
                self._step(step.name, state)

    # ---- socket -----------------------------------------------------------------------------------------------

    async def _listen(self) -> asyncio.AbstractServer:
        path = socket_path(self.spec.id)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, str(path), limit=REQUEST_BYTES)
        path.chmod(0o600)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beat: asyncio.Task[None] | None = None
        try:
            while line := await reader.readline():
                request = msgspec.json.decode(line, type=_Request)
                if request.method == "watch":
                    beat = beat or asyncio.create_task(self._beat(writer))
                await self._answer(request, writer)
        except (OSError, ValueError, msgspec.DecodeError):
            _log.debug("a connection ended", exc_info=True)
        except asyncio.CancelledError:
            # Only the end of this process does that, and asyncio before 3.12 logs a traceback for a stream that passes it on.
            pass
        finally:
            if beat:
                beat.cancel()
            self._watchers.discard(writer)
            writer.close()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        """Show a watcher that the supervisor lives and how old its figures are, also when nothing changes."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            writer.write(msgspec.json.encode({"cluster": self.cluster}) + b"\n")

    async def _answer(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        try:
            result = await self._do(request)
            line = msgspec.json.encode({"id": request.id, "result": result})
        except CoiledError as error:
            line = msgspec.json.encode({"id": request.id, "error": error.to_wire().error})
        writer.write(line + b"\n")
        if request.method == "watch":
            self._watchers.add(writer)
            writer.write(msgspec.json.encode({"cluster": self.cluster}) + b"\n")
        await writer.drain()

    async def _do(self, request: _Request) -> Any:
        method = request.method
        if method == "cluster":
            return self.cluster
        if method == "environments":
            known = self._fresh(0.5) and set(request.wanted) <= self._wanted
            return self.readings if known else await self._read(request.wanted)
        if method == "watch":
            return None
        if method == "change":
            return await self._change(request.change or ClusterChange())
        if method == "restart":
            return await self._restart(request.what)
        if method == "survey":
            return await self.syncing.survey()
        if method == "sync" and request.sync is not None:
            return self.syncing.begin(request.sync)
        if method == "cancel":
            return self.syncing.cancel(request.what)
        if method == "remove_layer":
            return await self.syncing.remove(request.what)
        if method == "stop":
            if self.spec.address is not None and self.syncing.running:
                # Half of its workers would stay in another environment, with nobody to tell of it.
                raise Conflict("The cluster is being synchronized", "Wait for the end of that, or cancel it first")
            self._set(status="stopping")
            self._stop("It was stopped on request")
            return True
        if method == "release":
            self._released = True
            return True
        raise Invalid("method", "There is no such method")


class _Request(msgspec.Struct):
    id: int
    method: str
    wanted: tuple[str, ...] = ()
    change: ClusterChange | None = None
    what: str = ""
    sync: SyncSpec | None = None


class _Wish:
    """Another Python that the cluster is to run on, and when it does."""

    def __init__(self, interpreter: str) -> None:
        self.interpreter = interpreter
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def _import_link() -> tuple[Any, Any, Any]:
    """Import what isn't needed before the scheduler runs: the launcher imports Dask meanwhile."""
    from .. import rulebook
    from ..links import reader, scheduler

    return scheduler, reader, rulebook


def _count(counts: dict[str, Any], state: str) -> int:
    value = counts.get(state, 0)
    return value if isinstance(value, int) else 0


def _worker(address: str, info: dict[str, Any], seen: str, environment: str | None, restarts: dict[str, int]) -> Worker:
    metrics = info.get("metrics", {})
    name = str(info.get("name", ""))
    return Worker(
        id=address,
        name=name,
        status=str(info.get("status", "")),
        host=str(info.get("host", "")),
        threads=int(info.get("nthreads", 0)),
        busy=_count(metrics.get("task_counts", {}), "executing"),
        memory=int(metrics.get("memory", 0)),
        memory_limit=int(info.get("memory_limit") or 0) or None,
        group=environment,
        restarts=restarts.get(name, 0),
        seen_at=seen,
    )


def _dashboard(spec: LaunchSpec, identity: dict[str, Any]) -> str | None:
    port = identity.get("services", {}).get("dashboard")
    if spec.address is not None:
        host = urlsplit(spec.address).hostname
        return f"http://{host}:{port}/status" if isinstance(port, int) and port else None
    return f"http://127.0.0.1:{port}/status" if spec.options.get("dashboard") and port else None
