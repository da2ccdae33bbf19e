"""Restarts in place of clusters that a notebook opened in its own environment, over the routes of a real server."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter

import pytest
from uv import find_uv_bin

from tests.environments import interpreters
from tests.index import make_wheel
from tests.kernelspecs import kernel_spec
from tests.nightly import each_night
from tests.processes import JupyterServer, short_folder, wait_for
from tests.remote import RemoteCluster
from tests.server.test_discovered import Notebook, appeared, discovered, vanished

# A kernel, a cluster and its restarts take minutes where several test processes share two cores.
pytestmark = pytest.mark.timeout(900)
DASKS = {
    "today": ("3.11", "distributed==2026.8.0", "dask==2026.8.0", "cryptography", "ipykernel>=7,<8"),
    "2024.5": ("3.11", "distributed==2024.5.0", "dask==2024.5.0", "cryptography", "ipykernel>=7,<8"),
    "2023.5": ("3.10", "distributed==2023.5.0", "dask==2023.5.0", "cryptography", "ipykernel>=6.29,<7"),
}

# Tasks note that they run, and wait for a file where the test has to know that they run.
OPEN = """
import json, os, time
from distributed import Client, LocalCluster
from distributed.security import Security
def task(folder, key, gate=None):
    import rolled
    with open(os.path.join(folder, "trace"), "a") as file:
        file.write(key + "\\n")
    while gate and not os.path.exists(os.path.join(folder, gate)):
        time.sleep(0.02)
    return key
cluster = LocalCluster(n_workers={workers}, threads_per_worker=1, dashboard_address=":0", {options})
client = Client(cluster)
folder = {folder!r}
versions = lambda: sorted(client.run(lambda: __import__("rolled").__version__).values())
finished = [client.submit(task, folder, "f%d" % i, pure=False) for i in range(20)]
client.gather(finished)
scattered = client.scatter([100, 101, 102, 103])
running = [client.submit(task, folder, "r%d" % i, "gate", pure=False) for i in range({workers})]
queued = [client.submit(task, folder, "q%d" % i, pure=False) for i in range(12)]
while not all(sum(open(os.path.join(folder, "trace")).read().split().count("r%d" % i) for i in [n]) for n in range({workers})):
    time.sleep(0.02)
