"""Syncs of clusters of a real dask-gateway with its default heartbeat, over the routes of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from uv import find_uv_bin

from coiled_jupyter.core.change.journal import FINAL
from coiled_jupyter.core.change.state import BASE
from coiled_jupyter.links.nodes.link import NodeLink
from coiled_jupyter.links.scheduler import SchedulerLink, TLSFiles
from tests.gateway import DaskGateway
from tests.index import Index, make_wheel
from tests.kernelspecs import kernel_spec
from tests.nightly import each_night
from tests.notebook import Notebook as Process
from tests.processes import JupyterServer, of_clusters, short_folder, wait_for, words
from tests.server.test_discovered import Notebook, appeared

pytestmark = pytest.mark.timeout(900)

# By name the process of each worker, and of its nanny.
PROCESSES = """
import os
def processes(nanny=False):
    found = client.run(os.getpid, nanny=nanny)
    return {client.scheduler_info(n_workers=-1)["workers"][address]["name"]: pid for address, pid in found.items()}
None"""
WORK = """
finished = client.map(lambda i: i * 2, range(40), pure=False)
scattered = client.scatter(list(range(10)))
client.gather(finished)
None"""
KEPT = "(client.gather(finished), client.gather(scattered)) == ([i * 2 for i in range(40)], list(range(10)))"
WORKERS = "client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.workers))"
HAS = "sorted(client.run(lambda: __import__('importlib.util').util.find_spec('cj_good') is not None).values())"


class Place:
    """A gateway, and a server whose Python has a package that the gateway's clusters lack."""

    def __init__(self, root: Path) -> None:
        self.root, has, wheels = root, root / "has", root / "index"
        with zipfile.ZipFile(make_wheel(wheels, "cj_good")) as wheel:
            wheel.extractall(has)
        self.index = Index(wheels)
        home = root / "home"
        uv_cache = subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, text=True).stdout.strip()
        caches = {"XDG_CACHE_HOME": str(root / "cache"), "UV_CACHE_DIR": uv_cache}
        # Certificate files must lie in the home folder.
        self.gateway = DaskGateway(home / "gateway", caches)
        self.runtime = short_folder()
        environ = {
            "PYTHONPATH": str(has),
            "COILED_JUPYTER_RUNTIME_DIR": self.runtime,
            "COILED_JUPYTER_CACHE_DIR": str(root / "digests"),
        }
        options = f"--CoiledJupyter.index_options=--index={self.index.url}"
        self.server = JupyterServer(root, "server", options, env=environ)

    def close(self) -> None:
        self.server.close()
        self.gateway.close()
        self.index.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("place"))
    yield made
    made.close()


class Cluster:
    """A cluster of the gateway, and a notebook that opened it; `run` returns the value of a cell's last line."""

    kernel: str | None = None

    def __init__(self, place: Place) -> None:
        self.place, self.server, self.gateway = place, place.server, place.gateway
        self.id, self.stopped = "", 0

    def run(self, code: str, seconds: float = 300):
        raise NotImplementedError

    def opened(self, workers: int, *, adaptive: bool) -> None:
        self.run(self.gateway.opening(workers, adaptive=adaptive) + PROCESSES)
        self.stopped = self.gateway.stopped()

    def state(self) -> dict:
        return self.server.api("GET", f"clusters/{self.id}")[1]

    def plan(self, **fields) -> dict:
        """Plan a sync of the one package, or as these fields say."""
        body = {"cluster": self.id, **(fields or {"scope": ["cj-good"]})}
        body |= {"kernel": self.kernel} if self.kernel and not fields else {}
        status, plan = self.server.api("POST", "plans", body, timeout=120)
        assert status == 201, plan
        assert plan["how"] == "roll", plan
        return plan

    def begin(self, **fields) -> dict:
        plan = self.plan(**fields)
        # That of a notebook's cluster is one of the cluster as it is attached now.
        self.id = plan["cluster"]
        status, sync = self.server.api("POST", "syncs", {"plan": plan["id"]}, timeout=120)
        assert status == 201, sync
        return sync

    def undo(self, sync: dict) -> dict:
        status, undo = self.server.api("POST", f"syncs/{sync['id']}/undo", timeout=120)
        assert status == 201, undo
        return self.ended(undo)

    def ended(self, sync: dict) -> dict:
        def look():
            found = self.server.api("GET", f"syncs/{sync['id']}")[1]
            return found if found["state"] in FINAL else None

        return wait_for(look, what="the end of the sync", seconds=400)

    def heard(self) -> None:
        """Wait until the gateway has heard from the scheduler again."""
        line = f"Cluster {self.run('cluster.name')} heartbeat"
        before = self.gateway.told().count(line)
        wait_for(lambda: self.gateway.told().count(line) > before, what="a heartbeat")

    def untouched(self) -> bool:
        """Whether the scheduler's service of the gateway has nothing of ours."""
        return self.run(
            "client.run_on_scheduler(lambda dask_scheduler: not {'worker_added', 'worker_removed', '_scale', "
            "'_coiled_jupyter_held'} & set(vars(dask_scheduler.services['gateway'])))"
        )

    def away(self) -> None:
        """Wait until a worker is away that was there."""
        count = len(self.state()["workers"])
        wait_for(lambda: self.run(WORKERS) < count, what="a worker that restarts")

    def supervisor(self) -> int:
        """Return the process that carries out syncs."""
        found = [p for p in of_clusters(self.id, self.place.runtime) if "coiled_jupyter.supervisor" in words(p)]
        return found[0].pid

    def close(self) -> None:
        self.server.api("DELETE", f"clusters/{self.id}")
        self.run("client.close()\ncluster.shutdown()\nNone")

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Attached(Cluster):
    """One that was attached by the address of its scheduler, with its certificate files."""

    def __init__(self, place: Place, workers: int = 2, *, adaptive: bool = False) -> None:
        super().__init__(place)
        self.notebook = Process(self.gateway.python)
        self.opened(workers, adaptive=adaptive)
        name, address = self.run("(cluster.name, client.scheduler_info()['address'])")
        body = {"address": address, "tls": self.gateway.files(name)}
        status, cluster = self.server.api("POST", "clusters", body)
        assert status == 202, cluster
        self.id = cluster["id"]
        wait_for(lambda: len(self.state()["workers"]) == workers, what="the workers")

    def run(self, code: str, seconds: float = 300):
        return self.notebook.run(code, seconds)

    def close(self) -> None:
        super().close()
        self.notebook.close()


