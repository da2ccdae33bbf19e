"""What clusters cost the Jupyter server: its answers while they work, their adoption, and memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from .cluster import Server
from .table import Figure, median

TASKS = 40_000
MANY = 20


def _percentile(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def _answers(server: Server, seconds: float) -> list[float]:
    """Return the seconds of answers of ``/api/status``, asked every 10 ms."""
    found = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        server.fetch("GET", "/api/status")
        found.append(time.perf_counter() - start)
        time.sleep(0.01)
    return found


def _busy(server: Server, tasks: int) -> tuple[float, float]:
    """Return the 99th percentile of answers while nothing happens, and while a cluster of the server works."""
    from coiled_jupyter import connect

    _cluster(server, workers=1, name="busy")
    with connect("busy", set_as_default=False) as client:
        idle = _answers(server, 5.0)

        def work() -> None:
            client.gather(client.map(_increment, range(tasks), pure=False, batch_size=1000))

        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            time.sleep(0.5)
            answers: list[float] = []
            while not working.done():
                answers += _answers(server, 0.5)
            working.result()
    return _percentile(idle), _percentile(answers)


def _increment(number: int) -> int:
    return number + 1


def _cluster(server: Server, **body: Any) -> str:
    path = "clusters/" + str(server.ask("POST", "clusters", body)["id"])
    deadline = time.monotonic() + 60
    while (cluster := server.ask("GET", path))["status"] == "starting":
        if time.monotonic() > deadline:
            raise SystemExit("a cluster didn't start")
        time.sleep(0.05)
    if cluster["status"] not in ("running", "idle"):
        raise SystemExit(f"a cluster is {cluster['status']}: {cluster['reason']}")
    return path


async def _adopt(count: int) -> float:
    """Return the seconds in which a fresh service follows `count` clusters."""
    from coiled_jupyter.service import ENDED, Service

    service = Service()
    start = time.perf_counter()
    await service.start()
    try:
        while True:
            live = [c for c in service.clusters() if c.status not in ENDED]
            if len(live) == count and all(service.followed(c.id) for c in live):
                return time.perf_counter() - start
            await asyncio.sleep(0.001)
    finally:
        await service.close(release=False)


@contextlib.contextmanager
def _server(*, extension: bool = True) -> Iterator[Server]:
    # A socket's path is limited, so the folder's name is short.
    with tempfile.TemporaryDirectory(prefix="cj") as folder:
        os.environ["COILED_JUPYTER_RUNTIME_DIR"] = str(Path(folder, "r"))
        server = Server(Path(folder), extension=extension)
        try:
            yield server
        finally:
            server.close()
            del os.environ["COILED_JUPYTER_RUNTIME_DIR"]


def _resident(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6


def measure(rounds: int) -> list[Figure]:
    """Return answers beside work, adoption of many clusters beside one, and memory in MB."""
    with _server() as server:
        idle, busy = _busy(server, TASKS if rounds > 1 else TASKS // 20)
        supervisor = next(
            p for p in psutil.Process(server.process.pid).children() if "coiled_jupyter.supervisor" in p.cmdline()
        )
        resident = _resident(supervisor.pid)
    with _server() as server:
        _cluster(server, workers=0)
        one = median([asyncio.run(_adopt(1)) for _ in range(rounds)])
        many = MANY if rounds > 1 else 2
        for _ in range(many - 1):
            _cluster(server, workers=0)
        all_of_them = median([asyncio.run(_adopt(many)) for _ in range(rounds)])
    sizes = []
    for extension in (False, True):
        with _server(extension=extension) as server:
            for _ in range(20):
                server.fetch("GET", "/api/status")
            if extension:
                server.ask("GET", "clusters")
            sizes.append(_resident(server.process.pid))
    return [
        Figure(f"99 % of answers of `/api/status` beside {TASKS} tasks", busy, "the same while idle", idle, limit=1.2),
        Figure(f"Adoption of {MANY} clusters by a fresh server", all_of_them, "of one", one, limit=5.0),
        Figure("Memory of a supervisor that has read its cluster", resident, limit=90, unit="MB"),
        Figure("More memory of a server for the extension, without a cluster", sizes[1] - sizes[0], limit=5, unit="MB"),
    ]
