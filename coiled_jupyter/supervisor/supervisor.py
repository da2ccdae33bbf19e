"""The life of one cluster: starts it, watches it, restarts it and ends it; carries out the requests to it.

Rules: desired state here, observed state in the snapshot; state first, then signal; reserved cores are released only
after every process was seen to end; whatever happens, no process of the cluster is left. And a fault in watching,
bookkeeping or reporting never ends, blocks or hides a process of the user's: it becomes a warning in the state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .. import tasks
from ..core import relaying
from ..core.change.journal import FINAL
from ..core.errors import CoiledError, Conflict, Unavailable
from ..core.groups import Readings
from ..core.launch import LaunchSpec
from ..core.times import now
from ..core.wire import Cluster, ClusterChange, ClusterStatus, Cores, Memory, Sync
from ..factories import local
from ..ledger import AsyncLedger, Ledger, first_state
from ..links import diagnosis
from ..links.activity import ActivityReader
from . import logs, protocol
from .connection import Connection, tls
from .folder import ClusterFolder
from .hosted import HostedProcesses, HostedSizing
from .lease import Lease
from .protocol import Changed
from .reading import Reading
from .server import Server
from .sizing import Sizing
from .snapshot import Snapshot
from .starting import Processes
from .sync.runner import SyncRunner
from .watching import Watching

if TYPE_CHECKING:
    from ..links.nodes.link import NodeLink
    from ..links.scheduler import SchedulerLink

MEND_SECONDS = 60.0
"""Seconds that a cluster that failed to start in another environment waits for its sync to go back."""
ROW_SECONDS = 20.0
"""Seconds that a start waits for the cluster's current name from the ledger; the spec has all else."""
NOTE_SECONDS = 1.0
FLUSH_SECONDS = 30.0
"""Seconds that this process continues after the cluster's end, to record that in a locked ledger."""
_GONE = "Its process was ended, and the cluster has gone, so its state is unknown."
_log = logging.getLogger("coiled_jupyter.supervisor")