before = client.run(os.getpid)
assert versions() == ["1.0"] * {workers}
"""
KEPT = """
assert client.gather(finished) == ["f%d" % i for i in range(20)]
assert client.gather(scattered) == [100, 101, 102, 103]
assert client.gather(running) == ["r%d" % i for i in range({workers})]
assert client.gather(queued) == ["q%d" % i for i in range(12)]
assert versions() == ["2.0"] * {workers}, versions()
assert not set(before.values()) & set(client.run(os.getpid).values())
assert len(cluster.workers) == {workers}
"""
CLOSE = "client.close(); cluster.close()"


class Place:
    """A server, and kernels in virtual environments of which a test may change the packages."""

    def __init__(self, root) -> None:
        self.root = root
        self.server = JupyterServer(root, env={"COILED_JUPYTER_RUNTIME_DIR": short_folder()})
        self.wheels = {v: make_wheel(root / "wheels", "rolled", version=v) for v in ("1.0", "2.0")}

    def kernel(self, dask: str):
        """Make an environment and the spec of its kernel."""
        minor, *requirements = DASKS[dask]
        if minor not in interpreters():
            pytest.skip(f"There is no Python {minor} here")
        venv = self.root / dask
        if not venv.exists():
            subprocess.run([find_uv_bin(), "venv", "-q", "--python", interpreters()[minor], str(venv)], check=True)
            self.install(dask, *requirements)
            kernel_spec(self.root / "home" / "data", dask, venv / "bin" / "python")
        self.install(dask, str(self.wheels["1.0"]))

    def install(self, dask: str, *what: str) -> None:
        python = str(self.root / dask / "bin" / "python")
        subprocess.run([find_uv_bin(), "pip", "install", "-q", "--python", python, *what], check=True)

    def plan(self, cluster: dict, notebook: Notebook, expected: int = 201, **more) -> dict:
        body = {"cluster": cluster["id"], "kernel": notebook.kernel, **more}
        status, plan = self.server.api("POST", "plans", body, timeout=120)
        assert status == expected, plan
        return plan

    def sync(self, plan: dict) -> dict:
        status, sync = self.server.api("POST", "syncs", {"plan": plan["id"]}, timeout=120)
        assert status == 201, sync
        return sync

    def seen(self, sync: dict, condition, what: str) -> dict:
        def look():
            found = self.server.api("GET", f"syncs/{sync['id']}")[1]
            return found if condition(found) else None

        return wait_for(look, what=what, seconds=400)

    def ended(self, sync: dict) -> dict:
        final = ("done", "failed", "cancelled", "lost")
        return self.seen(sync, lambda found: found["state"] in final, "the end of the sync")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("place"))
    yield made
    made.server.close()


class Opened(Notebook):
    """A notebook whose cells may take long, since several processes start in them."""

    def run(self, code: str, seconds: float = 240) -> None:
        super().run(code, seconds)


def ran(folder) -> Counter:
    return Counter((folder / "trace").read_text().split())


def waits(sync: dict) -> bool:
    return any("running tasks" in step["text"] for step in sync["steps"])


ALL = [("today", ""), ("today", "tls"), ("2024.5", ""), ("2024.5", "tls"), ("2023.5", ""), ("2023.5", "tls")]


@pytest.mark.parametrize(("dask", "tls"), each_night(ALL, [("today", "tls")]))
def test_workers_run_what_was_installed_and_keep_all_that_they_have(place, dask, tls, tmp_path):
    """Also while a cell runs, and with certificates that are only in the kernel's memory."""
    place.kernel(dask)
    notebook = Opened(place.server, "own.ipynb", dask)
    try:
        options = 'protocol="tls://", security=Security.temporary()' if tls else ""
        notebook.run(OPEN.format(workers=2, options=options, folder=str(tmp_path)))
        cluster = appeared(place.server, 2, 60)
        plan = place.plan(cluster, notebook)
        assert (plan["how"], plan["actions"], plan["rolls"]) == ("nothing", [], [])

        place.install(dask, str(place.wheels["2.0"]))
        # The notebook hasn't imported it, so of the kernel nothing is asked.
        plan = place.plan(cluster, notebook)
        assert [(a["kind"], a["name"], a["before"], a["after"]) for a in plan["actions"]] == [
            ("upgrade", "rolled", "1.0", "2.0")
        ]
        assert (plan["how"], plan["needs"], plan["temporary"], len(plan["rolls"])) == ("in_place", [], False, 2)
        assert plan["lost"] == {"futures": 0, "scattered": 0, "running": 0, "actors": 0, "why": ""}
        assert plan["restarts"][0].startswith("2 workers restart, one after the other")

        cell = threading.Thread(
            target=notebook.run, args=("while not os.path.exists(folder + '/over'): sum(range(99))",)
        )
        cell.start()
        sync = place.sync(plan)
        place.seen(sync, waits, "the wait for running tasks")
        body = {"cluster": cluster["id"], "kernel": notebook.kernel}
        status, refusal = place.server.api("POST", "plans", body, timeout=60)
        assert (status, refusal["error"]["data"]["sync"]) == (409, sync["id"])
        (tmp_path / "gate").touch()
        done = place.ended(sync)
        assert cell.is_alive()
        (tmp_path / "over").touch()
        cell.join()
        assert done["state"] == "done", done
        assert [(step["name"], step["state"]) for step in done["steps"]] == [
            ("Restart the workers", "done"),
            ("Verify", "done"),
        ]
        assert [(g["role"], len(g["nodes"]), g["verified"]) for g in done["result"]["groups"]] == [("worker", 2, True)]
        assert "All 2 workers run what is installed now" in done["result"]["text"]
        assert sum("Restarted: worker" in line for line in done["log"]["lines"]) == 2
        notebook.run(KEPT.format(workers=2))
        assert set(ran(tmp_path).values()) == {1}
        assert len(ran(tmp_path)) == 20 + 2 + 12

        # There is nothing on our side to go back to.
        assert done["undoable"] is False
        status, refusal = place.server.api("POST", f"syncs/{sync['id']}/undo")
        assert (status, "nothing to undo" in refusal["error"]["message"]) == (409, True)
        assert place.plan(cluster, notebook)["how"] == "nothing"
        notebook.run(CLOSE)
        vanished(place.server)
    finally:
        (tmp_path / "over").touch()
        notebook.close()


