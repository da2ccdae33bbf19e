"""From the click to a verified cluster, beside the bare steps of the same, and beside Dask's own `PipInstall`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uv import find_uv_bin

from coiled_jupyter.core.cluster import now
from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.core.sync import BASE, FINAL
from coiled_jupyter.core.wire import ClusterAttach, Plan, PlanCreate, PlanFrom, Sync
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.links.kernel import KernelReading
from coiled_jupyter.links.scheduler import SchedulerLink
from coiled_jupyter.service import Service
from tests.environments import environment
from tests.fakes import InterpreterKernels
from tests.remote import RemoteCluster

from .table import Figure, median

if TYPE_CHECKING:
    from typing_extensions import Self

DASK = ("distributed==2026.8.0", "dask==2026.8.0")
BEFORE, AFTER = "numpy==2.2.6", "numpy==2.3.5"
MANY = 64
_PIP_INSTALL = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from distributed import Client
from distributed.diagnostics.plugin import PipInstall
client = Client(sys.argv[1])
scattered = client.scatter(list(range(5)), broadcast=False)
start = time.perf_counter()
client.register_plugin(PipInstall([sys.argv[2]], restart_workers=True))
client.wait_for_workers(2)
seconds = time.perf_counter() - start
print(json.dumps([seconds, sum(f.status != "finished" for f in scattered)]))
"""
_HOLD = """
import sys, warnings
warnings.simplefilter("ignore")
from distributed import Client
client = Client(sys.argv[1])
for line in sys.stdin:
    if line.startswith("hold"):
        scattered = client.scatter(list(range(5)), broadcast=False, hash=False)
        print("holds", flush=True)
    else:
        print(sum(f.status != "finished" for f in scattered), flush=True)
"""


class _Kernels(InterpreterKernels):
    """Reads each once: a real kernel answers in some milliseconds, and this one starts a Python for it."""

    def __init__(self, pythons: dict[str, tuple[Path | str, tuple[str, ...]]]) -> None:
        super().__init__(pythons)
        self._read: dict[str, KernelReading] = {}

    async def read(self, kernel_id: str) -> KernelReading:
        if kernel_id not in self._read:
            self._read[kernel_id] = await super().read(kernel_id)
        return replace(self._read[kernel_id], taken_at=now())


class _Ping:
    """Asks a scheduler all the time how it is, and keeps the longest answer."""

    def __init__(self, address: str) -> None:
        self._link, self.longest = SchedulerLink(address), 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._link.identity()
        self._task = asyncio.create_task(self._go())
        return self

    async def _go(self) -> None:
        while True:
            start = time.perf_counter()
            await self._link.identity()
            self.longest = max(self.longest, time.perf_counter() - start)
            await asyncio.sleep(0.005)

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._link.close()


class _Lab:
    def __init__(self, service: Service, cluster: str) -> None:
        self.service, self.id = service, cluster

    async def plan(self, **fields: object) -> Plan:
        return await self.service.plan(PlanCreate(cluster=self.id, kernel="k", **fields))

    async def sync(self, plan: Plan) -> Sync:
        sync = await self.service.sync(plan.id)
        while (found := self.service.find_sync(sync.id)).state not in FINAL:
            await asyncio.sleep(0.01)
        if found.state != "done":
            raise SystemExit(f"the sync is {found.state}: {found.result and found.result.text}")
        return found

    async def remove(self, layer: str) -> None:
        """Remove a layer, once the last process that ran from it has ended."""
        for _ in range(100):
            with contextlib.suppress(CoiledError):
                return await self.service.delete_layer(layer)
            await asyncio.sleep(0.1)
        raise SystemExit("the layer could not be removed")

    async def there(self, workers: int) -> None:
        while len(self.service.cluster(self.id).workers) < workers or self.service.cluster(self.id).status not in (
            *("running", "idle"),
        ):
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _lab(kernel: Path, cluster: RemoteCluster, workers: int) -> AsyncIterator[_Lab]:
    service = Service(kernels=_Kernels({"k": (kernel, ())}))
    await service.start()
    try:
        made = await service.attach(ClusterAttach(address=cluster.address))
        lab = _Lab(service, made.id)
        await lab.there(workers)
        yield lab
    finally:
        with contextlib.suppress(Exception):
            await service.delete(made.id)
        await service.close()


async def _timed(work: Awaitable[object]) -> float:
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def _bare_build(base: Path, lock: str) -> float:
    """Return the seconds of `uv venv` and `uv pip sync` of the same lock, with the cache warm."""
    with tempfile.TemporaryDirectory(prefix="cj") as folder:
        lines, made = Path(folder, "lock.txt"), Path(folder, "layer")
        lines.write_text(lock)
        uv = find_uv_bin()

        def build() -> None:
            subprocess.run([uv, "venv", "-q", "--python", str(base), str(made)], check=True)
            command = [uv, "pip", "sync", "-q", "--require-hashes", "--python", str(made), str(lines)]
            subprocess.run(command, check=True)

        return await _timed(asyncio.to_thread(build))


async def _bare_restarts(address: str, *, at_once: int = 1) -> float:
    """Return the seconds in which the nannies restart all workers, so many at a time, until each has joined."""
    link = SchedulerLink(address)
    try:
        workers = list((await link.identity())["workers"])
        start = time.perf_counter()
        for part in (workers[i : i + at_once] for i in range(0, len(workers), at_once)):
            await asyncio.gather(*(link.restart_worker(worker, 60) for worker in part))
            while True:
                present = (await link.identity())["workers"]
                if len(present) == len(workers) and not set(part) & set(present):
                    break
                await asyncio.sleep(0.02)
        return time.perf_counter() - start
    finally:
        link.close()


