"""Clusters that a notebook opened by itself, over the routes of a real server with real kernels."""

from __future__ import annotations

import asyncio
import time

import pytest
from jupyter_client import AsyncKernelClient

from tests.environments import environment, interpreters
from tests.kernelspecs import kernel_spec
from tests.links.test_through_kernel import ASYNCHRONOUS, INPROC, TLS, TODAY
from tests.processes import JupyterServer, short_folder, wait_for

CHILD = """
import subprocess, sys
text = "import sys, time; from distributed import Client; c = Client(sys.argv[1]); print(c.id, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", text, cluster.scheduler_address], stdout=subprocess.PIPE, text=True)
other = child.stdout.readline().strip()
"""

# A scheduler with its workers in a process of another environment, which the notebook only connects to.
ELSEWHERE = """
import subprocess
from distributed import Client
text = "import time; from distributed import LocalCluster; c = LocalCluster(n_workers=2, processes=False, "
text += "protocol='tcp://', dashboard_address=':0'); print(c.scheduler_address, flush=True); time.sleep(600)"
child = subprocess.Popen([{python!r}, "-c", text], stdout=subprocess.PIPE, text=True)
client = Client(child.stdout.readline().strip())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("server")
    python = environment(interpreters()["3.11"], *TODAY, "tabulate==0.9.0")
    kernel_spec(root / "home" / "data", "today", python)
    server = JupyterServer(root, env={"COILED_JUPYTER_RUNTIME_DIR": short_folder()})
    yield server
    server.close()


class Notebook:
    """A session of the server, and a client of its kernel as the page would have."""

    def __init__(self, server: JupyterServer, name: str, kernel: str = "today") -> None:
        self.server = server
        body = {"path": name, "name": name, "type": "notebook", "kernel": {"name": kernel}}
        status, session = server.ask("POST", "/api/sessions", body, timeout=60)
        assert status == 201, session
        self.session, self.kernel = session["id"], session["kernel"]["id"]
        self._file = server.root / "home" / "run" / f"kernel-{self.kernel}.json"

    def run(self, code: str, seconds: float = 60) -> None:
        async def go() -> dict:
            client = AsyncKernelClient()
            client.load_connection_file(str(self._file))
            # Without the heartbeat, which a kernel that has just been started may miss.
            client.start_channels(hb=False)
            try:
                await client.wait_for_ready(timeout=60)
                message = client.execute(code)
                while True:
                    reply = await client.get_shell_msg(timeout=seconds)
                    if reply["parent_header"].get("msg_id") == message:
                        return reply["content"]
            finally:
                client.stop_channels()

        content = asyncio.run(go())
        assert content["status"] == "ok", content

    def close(self) -> None:
        self.server.ask("DELETE", f"/api/sessions/{self.session}")


def discovered(server) -> list[dict]:
    status, clusters = server.api("GET", "clusters")
    assert status == 200
    return [cluster for cluster in clusters if cluster["source"] == "discovered"]


def appeared(server, workers: int, seconds: float = 20) -> dict:
    def there():
        found = discovered(server)
        return found[0] if found and len(found[0]["workers"]) == workers else None

    return wait_for(there, what="the notebook's cluster", seconds=seconds)


def compared(server, path: str) -> dict:
    """Return the diff once the files of every place were looked at."""

    def checked():
        status, diff = server.api("GET", path)
        assert status == 200, diff
        return diff if diff["checked"]["content"] else None

    return wait_for(checked, what="the look at files", seconds=20)


def vanished(server) -> None:
    wait_for(lambda: not discovered(server), what="the cluster to vanish", seconds=10)


def test_what_the_scheduler_holds_back_is_queued(server):
    notebook = Notebook(server, "queue.ipynb")
    try:
        notebook.run(TLS + "import time; futures = client.map(time.sleep, [600] * 40, pure=False)")

        def seen():
            return [(c["tasks"] or {}).get("queued") for c in discovered(server)] == [38]

        wait_for(seen, what="38 queued tasks", seconds=30)
        notebook.run("client.cancel(futures); client.close(); cluster.close()")
        vanished(server)
    finally:
        notebook.close()


def test_a_cluster_with_in_memory_tls_appears_is_compared_and_vanishes(server):
    notebook = Notebook(server, "train.ipynb")
    try:
        notebook.run(TLS)
        cluster = appeared(server, 2)
        assert cluster["opened_by"] == "train.ipynb"
        assert cluster["scheduler"]["address"].startswith("tls://")
        assert cluster["status"] in ("running", "idle")
        assert cluster["factory"] == "LocalCluster"
        assert cluster["cores"] == {"busy": 0, "allocated": 2, "requested": 2}
        path = f"clusters/{cluster['id']}"
        assert server.api("GET", path)[1]["id"] == cluster["id"]

        status, _ = server.api("GET", f"diff?kernel={notebook.kernel}&cluster={cluster['id']}")
        assert status == 200
        diff = compared(server, f"diff?kernel={notebook.kernel}&cluster={cluster['id']}")
        assert (diff["verdict"], diff["unread"], diff["level"]) == ("equal", [], "all")
        assert {(g["role"], len(g["nodes"])) for g in diff["cluster"]["groups"]} == {("worker", 2), ("scheduler", 1)}
        assert {row["status"] for row in diff["rows"]} == {"same"}
        assert server.api("GET", path)[1]["environment"]["python"] == diff["kernel"]["python"]
        environments = server.api("GET", f"environments?cluster={cluster['id']}")[1]
        assert {w["group"] for w in server.api("GET", path)[1]["workers"]} == {
            e["id"] for e in environments if e["role"] == "worker"
        }

        status, activity = server.api("GET", f"{path}/activity")
        assert (status, len(activity["workers"]), activity["stream"]["lane"]) == (200, 2, [])
        notebook.run("client.gather(client.map(abs, range(-50, 0), pure=False))")

        def told():
            after = server.api("GET", f"{path}/activity?after={activity['cursor']}")[1]
            return len(after["stream"]["lane"]) >= 50 and after

        assert "abs" in wait_for(told, what="the tasks of a cell", seconds=30)["stream"]["prefixes"]

        status, refusal = server.api("DELETE", path)
        assert (status, refusal["error"]["kind"]) == (409, "conflict")
        assert "belongs to train.ipynb" in refusal["error"]["message"]
        # Shown, but not counted against the user's cores.
        assert server.api("GET", "usage")[1]["cores"]["allocated"] == 0

        notebook.run("client.close()")
        vanished(server)
        assert server.api("GET", path)[0] == 404
        assert server.api("GET", f"diff?kernel={notebook.kernel}&cluster={cluster['id']}")[0] == 404
    finally:
        notebook.close()


def test_other_clients_are_listed_with_their_versions(server):
    notebook = Notebook(server, "two.ipynb")
    try:
        notebook.run(TLS.replace('protocol="tls://", security=Security.temporary(),', ""))
        appeared(server, 2)
        notebook.run(CHILD)

        def both():
            found = discovered(server)
            return found and len(found[0]["other_clients"]) == 2 and found[0]

        cluster = wait_for(both, what="the other client", seconds=20)
        assert cluster["clients"] == 2
        own = {client["own"]: client for client in cluster["other_clients"]}
        assert own[True]["opened_by"] == "two.ipynb"
        assert own[False]["opened_by"] is None
        assert {client["versions"]["distributed"] for client in own.values()} == {"2026.8.0"}
        assert own[False]["versions"]["python"].startswith("3.11")
        # Asked again, and unchanged but for times.
        revision = cluster["revision"]
        wait_for(lambda: discovered(server)[0]["seen_at"] > cluster["seen_at"], what="another look", seconds=15)
        assert discovered(server)[0]["revision"] == revision
        notebook.run("child.kill(); child.wait(); child.stdout.close()")
    finally:
        notebook.close()
    vanished(server)  # with its kernel


def test_a_cluster_of_another_environment_differs_and_is_unreachable_while_it_is_stopped(server):
    python = environment(interpreters()["3.11"], "distributed==2026.8.0", "dask==2026.8.0", "toolz==1.0.0")
    notebook = Notebook(server, "far.ipynb")
    try:
        notebook.run(ELSEWHERE.format(python=str(python)))
        cluster = appeared(server, 2)
        assert cluster["name"] == f"Dask at {cluster['scheduler']['address']}"
        assert cluster["kernels"] == [notebook.kernel]
        diff = compared(server, f"diff?kernel={notebook.kernel}&cluster={cluster['id']}")
        # Dask needs toolz; that the notebook imports it itself is not so.
        assert (diff["verdict"] in ("compatible", "risky", "breaks"), diff["unread"]) == (True, [])
        rows = {row["name"]: row for row in diff["rows"]}
        assert rows["toolz"]["status"] == "differs"
        assert {group["version"] for group in rows["toolz"]["groups"]} == {"1.0.0"}
        assert rows["ipykernel"]["status"] == "only_kernel"
        assert rows["distributed"]["status"] == "same"

        notebook.run("import os, signal; os.kill(child.pid, signal.SIGSTOP)")
        wait_for(lambda: discovered(server)[0]["status"] == "unreachable", what="the silence to be seen", seconds=15)
        assert "doesn't answer" in discovered(server)[0]["reason"]
        diff = server.api("GET", f"diff?kernel={notebook.kernel}&cluster={cluster['id']}", timeout=30)[1]
        assert diff["verdict"] == "unknown"
        assert [entry["node"] for entry in diff["unread"]] == ["cluster"]
        notebook.run("os.kill(child.pid, signal.SIGCONT)")
        wait_for(lambda: discovered(server)[0]["status"] == "idle", what="the recovery", seconds=15)
        assert discovered(server)[0]["reason"] is None
        # What nobody imports here breaks as soon as a task has failed for it.
        assert (rows["tabulate"]["status"], rows["tabulate"]["severity"]) == ("only_kernel", "minor")
        body = {
            "kernel": notebook.kernel,
            "cluster": cluster["id"],
            "text": "ModuleNotFoundError: No module named 'tabulate'",
        }
        status, explained = server.api("POST", "explain", body, timeout=30)
        assert (status, [cause["row"]["name"] for cause in explained["causes"]]) == (200, ["tabulate"])
        diff = compared(server, f"diff?kernel={notebook.kernel}&cluster={cluster['id']}")
        (row,) = [row for row in diff["rows"] if row["name"] == "tabulate"]
        assert (diff["verdict"], row["severity"]) == ("breaks", "breaks")
        assert row["why"].startswith("A task has failed: ModuleNotFoundError: No module named 'tabulate'. ")
        notebook.run("child.kill(); child.wait(); child.stdout.close()")
        wait_for(
            lambda: not discovered(server) or "lost the scheduler" in (discovered(server)[0]["reason"] or ""),
            what="the loss to be seen",
            seconds=15,
        )
    finally:
        notebook.close()
    vanished(server)


def test_inproc_is_the_kernel_and_an_asynchronous_client_waits_for_its_cell(server):
    notebook = Notebook(server, "inner.ipynb")
    try:
        notebook.run(INPROC)
        cluster = appeared(server, 1)
        assert "inside the notebook's kernel itself" in cluster["reason"]
        diff = compared(server, f"diff?kernel={notebook.kernel}&cluster={cluster['id']}")
        assert (diff["verdict"], diff["unread"]) == ("equal", [])
        assert {g["digest"] for g in diff["cluster"]["groups"]} == {diff["kernel"]["digest"]}
        notebook.run("client.close()")
        vanished(server)
        notebook.run(ASYNCHRONOUS)
        cluster = appeared(server, 1)
        path = f"diff?kernel={notebook.kernel}&cluster={cluster['id']}"
        assert compared(server, path)["verdict"] == "equal"
    finally:
        notebook.close()
    vanished(server)


@pytest.mark.nightly
def test_a_managed_cluster_is_not_listed_twice(server):
    status, managed = server.api("POST", "clusters", {"name": "own", "workers": 1})
    assert status == 202
    path = f"clusters/{managed['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)
    notebook = Notebook(server, "m.ipynb", "python3")
    try:
        notebook.run("import coiled_jupyter; client = coiled_jupyter.connect('own')")

        def joined():
            return [c for c in server.api("GET", path)[1]["other_clients"] if c["opened_by"] == "m.ipynb"]

        (client,) = wait_for(joined, what="the notebook's client", seconds=20)
        assert client["own"]
        assert discovered(server) == []
        notebook.run("client.close()")
    finally:
        notebook.close()
        server.api("DELETE", path)
        wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the end", seconds=30)
        server.api("DELETE", path)


def test_what_the_notebooks_source_imports_is_in_use_before_it_runs_and_before_it_is_saved(server):
    def save(source: str) -> None:
        cell = {
            "cell_type": "code",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "id": "a",
        }
        content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        body = {"type": "notebook", "format": "json", "content": content}
        assert server.ask("PUT", "/api/contents/plan.ipynb", body)[0] in (200, 201)

    def used() -> set[str]:
        status, found = server.api("GET", f"environments?kernel={notebook.kernel}")
        return {p["name"] for p in found[0]["packages"] if p["use"]} if status == 200 else set()

    save("import sortedcontainers")
    notebook = Notebook(server, "plan.ipynb")
    try:
        wait_for(lambda: "sortedcontainers" in used(), what="the import of the source", seconds=20)
        time.sleep(1.1)
        save("import yaml")
        wait_for(lambda: {"pyyaml"} <= used() and "sortedcontainers" not in used(), what="the new source", seconds=20)
        # What the page tells of its cells comes before what was saved, and holds at once.
        path = f"kernels/{notebook.kernel}/imports"
        assert server.api("PUT", path, {"cells": ["%%time\nimport sortedcontainers, toolz as t", "from"]})[0] == 204
        assert {"sortedcontainers", "toolz"} <= used()
        assert server.api("PUT", path, {"cells": []})[0] == 204
        assert not {"sortedcontainers", "toolz"} & used()
        assert server.api("PUT", path, {"cells": ["import a"] * 2001})[0] == 400
        assert server.api("PUT", path, {"cells": ["a" * 2001]})[0] == 400
    finally:
        notebook.close()