class Opened(Cluster):
    """One that only the client in a notebook's kernel reaches."""

    def __init__(self, place: Place, workers: int = 2, *, adaptive: bool = False) -> None:
        super().__init__(place)
        kernel_spec(place.root / "home" / "data", "gateway", self.gateway.python)
        self.notebook = Notebook(place.server, "gateway.ipynb", "gateway")
        self.kernel, self._told = self.notebook.kernel, place.root / "told"
        self.opened(workers, adaptive=adaptive)
        self.id = appeared(self.server, workers, 60)["id"]

    def run(self, code: str, seconds: float = 300):
        head, _, last = code.strip("\n").rpartition("\n")
        self.notebook.run(f"{head}\n__import__('json').dump({last}, open({str(self._told)!r}, 'w'))", seconds)
        return json.loads(self._told.read_text())

    def close(self) -> None:
        super().close()
        self.notebook.close()


def there_and_back(on: Cluster, meanwhile: contextlib.AbstractContextManager[None] | None = None) -> None:
    """Sync and undo: every worker restarts twice below the same nanny, and nothing is lost."""
    before, nannies = on.run("processes()"), on.run("processes(nanny=True)")
    with meanwhile or contextlib.nullcontext():
        sync = on.ended(on.begin())
    assert sync["state"] == "done", sync
    moved = on.run("processes()")
    assert on.run(HAS) == [True] * len(before)
    undone = on.undo(sync)
    assert undone["state"] == "done", undone
    assert on.run(HAS) == [False] * len(before)
    after = on.run("processes()")
    assert before.keys() == moved.keys() == after.keys()
    assert not set(before.values()) & set(moved.values()) | set(moved.values()) & set(after.values())
    assert on.run("processes(nanny=True)") == nannies
    assert on.run(KEPT)
    assert on.untouched()


@contextlib.contextmanager
def cell(on: Opened, step: str) -> Iterator[None]:
    """Keep a cell of the notebook running, which does this step all the time."""
    gate = on.place.root / "gate"
    code = f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    {step}\nNone"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(on.notebook.run, code, 300)
        try:
            yield
            assert not running.done()
        finally:
            gate.touch()
        running.result()
    gate.unlink()


# One that computes leaves the relay every few milliseconds a moment.
@pytest.mark.parametrize("step", each_night(["time.sleep(0.1)", "sum(range(1000))"], ["time.sleep(0.1)"]))
def test_a_notebooks_own_cluster_is_synced_beside_a_running_cell_and_keeps_every_node_and_result(place, step):
    with Opened(place) as on:
        on.run(WORK)
        nannies = on.run("processes(nanny=True)")
        there_and_back(on, cell(on, step))
        # What its next heartbeat would tell.
        gone = "client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.services['gateway'].closed_workers))"
        assert on.run(gone) == []
        assert on.run("processes(nanny=True)") == nannies
        assert on.gateway.stopped() == on.stopped
        assert (on.state()["source"], on.state()["kernels"]) == ("attached", [on.kernel])
        # Its certificates are nowhere but with the gateway and in its kernel.
        secret = on.run("client.security.tls_key").split()[3]
        assert not [
            path for path in Path(place.runtime).rglob("*") if path.is_file() and secret in path.read_text("latin1")
        ]