@pytest.mark.nightly
@pytest.mark.parametrize("dask", ["today", "2024.5", "2023.5"])
def test_the_only_worker_hands_over_to_a_temporary_one_and_a_kernel_that_runs_the_old_one_is_named(
    place, dask, tmp_path
):
    place.kernel(dask)
    notebook = Opened(place.server, "single.ipynb", dask)
    try:
        notebook.run("import rolled")
        notebook.run(OPEN.format(workers=1, options="", folder=str(tmp_path)))
        cluster = appeared(place.server, 1, 60)
        place.install(dask, str(place.wheels["2.0"]))
        plan = place.plan(cluster, notebook)
        assert (plan["how"], plan["temporary"], len(plan["rolls"])) == ("in_place", True, 1)
        kinds = {action["kind"]: action for action in plan["actions"]}
        assert set(kinds) == {"upgrade", "refuse"}
        assert "restart the kernel to have it run 2.0" in kinds["refuse"]["why"]

        # Cancelled while it waits for a task, it leaves all as it was.
        sync = place.sync(plan)
        place.seen(sync, waits, "the wait for running tasks")
        assert place.server.api("DELETE", f"syncs/{sync['id']}")[0] == 200
        assert place.ended(sync)["state"] == "cancelled"

        (tmp_path / "gate").touch()
        notebook.run("client.gather(running + queued)")
        wait_for(lambda: len(discovered(place.server)[0]["workers"]) == 1, what="the temporary worker to end")
        done = place.ended(place.sync(place.plan(cluster, notebook)))
        assert done["state"] == "done", done
        notebook.run(KEPT.format(workers=1))
        assert set(ran(tmp_path).values()) == {1}
        wait_for(lambda: len(discovered(place.server)[0]["workers"]) == 1, what="the temporary worker to end")
        notebook.run(CLOSE)
        vanished(place.server)
    finally:
        notebook.close()


def test_threads_of_the_kernel_are_named_as_such_and_a_kernel_that_ends_ends_the_sync(place, tmp_path):
    place.kernel("today")
    notebook = Opened(place.server, "ends.ipynb", "today")
    try:
        notebook.run("from distributed import Client; inner = Client(processes=False, dashboard_address=':0')")
        plan = place.plan(appeared(place.server, 1, 60), notebook)
        assert plan["how"] == "refused"
        assert "threads of the notebook's kernel (processes=False)" in plan["actions"][0]["why"]
        status, refusal = place.server.api("POST", "syncs", {"plan": plan["id"]})
        assert (status, "Restart the kernel" in refusal["error"]["message"]) == (422, True)
        notebook.run("inner.close()")
        vanished(place.server)

        notebook.run(OPEN.format(workers=1, options="", folder=str(tmp_path)))
        cluster = appeared(place.server, 1, 60)
        place.install("today", str(place.wheels["2.0"]))
        sync = place.sync(place.plan(cluster, notebook))
        place.seen(sync, waits, "the wait for running tasks")
        assert place.server.ask("POST", f"/api/kernels/{notebook.kernel}/restart", {}, timeout=60)[0] == 200
        lost = place.ended(sync)
        assert lost["state"] == "lost"
        assert "kernel has ended or restarted during the sync" in lost["result"]["text"]
    finally:
        notebook.close()
    vanished(place.server)