async def _first_undo_redo(kernel: Path, base: Path, rounds: int, folder: Path) -> list[Figure]:
    ours, bare, restarts, back, again, nothing, delays = ([] for _ in range(7))
    lost = 0
    with RemoteCluster(folder / "attached", base, workers=2) as cluster:
        async with _lab(kernel, cluster, 2) as lab:
            holder = await asyncio.create_subprocess_exec(
                *(str(kernel), "-c", _HOLD, cluster.address),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )

            async def tell(word: str) -> str:
                if holder.stdin is None or holder.stdout is None:
                    raise SystemExit("the client has gone")
                holder.stdin.write(f"{word}\n".encode())
                return (await asyncio.wait_for(holder.stdout.readline(), 60)).decode().strip()

            for number in range(rounds + 1):
                await tell("hold")
                async with _Ping(cluster.address) as ping:
                    start = time.perf_counter()
                    plan = await lab.plan()
                    done = await lab.sync(plan)
                    first = time.perf_counter() - start
                nothing_took = await _timed(lab.plan())
                undo = await _timed(lab.sync(await lab.plan(source=PlanFrom(layer=BASE))))
                redo = await _timed(lab.sync(await lab.plan(source=PlanFrom(layer=done.layer))))
                lost += int(await tell("lost?"))
                lock = next(spec.places[0].lock for sync, spec in Ledger().syncs() if sync.id == done.id)
                build = await _bare_build(base, lock)
                # These lose what is held, so they come last.
                one = await _bare_restarts(cluster.address)
                await lab.there(2)
                await lab.sync(await lab.plan(source=PlanFrom(layer=BASE)))
                await lab.remove(done.layer or "")
                if number:
                    ours.append(first)
                    bare.append(build + one)
                    restarts.append(one)
                    back.append(undo)
                    again.append(redo)
                    nothing.append(nothing_took)
                    delays.append(ping.longest)
            await asyncio.wait_for(holder.communicate(), 60)
    bare_name = "`uv venv`, `uv pip sync` and two restarts, one after the other"
    return [
        Figure("Sync of one numpy on 2 attached workers that hold results", median(ours), bare_name, median(bare), 1.3),
        Figure("Undo of it", median(back), "the two restarts", median(restarts), limit=1.2),
        Figure("Redo of it, the layer being there", median(again), "the two restarts", median(restarts), limit=1.2),
        Figure("A plan where nothing has changed", median(nothing), "the first sync", median(ours), limit=0.1),
        Figure("Longest delay of the scheduler during a sync", median(delays), limit=0.05),
        Figure("Scattered values lost in all of these", lost, limit=0, unit="values"),
    ]


async def _pip_install(base: Path, folder: Path) -> list[Figure]:
    with RemoteCluster(folder / "pip", base, workers=2) as cluster:
        link = SchedulerLink(cluster.address)
        while len((await link.identity())["workers"]) < 2:
            await asyncio.sleep(0.1)
        link.close()
        async with _Ping(cluster.address) as ping:
            process = await asyncio.create_subprocess_exec(
                *(str(base), "-c", _PIP_INSTALL, cluster.address, AFTER),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            told, _ = await asyncio.wait_for(process.communicate(), 240)
        seconds, lost = json.loads(told)
    return [
        Figure("Beside it: `PipInstall` of the same numpy, with a restart of the workers", seconds),
        Figure("Longest delay of the scheduler during `PipInstall`", ping.longest),
        Figure("Of 5 scattered values lost by `PipInstall`", lost, unit="values"),
    ]


async def _many(kernel: Path, base: Path, folder: Path, count: int) -> list[Figure]:
    with RemoteCluster(folder / "many", base, workers=0) as cluster:
        for number in range(count):
            cluster.add_worker(str(number))
            if number % 8 == 7:
                await asyncio.sleep(4)
        async with _lab(kernel, cluster, count) as lab:
            first = await _timed(lab.sync(await lab.plan()))
            bare = await _bare_restarts(cluster.address, at_once=16)
    return [Figure(f"Sync of {count} idle workers of one host", first, f"{count} bare worker starts", bare, limit=1.3)]


def measure(rounds: int) -> list[Figure]:
    """Return what syncs take; one round leaves the large cluster out."""
    python = sys.executable
    kernel = environment(python, *DASK, AFTER)
    base = environment(python, *DASK, BEFORE)
    # `PipInstall` writes into its base, so that has one of its own.
    with tempfile.TemporaryDirectory(prefix="cj") as name:
        folder = Path(name)
        figures = asyncio.run(_first_undo_redo(kernel, base, rounds, folder))
        uv = find_uv_bin()
        subprocess.run([uv, "venv", "-q", "--python", python, str(folder / "env")], check=True)
        own = folder / "env" / "bin" / "python"
        subprocess.run([uv, "pip", "install", "-q", "--python", str(own), *DASK, BEFORE, "pip"], check=True)
        figures += asyncio.run(_pip_install(own, folder))
        if rounds > 1:
            figures += asyncio.run(_many(kernel, base, folder, MANY))
    return figures
