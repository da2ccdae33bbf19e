"""Plans that can't be and syncs that outlive their server, over REST: refused in plain words, and nothing is touched."""

from __future__ import annotations

import contextlib
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from uv import find_uv_bin

from coiled_jupyter.core.change.journal import FINAL
from tests.index import Index, make_wheel
from tests.notebook import Notebook
from tests.processes import JupyterServer, wait_for
from tests.remote import RemoteCluster
from tests.server.test_syncs import HOSTILE
from tests.supervisor.test_sync import TODAY, python_of


class Ground:
    """A server whose Python has packages that aren't on the attached cluster, and an index that has some of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, has, self.wheels = folder / "server", folder / "has", folder / "index"
        # What the server's Python has, as an installer leaves it in a folder of sys.path.
        for name in ("cj_clash", "cj_mac", "cj_dead", "cj_good"):
            with zipfile.ZipFile(make_wheel(folder / "made", name)) as wheel:
                wheel.extractall(has)
        make_wheel(self.wheels, "cj_clash", requires=("msgpack<1",))
        make_wheel(self.wheels, "cj_mac", tag="cp311-cp311-macosx_11_0_arm64")
        make_wheel(self.wheels, "cj_dead")
        make_wheel(self.wheels, "cj_good")
        self.index = Index(self.wheels)
        self.cache = folder / "cache"
        uv_cache = subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, text=True).stdout.strip()
        # What files hold is kept elsewhere: this folder shows what a sync has touched.
        digests = {"COILED_JUPYTER_CACHE_DIR": str(folder / "digests")}
        extra = {"XDG_CACHE_HOME": str(self.cache), "UV_CACHE_DIR": uv_cache, **digests}
        self.python = python_of("3.11", *TODAY)
        self.remote = RemoteCluster(folder / "remote", self.python, workers=2, extra=extra)
        self.environ = {"PYTHONPATH": str(has)}
        self.serve()
        _, made = self.server.api("POST", "clusters", self.remote.body())
        self.cluster = made["id"]
        self.running(2)

    def serve(self) -> None:
        options = f"--CoiledJupyter.index_options=--index={self.index.url}"
        self.server = JupyterServer(self.root, "server", options, env=self.environ)

    def running(self, workers: int) -> list[str]:
        def there():
            cluster = self.server.api("GET", f"clusters/{self.cluster}")[1]
            found = sorted(worker["id"] for worker in cluster["workers"])
            return cluster["status"] in ("running", "idle") and len(found) == workers and found

        return wait_for(there, what="the workers")

    def plan(self, *names: str, **fields):
        return self.server.api("POST", "plans", {"cluster": self.cluster, "scope": list(names), **fields}, timeout=60)

    def ended(self, sync: str) -> dict:
        def final():
            status, found = self.server.api("GET", f"syncs/{sync}")
            assert status == 200, found
            return found["state"] in FINAL and found

        return wait_for(final, seconds=120, what="the end of the sync")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.server.api("DELETE", f"clusters/{self.cluster}")
        self.server.close()
        self.remote.close()
        self.index.stop()


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    ground = Ground(tmp_path_factory.mktemp("ground"))
    yield ground
    ground.close()


@pytest.mark.parametrize(("name", "words"), [("cj-clash", "msgpack"), ("cj-mac", "platform")])
def test_what_the_resolver_refuses_is_in_the_plan_with_its_words_and_nothing_is_touched(ground, name, words):
    before = ground.running(2)
    status, plan = ground.plan(name)
    assert (status, plan["how"]) == (201, "refused"), plan
    (refused,) = plan["actions"]
    assert (refused["kind"], refused["name"], refused["before"], refused["after"]) == ("refuse", name, None, "1.0")
    assert words in refused["why"], refused
    status, answer = ground.server.api("POST", "syncs", {"plan": plan["id"]})
    assert (status, answer["error"]["kind"]) == (422, "impossible"), answer
    assert words in answer["error"]["message"]
    assert ground.running(2) == before
    assert not ground.cache.exists()


def test_a_dead_index_is_said_and_nothing_is_touched(ground):
    before = ground.running(2)
    ground.index.stop()
    try:
        status, answer = ground.plan("cj-dead")
    finally:
        ground.index.start()
    # The request was right and may be right again: no fault of the client's, and none of ours.
    assert (status, answer["error"]["kind"]) == (503, "unavailable"), answer
    assert f"127.0.0.1:{ground.index.port}" in answer["error"]["message"]
    assert answer["error"]["hint"] == "Look at the network and the index"
    assert ground.running(2) == before
    assert not ground.cache.exists()
    status, plan = ground.plan("cj-dead")
    assert (status, plan["how"]) == (201, "roll"), plan


@pytest.mark.parametrize("name", [*HOSTILE[:3], "a\0b", "x" * 10_000, "cj-good==1.0"])
def test_a_hostile_name_is_refused_by_its_place(ground, name):
    status, answer = ground.plan("cj-good", name)
    assert status == 400, answer
    assert answer["error"]["data"]["field"].startswith("scope"), answer
    assert len(answer["error"]["message"]) < 500


@pytest.mark.nightly
def test_a_sync_outlives_the_restart_of_its_kernel(ground):
    status, kernel = ground.server.ask("POST", "/api/kernels", {"name": "python3"}, timeout=60)
    assert status == 201, kernel

    def row() -> dict | None:
        # Never what the kernel was before: a reading of a restarted one is made anew.
        status, diff = ground.server.api("GET", f"diff?cluster={ground.cluster}&kernel={kernel['id']}", timeout=60)
        return next((row for row in diff["rows"] if row["name"] == "cj-dead"), None) if status == 200 else None

    wait_for(lambda: (found := row()) and found["status"] == "only_kernel", what="the row")
    with Notebook(ground.python, ground.remote.address) as notebook:
        notebook.run("import time\nslow = client.map(time.sleep, [3, 3.1])\nNone")
        status, plan = ground.plan("cj-dead", kernel=kernel["id"])
        assert (status, plan["how"]) == (201, "roll"), plan
        assert plan["seconds"] > 0
        status, sync = ground.server.api("POST", "syncs", {"plan": plan["id"]})
        assert status == 201, sync
        wait_for(lambda: ground.server.api("GET", f"syncs/{sync['id']}")[1]["state"] == "rolling", what="the roll")
        status, _ = ground.server.ask("POST", f"/api/kernels/{kernel['id']}/restart", {}, timeout=60)
        assert status == 200
        done = ground.ended(sync["id"])
        assert done["state"] == "done", done
        assert notebook.run("client.gather(slow)") == [None, None]
    wait_for(lambda: (found := row()) and found["status"] == "same", what="the row of the restarted kernel")
    assert ground.server.ask("DELETE", f"/api/kernels/{kernel['id']}")[0] == 204
    status, undo = ground.server.api("POST", f"syncs/{sync['id']}/undo")
    assert status == 201, undo
    assert ground.ended(undo["id"])["state"] == "done"
    ground.running(2)


def test_a_sync_outlives_its_server_and_its_layer_can_be_removed_once_nobody_uses_it(ground):
    with Notebook(ground.python, ground.remote.address) as notebook:
        notebook.run("import time\nslow = client.map(time.sleep, [4, 4.1])\nNone")
        _, plan = ground.plan("cj-good")
        status, sync = ground.server.api("POST", "syncs", {"plan": plan["id"]})
        assert status == 201, sync
        wait_for(lambda: ground.server.api("GET", f"syncs/{sync['id']}")[1]["state"] == "rolling", what="the roll")
        ground.server.process.kill()
        ground.server.process.wait()
        ground.serve()
        done = ground.ended(sync["id"])
        assert done["state"] == "done", done
        assert notebook.run("client.gather(slow)") == [None, None]
    ground.running(2)
    layer = plan["layer"]
    (known,) = (one for one in ground.server.api("GET", "layers")[1] if one["id"] == layer)
    assert known["clusters"] == [ground.cluster]
    assert known["places"][0]["size"] > 1 << 20
    path = Path(known["places"][0]["path"])
    assert path.is_relative_to(ground.cache)
    status, answer = ground.server.api("DELETE", f"layers/{layer}")
    assert (status, answer["error"]["kind"]) == (409, "conflict")
    assert path.exists()
    status, undo = ground.server.api("POST", f"syncs/{sync['id']}/undo")
    assert status == 201, undo
    assert ground.ended(undo["id"])["state"] == "done"

    def delete() -> int:
        return ground.server.api("DELETE", f"layers/{layer}", timeout=60)[0]

    def removed() -> bool:
        # The last process that ran from it may be ending yet: then both are refused.
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.submit(delete), pool.submit(delete)
            found = {first.result(), second.result()}
        assert found <= {204, 404, 409}, found
        return 204 in found or 404 in found

    wait_for(removed, seconds=30, what="the removal")
    assert delete() == 404
    assert layer not in {one["id"] for one in ground.server.api("GET", "layers")[1]}
    assert not path.exists()
