"""From the click to a verified cluster, beside the bare steps of the same, and beside Dask's own `PipInstall`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from uv import find_uv_bin

from coiled_jupyter.core.change.journal import FINAL
from coiled_jupyter.core.change.state import BASE, StatePlace
from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.core.wire import ClusterAttach, ClusterCreate, KernelInterpreter, Plan, PlanCreate, PlanFrom, Sync
from coiled_jupyter.factories.local import tls_paths
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.links.nodes.link import NodeLink
from coiled_jupyter.links.scheduler import SchedulerLink, TLSFiles
from coiled_jupyter.paths import cluster_dir
from coiled_jupyter.service.facade import Service
from tests.environments import environment
from tests.fakes import InterpreterKernels
from tests.remote import RemoteCluster

from .table import Figure, median

if TYPE_CHECKING:
    from typing_extensions import Self

DASK = ("distributed==2026.8.0", "dask==2026.8.0")
BEFORE, AFTER = "numpy==2.2.6", "numpy==2.3.5"
# With what these bring, an environment as people have one.
COMMON = (
    *(DASK[0], "dask[complete]==2026.8.0", "jupyterlab", "ipywidgets", "scikit-learn", "matplotlib", "statsmodels"),
    *("sqlalchemy", "fsspec", "s3fs", "zarr", "numba", "plotly"),
)
FIVE_BEFORE = (BEFORE, "pandas==2.2.3", "certifi==2025.8.3", "requests==2.32.4", "tqdm==4.67.0")
FIVE_AFTER = (AFTER, "pandas==2.3.3", "certifi==2025.10.5", "requests==2.32.5", "tqdm==4.67.1")
MANY, TOGETHER = 64, 16
SECONDS = 120.0
"""What anything that is waited for may take; a benchmark that hangs says at what."""
SLOW_SECONDS = 400.0
_T = TypeVar("_T")
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
print(json.dumps([seconds, sum(f.status != "finished" for f in scattered)]), flush=True)
"""
_HOLD = """
import json, sys, warnings
warnings.simplefilter("ignore")
from distributed import Client, Security
tls = json.loads(sys.argv[2])
client = Client(sys.argv[1], security=Security(**tls, require_encryption=True) if tls else None)
for line in sys.stdin:
    if line.startswith("hold"):
        scattered = client.scatter(list(range(5)), broadcast=False, hash=False)
        print("holds", flush=True)
    else:
        print(sum(f.status != "finished" for f in scattered), flush=True)
"""


async def _within(what: str, work: Awaitable[_T], seconds: float = SECONDS) -> _T:
    """Wait for something, and end the benchmark where it doesn't come."""
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise SystemExit(f"{what}: nothing within {seconds:.0f} s") from None


