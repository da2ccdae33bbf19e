"""Cells and the panel's routes at once: the same reading, the same clusters, the same syncs, from kernels of both kinds."""

from __future__ import annotations

import contextlib
import sys

import pytest
from jupyter_client import BlockingKernelClient

from tests.environments import environment, interpreters
from tests.kernelspecs import kernel_spec
from tests.nightly import each_night
from tests.processes import JupyterServer, apart, wait_for

MIME = "application/vnd.coiled-jupyter.v1+json"


class Notebook:
    """A kernel of the server with a client of its own, as a page would have."""

    def __init__(self, server: JupyterServer, name: str) -> None:
        status, kernel = server.ask("POST", "/api/kernels", {"name": name})
        assert status == 201, kernel
        self.id, self.name = kernel["id"], name
        file = server.root / "home/run" / f"kernel-{self.id}.json"
        wait_for(file.exists, what="the connection file")
        self.client = BlockingKernelClient(connection_file=str(file))
        self.client.load_connection_file()
        # Without the heartbeat: a kernel that is busy with its start may miss one, which is taken for its death.
        self.client.start_channels(hb=False)
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, seconds: float = 120) -> tuple[str, list[dict]]:
        found: list[dict] = []
        reply = self.client.execute_interactive(code, timeout=seconds, output_hook=found.append)
        return reply["content"]["status"], [{"type": m["header"]["msg_type"], **m["content"]} for m in found]

    def value(self, line: str) -> dict:
        """Return the JSON of a command's result."""
        status, found = self.run(line)
        assert status == "ok", found
        return next(output for output in found if output["type"] == "execute_result")["data"][MIME]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("server")
    kernel_spec(root / "home" / "data", "seven", sys.executable)
    # The same packages, behind an older kernel.
    six = environment(interpreters()["{}.{}".format(*sys.version_info)], "ipykernel==6.29.5")
    place = next(path for path in sys.path if path.endswith("site-packages"))
    start = (
        f"import runpy, site; site.addsitedir({place!r}); runpy.run_module('ipykernel_launcher', run_name='__main__')"
    )
    kernel_spec(root / "home" / "data", "six", str(six), ("-c", start))
    kernel_spec(root / "home" / "data", "bare", str(environment(interpreters()["3.11"], "ipykernel")))
    env = apart()
    server = JupyterServer(root, "server", "--CoiledJupyter.load_magic=True", env=env)
    yield server
    for cluster in server.api("GET", "clusters")[1]:
        server.api("DELETE", f"clusters/{cluster['id']}")
    server.close()


@pytest.fixture(scope="module", params=each_night(["seven", "six"], ["seven"]))
def notebook(server, request):
    notebook = Notebook(server, request.param)
    yield notebook
    notebook.client.stop_channels()
    server.ask("DELETE", f"/api/kernels/{notebook.id}")


@pytest.fixture(scope="module")
def cluster(server):
    """One that lacks what only this package needs."""
    body = {"name": "shared", "workers": 1, "requirements": ["distributed", "iniconfig==1.1.1"]}
    made = server.api("POST", "clusters", body)[1]["id"]
    wait_for(lambda: server.api("GET", f"clusters/{made}")[1]["status"] in ("running", "idle"), what="the cluster")
    return made


def test_it_is_the_kernel_that_it_should_be(notebook):
    _, found = notebook.run("import ipykernel; print(ipykernel.__version__)")
    (said,) = [output["text"] for output in found if output["type"] == "stream"]
    assert said.startswith("6." if notebook.name == "six" else "7.")


def loaded(notebook: Notebook) -> bool:
    return "magic" not in str(notebook.run("%coiled --version")[1])


def test_the_magic_is_there_by_itself_where_the_server_says_so_and_the_package_is_there(server, notebook):
    wait_for(lambda: loaded(notebook), what="the magic")
    bare = Notebook(server, "bare")
    wait_for(lambda: server.api("GET", f"environments?kernel={bare.id}")[0] == 200, what="a reading")
    status, found = bare.run("%coiled --version")
    assert (status, "UsageError" in str(found)) == ("error", True)
    _, found = bare.run("import sys; print('coiled_jupyter' in sys.modules)")
    assert "".join(output["text"] for output in found if output["type"] == "stream").strip() == "False"
    bare.client.stop_channels()
    server.ask("DELETE", f"/api/kernels/{bare.id}")


def settled(server, notebook, cluster) -> dict:
    """Return the routes' diff once the files of both sides were looked at."""

    def ask() -> dict | None:
        found = server.api("GET", f"diff?kernel={notebook.id}&cluster={cluster}")[1]
        return found if found["checked"]["content"] and not found["unread"] else None

    return wait_for(ask, what="a settled diff")


def test_a_cell_and_the_panel_tell_the_same_rows(server, notebook, cluster):
    wait_for(lambda: loaded(notebook), what="the magic")
    mine = notebook.value("%coiled diff --all")

    def told(diff: dict) -> dict:
        return {row["name"]: (row["kernel"], row["status"], row["severity"], row["use"]) for row in diff["rows"]}

    def same() -> dict | None:
        # A kernel that is slow to answer is shown as it was last read, which may be while the command was loaded.
        diff = settled(server, notebook, cluster)
        return diff if told(diff) == told(mine) else None

    with contextlib.suppress(AssertionError):
        wait_for(same, what="the same rows", seconds=10)
    theirs = settled(server, notebook, cluster)
    ours, others = told(mine), told(theirs)
    assert ours.keys() == others.keys()
    assert {name: (ours[name], others[name]) for name in ours if ours[name] != others[name]} == {}
    assert mine["verdict"] == theirs["verdict"]
    assert mine["severities"] == theirs["severities"]
    rows = {row["name"]: row for row in theirs["rows"]}
    assert rows["iniconfig"]["status"] == "differs"
    # What only %coiled has imported isn't the notebook's.
    assert (rows["argcomplete"]["status"], rows["argcomplete"]["use"]) == ("only_kernel", "")


def test_a_sync_of_a_cell_is_a_sync_of_the_panels_and_the_other_way_round(server, notebook, cluster):
    wait_for(lambda: loaded(notebook), what="the magic")
    done = notebook.value("%coiled sync iniconfig --yes")
    assert done["state"] == "done"
    listed = wait_for(
        lambda: [s for s in server.api("GET", "syncs")[1] if s["id"] == done["id"]], what="the sync in the panel"
    )
    assert listed[0]["state"] == "done"
    status, undo = server.api("POST", f"syncs/{done['id']}/undo")
    assert status == 201, undo
    wait_for(lambda: server.api("GET", f"syncs/{undo['id']}")[1]["state"] == "done", what="the undo")
    rows = {row["name"]: row for row in notebook.value("%coiled diff")["rows"]}
    assert rows["iniconfig"]["groups"][0]["version"] == "1.1.1"
    assert notebook.value("%coiled cluster list")[0]["id"] == cluster
