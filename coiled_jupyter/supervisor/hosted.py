"""A managed cluster whose class starts it: its process, its size, and what the platform says of workers that aren't there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from .. import tasks
from ..core.errors import CoiledError, Timeout, Unavailable
from ..core.launch import ClusterClass, LaunchSpec
from ..core.wire import Adaptive, SchedulerInfo
from ..factories import local
from ..ledger import AsyncLedger, Ledger
from ..paths import data_dir
from . import logs
from .connection import Connection, tls
from .folder import ClusterFolder
from .host import Host, chosen, variables
from .sizing import RETIRE_SECONDS, Recommended, restart_workers
from .snapshot import Snapshot
from .starting import Environment

START_SECONDS = 60.0
_log = logging.getLogger("coiled_jupyter.supervisor")


class HostedProcesses:
    """The process of the class; what it starts elsewhere ends with it."""

    def __init__(
        self, spec: LaunchSpec, made: ClusterClass, snapshot: Snapshot, connection: Connection, folder: ClusterFolder
    ) -> None:
        self._spec, self._made = spec, made
        self._snapshot, self._connection, self._folder = snapshot, connection, folder
        self._environment = Environment(spec, snapshot)
        self._host: Host | None = None
        self.fault = ""
        """Why the platform didn't start some workers, in its words; empty after it did."""
        self._asked = False
        """Whether any number of workers was asked for from here."""
        self._relay = 0
        """The port of the relay to a scheduler that only the class reaches; 0: there was none."""

    @property
    def interpreter(self) -> str:
        """Empty, as of a cluster that runs elsewhere: its processes can't be restarted on another Python from here."""
        return ""

    @interpreter.setter
    def interpreter(self, path: str) -> None:
        raise Unavailable("This cluster can't be restarted on another Python", path)

    @property
    def host(self) -> Host:
        """The process of the class; Unavailable before it was started."""
        if self._host is None:
            raise Unavailable("The cluster's class isn't there yet")
        return self._host

    @property
    def workers(self) -> int:
        """The number of workers that are there or were asked for."""
        units = self._host.units if self._host else None
        asked = sum(map(len, units.values())) if units is not None else 0
        return max(asked, len(self._snapshot.cluster.workers))

    async def build(self) -> None:
        """Build the environment, or find an existing build."""
        await self._environment.build()

    async def start_scheduler(self) -> None:
        """Start the class without workers, and connect to its scheduler."""
        self._snapshot.step("Start scheduler", "running")
        importing = asyncio.create_task(self._connection.prepare())
        self._host = Host(self._spec.id, self._made)
        try:
            environ = _environ(self._spec, self._made, self._environment.interpreter)
            home = Path.home() if Path.home().is_dir() else self._folder.path
            interpreter = self._environment.checked()
            given = await asyncio.to_thread(self._certificates) if self._made.encrypted else None
            started = await self._host.start(interpreter, environ, home, self._folder.alive, given)
        finally:
            await importing
        address, files = started.address, None
        relayed = address.startswith("gateway:")
        if relayed:
            await asyncio.to_thread(self._folder.make_certificates)
            self._relay = await self._host.relay(self._folder.path, self._relay)
            address = f"tls://127.0.0.1:{self._relay}"
        elif started.tls is not None:
            await asyncio.to_thread(self._folder.keep_certificates, started.tls)
        if relayed or started.tls is not None:
            files = tls(local.tls_paths(self._folder.path))
        self._connection.open(address, files, relayed=relayed, dashboard=started.dashboard or None)
        self._snapshot.set(scheduler=SchedulerInfo(address=address, id=None, dashboard=None))
        self._snapshot.step("Start scheduler", "done")

    def _certificates(self) -> dict[str, str]:
        """Make certificates where the nodes find them: all of them see the user's disk, and nobody else."""
        folder = data_dir("jobs", self._spec.id, "tls")
        local.write_tls(folder)
        return tls(local.tls_paths(folder))

    async def start_workers(self, observe: Callable[[], Awaitable[None]]) -> None:
        """Ask for the wanted workers, and wait until they are there, or wait in a queue of the platform."""
        self._snapshot.step("Start workers", "running")
        if self._made.joined:
            await observe()
            found = len(self._snapshot.cluster.workers)
            self._snapshot.set(desired=msgspec.structs.replace(self._snapshot.cluster.desired, workers=found))
            self._snapshot.step("Start workers", "done")
            return
        desired = self._snapshot.cluster.desired
        await self.scale(desired.workers)
        if desired.adaptive is not None and self._made.adapts == "platform":
            await self.host.call("adapt", **msgspec.to_builtins(desired.adaptive))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self.fault and not self.host.lost and not self.host.refused:
            with contextlib.suppress(CoiledError):
                await observe()
            self.replace()
            if len(self._snapshot.cluster.workers) >= desired.workers or "queue" in self.host.pending:
                break
            if self.ended:
                raise Unavailable(self.gone)
            await asyncio.sleep(0.1)
        self._snapshot.step("Start workers", "done")

    async def scale(self, workers: int) -> None:
        """Have the platform start or end workers; if it starts only some, `fault` says why."""
        before, self._asked = self.workers, True
        try:
            await self.host.call("scale", workers=workers)
        except CoiledError as error:
            if not self.workers and workers and not before:
                raise
            self.fault = f"{error.message}. {error.hint}"
        else:
            self.fault = ""

    def waiting(self) -> tuple[bool, str | None]:
        """Return what is known of wanted workers that aren't there, and whether something is wrong with them."""
        cluster = self._snapshot.cluster
        absent = cluster.desired.workers - len(cluster.workers)
        # Where the platform decides, one that isn't there isn't wanted any more.
        theirs = not self._asked or (self._made.adapts == "platform" and cluster.desired.adaptive is not None)
        if absent <= 0 or self._host is None or theirs:
            return False, None
        verb = "isn't" if absent == 1 else "aren't"
        count = f"{absent} of {cluster.desired.workers} workers {verb} there yet"
        if self.fault or self._host.refused:
            return True, f"{count}: {self.fault or self._host.refused}"
        if self._host.lost:
            jobs = [f"job-{job}" for job in re.findall(r"job (\d+)", self._host.lost)]
            return True, f"{count}: {self._host.lost}. It said: {logs.last_words(self._spec.id, jobs)}"
        return False, f"{count}: {self._host.pending}" if self._host.pending else count

    @property
    def ended(self) -> bool:
        """Whether the class has ended by itself, and with it what it was responsible for."""
        return self._host is not None and self._host.ended

    @property
    def gone(self) -> str:
        """What it means that it has ended."""
        return f"Its class ended: {logs.last_words(self._spec.id, ['platform'])}"

    def replace(self) -> None:
        """Have the output of jobs among the logs; the class itself replaces what ends."""
        if not self._made.logs:
            return
        with contextlib.suppress(OSError):
            for path in filter(Path.is_file, Path(self._made.logs).iterdir()):
                job, kind = re.search(r"(\d+)", path.name), "" if path.suffix == ".err" else "-out"
                name = f"job-{job[1]}{kind}" if job else re.sub(r"[^A-Za-z0-9_-]", "-", path.name)[:40]
                link = logs.log_path(self._spec.id, name)
                if not link.is_symlink() and path.stat().st_size:
                    link.symlink_to(path)

    async def end(self) -> None:
        """Have the platform end everything."""
        if self._host is not None:
            await self._host.close()

    def clean(self) -> None:
        """Remove the certificates; logs stay."""
        with contextlib.suppress(CoiledError):
            shutil.rmtree(data_dir("jobs") / self._spec.id / "tls", ignore_errors=True)