ASYNCHRONOUS = """
import os
from distributed import Client
client = await Client(processes=True, n_workers=1, threads_per_worker=1, dashboard_address=":0", asynchronous=True)
version = lambda i=0: (__import__("rolled").__version__, i)
kept = client.map(version, range(5), pure=False)
assert await client.gather(kept) == [("1.0", i) for i in range(5)]
"""
SHUFFLE = """
import dask, os, numpy as np, dask.array as da
from distributed import Client
dask.config.set({{"array.rechunk.method": "p2p"}})
client = Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")
client.run(lambda: __import__("rolled").__version__)
def block(x, block_info=None):
    import time
    with open({trace!r}, "a") as file:
        file.write("%s\\n" % (block_info[0]["chunk-location"],))
    time.sleep(0.5)
    return x
x = da.zeros((24, 10), chunks=(1, 10)).map_blocks(block, dtype=float, meta=np.empty((0, 0)))
total = client.compute(x.rechunk((24, 1), method="p2p").sum())
while not os.path.exists({trace!r}):
    pass
"""


@pytest.mark.nightly
def test_between_the_cells_of_an_asynchronous_client_and_not_after_the_cluster_was_closed(place):
    place.kernel("today")
    notebook = Opened(place.server, "later.ipynb", "today")
    try:
        notebook.run(ASYNCHRONOUS)
        cluster = appeared(place.server, 1, 60)
        place.install("today", str(place.wheels["2.0"]))
        done = place.ended(place.sync(place.plan(cluster, notebook)))
        assert done["state"] == "done", done
        notebook.run("assert await client.gather(kept) == [('1.0', i) for i in range(5)]")
        notebook.run("assert list((await client.run(version)).values()) == [('2.0', 0)]")
        notebook.run("await client.close()")
        vanished(place.server)

        place.kernel("today")
        notebook.run("client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')")
        notebook.run("client.run(version); slow = client.submit(__import__('time').sleep, 600)")
        cluster = appeared(place.server, 1, 60)
        place.install("today", str(place.wheels["2.0"]))
        sync = place.sync(place.plan(cluster, notebook))
        place.seen(sync, waits, "the wait for running tasks")
        notebook.run("client.close(); client.cluster.close()")
        lost = place.ended(sync)
        assert (lost["state"], "closed the cluster" in lost["result"]["text"]) == ("lost", True), lost
    finally:
        notebook.close()


@pytest.mark.nightly
def test_no_input_of_a_shuffle_runs_twice(place, tmp_path):
    place.kernel("today")
    place.install("today", "numpy", "dask[array]==2026.8.0")
    notebook = Opened(place.server, "shuffle.ipynb", "today")
    try:
        notebook.run(SHUFFLE.format(trace=str(tmp_path / "trace")))
        cluster = appeared(place.server, 2, 60)
        place.install("today", str(place.wheels["2.0"]))
        done = place.ended(place.sync(place.plan(cluster, notebook)))
        assert done["state"] == "done", done
        notebook.run("assert total.result() == 0")
        lines = Counter((tmp_path / "trace").read_text().splitlines())
        assert (len(lines), set(lines.values())) == (24, {1})
        notebook.run("client.close(); client.cluster.close()")
    finally:
        notebook.close()


def test_what_the_server_can_reach_is_attached_without_being_told_to(place, tmp_path):
    place.kernel("today")
    notebook = Opened(place.server, "far.ipynb", "today")
    with RemoteCluster(tmp_path, place.root / "today" / "bin" / "python") as remote:
        try:
            notebook.run(f"from distributed import Client; client = Client({remote.address!r})")
            found = appeared(place.server, 1, 60)
            plan = place.plan(found, notebook)
            assert plan["how"] == "nothing"
            cluster = place.server.api("GET", f"clusters/{plan['cluster']}")[1]
            assert cluster["source"] == "attached"
            assert cluster["scheduler"]["id"] == found["scheduler"]["id"]
            vanished(place.server)
            assert place.server.api("DELETE", f"clusters/{plan['cluster']}")[0] == 204
            notebook.run("client.close()")
        finally:
            notebook.close()
