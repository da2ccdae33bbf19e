"""The law, on a real server: a fault in watching or bookkeeping never ends, blocks or hides anything."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coiled_jupyter.server import versions
from coiled_jupyter.server.routes import ROUTES
from tests.nightly import each_night
from tests.processes import JupyterServer, short_folder, wait_for

SPY = """
import asyncio, json, sys, threading, time
from jupyter_server.base.handlers import APIHandler
from tornado import web

class Spy(APIHandler):
    gap, on_loop = 0.0, []

    @web.authenticated
    def get(self):
        self.finish(json.dumps({"gap": Spy.gap, "on_loop": Spy.on_loop}))
        Spy.gap = 0.0

async def _start_jupyter_server_extension(app):
    loop = threading.get_ident()

    def audit(event, arguments):
        if event == "sqlite3.connect" and threading.get_ident() == loop and "ledger" in str(arguments):
            Spy.on_loop.append(str(arguments))

    sys.addaudithook(audit)

    async def measure():
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            Spy.gap, last = max(Spy.gap, now - last), now

    app.spying = asyncio.create_task(measure())

def _load_jupyter_server_extension(app):
    app.web_app.add_handlers(".*$", [("/spy", Spy)])
"""

BODIES = {
    ("POST", "clusters"): {"workers": 1},
    ("PATCH", "clusters/{id}"): {"name": "other"},
    ("POST", "clusters/{id}/restart"): {"what": "workers"},
    ("POST", "factories/{name}/offers"): {},
    ("POST", "explain"): {"cluster": "x", "text": "x"},
    ("POST", "plans"): {"cluster": "x"},
    ("POST", "syncs"): {"plan": "x"},
    ("PUT", "kernels/{id}/imports"): {"cells": []},
    ("PUT", "kernels/{id}/seal"): {"cluster": "x", "sealed": True},
    ("PATCH", "rules"): {},
}
QUERIES = {"diff": "?kernel=x&cluster=x", "environments": "?cluster=x"}


def ask(server: JupyterServer, cluster: str, seconds: float = 20, *, without: frozenset = frozenset()):
    """Ask each route at once, but what resolves packages or ends the cluster; return (method, path, status, answer)."""
    without |= {("POST", "software"), ("DELETE", "clusters/{id}")}
    routes = [route for route in ROUTES if (route.method, route.path) not in without]

    def one(route):
        path = route.path.replace("{id}", cluster).replace("{name}", "x") + QUERIES.get(route.path, "")
        body = BODIES.get((route.method, route.path))
        try:
            return (route.method, route.path, *server.api(route.method, path, body, timeout=seconds))
        except TimeoutError:
            raise AssertionError(f"no answer within {seconds} s: {route.method} {route.path}") from None

    with ThreadPoolExecutor(len(routes)) as pool:
        return list(pool.map(one, routes))


def folders(kind: str) -> tuple[dict[str, str], Path]:
    """Return the variables by which a server can't make its folders, and where the runtime folder would be."""
    root = Path(tempfile.mkdtemp(prefix="cj-"))
    if kind == "file":
        (root / "r").write_text("in the way")
        (root / "d").write_text("in the way")
    else:
        root = Path("/proc/cj")
    return {"COILED_JUPYTER_RUNTIME_DIR": str(root / "r"), "COILED_JUPYTER_DATA_DIR": str(root / "d")}, root / "r"


