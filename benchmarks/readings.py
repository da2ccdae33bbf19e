"""Readings of clusters with many workers, beside what Dask itself takes to ask each worker anything."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from coiled_jupyter import texts
from coiled_jupyter.links import plain
from coiled_jupyter.links import scheduler as raw
from coiled_jupyter.links.reader import Reader

from .table import Figure, median

PROCESSES = 5
DEADLINE = 120.0
"""Seconds for any one step: a cluster that doesn't answer, or doesn't start, is told rather than waited for."""
_SCHEDULER = """
import asyncio, sys, time
from distributed import Scheduler

LAGS = []

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address=None) as scheduler:
        sys.modules["lags"] = sys.modules["__main__"]
        print(scheduler.address, flush=True)
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.002)
            LAGS.append(time.perf_counter() - start - 0.002)

asyncio.run(main())
"""
_WORKERS = """
import asyncio, sys
from distributed import Worker
import dask

# What each worker does for itself while nothing is asked of it, some hundred times a second, would leave none of the
# few cores for anything else: a thousand workers have a core each, or ten of them.
dask.config.set({
    "distributed.worker.memory.spill": False,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "2s",
    "distributed.admin.system-monitor.interval": "10s",
})

async def main():
    workers = [Worker(sys.argv[1], nthreads=1, dashboard_address=None, memory_limit=0) for _ in range(int(sys.argv[2]))]
    for part in range(0, len(workers), 10):
        await asyncio.gather(*workers[part:part + 10])
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Cluster:
    """A scheduler, and real workers in a few processes beside it, which are there within so many seconds."""

    def __init__(self, workers: int, seconds: float = DEADLINE) -> None:
        self.workers = workers
        self._processes = [self._run(_SCHEDULER)]
        # Who waits for a line of a process that has ended is answered.
        overdue = threading.Timer(seconds, self._end)
        overdue.start()
        try:
            self.address = self._line(0)
            for _ in range(PROCESSES):
                self._processes.append(self._run(_WORKERS, self.address, str(workers // PROCESSES)))
            for index in range(PROCESSES):
                self._line(index + 1)
        except BaseException:
            self.close()
            raise
        finally:
            overdue.cancel()

    def _run(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
        # Workers whose hash() differs would not be equal.
        env = {**os.environ, "PYTHONHASHSEED": "0"}
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def _line(self, index: int) -> str:
        pipe = self._processes[index].stdout
        line = pipe.readline().decode().strip() if pipe else ""
        if not line:
            raise SystemExit(f"a process of a cluster of {self.workers} workers didn't start")
        return line

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.kill()

    def close(self) -> None:
        """Kill them."""
        self._end()
        for process in self._processes:
            process.wait()
            if process.stdout:
                process.stdout.close()


def _nothing() -> None:
    return None


async def _timed(what: str, act: Callable[[], Awaitable[Any]]) -> float:
    start = time.perf_counter()
    try:
        # Dask's own requests have no deadline.
        await asyncio.wait_for(act(), DEADLINE)
    except asyncio.TimeoutError:
        raise SystemExit(f"{what} wasn't done within {DEADLINE:g} s") from None
    return time.perf_counter() - start


async def _looked(reader: Reader, workers: dict[str, float]) -> None:
    """Read until the files have been looked at, which begins with the second reading."""
    while not reader.complete:
        await reader.read(workers)
        await asyncio.sleep(0.2)


_FORGET = (
    "str([__import__('sys').modules.pop(k) and 1 for k in list(__import__('sys').modules) if k[:9] == '_coiled_j'])"
)
_LAG = "(lambda m: (str(max(m.LAGS[3:] or [0])), m.LAGS.clear())[0])(__import__('sys').modules['lags'])"


async def _lists(link: raw.SchedulerLink, worker: str) -> int:
    """Return the bytes of what is read once for each group: the workers' list, and the scheduler's."""
    names = texts.node_names("read", "", [], needs=("probe",))
    (answer,) = (await link.evaluate_on_workers([worker], texts.LOAD, names, 60.0)).values()
    if not isinstance(answer, str):
        raise answer
    return len(answer) + len(await link.evaluate_on_scheduler(texts.LOAD, names, 60.0))


async def _measure(cluster: Cluster, rounds: int) -> dict[str, list[float]]:
    from distributed import Client

    link = raw.SchedulerLink(cluster.address)
    workers = dict.fromkeys((await link.identity(30.0))["workers"], 0.0)
    if len(workers) != cluster.workers:
        raise SystemExit(f"{len(workers)} of {cluster.workers} workers came")
    received = [0]
    loads = plain.loads

    def counted(frames: list[Any]) -> Any:
        received[0] += sum(memoryview(frame).nbytes for frame in frames)
        return loads(frames)

    plain.loads = counted
    found: dict[str, list[float]] = {
        key: [] for key in ("noop", "noop lag", "versions", "first", "again", "lag", "bytes")
    }
    lists = await _lists(link, min(workers))
    async with Client(cluster.address, asynchronous=True, set_as_default=False) as client:
        for _ in range(rounds + 1):
            await link.evaluate_on_workers(list(workers), _FORGET, {}, 60.0)
            await link.evaluate_on_scheduler(_FORGET, {}, 60.0)
            reader = Reader(link, deadline=60.0)
            await link.evaluate_on_scheduler(_LAG, {})
            found["noop"].append(await _timed("an empty client.run", lambda: client.run(_nothing)))
            found["noop lag"].append(float(await link.evaluate_on_scheduler(_LAG, {})))
            received[0] = 0
            begun = time.perf_counter()
            readings = await asyncio.wait_for(reader.read(workers), DEADLINE)
            found["first"].append(time.perf_counter() - begun)
            found["bytes"].append(received[0] - lists)
            found["lag"].append(float(await link.evaluate_on_scheduler(_LAG, {})))
            if readings.unread or sum(len(e.nodes) for e in readings.environments) != len(workers) + 1:
                raise SystemExit(f"not everything was read: {readings.unread[:3]}")
            # It isn't what the later ones are measured for.
            await _timed("the look at files", lambda: _looked(reader, workers))  # noqa: B023 - awaited at once
            found["versions"].append(await _timed("client.get_versions", client.get_versions))
            found["again"].append(await _timed("a reading", lambda: reader.read(workers)))  # noqa: B023 - awaited at once
    plain.loads = loads
    return {key: values[1:] for key, values in found.items()}


def measure(rounds: int) -> list[Figure]:
    """Return the seconds of first and later readings of 50, 200 and 1000 workers."""
    figures = []
    for workers, limit in ((50, 3.0), (200, 2.0), (1000, 2.0)):
        if rounds == 1 and workers > 50:
            break
        cluster = Cluster(workers)
        try:
            found = asyncio.run(_measure(cluster, min(rounds, 5)))
        finally:
            cluster.close()
        middle = {key: median(values) for key, values in found.items()}
        what = f"{workers} workers"
        figures += [
            Figure(f"First full reading of {what}", middle["first"], "an empty `client.run`", middle["noop"], limit),
            Figure(
                f"Reading of {what}, again, nothing changed",
                *(middle["again"], "`client.get_versions()`, ten packages", middle["versions"], 1.0),
            ),
            Figure(f"Longest delay of the scheduler in a first reading of {what}", max(found["lag"]), limit=0.05),
            Figure("The same in an empty `client.run`", max(found["noop lag"])),
            Figure(
                f"Received per worker, {what}, beyond one list per group",
                middle["bytes"] / workers,
                limit=200,
                unit="B",
            ),
        ]
    return figures