class Supervisor:
    """Supervises one cluster until it has ended; the host of its syncs."""

    def __init__(self, spec: LaunchSpec) -> None:
        self.spec = spec
        paces = spec.paces
        self._files = ClusterFolder(spec.id)
        self.ledger = AsyncLedger(retry_seconds=paces.ledger_retry)
        self.server = Server(spec.id, self.carry_out, lambda: self.cluster, paces.beat)
        self.snapshot = Snapshot(first_state(spec), self.ledger, self._publish)
        self.connection = Connection(paces.sweep)
        self._background = tasks.Background(_log)
        self.processes: Processes | HostedProcesses
        self.sizing: Sizing | HostedSizing
        self.watching = Watching(
            spec,
            self.snapshot,
            self.connection,
            lambda: (
                None
                if spec.address is not None or isinstance(self.processes, HostedProcesses)
                else self.processes.fleet
            ),
            lambda: self.syncing.running,
            self._waiting,
        )
        self.reading = Reading(self.snapshot, self.watching, self.connection.reader)
        self._activity = ActivityReader()
        if spec.cluster_class is None:
            nodes = self.processes = Processes(spec, self.snapshot, self.connection, self._files)
            self.sizing = Sizing(
                spec,
                self.ledger,
                self.snapshot,
                self.connection,
                self.watching,
                lambda: nodes.fleet,
                self._background,
            )
        else:
            made = spec.cluster_class
            hosted = self.processes = HostedProcesses(spec, made, self.snapshot, self.connection, self._files)
            self.sizing = HostedSizing(
                spec, made, self.ledger, self.snapshot, self.connection, hosted, self._background
            )
        self.lease = Lease(spec, self.snapshot, lambda: self.server.watched, self.watching.count_clients)
        self.syncing = SyncRunner(self)
        self._again = asyncio.Event()
        self._replacement: _Replacement | None = None
        self._stopping = asyncio.Event()
        self._why: str | None = None
        self._unwatched = False
        self._tidied_at = 0.0

    @property
    def cluster(self) -> Cluster:
        """The present state of the cluster."""
        return self.snapshot.cluster

    def _publish(self, cluster: Cluster) -> None:
        self.server.publish(protocol.ClusterState(cluster))

    def _waiting(self) -> tuple[bool, str | None]:
        return self.processes.waiting()

    # ---- life -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the cluster from its first to its last state."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, "Its supervisor was ended by a signal")
        status: ClusterStatus = "stopped"
        reason: str | None = None
        try:
            await self._claim()
            await self.server.open()
            work = asyncio.create_task(self._live())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if work.done():
                work.result()
            else:
                await tasks.end([work])
            reason = self._why
            if reason and self.cluster.joined:
                reason = f"{reason}. It goes on where it runs"
        except CoiledError as error:
            _log.error("%s", error.message)
            status, reason = "failed", error.message
            if self.spec.cluster_class is not None and error.hint:
                # What a platform refuses is seldom ours to explain further.
                reason = f"{error.message}. {error.hint}"
        except OSError as error:
            _log.exception("the supervisor failed")
            status, reason = "failed", f"{error.strerror or error}: {error.filename or 'see the log of the supervisor'}"
        except Exception:  # noqa: BLE001 - outermost edge: whatever happened, the processes are ended below
            _log.exception("the supervisor failed")
            status, reason = "failed", "The supervisor failed because of a bug in coiled-jupyter; its log says where"
        finally:
            # An attached cluster continues without this process; the next server that follows it starts another.
            ends = self.spec.address is None or not self._unwatched
            await self._try("ending its sync", self.syncing.close)
            await self._background.close()
            if ends:
                await self._end(status, reason)
            await self.ledger.close(FLUSH_SECONDS)
            await self._leave()

    def _stop(self, why: str) -> None:
        self._why = self._why or why
        self._stopping.set()

    async def _claim(self) -> None:
        """Record this process as the owner, and take over the cluster's row of the ledger."""
        deadline = time.monotonic() + ROW_SECONDS
        while True:
            try:
                row = await self.ledger.ask(lambda ledger: ledger.get(self.spec.id))
                break
            except CoiledError as error:
                _log.warning("%s", error.message)
                row = None
                if time.monotonic() > deadline:
                    break
        if row is not None:
            self.snapshot.cluster = msgspec.structs.replace(row.snapshot, warnings=())
        self.ledger.keep("owner", lambda ledger: ledger.claim(self.spec.id))

    async def _end(self, status: ClusterStatus, reason: str | None) -> None:
        """End the processes; only then record that they have ended."""
        if status == "stopped":
            self.snapshot.set(status="stopping", reason=reason)
        await self._try("ending its processes", self.processes.end)
        self.snapshot.end_steps("failed" if status == "failed" else "cancelled")
        self.snapshot.set(
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
        self.snapshot.store(ended=True)
        self.ledger.keep("cores", lambda ledger: ledger.release(self.spec.id))
        await self._try("removing its files", lambda: asyncio.to_thread(self.processes.clean))

    async def _leave(self) -> None:
        await asyncio.sleep(0.05)
        self.server.close()
        self.connection.close()
        self._files.clean()

    async def _live(self) -> None:
        if self.spec.address is not None:
            await self._follow(self.spec.address)
            return
        await self.processes.build()
        await self._start()
        while not self._stopping.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._again.wait(), self.spec.paces.poll)
            if self._again.is_set():
                self._again.clear()
                await self._start_again()
            else:
                await self._look()

    async def _start(self) -> None:
        await self.processes.start_scheduler()
        self.reading.begin()
        await self.syncing.use_again()
        await self.processes.start_workers(self.watching.observe)
        if self.cluster.joined:
            await self._check_alone()
        self.snapshot.set(status="running", since=now(), reason=None)

    async def _check_alone(self) -> None:
        """Raise Conflict where another supervisor of this user has the cluster already, with its cores and its syncs."""
        for row in await self.ledger.ask(Ledger.list):
            known = row.snapshot.scheduler
            if row.id != self.spec.id and not row.ended and known is not None and known.id == self._scheduler():
                raise Conflict(f"This cluster is followed already, as {row.name}", "Use that one")

    async def _start_again(self) -> None:
        """Restart all processes, on another Python if a sync needs that.

        If a sync's replacement fails, the sync goes back by having the old environment started again.
        """
        replacement, self._replacement = self._replacement, None
        self.connection.close()
        await self.processes.end()
        self.reading.forget()
        self.watching.forget()
        (self._files.path / "scheduler.json").unlink(missing_ok=True)
        if replacement is None:
            await self._start()
            return
        self.processes.interpreter = replacement.interpreter
        try:
            await self._start()
        except CoiledError as error:
            await self.processes.end()
            replacement.settle(error)
            try:
                await asyncio.wait_for(self._again.wait(), MEND_SECONDS)
            except asyncio.TimeoutError:
                raise error from None
        else:
            prefix = str(Path(replacement.interpreter).parent.parent)
            self.snapshot.set(environment=msgspec.structs.replace(self.cluster.environment, prefix=prefix))
            replacement.settle(None)

    async def _follow(self, address: str) -> None:
        """Follow an attached cluster."""
        self.snapshot.step("Connect", "running")
        await self.connection.prepare()
        files = msgspec.structs.asdict(self.spec.tls) if self.spec.tls else None
        self.connection.open(address, files, relayed=self.spec.relayed)
        self.reading.begin()
        adopted, since = None, time.monotonic()
        while not self._stopping.is_set():
            await self._look()
            if self.cluster.status != "unreachable":
                if self.cluster.steps[0].state != "done":
                    self.snapshot.step("Connect", "done")
                scheduler = self.cluster.scheduler.id if self.cluster.scheduler else None
                # A new scheduler at the same address has no plugin registered.
                if scheduler != adopted and await self._try("finding its layers", self.syncing.adopt):
                    adopted = scheduler
            elif adopted is not None:
                # Of a sync that is lost meanwhile it isn't known how far it got.
                adopted, since = None, time.monotonic()
            elif time.monotonic() - since > self.spec.paces.lost:
                await self._try("closing its syncs", lambda: self.syncing.lose(_GONE))
            await asyncio.sleep(self.spec.paces.poll)

    # ---- checks -----------------------------------------------------------------------------------------------

    async def _try(self, subject: str, work: Callable[[], Awaitable[object] | None]) -> bool:
        """Do something whose failure isn't fatal; on failure, the state has a warning until it succeeds."""
        warning = None
        try:
            pending = work()
            if pending is not None:
                await pending
        except CoiledError as error:
            warning = error.message
        except Exception as error:  # noqa: BLE001 - a fault in supervising a cluster must not end it
            detail = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else type(error).__name__
            warning = f"The supervisor failed at {subject} ({detail}); it tries again, and its log says more"
            if warning not in self.cluster.warnings:
                # Once, not at every check.
                _log.exception("failed at %s", subject)
        with contextlib.suppress(Exception):
            self.snapshot.warn(subject, warning)
        return warning is None

    async def _look(self) -> None:
        """Check everything once; only the end of the scheduler ends the cluster."""
        if self.spec.address is None:
            if self.processes.ended:
                raise Unavailable(self.processes.gone)
            await self._try("replacing workers", self.processes.replace)
            await self._try("checking its folder", self._check_folder)
        await self._try("observing it", self._observe)
        if self._stopping.is_set():
            return
        reachable = self.cluster.status != "unreachable"
        if reachable and not self.syncing.running:
            await self._try("adaptive scaling", self.sizing.adapt)
        if self.syncing.running:
            # The sync ends by itself, and the next supervisor reads its result.
            self.lease.renew()
        else:
            await self._try("checking its lease", self._check_lease)
        # During a roll, each new worker would cause a reading of all; requests still read.
        if reachable and not self.syncing.moving and self.reading.due(watched=self.server.watched):
            # In the background: a silent node would delay the replacement of others.
            self._background.begin(self._try("reading its nodes", self.reading.follow))
        self.snapshot.warn("ledger", self.ledger.fault)

    async def _observe(self) -> None:
        try:
            await self.watching.observe()
        except CoiledError as error:
            why = error.message
            if self.spec.address is not None:
                why = await self.connection.link.diagnose()
            reason = f"The scheduler doesn't answer: {why}"
            if self.spec.relayed:
                reason = relaying.CLOSED if await diagnosis.refused(self.spec.address or "") else relaying.SILENT
            self.snapshot.set(status="unreachable", reason=reason)
        else:
            # A restart that was asked for meanwhile shows its steps.
            if not self._again.is_set():
                self.watching.judge(moving=self.syncing.moving)

    async def _check_lease(self) -> None:
        why = await self.lease.over()
        if why is not None:
            self._unwatched = True
            self._stop(why)

    async def _check_folder(self) -> None:
        """Recreate the folder if it is gone; now and then rotate the logs and check the row in the ledger."""
        gone = not self._files.whole()
        if gone:
            _log.warning("the folder of the cluster is gone and is recreated")
            self._files.make_again()
            await self.server.open()
        if gone or time.monotonic() - self._tidied_at >= self.spec.paces.tidy:
            self._tidied_at = time.monotonic()
            cluster, threads = self.cluster, self.spec.threads_per_worker
            cores = self.processes.workers * threads if self.spec.counted else 0
            self.ledger.keep("row", lambda ledger: ledger.restore(self.spec, cluster, cores))
            await asyncio.to_thread(logs.trim, self.spec.id)

    # ---- requests ---------------------------------------------------------------------------------------------

    async def carry_out(self, call: protocol.AnyCall, until: float) -> object:
        """Carry out a call; nothing is begun after `until` (`time.monotonic`)."""
        match call:
            case protocol.ReadNodes(wanted, within):
                # Not cancelled at the deadline: others wait for it too, and the next request finds it done.
                return await asyncio.shield(self._background.begin(self.reading.read(wanted, within)))
            case protocol.ReadActivity(after):
                return await self._activity.read(self.connection.link, self.spec.id, self._scheduler(), after)
            case protocol.Change(change):
                return await self._change(change, until)
            case protocol.Restart(what):
                self._restart(what)
            case protocol.Survey(question):
                return await self.syncing.survey(question)
            case protocol.BeginSync(spec):
                begun = self.syncing.begin(spec)
                # The client may look it up in the ledger, if that can be written.
                await self.ledger.flush(NOTE_SECONDS)
                return begun
            case protocol.CancelSync(sync):
                return self.syncing.cancel(sync)
            case protocol.RemoveLayer(layer):
                await self.syncing.remove(layer)
            case protocol.Stop():
                self._stop_on_request()
            case protocol.Release():
                self.lease.release()
        return None

    def _scheduler(self) -> str:
        """Return the id of the scheduler, or raise Unavailable."""
        scheduler = self.cluster.scheduler
        if scheduler is None or scheduler.id is None:
            raise Unavailable("The cluster's scheduler isn't there yet")
        return scheduler.id

    def _stop_on_request(self) -> None:
        if self.spec.address is not None and self.syncing.running:
            # Otherwise half of an attached cluster's workers would stay in another environment, unrecorded.
            raise Conflict("A sync of this cluster is running", "Wait for it, or cancel it first")
        self.snapshot.set(status="stopping")
        self._stop("It was stopped on request")

    async def _change(self, change: ClusterChange, until: float) -> Changed:
        """Change size, name or lease; slow changes continue after the answer."""
        granted = limit = None
        desired = self.cluster.desired
        if isinstance(change.name, str):
            name = change.name
            await self.ledger.ask(lambda ledger: ledger.rename(self.spec.id, name), until - time.monotonic())
            self.snapshot.set(name=name)
        elif self.spec.address is not None:
            raise Conflict("Only its owner can change this cluster", "It was attached, and isn't managed here")
        elif isinstance(change.lease_seconds, (int, float)):
            desired = msgspec.structs.replace(desired, lease_seconds=float(change.lease_seconds), kept=True)
            self.snapshot.set(desired=desired, lease_until=None)
        elif isinstance(change.workers, int):
            self._check_steerable()
            granted, limit = await self.sizing.scale(change.workers, until)
        elif change.adaptive is None:
            self.snapshot.set(desired=msgspec.structs.replace(desired, adaptive=None))
            self.sizing.steady()
        elif change.adaptive is not msgspec.UNSET:
            self._check_steerable()
            granted, limit = await self.sizing.adapt_within(change.adaptive.minimum, change.adaptive.maximum, until)
        self.snapshot.store()
        return Changed(self.cluster, granted, limit)

    def _check_steerable(self) -> None:
        if self.syncing.running:
            raise Conflict("A sync of this cluster is running", "Wait for it, or cancel it")
        if self.cluster.status in ("starting", "stopping") or self._again.is_set() or self._stopping.is_set():
            raise Conflict(f"The cluster is {self.cluster.status}", "Try again when it runs")

    def _restart(self, what: str) -> None:
        if self.spec.address is not None:
            raise Conflict("Only its owner can restart this cluster", "It was attached, and isn't managed here")
        self._check_steerable()
        if what == "cluster" and self.spec.cluster_class is not None and self.spec.cluster_class.joined:
            raise Conflict(
                "This cluster was joined, and goes on where it runs", "Restart its workers, or create another"
            )
        if what == "cluster":
            self.snapshot.begin_steps("Start scheduler", "Start workers")
            self._again.set()
        else:
            self._background.begin(self._try("restarting workers", self.sizing.restart_workers))

    # ---- for a sync -------------------------------------------------------------------------------------------

    @property
    def link(self) -> SchedulerLink:
        """The link to the scheduler; Unavailable before there is one."""
        return self.connection.link

    @property
    def interpreter(self) -> str:
        """The Python of the processes; empty for an attached cluster."""
        return self.processes.interpreter

    @property
    def alive(self) -> int:
        """The descriptor of the lock that every process of the cluster holds."""
        return self._files.alive

    @property
    def folder(self) -> Path:
        """The cluster's folder."""
        return self._files.path

    @property
    def readings(self) -> Readings:
        """The last readings of all nodes."""
        return self.reading.readings

    def new_link(self, address: str) -> SchedulerLink:
        """Return a link to another scheduler with this cluster's certificates."""
        return self.connection.to(address, tls(local.tls_paths(self.folder)))

    @property
    def node_link(self) -> NodeLink:
        """The link to the nannies and workers."""
        return self.connection.node_link

    def set_layer(self, layer: str | None, *, sealed: bool) -> None:
        """Show which layer the cluster is in, and whether its clients have to send sealed graphs."""
        self.snapshot.set(environment=msgspec.structs.replace(self.cluster.environment, layer=layer, sealed=sealed))

    async def observe(self) -> None:
        """Observe the scheduler now."""
        await self.watching.observe()

    async def read_anew(self) -> Readings:
        """Read every node with a new reader."""
        return await self.reading.anew()

    def look_again(self) -> None:
        """Read all nodes at the next check."""
        self.reading.look_again()

    async def lend(self, seconds: float) -> str | None:
        """Start a temporary worker and return its name, or None if the cluster isn't managed or no core is free."""
        return await self.sizing.lend(seconds) if self.spec.address is None else None

    async def take_back(self, name: str) -> None:
        """Retire and end a temporary worker."""
        await self.sizing.take_back(name)

    async def start_on(self, interpreter: str) -> None:
        """Restart the whole cluster on another Python; raise Unavailable if that fails."""
        replacement = self._replacement = _Replacement(interpreter)
        self.snapshot.begin_steps("Start scheduler", "Start workers", reason="It restarts in another environment")
        self._again.set()
        await replacement.done

    def push_sync(self, sync: Sync) -> None:
        """Send a sync to the watchers; its end only after the ledger has it, as they read that, if it can be written."""
        if sync.state in FINAL:
            self._background.begin(self._push_end(sync))
        else:
            self.server.publish(protocol.SyncState(sync))

    async def _push_end(self, sync: Sync) -> None:
        await self.ledger.flush(NOTE_SECONDS)
        self.server.publish(protocol.SyncState(sync))


class _Replacement:
    """A sync's request to restart the cluster on another Python, and its result."""

    def __init__(self, interpreter: str) -> None:
        self.interpreter = interpreter
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, error: CoiledError | None) -> None:
        """Give the sync the result, unless its wait was cancelled: it then waits for the old environment."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