@pytest.mark.parametrize("kind", each_night(["file", "proc"], ["file"]))
def test_a_server_that_cannot_make_its_folders_says_so_and_recovers_and_ends(kind, tmp_path):
    env, runtime = folders(kind)
    server = JupyterServer(tmp_path, env=env)
    try:
        problem = server.api("GET", "about")[1]["problem"]
        assert problem["kind"] == "unavailable"
        assert str(runtime) in problem["message"]
        assert "COILED_JUPYTER_RUNTIME_DIR" in problem["hint"]
        for method, path, status, answer in ask(server, "x"):
            if status == 503:
                assert str(runtime.parent) in answer["error"]["message"], (method, path, answer)
                assert answer["error"]["hint"], (method, path)
            else:
                # What needs no folder: the bundled rules, plans that are held in memory, and what asks no cluster.
                assert (method, path, status) in {
                    ("GET", "about", 200),
                    ("GET", "doctor", 200),
                    ("GET", "plans/{id}", 404),
                    ("POST", "syncs", 404),
                    ("POST", "factories/{name}/offers", 404),
                    ("GET", "rules", 200),
                    ("PATCH", "rules", 200),
                    ("PUT", "kernels/{id}/imports", 204),
                    ("GET", "software/{name}", 404),
                    ("GET", "software/{name}/export", 404),
                }, (method, path, status, answer)
        if kind == "file":
            for path in env.values():
                Path(path).unlink()
            wait_for(lambda: server.api("GET", "clusters") == (200, []), seconds=15, what="a server that has recovered")
            assert server.api("GET", "about")[1]["problem"] is None
        errors = [line for line in server.log.read_text().splitlines() if line.startswith("[E") and "cj" in line]
        assert len(errors) <= 1, errors
    finally:
        server.process.send_signal(signal.SIGTERM)
        try:
            # A hang guard.
            server.process.wait(30)
        finally:
            server.close()
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("law")
    (root / "spy.py").write_text(SPY)
    enabled = "--ServerApp.jpserver_extensions={'spy': True, 'coiled_jupyter': True}"
    runtime = short_folder()
    server = JupyterServer(
        root, "server", enabled, env={"PYTHONPATH": str(root), "COILED_JUPYTER_RUNTIME_DIR": runtime}
    )
    yield server
    server.close()


def running(server: JupyterServer, name: str) -> dict:
    status, cluster = server.api("POST", "clusters", {"workers": 1, "name": name})
    assert status == 202, cluster
    path = f"clusters/{cluster['id']}"
    return wait_for(
        lambda: (found := server.api("GET", path)[1])["status"] in ("running", "idle") and found, what="a cluster"
    )


@pytest.mark.parametrize("harm", each_night(["locked", "damaged"], ["locked"]))
def test_whatever_is_with_the_ledger_the_loop_of_the_server_never_waits_for_it(server, harm, record_property):
    cluster = running(server, f"with-{harm}")
    path = Path(server.env["COILED_JUPYTER_RUNTIME_DIR"], "ledger.sqlite")
    server.ask("GET", "/spy")
    holder = sqlite3.connect(path, isolation_level=None, timeout=10)
    # With a ledger that was made anew, each would start a cluster, or this one again.
    starts = {("POST", "clusters"), ("POST", "clusters/{id}/restart")} if harm == "damaged" else set()
    if harm == "locked":
        holder.execute("BEGIN EXCLUSIVE")
    else:
        path.write_bytes(b"\0" * 5000)
    try:
        deadline = time.monotonic() + 14
        while time.monotonic() < deadline:
            answers = ask(server, cluster["id"], 30, without=frozenset(starts))
            # Every refusal says what it is; what is known is shown.
            assert {status for *_, status, _ in answers} <= {200, 202, 204, 400, 404, 409, 422, 503, 504}, answers
            (shown,) = (answer for method, route, _, answer in answers if (method, route) == ("GET", "clusters"))
            assert [c["status"] for c in shown if c["id"] == cluster["id"]] not in (["lost"], ["failed"])
            # All routes at once, again and again, are no more of a burden than that.
            time.sleep(0.3)
    finally:
        holder.close()
    found = server.ask("GET", "/spy", timeout=60)[1]
    record_property("longest gap of the loop", found["gap"])
    print(f"longest gap of the loop, {harm}: {1000 * found['gap']:.0f} ms")
    # Whatever the load: no call of SQLite for the ledger was made where it could block the loop.
    assert found["on_loop"] == []
    assert found["gap"] < 2, "a hang guard: SQLite waits for 5 s"
    wait_for(
        lambda: server.api("GET", f"clusters/{cluster['id']}")[1].get("status") in ("running", "idle"),
        seconds=30,
        what="the cluster as before",
    )


@pytest.mark.parametrize("number", each_night([signal.SIGTERM, signal.SIGINT], [signal.SIGTERM]))
def test_a_server_ends_in_bounded_time_with_clusters_in_each_state(number, tmp_path):
    runtime = short_folder()
    server = JupyterServer(tmp_path, env={"COILED_JUPYTER_RUNTIME_DIR": runtime})
    stopped = None
    try:
        running(server, "running")
        ended = running(server, "ended")
        server.api("DELETE", f"clusters/{ended['id']}")
        silent = running(server, "silent")
        rows = sqlite3.connect(Path(runtime, "ledger.sqlite")).execute("SELECT id, pid FROM clusters").fetchall()
        stopped = dict(rows)[silent["id"]]
        subprocess.run(["kill", "-STOP", str(stopped)], check=True)
        assert server.api("POST", "clusters", {"workers": 1, "name": "starting"})[0] == 202
        server.process.send_signal(number)
        if number == signal.SIGINT:
            # jupyter_server asks whether it is meant; a second one says so.
            time.sleep(0.5)
            server.process.send_signal(number)
        server.process.wait(60)
    finally:
        if stopped is not None:
            subprocess.run(["kill", "-CONT", str(stopped)], check=True)
            subprocess.run(["kill", "-TERM", str(stopped)], check=True)
        server.close()
    assert "Traceback" not in server.log.read_text()


