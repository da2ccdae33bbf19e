"""Builds the environment of a managed cluster, starts its processes, and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ..core.errors import CoiledError, Unavailable
from ..core.launch import LaunchSpec
from ..core.wire import ClusterSoftware, SchedulerInfo
from ..factories import local
from . import logs
from .connection import Connection, tls
from .fleet import STOP_SECONDS, Fleet
from .folder import ClusterFolder, Scratch
from .nodes import Node, Nodes
from .snapshot import Snapshot

START_SECONDS = 60.0
_log = logging.getLogger("coiled_jupyter.supervisor")


class Environment:
    """The Python of a managed cluster: there already, or built first."""

    def __init__(self, spec: LaunchSpec, snapshot: Snapshot) -> None:
        self._spec, self._snapshot = spec, snapshot
        self.interpreter = ""

    async def build(self) -> None:
        """Build the environment, or find an existing build."""
        if self._spec.build is None:
            self.interpreter = self._spec.interpreter or ""
        else:
            from ..software import build as software

            locked = self._spec.build.lock
            if not locked:
                self._snapshot.step("Resolve packages", "running")
                locked = await software.lock(self._spec.build)
                self._snapshot.step("Resolve packages", "done")
            self._snapshot.step("Build environment", "running")
            self.interpreter = (await software.build(self._spec.build, locked)).interpreter
            self._snapshot.step("Build environment", "done")
        prefix = str(Path(self.interpreter).parent.parent)
        environment = ClusterSoftware(software=self._spec.software, layer=self._spec.layer, python=None, prefix=prefix)
        self._snapshot.set(environment=environment)

    def checked(self) -> str:
        """Return the interpreter, or raise Unavailable where there is none any more."""
        check_executable(self.interpreter)
        return self.interpreter


def check_executable(interpreter: str) -> None:
    """Raise Unavailable where there is no such Python any more."""
    if not os.access(interpreter, os.X_OK):
        raise Unavailable(f"There is no Python at {interpreter}")


class Processes:
    """Launcher, scheduler and nannies of one cluster; restarts keep address and certificates."""

    def __init__(
        self,
        spec: LaunchSpec,
        snapshot: Snapshot,
        connection: Connection,
        folder: ClusterFolder,
    ) -> None:
        self._spec, self._snapshot, self._connection, self._folder = spec, snapshot, connection, folder
        self._environment = Environment(spec, snapshot)
        self._scratch = Scratch(spec.id)
        self._spilling = Path()
        self._scheduler: Node | None = None
        self._port = 0
        self.interpreter = ""
        """The Python of the processes; empty for a cluster that isn't managed."""
        self.gone = "The scheduler ended unexpectedly, and the cluster's results with it"
        """What it means that it has ended by itself."""
        self._nodes, self.fleet = self._none()

    def _none(self) -> tuple[Nodes, Fleet]:
        nodes = Nodes(self._spec.id)
        return nodes, Fleet(nodes, self._nanny_arguments, self._spec.environ, self._spec.paces)

    def _nanny_arguments(self, name: str) -> list[str]:
        scheduler = self._snapshot.cluster.scheduler
        return local.nanny_arguments(self._spec, scheduler.address if scheduler else "", name, self._spilling)

    async def build(self) -> None:
        """Build the environment, or find an existing build."""
        await self._environment.build()
        self.interpreter = self._environment.interpreter

    async def start_scheduler(self) -> None:
        """Start the launcher and the scheduler, and connect to it."""
        self._snapshot.step("Start scheduler", "running")
        check_executable(self.interpreter)
        scratch = await asyncio.to_thread(self._scratch.make)
        environ = local.environ(self._spec, self.interpreter, self._folder.path, scratch)
        await self._nodes.open(local.argv(self.interpreter), environ, scratch, self._folder.alive)
        # The launcher and this process import Dask at the same time.
        importing = asyncio.create_task(self._connection.prepare())
        if not self._port:
            await asyncio.to_thread(self._folder.make_certificates)
        self._scheduler = self._start_node(self._port)
        await importing
        self._spilling = await asyncio.to_thread(self._scratch.make, self._connection.temporary_directory())
        try:
            address = await self._address(self._scheduler)
        except Unavailable:
            if not self._port or not self._scheduler.ended:
                raise
            # Another process has taken the port; the panel and `connect` find the new one.
            _log.warning("the scheduler couldn't start at port %s again and uses another one", self._port)
            self._scheduler = self._start_node(0)
            address = await self._address(self._scheduler)
        self._port = int(address.rpartition(":")[2])
        self._connection.open(address, tls(local.tls_paths(self._folder.path)))
        self._snapshot.set(scheduler=SchedulerInfo(address=address, id=None, dashboard=None))
        self._snapshot.step("Start scheduler", "done")

    def _start_node(self, port: int) -> Node:
        # Dask would create it by the umask; it has only the address, but all files here are private to the user.
        file = self._folder.path / "scheduler.json"
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        return self._nodes.start("scheduler", local.scheduler_arguments(self._spec, self._folder.path, port), {})

    async def _address(self, scheduler: Node) -> str:
        file = self._folder.path / "scheduler.json"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError):
                return str(json.loads(file.read_text(encoding="utf-8"))["address"])
            if scheduler.ended:
                raise Unavailable(f"The scheduler ended while starting: {self._last_words()}")
            await asyncio.sleep(0.01)
        raise Unavailable(f"The scheduler didn't start within {START_SECONDS:.0f} s")

    def _last_words(self) -> str:
        return logs.last_words(self._spec.id, [*reversed(self.fleet.names), "scheduler", "launcher"])

    async def start_workers(self, observe: Callable[[], Awaitable[None]]) -> None:
        """Start the wanted workers, and wait until `observe` has seen them join."""
        self._snapshot.step("Start workers", "running")
        wanted = self._snapshot.cluster.desired.workers
        self.fleet.grow(wanted)
        deadline = time.monotonic() + START_SECONDS + 5 * wanted
        while True:
            with contextlib.suppress(CoiledError):
                await observe()
            present = len(self._snapshot.cluster.workers)
            if present >= wanted:
                break
            if self.fleet.ended():
                raise Unavailable(f"A worker ended while starting: {self._last_words()}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{present} of {wanted} workers started in time")
            await asyncio.sleep(0.02)
        self._snapshot.step("Start workers", "done")

    def waiting(self) -> tuple[bool, str | None]:
        """Return nothing: workers of this machine that aren't there are missing, or have just been started."""
        return False, None

    @property
    def workers(self) -> int:
        """The number of workers that run or are wanted."""
        return self.fleet.processes

    @property
    def ended(self) -> bool:
        """Whether the scheduler has ended by itself."""
        return self._scheduler is not None and self._scheduler.ended

    def replace(self) -> None:
        """Replace nannies that have ended."""
        self.fleet.replace()

    async def end(self) -> None:
        """End all processes; they can be started again afterwards."""
        # Nannies first: a worker that has lost its scheduler takes seconds to give up.
        await self.fleet.close()
        if self._scheduler is not None:
            self._nodes.signal(self._scheduler, signal.SIGCONT, group=True)
            self._nodes.signal(self._scheduler, signal.SIGTERM)
        await self._nodes.close(STOP_SECONDS)
        self._scheduler = None
        self._nodes, self.fleet = self._none()

    def clean(self) -> None:
        """Remove the files of ended processes."""
        self._scratch.remove()
