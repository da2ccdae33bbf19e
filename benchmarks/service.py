"""What clusters cost the Jupyter server: its answers while they work, their adoption, and memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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


_WORK = """
import sys
from coiled_jupyter import connect

if __name__ == "__main__":
    with connect("busy", set_as_default=False) as client:
        print("ready", flush=True)
        sys.stdin.readline()
        client.gather(client.map((1).__add__, range(int(sys.argv[1])), pure=False, batch_size=1000))
"""


def _busy(server: Server, tasks: int) -> tuple[float, float]:
    """Return the 99th percentile of answers while nothing happens, and while a cluster of the server works."""
    _cluster(server, workers=1, name="busy")
    # In a process of its own: who asks for answers must not wait for the client's work.
    command = [sys.executable, "-c", _WORK, str(tasks)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        if client.stdin is None or client.stdout is None or client.stdout.readline().strip() != b"ready":
            raise SystemExit("the client didn't start")
        idle = _answers(server, 5.0)
        client.stdin.write(b"\n")
        client.stdin.flush()
        answers: list[float] = []
        while client.poll() is None:
            answers += _answers(server, 0.5)
    if client.returncode or not answers:
        raise SystemExit("the work failed")
    return _percentile(idle), _percentile(answers)


def _steps(server: Server) -> float:
    """Return the seconds from the request to the steps of a start; the cluster is stopped again."""
    start = time.perf_counter()
    cluster = server.ask("POST", "clusters", {"workers": 0})
    found = server.ask("GET", f"clusters/{cluster['id']}")["steps"]
    seconds = time.perf_counter() - start
    if not found:
        raise SystemExit("a start has no steps")
    server.ask("DELETE", f"clusters/{cluster['id']}")
    return seconds


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
    from coiled_jupyter.core.choice import ENDED
    from coiled_jupyter.service.facade import Service

    service = Service()
    start = time.perf_counter()
    await service.start()
    try:
        while True:
            live = [c for c in service.clusters.all() if c.status not in ENDED]
            if len(live) == count and all(service.clusters.followed(c.id) for c in live):
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
        shown = median([_steps(server) for _ in range(rounds)])
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
        Figure(f"99th percentile of `/api/status` beside {TASKS} tasks", busy, "the same while idle", idle, limit=1.2),
        Figure("Click until the steps of a start are shown", shown, limit=0.2),
        Figure(f"Adoption of {MANY} clusters by a fresh server", all_of_them, "of one", one, limit=5.0),
        Figure("Memory of a supervisor that has read its cluster", resident, limit=90, unit="MB"),
        Figure(
            "Memory that the extension adds to a server, without a cluster", sizes[1] - sizes[0], limit=5, unit="MB"
        ),
    ]