def test_a_server_that_ends_ends_what_its_kernels_started_and_nothing_of_a_shell(tmp_path):
    runtime = short_folder()
    server = JupyterServer(tmp_path, env={"COILED_JUPYTER_RUNTIME_DIR": runtime})
    # jupyter_client starts each kernel with this variable, and a shell has none.
    environs = {"kernel": {"JPY_PARENT_PID": str(server.process.pid)}, "shell": {}}
    try:
        for name, environ in environs.items():
            subprocess.run(
                [sys.executable, "-m", "coiled_jupyter.cli", "cluster", "create", name, "--workers", "1"],
                env={**server.env, **environ},
                check=True,
                capture_output=True,
                timeout=120,
            )

        def seen() -> bool:
            return {c["name"] for c in server.api("GET", "clusters")[1] if c["seen_at"]} == set(environs)

        wait_for(seen, what="both clusters", seconds=20)
    finally:
        server.close()

    def rows() -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(Path(runtime, "ledger.sqlite"))) as ledger:
            return dict(ledger.execute("SELECT name, ended FROM clusters").fetchall())

    wait_for(lambda: rows()["kernel"] == 1, what="the end of the kernel's cluster", seconds=20)
    assert rows()["shell"] == 0
    stop = [sys.executable, "-m", "coiled_jupyter.cli", "cluster", "stop", "shell"]
    stopped = subprocess.run(stop, env=server.env, check=False, capture_output=True, text=True, timeout=60)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


NEEDED = [
    "msgspec>=0.19",
    "jupyter-server<3,>=2.16; extra == 'lab'",
    "jupyter-client>=8.6; extra == 'lab'",
    "jupyter-builder<2,>=1.3; extra == 'dev'",
]


@pytest.mark.parametrize(
    ("server", "client", "says"),
    [
        ("2.16.0", "8.6.0", None),
        ("2.21.1", "8.10.0", None),
        ("2.17.0.dev0", "9.0", None),
        ("2.15.0", "8.6.0", "this is jupyter-server 2.15.0: upgrade jupyter-server"),
        ("3.0.0", "8.6.0", "this is jupyter-server 3.0.0: upgrade coiled-jupyter"),
        ("2.16.0", "8.5.0", "this is jupyter-client 8.5.0: upgrade jupyter-client"),
        ("2.16.0", None, "jupyter-client>=8.6, which isn't installed"),
    ],
)
def test_which_side_to_upgrade_is_said(server, client, says):
    installed = {"jupyter-server": server, "jupyter-client": client}

    def version(name: str) -> str:
        if installed[name] is None:
            raise versions.importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    found = versions.misfit(NEEDED, version)
    assert found is None if says is None else says in found


def test_a_server_that_is_too_old_says_it_in_one_line_and_serves_everything_else(tmp_path):
    """With a distribution of ours that needs a server of the far future."""
    metadata = tmp_path / "coiled_jupyter-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        'Metadata-Version: 2.1\nName: coiled-jupyter\nVersion: 0.1.0\nProvides-Extra: lab\nRequires-Dist: jupyter-server>=99; extra == "lab"\n'
    )
    enabled = "--ServerApp.jpserver_extensions={'coiled_jupyter': True}"
    server = JupyterServer(tmp_path, "server", enabled, env={"PYTHONPATH": str(tmp_path)})
    try:
        assert server.ask("GET", "/coiled-jupyter/api/about")[0] == 404
        assert server.ask("GET", "/api/kernels") == (200, [])
    finally:
        server.close()
    log = server.log.read_text()
    (line,) = [line for line in log.splitlines() if "upgrade" in line]
    assert "coiled-jupyter needs jupyter-server>=99" in line
    assert json.dumps(line).count("Traceback") == log.count("Traceback") == 0