class HostedSizing:
    """Reserves cores before workers are asked for, and releases those of workers that are gone and not wanted."""

    def __init__(
        self,
        spec: LaunchSpec,
        made: ClusterClass,
        ledger: AsyncLedger,
        snapshot: Snapshot,
        connection: Connection,
        processes: HostedProcesses,
        background: tasks.Background,
    ) -> None:
        self._spec, self._made, self._ledger, self._snapshot = spec, made, ledger, snapshot
        self._connection, self._processes, self._background = connection, processes, background
        self._lock = asyncio.Lock()
        self._moving = asyncio.Lock()
        self._recommended = Recommended()
        self._entered = -1
        self._as_found = made.joined
        """Whether the size is still what the platform and others make it."""
        self._told = spec.adaptive
        """The bounds that a platform which adapts by itself was told."""

    async def scale(self, workers: int, until: float) -> tuple[int | None, int | None]:
        """Scale to `workers`, in whole jobs, as far as cores are free; return what was granted and the limit if fewer."""
        async with self._lock:
            self._as_found = False
            return await self._scale(workers, until, None)

    def steady(self) -> None:
        """Have a platform that adapts by itself no longer do so, and keep the workers that are there."""
        self._as_found = False
        if self._made.adapts == "platform":
            self._background.begin(self._move(self._snapshot.cluster.desired.workers, None))

    async def adapt_within(self, minimum: int, maximum: int, until: float) -> tuple[int | None, int | None]:
        """Scale adaptively from now on; the maximum is reduced to the free cores."""
        async with self._lock:
            most, limit = await self._ledger.ask(self._free)
            allowed = max(min(maximum, most), minimum if minimum <= self._processes.workers else 0)
            bounds = Adaptive(minimum=min(minimum, allowed), maximum=allowed)
            self._recommended.forget()
            self._as_found = False
            present = self._snapshot.cluster.desired.workers
            await self._scale(min(max(present, bounds.minimum), bounds.maximum), until, bounds)
            return (allowed, limit) if allowed < maximum else (None, None)

    async def adapt(self) -> None:
        """Follow the scheduler's recommendation, or the platform where that decides; correct the reservation."""
        await self._settle()
        bounds = self._snapshot.cluster.desired.adaptive
        present = self._snapshot.cluster.desired.workers
        if self._as_found or (bounds is not None and self._made.adapts == "platform"):
            if len(self._snapshot.cluster.workers) != present:
                self._want(len(self._snapshot.cluster.workers), bounds)
            return
        if bounds is None:
            return
        target = self._whole(await self._connection.link.adaptive_target())
        wanted = self._recommended.follow(target, present, bounds)
        if wanted is not None:
            async with self._lock:
                if self._snapshot.cluster.desired.adaptive == bounds:
                    await self._scale(wanted, float("inf"), bounds)

    def _whole(self, workers: int) -> int:
        """Return as many workers as whole jobs have."""
        step = self._made.step
        return -(-workers // step) * step

    async def _scale(self, workers: int, until: float, adaptive: Adaptive | None) -> tuple[int | None, int | None]:
        wanted, limit = self._whole(workers), 0
        granted = wanted
        if self._made.counted and wanted > self._processes.workers:
            threads = self._threads
            most = self._spec.core_limit or 1 << 30
            step = threads * self._made.step
            cores, limit = await self._ledger.ask(
                lambda ledger: ledger.resize(self._spec.id, wanted * threads, step=step, core_limit=most)
            )
            granted = min(cores // step * self._made.step, wanted)
            self._entered = -1
        if time.monotonic() > until:
            raise Timeout("The cluster's supervisor couldn't do this in time, and did nothing", "Try again")
        _log.info("%s workers wanted, %s granted", workers, granted)
        self._want(granted, adaptive)
        self._background.begin(self._move(granted, adaptive))
        return (granted, limit) if granted < workers else (None, None)

    def _want(self, workers: int, adaptive: Adaptive | None) -> None:
        desired = msgspec.structs.replace(self._snapshot.cluster.desired, workers=workers, adaptive=adaptive)
        self._snapshot.set(desired=desired)

    async def _move(self, workers: int, adaptive: Adaptive | None) -> None:
        """Tell the platform, one size after the other."""
        try:
            async with self._moving:
                if self._made.adapts == "platform" and adaptive is not None:
                    await self._processes.host.call("adapt", **msgspec.to_builtins(adaptive))
                    self._told = adaptive
                    return
                if self._told is not None and self._made.adapts == "platform":
                    await self._processes.host.call("steady")
                    self._told = None
                if self._snapshot.cluster.desired.workers == workers:
                    await self._leave(workers)
                    await self._processes.scale(workers)
            self._snapshot.warn("scaling", None)
        except CoiledError as error:
            self._snapshot.warn("scaling", f"{error.message}. {error.hint}")

    async def _leave(self, workers: int) -> None:
        """Have workers hand over what they hold, and the platform end them."""
        units = self._processes.host.units
        if units is None or sum(map(len, units.values())) <= workers:
            return
        present = {worker.id: worker.name for worker in self._snapshot.cluster.workers}
        least: list[str] = []
        with contextlib.suppress(CoiledError):
            least = await self._connection.link.workers_to_close(len(present), 2.0)
        closing = chosen(units, workers, present, least)
        names = {name for unit in closing for name in units[unit]}
        addresses = [address for address, name in present.items() if name in names]
        try:
            if addresses and workers and not await self._connection.link.retire(addresses, RETIRE_SECONDS):
                _log.warning("the others have no room for the results of %s; they are computed again", names)
        except CoiledError as error:
            _log.warning("workers %s could not hand over their results: %s", names, error.message)
        if closing:
            await self._processes.host.call("remove", units=closing)

    @property
    def _threads(self) -> int:
        """Threads of one worker: those that were seen, else as requested."""
        seen = [worker.threads for worker in self._snapshot.cluster.workers]
        return max(seen, default=0) or self._spec.threads_per_worker

    async def _settle(self) -> None:
        """Have the ledger reserve what is there and wanted; the platform may have granted other sizes than were thought."""
        cluster = self._snapshot.cluster
        if not self._made.counted:
            return
        there = sum(worker.threads for worker in cluster.workers)
        coming = max(self._processes.workers, cluster.desired.workers) - len(cluster.workers)
        cores = there + max(coming, 0) * self._threads
        if cores != self._entered:
            most = self._spec.core_limit or 1 << 30
            await self._ledger.ask(lambda ledger: ledger.resize(self._spec.id, cores, step=1, core_limit=most))
            self._ledger.keep("cores", lambda ledger: ledger.give_back(self._spec.id, cores))
            self._entered = cores

    def _free(self, ledger: Ledger) -> tuple[int, int]:
        """Return how many workers this cluster could have now, and the limit, without a reservation."""
        if not self._made.counted:
            return 1 << 30, 0
        limit = ledger.limit(self._spec.core_limit or 1 << 30)
        others = sum(row.cores for row in ledger.list() if row.id != self._spec.id)
        return max(limit - others, 0) // (self._threads * self._made.step) * self._made.step, limit

    async def lend(self, seconds: float) -> str | None:
        """Return None: a queue may take hours to give one more worker."""
        return None

    async def take_back(self, name: str) -> None:
        """Nothing was lent."""

    async def restart_workers(self) -> None:
        """Restart every worker by its nanny, without a gateway taking them for lost."""
        restarts, workers = self._connection.node_link.restarts, self._snapshot.cluster.workers
        names = [worker.name for worker in workers]
        gateway = await restarts.hold_workers(names)
        try:
            for name in await restart_workers(self._connection.link, workers):
                _log.warning("worker %s didn't restart in time", name)
        finally:
            if gateway:
                with contextlib.suppress(CoiledError):
                    await asyncio.shield(restarts.release_workers(names, away=False))


def _environ(spec: LaunchSpec, made: ClusterClass, interpreter: str) -> dict[str, str]:
    """Return the variables of the class's process."""
    kept = variables(interpreter) | spec.environ
    if not made.kwargs.get("scheduler_options", {}).get("dashboard", True):
        # Dask's pages have no password.
        kept["DASK_DISTRIBUTED__WORKER__HTTP__ROUTES"] = kept["DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"] = "[]"
    return kept