@contextlib.contextmanager
def load(processes: int = 4) -> Iterator[None]:
    """Keep the machine busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.nightly
@pytest.mark.parametrize("way", [Attached, Opened])
def test_five_of_five_beside_load(place, way):
    with way(place) as on, load():
        on.run(WORK)
        for _ in range(5):
            there_and_back(on)
        on.heard()
        assert on.gateway.stopped() == on.stopped


@pytest.mark.nightly
@pytest.mark.parametrize("way", [Attached, Opened])
@pytest.mark.parametrize("kills", [True, False], ids=["killed", "cancelled"])
def test_a_sync_that_ends_while_a_worker_is_away_leaves_every_node_and_nothing_else(place, kills, way):
    with way(place) as on:
        on.run(WORK)
        nannies = on.run("processes(nanny=True)")
        sync = on.begin()
        on.away()
        if kills:
            os.kill(on.supervisor(), signal.SIGKILL)
        else:
            assert on.server.api("DELETE", f"syncs/{sync['id']}", timeout=60)[0] == 200
        end = on.ended(sync)
        assert end["state"] == ("failed" if kills else "cancelled"), end
        assert "The old state is back, as read from every worker." in end["result"]["text"]
        assert on.run(HAS) == [False, False]
        assert on.run("processes(nanny=True)") == nannies
        assert on.run(KEPT)
        on.heard()
        assert on.untouched()
        assert on.gateway.stopped() == on.stopped


@pytest.mark.nightly
def test_a_held_worker_that_doesnt_come_back_is_replaced_when_its_time_is_over(place):
    with Attached(place) as on:
        (name, nanny), _ = sorted(on.run("processes(nanny=True)").items())
        files = on.gateway.files(on.run("cluster.name"))
        tls = TLSFiles(ca=files["ca_file"], cert=files["cert_file"], key=files["key_file"])

        async def go() -> None:
            link = SchedulerLink(on.run("client.scheduler_info()['address']"), tls)
            assert await NodeLink(link).restarts.hold_workers([name], 8.0)
            link.close()

        asyncio.run(go())
        assert not on.untouched()
        os.kill(nanny, signal.SIGKILL)
        wait_for(lambda: on.run(WORKERS) == 1, what="its end")
        assert on.gateway.stopped() == on.stopped
        wait_for(lambda: on.run(WORKERS) == 2, what="another one")
        assert name not in on.run("processes()")
        assert on.untouched()


@pytest.mark.nightly
def test_a_gateway_that_adapts_makes_no_cluster_smaller_for_a_sync(place):
    with Attached(place, adaptive=True) as on:
        on.run("import time\nbusy = client.map(lambda i: time.sleep(0.2) or i, range(5000), pure=False)\nNone")
        wait_for(lambda: len(on.state()["workers"]) == 4, what="a larger cluster", seconds=120)
        wait_for(lambda: on.run(WORKERS) == 4, what="its workers")
        stopped = on.gateway.stopped()
        names = set(on.run("processes(nanny=True)"))
        sync = on.ended(on.begin())
        assert sync["state"] == "done", sync
        assert on.run(HAS) == [True] * 4
        assert on.gateway.stopped() == stopped
        assert set(on.run("processes(nanny=True)")) == names
        # Adaptive scaling has had work for all of them, and has still.
        assert on.run("client.gather(busy[:100]) == list(range(100)) and not all(future.done() for future in busy)")
        on.run("del busy\nNone")
        assert on.untouched()


@pytest.mark.nightly
def test_when_the_kernel_ends_in_a_sync_nothing_is_claimed_and_the_next_client_brings_the_cluster_back(place):
    with Opened(place) as on:
        on.run(WORK)
        nannies = on.run("processes(nanny=True)")
        name, process = on.run("(cluster.name, os.getpid())")
        sync = on.begin()
        on.away()
        os.kill(process, signal.SIGKILL)
        end = on.ended(sync)
        assert end["state"] == "lost", end
        assert "that notebook has closed it or its kernel has ended" in end["result"]["text"]
        wait_for(lambda: on.state()["status"] == "unreachable", what="the end of the way to it")
        # The kernel is started again by its server.
        connecting = on.gateway.opening().replace("gateway.new_cluster()", f"gateway.connect({name!r})")
        on.run(connecting.replace("cluster.scale(2)", "") + PROCESSES)
        wait_for(lambda: on.state()["status"] in ("running", "idle"), what="the cluster through its new client")
        assert on.run("processes(nanny=True)") == nannies
        on.heard()
        assert on.untouched()
        assert on.gateway.stopped() == on.stopped
        on.run(WORK)
        again = on.ended(on.begin())
        assert again["state"] == "done", again
        assert on.run(HAS) == [True, True]
        # Whichever sync has made it, the state before all of them is one to go back to.
        back = on.ended(on.begin(**{"from": {"layer": BASE}}))
        assert back["state"] == "done", back
        assert on.run(HAS) == [False, False]
        assert on.run("processes(nanny=True)") == nannies
        assert on.run(KEPT)
        on.heard()
        assert on.gateway.stopped() == on.stopped