async def _until(what: str, condition: Callable[[], Awaitable[bool]], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds:.0f} s")
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _program(*argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, and end it whatever happens."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class _Ping:
    """Asks a scheduler all the time how it is, and keeps the longest answer."""

    def __init__(self, link: SchedulerLink) -> None:
        self._link, self.longest = link, 0.0
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
            # Seldom enough to cost the others nothing.
            await asyncio.sleep(0.02)

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


class _Lab:
    """One cluster, as the service sees it, and a way to its scheduler."""

    def __init__(self, service: Service, cluster: str, link: SchedulerLink) -> None:
        self.service, self.id, self.link = service, cluster, link

    async def plan(self, **fields: object) -> Plan:
        body = PlanCreate(cluster=self.id, kernel="k", **fields)
        return await _within("a plan", self.service.changing.plan(body))

    async def sync(self, plan: Plan, seconds: float = SECONDS) -> Sync:
        sync = await _within("the begin of a sync", self.service.changing.sync(plan.id))

        async def ended() -> bool:
            return (await self.service.changing.find_sync(sync.id)).state in FINAL

        await _until("the end of a sync", ended, seconds)
        found = await self.service.changing.find_sync(sync.id)
        if found.state != "done":
            raise SystemExit(f"the sync is {found.state}: {found.result and found.result.text}")
        return found

    async def to(self, layer: str | None) -> None:
        """Go to a state that was there before."""
        await self.sync(await self.plan(source=PlanFrom(layer=layer or BASE)))

    async def remove(self, layer: str | None) -> None:
        """Remove a layer, once the last process that ran from it has ended."""

        async def removed() -> bool:
            with contextlib.suppress(CoiledError):
                await self.service.changing.delete_layer(layer or "")
                return True
            return False

        await _until("the removal of a layer", removed)

    async def there(self, workers: int, seconds: float = SECONDS) -> None:
        """Wait until the service sees the workers that there are now."""

        async def seen() -> bool:
            cluster = self.service.clusters.get(self.id)
            if len(cluster.workers) != workers or cluster.status not in ("running", "idle"):
                return False
            return {worker.id for worker in cluster.workers} == set((await self.link.identity())["workers"])

        await _until(f"{workers} workers", seen, seconds)


@contextlib.asynccontextmanager
async def _service(kernels: Mapping[str, Path]) -> AsyncIterator[Service]:
    """Run a service that knows these kernels; its clusters end with it."""
    service = Service(kernels=InterpreterKernels({name: (python, ()) for name, python in kernels.items()}))
    await _within("the start of the service", service.start())
    try:
        yield service
    finally:

        async def ended() -> bool:
            return all(cluster.status in ENDED for cluster in service.clusters.all())

        for cluster in service.clusters.all():
            with contextlib.suppress(CoiledError):
                await service.clusters.delete(cluster.id)
        await _until("the end of the clusters", ended, 30)
        await _within("the end of the service", service.close(), 30)


@contextlib.asynccontextmanager
async def _attached(kernel: Path, cluster: RemoteCluster, workers: int) -> AsyncIterator[_Lab]:
    async with _service({"k": kernel}) as service:
        link = SchedulerLink(cluster.address)
        try:
            made = await service.clusters.attach(ClusterAttach(address=cluster.address))
            lab = _Lab(service, made.id, link)
            await lab.there(workers)
            yield lab
        finally:
            link.close()


@contextlib.asynccontextmanager
async def _managed(kernel: Path, base: Path, workers: int) -> AsyncIterator[tuple[_Lab, dict[str, str]]]:
    """Start a cluster of ours in `base`; with it come the files by which a client reaches it."""
    async with _service({"k": kernel, "base": base}) as service:
        made = await service.clusters.create(
            ClusterCreate(workers=workers, interpreter=KernelInterpreter(kernel="base"))
        )

        async def runs() -> bool:
            cluster = service.clusters.get(made.id)
            if cluster.status in ENDED:
                raise SystemExit(f"the cluster is {cluster.status}: {cluster.reason}")
            return cluster.scheduler is not None and cluster.status in ("running", "idle")

        await _until("a cluster of ours", runs)
        scheduler = service.clusters.get(made.id).scheduler
        files = {name: str(path) for name, path in tls_paths(cluster_dir(made.id)).items()}
        link = SchedulerLink(scheduler.address if scheduler else "", TLSFiles(**files))
        try:
            lab = _Lab(service, made.id, link)
            await lab.there(workers)
            yield lab, {"tls_ca_file": files["ca"], "tls_client_cert": files["cert"], "tls_client_key": files["key"]}
        finally:
            link.close()


class _Holder:
    """A client that holds scattered values, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, word: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise SystemExit("the client has gone")
        self._process.stdin.write(f"{word}\n".encode())
        return (await _within("the client", self._process.stdout.readline())).decode().strip()


async def _timed(work: Awaitable[object]) -> float:
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def _restarts(link: SchedulerLink, *, at_once: int = 1) -> float:
    """Return the seconds in which the nannies restart all workers, so many at a time, until each has joined."""
    workers = list((await link.identity())["workers"])

    async def joined(old: set[str]) -> bool:
        present = (await link.identity())["workers"]
        return len(present) == len(workers) and not old & set(present)

    start = time.perf_counter()
    for part in (workers[i : i + at_once] for i in range(0, len(workers), at_once)):
        await asyncio.gather(*(link.restart_worker(worker, 60) for worker in part))
        await _until("restarted workers", lambda part=part: joined(set(part)))
    return time.perf_counter() - start


async def _bare(base: Path, link: SchedulerLink, place: StatePlace) -> tuple[float, float]:
    """Return the seconds of the bare steps of a sync to `place`, and of the two restarts alone, everything compiled.

    The steps are `uv venv`, `uv pip sync` of the same lock with the cache warm, and the restarts one after the other in
    what was made, as ours are. To point the nannies there isn't counted.
    """
    uv, name = find_uv_bin(), "bare"
    # Where the layers are too: uv links files where it can.
    prefix = Path(place.path).with_name(name)
    shutil.rmtree(prefix, ignore_errors=True)
    lock, python = prefix.with_suffix(".txt"), prefix / "bin" / "python"
    lock.write_text(place.lock)

    def build() -> None:
        subprocess.run([uv, "venv", "-q", "--python", str(base), str(prefix)], check=True, timeout=SECONDS)
        command = [uv, "pip", "sync", "-q", "--require-hashes", "--python", str(python), str(lock)]
        subprocess.run(command, check=True, timeout=SECONDS)

    nodes = NodeLink(link)
    try:
        built = await _timed(asyncio.to_thread(build))
        made = {"id": name, "executable": str(python), "size": 0}
        (prefix / "coiled-jupyter.json").write_text(json.dumps(made))
        entries = tuple(entry.replace(place.path, str(prefix)) for entry in place.entries)
        layer = msgspec.structs.replace(place, layer=name, path=str(prefix), executable=str(python), entries=entries)
        if set((await nodes.plugin.register([layer])).values()) != {name}:
            raise SystemExit(f"the nannies don't use the layer: {nodes.plugin.reasons}")
        cold = await _restarts(link)
        await nodes.plugin.unregister()
        return built + cold, await _restarts(link)
    finally:
        shutil.rmtree(prefix, ignore_errors=True)
        lock.unlink(missing_ok=True)


async def _first_undo_redo(
    lab: _Lab, address: str, tls: dict[str, str], pythons: tuple[Path, Path], rounds: int, what: str
) -> list[Figure]:
    """Measure a first sync, undo and redo of two workers that hold values; `pythons` are the kernel's and the base's."""
    kernel, base = pythons
    ours, bare, restarts, back, again, nothing, delays, bare_delays = ([] for _ in range(8))
    lost = 0
    async with _program(str(kernel), "-c", _HOLD, address, json.dumps(tls)) as process:
        holder = _Holder(process)
        # The first round is only for what is read or compiled once.
        for number in range(rounds + (rounds > 1)):
            await lab.there(2)
            await holder.tell("hold")
            async with _Ping(lab.link) as ping:
                start = time.perf_counter()
                done = await lab.sync(await lab.plan())
                first = time.perf_counter() - start
                unchanged = await _timed(lab.plan())
                undo = await _timed(lab.to(BASE))
                redo = await _timed(lab.to(done.layer))
            lost += int(await holder.tell("lost?"))
            place = next(spec.places[0] for sync, spec in Ledger().journal.syncs() if sync.id == done.id)
            state = next(state for state in Ledger().journal.states(lab.id) if state.id == done.layer)
            await lab.to(BASE)
            await lab.remove(done.layer)
            # These lose what is held, so they come last.
            async with _Ping(lab.link) as bare_ping:
                bare_steps, one = await _bare(base, lab.link, state.places[0])
            if number or rounds == 1:
                ours.append(first)
                bare.append(bare_steps)
                restarts.append(one)
                back.append(undo)
                again.append(redo)
                nothing.append(unchanged)
                delays.append(ping.longest)
                bare_delays.append(bare_ping.longest)
    count = len(place.expected)
    bare_name = "`uv venv`, `uv pip sync` and two restarts, in sequence"
    many = f"{what} of {count} distributions"
    return [
        Figure(f"Sync of 2 workers that hold values: {many}", median(ours), bare_name, median(bare), 1.3),
        Figure(f"The same: {what}", median(ours), "two restarts alone, everything compiled", median(restarts)),
        Figure(f"Undo of it: {what}", median(back), "the two restarts", median(restarts), limit=1.2),
        Figure(f"Redo of it, with the layer built: {what}", median(again), "the two restarts", median(restarts), 1.2),
        Figure(f"A plan when nothing has changed: {what}", median(nothing), "the first sync", median(ours), 0.1),
        Figure(f"Longest delay of the scheduler during sync, undo and redo: {what}", median(delays), limit=0.05),
        Figure(f"The same during the bare steps: {what}", median(bare_delays)),
        Figure(f"Scattered values lost in all of these: {what}", lost, limit=0, unit="values"),
    ]


async def _one_numpy(kernel: Path, base: Path, rounds: int, folder: Path) -> list[Figure]:
    with RemoteCluster(folder / "attached", base, workers=2) as cluster:
        async with _attached(kernel, cluster, 2) as lab:
            return await _first_undo_redo(lab, cluster.address, {}, (kernel, base), rounds, "one numpy changed")


async def _five_of_many(rounds: int) -> list[Figure]:
    kernel, base = _common()
    async with _managed(kernel, base, 2) as (lab, tls):
        return await _first_undo_redo(lab, lab.link.address, tls, (kernel, base), rounds, "managed, five changed")


def _common() -> tuple[Path, Path]:
    """Return the Pythons of two environments that differ in five of many distributions."""
    command = [find_uv_bin(), "pip", "compile", "-q", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--python", sys.executable, "-"]
    wanted = "\n".join((*COMMON, *FIVE_BEFORE))
    done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=True, timeout=SECONDS)
    before = done.stdout.split("\n")
    changed = dict(zip(FIVE_BEFORE, FIVE_AFTER, strict=True))
    lines = [line.strip() for line in before if line.strip()]
    python = sys.executable
    return environment(python, *(changed.get(line, line) for line in lines)), environment(python, *lines)


async def _pip_install(base: Path, folder: Path) -> list[Figure]:
    with RemoteCluster(folder / "pip", base, workers=2) as cluster:
        link = SchedulerLink(cluster.address)

        async def there() -> bool:
            return len((await link.identity())["workers"]) == 2

        try:
            await _until("two workers", there)
            async with _Ping(link) as ping, _program(str(base), "-c", _PIP_INSTALL, cluster.address, AFTER) as process:
                if process.stdout is None:
                    raise SystemExit("the client has gone")
                told = await _within("`PipInstall`", process.stdout.readline())
        finally:
            link.close()
    seconds, lost = json.loads(told)
    return [
        Figure("For comparison: `PipInstall` of the same numpy, with a restart of the workers", seconds),
        Figure("Longest delay of the scheduler during `PipInstall`", ping.longest),
        Figure("Scattered values lost by `PipInstall`, of 5", lost, unit="values"),
    ]


async def _many(kernel: Path, base: Path, folder: Path, count: int) -> list[Figure]:
    """Measure idle workers, whose nannies share a few processes: only their own starts are to be seen."""
    share = ("--nworkers", str(TOGETHER))
    with RemoteCluster(folder / "many", base, workers=0, arguments=share) as cluster:
        link = SchedulerLink(cluster.address)

        async def there(workers: int) -> bool:
            return len((await link.identity())["workers"]) == workers

        try:
            for number in range(count // TOGETHER):
                cluster.add_worker(str(number))
                wanted = (number + 1) * TOGETHER
                await _until(f"{wanted} workers", lambda wanted=wanted: there(wanted))
        finally:
            link.close()
        async with _attached(kernel, cluster, count) as lab:
            async with _Ping(lab.link) as ping:
                start = time.perf_counter()
                done = await lab.sync(await lab.plan(), SLOW_SECONDS)
                first = time.perf_counter() - start
            async with _Ping(lab.link) as bare_ping:
                bare = await _restarts(lab.link, at_once=TOGETHER)
            await lab.there(count)
            back = await lab.plan(source=PlanFrom(layer=BASE))
            await lab.sync(back, SLOW_SECONDS)
            await lab.remove(done.layer)
    what = f"of {count} idle workers of one host"
    return [
        Figure(f"Sync {what}", first, f"{count} bare worker starts, {TOGETHER} at once", bare, limit=1.3),
        Figure(f"Longest delay of the scheduler during the sync {what}", ping.longest, limit=0.05),
        Figure("The same during the bare starts", bare_ping.longest),
    ]


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """Let the clusters of this run be nobody else's."""
    # A socket's path is limited, so the folder's name is short.
    with tempfile.TemporaryDirectory(prefix="cj") as name:
        set_to = {"COILED_JUPYTER_RUNTIME_DIR": f"{name}/r"}
        before = {key: os.environ.get(key) for key in set_to}
        os.environ.update(set_to)
        try:
            yield Path(name)
        finally:
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value


def measure(rounds: int) -> list[Figure]:
    """Return what syncs take; of one round only the small cluster."""
    python = sys.executable
    kernel, base = environment(python, *DASK, AFTER), environment(python, *DASK, BEFORE)
    with _own_folder() as folder:
        figures = asyncio.run(_one_numpy(kernel, base, rounds, folder))
        if rounds == 1:
            return figures
        # `PipInstall` writes into its base, so that has one of its own.
        uv, own = find_uv_bin(), folder / "env" / "bin" / "python"
        subprocess.run([uv, "venv", "-q", "--python", python, str(folder / "env")], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(own), *DASK, BEFORE, "pip"], check=True)
        figures += asyncio.run(_pip_install(own, folder))
        figures += asyncio.run(_five_of_many(rounds))
        figures += asyncio.run(_many(kernel, base, folder, MANY))
    return figures
