"""Sealed graphs beside plain ones, by one client at one cluster: from the call to the first result, and to the last."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from json import loads
from pathlib import Path

from coiled_jupyter.texts import source

from .table import Figure, median

TASKS = 10_000
LIMIT = 1.3
_PROGRAM = """
import json, sys, time

def run():
    from distributed import Client, LocalCluster, as_completed

    namespace = {"__name__": "seal"}
    exec(sys.stdin.read(), namespace)
    rounds, tasks = int(sys.argv[1]), int(sys.argv[2])
    options = {"dashboard_address": None, "worker_dashboard_address": None, "silence_logs": 50}
    with LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster, Client(cluster) as client:
        scheduler = client._scheduler_identity["id"]

        def once(sealed):
            namespace["change"](scheduler, sealed)
            graph = {("task", number): (pow, number, 2) for number in range(tasks)}
            began = time.perf_counter()
            futures = client.get(graph, list(graph), sync=False)
            next(iter(as_completed(futures)))
            first = time.perf_counter() - began
            client.gather(futures)
            last = time.perf_counter() - began
            for future in futures:
                future.release()
            while client.run_on_scheduler(eval, "sum(len(s.tasks) for s in __import__('distributed').Scheduler._instances)"):
                time.sleep(0.05)
            return first, last

        once(False), once(True)
        print(json.dumps([[once(sealed) for sealed in (False, True)] for _ in range(rounds)]))

if __name__ == "__main__":
    run()
"""


def measure(rounds: int) -> list[Figure]:
    """Return the times of sealed graphs beside those of plain ones."""
    with tempfile.TemporaryDirectory() as folder:
        # A program of its own: LocalCluster's workers import it again.
        program = Path(folder, "program.py")
        program.write_text(_PROGRAM)
        done = subprocess.run(
            [sys.executable, str(program), str(rounds), str(TASKS)],
            input=source("seal"),
            capture_output=True,
            text=True,
            check=True,
        )
    found = loads(done.stdout.splitlines()[-1])
    return [
        Figure(
            f"{TASKS} tasks in a sealed graph, until {what}",
            median(sealed[position] for _, sealed in found),
            "the same graph, sent plain",
            median(plain[position] for plain, _ in found),
            LIMIT if position == 0 else None,
        )
        for position, what in enumerate(("the first result", "the last"))
    ]
