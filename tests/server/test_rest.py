"""The routes of a real server: answers, refusals, clusters and what they leave behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from coiled_jupyter.ledger import Ledger
from coiled_jupyter.server.openapi import document
from tests import schema
from tests.nightly import each_night
from tests.patience import deadline
from tests.processes import JupyterServer, apart, short_folder, wait_for, words

SPY = """
import json, sys
from jupyter_server.base.handlers import APIHandler
from tornado import web

class Modules(APIHandler):
    @web.authenticated
    def get(self):
        self.finish(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))

def _load_jupyter_server_extension(app):
    app.web_app.add_handlers(".*$", [("/spy", Modules)])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("server")
    (root / "spy.py").write_text(SPY)
    enabled = "--ServerApp.jpserver_extensions={'spy': True, 'coiled_jupyter': True}"
    server = JupyterServer(root, "server", enabled, env={"PYTHONPATH": str(root), **apart()})
    # The data folder is shared by runs, of which one may have ended in the middle.
    for software in server.api("GET", "software")[1]:
        server.api("DELETE", f"software/{software['name']}")
    yield server
    server.close()


def test_about(server):
    status, about = server.api("GET", "about")
    assert status == 200
    assert about["limits"]["cores"] == 100
    factories = {each["name"]: each for each in about["factories"]}
    assert list(factories)[:3] == ["local", "ssh", "slurm"]
    assert factories["local"]["missing"] == []
    assert factories["ssh"]["options"]["hosts"]["required"]


BAD = [
    (b"", "body"), (b"{", "body"), (b"\xff", "body"), (b"[]", "body"), (b"null", "body"), (b"[" * 100_000, "body"),
    (b'{"workers": -1}', "workers"), (b'{"workers": 1.5}', "workers"), (b'{"workers": "2"}', "workers"),
    (b'{"workers": true}', "workers"), (b'{"workers": 1000000}', "workers"), (b'{"workers": 1e999}', "workers"),
    (b'{"threads_per_worker": 0}', "threads_per_worker"), (b'{"threads_per_worker": 99999}', "threads_per_worker"),
    (b'{"memory_limit": "lots"}', "memory_limit"), (b'{"memory_limit": 0}', "memory_limit"),
    (b'{"factory": "ssh"}', "options.hosts"), (b'{"factory": "ssh", "options": {"hosts": "a;id"}}', "options.hosts"),
    (b'{"factory": "ssh", "options": {"hosts": "169.254.169.254"}}', "options.hosts"),
    (b'{"factory": "ssh", "options": {"hosts": "a", "remote_python": "/bin/sh"}}', "options.remote_python"),
    (b'{"factory": "ssh", "options": {"hosts": "a"}, "environ": {"A": "b"}}', "environ"),
    (b'{"factory": "slurm", "options": {"queue": "a\\n#SBATCH --wrap id"}}', "options.queue"),
    (b'{"factory": "os:system"}', "factory"), (b'{"options": {"host": "0.0.0.0"}}', "options.host"),
    (b'{"options": {"dashboard": "yes"}}', "options.dashboard"), (b'{"nonsense": 1}', "nonsense"),
    (b'{"software": "x"}', "software"), (b'{"python": "3.12"}', "python"), (b'{"python": "/bin/sh"}', "python"),
    (b'{"environ": {"LD_PRELOAD": "x"}}', "environ"), (b'{"environ": {"PATH": "x"}}', "environ"),
    (b'{"environ": {"PYTHONSTARTUP": "x"}}', "environ"), (b'{"environ": {"DASK_X": "x"}}', "environ"),
    (b'{"environ": {"UV_INDEX": "x"}}', "environ"), (b'{"environ": {"pip_index_url": "x"}}', "environ"),
    (b'{"environ": {"DYLD_INSERT_LIBRARIES": "x"}}', "environ"), (b'{"environ": {"A": "\\u0000"}}', "environ"),
    (b'{"options": {"security": true}}', "options.security"), (b'{"options": {"preload": "x"}}', "options.preload"),
    (b'{"adaptive": {"minimum": 3, "maximum": 2}}', "adaptive.minimum"),
    (b'{"environ": {"A=B": "x"}}', "environ"), (b'{"requirements": ["-r x"]}', "requirements[0]"),
    (b'{"requirements": ["a", "--index-url=http://e"]}', "requirements[1]"),
    (b'{"requirements": ["x @ https://e/x.whl"]}', "requirements[0]"), (b'{"requirements": ["git+https://e"]}', "requirements[0]"),
    (b'{"requirements": ["name; import os"]}', "requirements[0]"), (b'{"requirements": "numpy"}', "requirements"),
    (b'{"requirements": ["a"], "kernel": "b"}', "requirements"), (b'{"name": ""}', "name"),
    (b'{"adaptive": {"minimum": 1}}', "adaptive"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), BAD, ids=range(len(BAD)))
def test_bad_bodies_name_the_field_and_start_nothing(server, body, field):
    def known() -> set[str]:
        return {cluster["id"] for cluster in server.api("GET", "clusters")[1]}

    before = known()
    status, answer = server.api("POST", "clusters", raw=body)
    assert status == 400, answer
    assert answer["error"]["kind"] == "invalid"
    assert answer["error"]["data"]["field"] == field
    assert "Traceback" not in str(answer)
    assert known() == before


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "body"),
        (b"[]", 400, "body"),
        (b"{}", 400, "cluster"),
        (b'{"cluster": "x"}', 400, "text"),
        (b'{"cluster": "x", "text": ""}', 400, "text"),
        (b'{"cluster": "x", "text": 1}', 400, "text"),
        (b'{"cluster": null, "text": "x"}', 400, "cluster"),
        (b'{"cluster": "x", "text": "x", "kernel": 1}', 400, "kernel"),
        (b'{"cluster": "x", "text": "x", "software": "y"}', 400, "software"),
        (b'{"cluster": "x", "text": "%s"}' % (b"x" * 200_001), 400, "text"),
        (b'{"cluster": "x", "text": "\xff"}', 400, "body"),
        (b'{"cluster": "x", "text": "%s"}' % (b"x" * 2**20), 413, None),
        (b'{"cluster": "nobody", "text": "x"}', 404, None),
        (b'{"cluster": "nobody", "text": "\\u0000\\u202e"}', 404, None),
        (b'{"cluster": "nobody", "text": "\\ud800"}', 400, "body"),
    ],
    ids=range(15),
)
def test_bad_texts_to_explain(server, body, status, field):
    answered, answer = server.api("POST", "explain", raw=body)
    assert answered == status, answer
    assert answer["error"]["data"].get("field") == field
    assert "Traceback" not in str(answer)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "clusters/nobody", 404),
        ("DELETE", "clusters/nobody", 404),
        ("GET", "environments?kernel=nobody", 404),
        ("GET", "environments?cluster=nobody", 404),
        ("GET", "environments", 400),
        ("GET", "diff?kernel=nobody&cluster=nobody", 404),
        ("GET", "diff?kernel=x", 400),
        ("GET", "diff", 400),
        ("GET", "explain", 405),
        ("GET", "doctor?kernel=nobody", 404),
        ("GET", "software/nobody", 404),
        ("GET", "software/nobody/export", 404),
        ("DELETE", "software/nobody", 404),
        ("GET", "diff?kernel=x&cluster=y&software=nobody", 404),
        ("GET", "nothing", 404),
        ("PATCH", "clusters", 405),
    ],
)
def test_unknown_things(server, method, path, expected):
    status, answer = server.api(method, path)
    assert status == expected, answer
    assert set(answer["error"]) == {"kind", "message", "hint", "data"}


@pytest.mark.parametrize(
    "path", ["about", "clusters", "clusters/x", "environments", "diff", "explain", "usage", "software", "nothing"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_credentials_nothing_is_answered(server, method, path):
    status, _ = server.api(method, path, headers={})
    assert status in (403, 405)
    status, _ = server.api(method, path, headers={"Authorization": "token wrong"})
    assert status in (403, 405)


def without_times(environments: list[dict]) -> list[dict]:
    return [{key: value for key, value in one.items() if not key.endswith("_at")} for one in environments]


def test_a_cluster_from_click_to_gone(server):
    status, cluster = server.api("POST", "clusters", {"name": "own", "workers": 2})
    assert (status, cluster["status"]) == (202, "starting")
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a running cluster", seconds=60)
    cluster = server.api("GET", path)[1]
    assert [step["state"] for step in cluster["steps"]] == ["done", "done"]
    assert len(cluster["workers"]) == 2

    def read():
        environments = server.api("GET", f"environments?cluster={cluster['id']}")[1]
        # The files are looked at beside the first reading: until then it isn't the last word.
        return environments if environments and all(e["content_at"] for e in environments) else None

    environments = wait_for(read, what="a reading with its files looked at", seconds=90)
    assert {e["role"] for e in environments} == {"scheduler", "worker"}
    assert "distributed" in {p["name"] for p in environments[0]["packages"]}
    path_of_them = f"environments?cluster={cluster['id']}"

    def unchanged():
        first, before = server.head(path_of_them), server.api("GET", path_of_them)[1]
        time.sleep(2.5)
        second, after = server.head(path_of_them), server.api("GET", path_of_them)[1]
        assert first[0] == second[0] == 200
        if without_times(before) != without_times(after):
            # Python may have written bytecode, so that files are looked at again.
            return False
        # Read again, the same content: nothing to send.
        assert first[1] == second[1]
        return second[1]

    tag = wait_for(unchanged, what="a reading that stays", seconds=60)
    assert server.head(f"environments?cluster={cluster['id']}", tag)[0] == 304
    assert server.head("usage", tag)[0] == 200
    text = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'distributed'"
    status, explanation = server.api("POST", "explain", {"cluster": cluster["id"], "text": text})
    assert (status, explanation["verdict"], explanation["basis"]) == (200, "equal", "none")
    assert "points at distributed, but that is equal" in explanation["text"]
    status, explanation = server.api("POST", "explain", {"cluster": cluster["id"], "kernel": "nobody", "text": text})
    assert (status, explanation["error"]["kind"]) == (404, "not_found")
    status, activity = server.api("GET", f"{path}/activity")
    assert (status, {w["id"] for w in activity["workers"]}) == (200, {w["id"] for w in cluster["workers"]})
    status, later = server.api("GET", f"{path}/activity?after={activity['cursor']}")
    assert (status, later["stream"]["missed"], later["tasks"]) == (200, 0, 0)
    for cursor in ("x", "a.b", "a.-1", "a." + "9" * 30):
        status, refusal = server.api("GET", f"{path}/activity?after={cursor}")
        assert (status, refusal["error"]["data"]["field"]) == (400, "after")
    usage = server.api("GET", "usage")[1]
    assert usage["cores"] == {"busy": 0, "allocated": 2, "requested": 2, "limit": 100}
    status, refusal = server.api("POST", "clusters", {"workers": 99})
    assert status == 409
    assert refusal["error"]["data"] == {"limit": 100, "used": 2, "asked": 99, "by_cluster": {"own": 2}}

    family = server.descendants()
    assert len(family) >= 6  # supervisor, scheduler, two nannies, two workers
    listening = [c for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert listening
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    assert all(server.token not in words(p) for p in family)
    modules = set(server.ask("GET", "/spy")[1])
    assert {"coiled_jupyter", "msgspec"} <= modules
    assert not {"dask", "distributed"} & modules

    assert server.api("DELETE", path)[0] == 204
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="a stopped cluster", seconds=30)
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
    assert server.api("GET", "usage")[1]["cores"]["requested"] == 0
    assert server.api("GET", f"{path}/activity")[0] == 409
    assert server.api("DELETE", path)[0] == 204
    assert server.api("GET", path)[0] == 404


BAD_SOFTWARE = [
    (b"{}", "name"), (b'{"name": ""}', "name"), (b'{"name": "../x", "requirements": ["six"]}', "name"),
    (b'{"name": ".x", "requirements": ["six"]}', "name"), (b'{"name": "a/b", "requirements": ["six"]}', "name"),
    (b'{"name": "a", "requirements": ["-r x"]}', "requirements[0]"), (b'{"name": "a", "requirements": [7]}', "requirements[0]"),
    (b'{"name": "a", "requirements": ["x @ https://e/x"]}', "requirements[0]"), (b'{"name": "a", "x": 1}', "x"),
    (b'{"name": "a", "requirements": ["six"], "kernel": "x"}', "requirements"),
    (b'{"name": "a", "file": {"name": "setup.py", "text": ""}}', "file.name"),
    (b'{"name": "a", "file": {"name": "a.txt", "text": "--index-url=http://e"}}', "file.text"),
    (b'{"name": "a", "file": {"name": "pyproject.toml", "text": "["}}', "file.text"),
    (b'{"name": "a", "file": {"name": "e.yml", "text": "a: !!python/object:os.system x"}}', "file.text"),
    (b'{"name": "a", "requirements": ["six"], "python": "/bin/sh"}', "python"), (b'{"name": "a", "python": "3.12"}', "python"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), BAD_SOFTWARE, ids=range(len(BAD_SOFTWARE)))
def test_bad_software_names_the_field_and_keeps_nothing(server, body, field):
    status, answer = server.api("POST", "software", raw=body)
    assert status == 400, answer
    assert answer["error"]["data"].get("field") == field
    assert "Traceback" not in str(answer)
    assert server.api("GET", "software")[1] == []


def software_once(server, kernel: str) -> None:
    """Keep, show, export, run and forget by every route of software environments."""
    status, made = server.api("POST", "software", {"name": "small", "requirements": ["iniconfig==2.0.0"]})
    assert (status, made["source"]) == (201, "requirements"), made
    assert {"name": "iniconfig", "version": "2.0.0"} in made["packages"]
    assert server.api("POST", "software", {"name": "small", "requirements": ["six"]})[0] == 409
    assert server.api("POST", "software", {"name": "none", "requirements": ["iniconfig==99"]})[0] == 422
    status, mirrored = server.api("POST", "software", {"name": "mirror", "kernel": kernel})
    assert (status, mirrored["source"]) == (201, "kernel"), mirrored
    assert [one["name"] for one in server.api("GET", "software")[1]] == ["mirror", "small"]
    for form in ("pylock", "requirements", "environment"):
        assert "iniconfig" in server.api("GET", f"software/small/export?format={form}")[1]["text"]
    assert server.api("GET", "software/small/export?format=exe")[0] == 400
    status, cluster = server.api("POST", "clusters", {"name": "soft", "workers": 1, "software": "small"})
    assert status == 202, cluster
    path = f"clusters/{cluster['id']}"
    assert [step["name"] for step in cluster["steps"]] == ["Build environment", "Start scheduler", "Start workers"]
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=120)
    assert server.api("GET", path)[1]["environment"]["software"] == "small"
    shown = server.api("GET", "software/small")[1]
    assert shown["used_by"] == ["soft"]
    assert shown["size"] > 1e6
    diff = server.api("GET", f"diff?kernel={kernel}&cluster={cluster['id']}&software=small")[1]
    (row,) = [row for row in diff["rows"] if row["name"] == "iniconfig"]
    assert row["software"] == {"version": "2.0.0"}
    assert {group["version"] for group in row["groups"]} == {"2.0.0"}
    status, refused = server.api("DELETE", "software/small")
    assert status == 409, refused
    plan = {"cluster": cluster["id"], "kernel": kernel, "from": {"software": "mirror"}, "scope": ["iniconfig"]}
    status, plan = server.api("POST", "plans", plan)
    assert (status, [action["after"] for action in plan["actions"]]) == (201, [version("iniconfig")]), plan
    assert server.api("DELETE", path)[0] == 204
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the stop", seconds=30)
    server.api("DELETE", path)
    for name in ("small", "mirror"):
        assert server.api("DELETE", f"software/{name}")[0] == 204
    assert server.api("GET", "software/small")[0] == 404


def sync_once(server, kernel: str) -> None:
    """Plan, sync, undo, cancel and clean by every route of syncs."""
    body = {"name": "synced", "workers": 1, "requirements": ["iniconfig==1.1.1"]}
    _, cluster = server.api("POST", "clusters", body)
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=120)

    def begin() -> dict:
        status, plan = server.api("POST", "plans", {"cluster": cluster["id"], "kernel": kernel, "scope": ["iniconfig"]})
        assert (status, plan["how"]) == (201, "roll"), plan
        assert server.api("GET", f"plans/{plan['id']}")[1] == plan
        status, sync = server.api("POST", "syncs", {"plan": plan["id"]})
        assert status == 201, sync
        return sync

    def ended(sync: dict, state: str) -> dict:
        final = ("done", "failed", "cancelled", "lost")
        where = f"syncs/{sync['id']}"
        found = wait_for(
            lambda: (s := server.api("GET", where)[1])["state"] in final and s, what="the sync's end", seconds=120
        )
        assert found["state"] == state, found
        return found

    done = ended(begin(), "done")
    assert done["id"] in {sync["id"] for sync in server.api("GET", "syncs")[1]}
    status, undo = server.api("POST", f"syncs/{done['id']}/undo")
    assert (status, undo["undo_of"]) == (201, done["id"]), undo
    ended(undo, "done")
    again = begin()
    assert server.api("DELETE", f"syncs/{again['id']}")[0] == 200
    ended(again, "cancelled")
    assert {"base", done["layer"]} <= {layer["id"] for layer in server.api("GET", "layers")[1]}
    # The last process that ran from it may be ending yet.
    wait_for(lambda: server.api("DELETE", f"layers/{done['layer']}")[0] == 204, what="the layer's removal", seconds=30)
    assert server.api("DELETE", path)[0] == 204
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the stop", seconds=30)
    server.api("DELETE", path)


def test_every_documented_operation_answers_what_the_document_says(server):
    """`server.api` holds each answer against the document; here each operation succeeds once."""
    schema.SEEN.clear()
    _, cluster = server.api("POST", "clusters", {"name": "all", "workers": 1})
    status, kernel = server.ask("POST", "/api/kernels", {"name": "python3"}, timeout=60)
    assert status == 201
    path, both = f"clusters/{cluster['id']}", f"kernel={kernel['id']}&cluster={cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)
    wait_for(lambda: server.api("GET", f"diff?{both}")[1].get("rows"), what="rows", seconds=40)
    wait_for(lambda: server.api("GET", f"environments?kernel={kernel['id']}")[0] == 200, what="the kernel")
    server.api("GET", f"environments?cluster={cluster['id']}")
    for asked in ("about", "clusters", "usage", "rules", f"{path}/logs", f"{path}/activity"):
        assert server.api("GET", asked)[0] == 200
    assert server.api("POST", "factories/local/offers", {}) == (200, {"options": {}, "clusters": []})
    server.api("POST", "explain", {"cluster": cluster["id"], "kernel": kernel["id"], "text": "KilledWorker"})
    status, report = server.api("GET", f"doctor?kernel={kernel['id']}")
    assert (status, report["failed"]) == (200, []), report["failed"]
    assert report["kernel"]["packages"]
    assert cluster["id"] in report["environments"]
    assert cluster["id"] in report["logs"]
    assert cluster["id"] in {diff["cluster"]["id"] for diff in report["diffs"]}
    assert server.token not in str(report)
    assert str(Path.home()) not in str(report)
    status, ours = server.api("GET", f"{path}/client?kernel={kernel['id']}")
    assert (status, ours["missing"]) == (200, None)
    assert 'coiled_jupyter.connect("all")' in ours["code"]
    # Where nothing is known of a kernel, Dask alone does it.
    code = server.api("GET", f"{path}/client")[1]["code"]
    run = [sys.executable, "-W", "ignore", "-c", f"{code}\nprint(client.submit(pow, 2, 3).result(timeout=30))"]
    assert "coiled_jupyter" not in code
    assert subprocess.run(run, capture_output=True, text=True, timeout=90, check=True).stdout.strip() == "8"
    assert server.api("PUT", f"kernels/{kernel['id']}/imports", {"cells": ["import numpy"]})[0] == 204
    # Its scheduler has what the kernel has, so no graph needs to be sealed for it.
    assert server.api("PUT", f"kernels/{kernel['id']}/seal", {"cluster": cluster["id"], "sealed": True})[0] == 409
    assert server.api("PUT", f"kernels/{kernel['id']}/seal", {"cluster": cluster["id"], "sealed": False})[0] == 204
    # The rules are the user's, so other tests' servers have them too: what these ignore stays.
    assert server.api("PATCH", "rules", {"overrides": {"toolz": "minor"}})[0] == 200
    assert server.api("PATCH", "rules", {"overrides": {"toolz": None}})[0] == 200
    assert server.api("PATCH", path, {"name": "renamed"})[0] == 200
    assert server.api("POST", f"{path}/restart", {"what": "workers"})[0] == 202
    assert server.api("DELETE", path)[0] == 204
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the stop", seconds=30)
    sync_once(server, kernel["id"])
    software_once(server, kernel["id"])
    assert server.ask("DELETE", f"/api/kernels/{kernel['id']}")[0] == 204
    server.api("DELETE", path)
    documented = document()["paths"]
    assert {(m.upper(), p) for p, methods in documented.items() for m in methods} == schema.SEEN


def test_reading_is_no_activity_and_starting_is(server):
    before = server.ask("GET", "/api/status")[1]["last_activity"]
    server.api("GET", "clusters")
    assert server.ask("GET", "/api/status")[1]["last_activity"] == before
    server.api("POST", "clusters", {"workers": -1})
    assert server.ask("GET", "/api/status")[1]["last_activity"] > before


BAD_CHANGES = [
    (b"", "body"), (b"{}", "body"), (b"[]", "body"), (b'{"workers": null}', "workers"), (b'{"workers": -1}', "workers"),
    (b'{"workers": 0.5}', "workers"), (b'{"workers": 1000000}', "workers"), (b'{"workers": true}', "workers"),
    (b'{"workers": 1, "name": "x"}', "name"), (b'{"name": ""}', "name"), (b'{"name": "a\\nb"}', "name"),
    (b'{"name": null}', "name"), (b'{"adaptive": {"minimum": 3, "maximum": 2}}', "adaptive.minimum"),
    (b'{"adaptive": {"minimum": 0, "maximum": 0}}', "adaptive.maximum"), (b'{"adaptive": {"minimum": 1}}', "adaptive"),
    (b'{"adaptive": {"minimum": 1, "maximum": 1e6}}', "adaptive.maximum"), (b'{"adaptive": 3}', "adaptive"),
    (b'{"lease_seconds": -1}', "lease_seconds"), (b'{"lease_seconds": 1e999}', "lease_seconds"),
    (b'{"lease_seconds": "long"}', "lease_seconds"), (b'{"options": {"host": "0.0.0.0"}}', "options"),
]  # fmt: skip


def test_bad_changes_name_the_field_and_change_nothing(server):
    _, cluster = server.api("POST", "clusters", {"workers": 1})
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)
    before = server.api("GET", path)[1]
    for body, field in BAD_CHANGES:
        status, answer = server.api("PATCH", path, raw=body)
        assert (status, answer["error"]["kind"]) == (400, "invalid"), (body, answer)
        assert answer["error"]["data"]["field"] == field, (body, answer)
        assert "Traceback" not in str(answer)
    for body in (b"", b"{}", b'{"what": "all"}', b'{"what": "workers", "x": 1}'):
        assert server.api("POST", f"{path}/restart", raw=body)[0] == 400
    for query in ("node=..%2f..%2fledger", "node=" + "x" * 100, "node=nobody"):
        assert server.api("GET", f"{path}/logs?{query}")[0] == 404
    assert server.api("GET", f"{path}/logs?after=scheduler")[0] == 400
    after = server.api("GET", path)[1]
    assert (after["desired"], after["name"]) == (before["desired"], before["name"])

    status, changed = server.api("PATCH", path, {"workers": 2})
    assert (status, changed["desired"]["workers"], changed["granted"]) == (200, 2, None)
    wait_for(lambda: len(server.api("GET", path)[1]["workers"]) == 2, what="the second worker", seconds=30)
    status, logs = server.api("GET", f"{path}/logs?node=scheduler")
    assert status == 200
    assert {line["node"] for line in logs["lines"]} == {"scheduler"}
    status, refusal = server.api("POST", "clusters", {"name": before["name"], "workers": 0})
    assert (status, refusal["error"]["kind"]) == (409, "conflict")
    assert server.api("POST", f"{path}/restart", {"what": "cluster"})[0] == 202
    # Unless it runs again before that arrives.
    refused = server.api("PATCH", path, {"workers": 1})[0] == 409
    assert refused or server.api("GET", path)[1]["status"] in ("running", "idle")
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="it again", seconds=60)
    assert server.api("DELETE", path)[0] == 204
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the stop", seconds=30)
    assert server.api("PATCH", path, {"workers": 1})[0] == 409
    assert server.api("GET", f"{path}/logs")[0] == 200
    assert [server.api("DELETE", path)[0] for _ in range(2)] == [204, 404]
    for method, below, body in (("PATCH", "", {"workers": 1}), ("POST", "/restart", {"what": "workers"})):
        assert server.api(method, path + below, body)[0] == 404


def test_deletes_at_once_end_it_once(server):
    _, cluster = server.api("POST", "clusters", {"workers": 0})
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)

    def delete(_) -> int:
        return server.api("DELETE", path)[0]

    with ThreadPoolExecutor(4) as pool:
        # Stops, however many ask, also where its supervisor has just gone.
        assert set(pool.map(delete, range(4))) == {204}
        wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the stop", seconds=30)
        answers = list(pool.map(delete, range(4)))
    assert 204 in answers
    assert set(answers) <= {204, 404}
    assert server.api("GET", path)[0] == 404


def test_a_stopped_worker_holds_nobody_up(server):
    _, cluster = server.api("POST", "clusters", {"workers": 2})
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)

    worker = next(p for p in server.descendants() if "spawn_main" in words(p))
    worker.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: server.api("GET", path)[1]["status"] == "degraded", what="the silence to be named", seconds=40)
        assert "No heartbeat" in server.api("GET", path)[1]["reason"]
        # Nobody who asks something else waits for its answer, which doesn't come.
        for _ in range(60):
            assert server.ask("GET", "/api/status")[0] == 200
    finally:
        worker.send_signal(signal.SIGCONT)
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="the recovery", seconds=30)
    server.api("DELETE", path)
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the stop", seconds=30)
    server.api("DELETE", path)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the scheduler by its socket in /proc")
def test_a_stopped_scheduler_holds_nobody_up(server):
    _, cluster = server.api("POST", "clusters", {"workers": 1})
    assert [step["name"] for step in cluster["steps"]] == ["Start scheduler", "Start workers"]
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)
    port = int(server.api("GET", path)[1]["scheduler"]["address"].rpartition(":")[2])
    (scheduler,) = [
        process
        for process in server.descendants()
        if any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp"))
    ]
    scheduler.send_signal(signal.SIGSTOP)
    try:
        # Also what is asked while it doesn't answer is answered, each within the time that `ask` has.
        end = deadline(60)
        while server.api("GET", path)[1]["status"] != "unreachable":
            assert time.monotonic() < end
            for route in ("/api/status", "/coiled-jupyter/api/usage", f"/coiled-jupyter/api/{path}/logs"):
                assert server.ask("GET", route)[0] == 200
    finally:
        scheduler.send_signal(signal.SIGCONT)
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="the recovery", seconds=30)
    server.api("DELETE", path)
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the stop", seconds=30)
    server.api("DELETE", path)


def test_a_flood_of_creations_ends_at_the_limit_and_a_million_workers_at_the_door(tmp_path):
    env = apart()
    server = JupyterServer(tmp_path, "server", "--CoiledJupyter.core_limit=2", env=env)
    try:
        with ThreadPoolExecutor(9) as pool:
            made = [
                pool.submit(server.api, "POST", "clusters", {"name": f"n{n % 40}", "workers": 1}) for n in range(50)
            ]
            while not all(one.done() for one in made):
                assert server.ask("GET", "/api/status")[0] == 200
        answers = [one.result() for one in made]
        assert sorted(status for status, _ in answers) == [202] * 2 + [409] * 48
        clusters = server.api("GET", "clusters")[1]
        assert len(clusters) == 2
        path = f"clusters/{clusters[0]['id']}"
        wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)
        for wish in (1_000_000, 1e6, 10**30):
            assert server.api("PATCH", path, {"workers": wish})[0] == 400
            assert server.ask("GET", "/api/status")[0] == 200
        family = server.descendants()
        assert sum("spawn_main" in words(p) for p in family) <= 2
    finally:
        server.close()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


@pytest.mark.parametrize("harm", each_night(["garbage", "half", "folder"], ["half", "folder"]))
def test_a_damaged_ledger_never_stops_the_server(tmp_path, harm):
    runtime = Path(short_folder())
    ledger = runtime / "ledger.sqlite"
    if harm == "folder":
        ledger.mkdir()
    else:
        ledger.write_bytes(b"SQLite format 3\0" + b"x" * 3000 if harm == "half" else b"no database" * 999)
    server = JupyterServer(tmp_path, env={"COILED_JUPYTER_RUNTIME_DIR": str(runtime)})
    try:
        assert server.ask("GET", "/api/status")[0] == 200
        # What can't be used is told in the server's log, and what was there is kept beside.
        if harm == "folder":
            problem = "The ledger of clusters can't be opened"
            wait_for(lambda: server.api("GET", "about")[1]["problem"], what="the problem to be told", seconds=20)
            assert server.api("GET", "about")[1]["problem"]["message"] == problem
            assert server.api("GET", "clusters")[1]["error"]["message"] == problem
            assert problem in server.log.read_text()
            return
        assert server.api("GET", "clusters") == (200, [])
        assert list(runtime.glob("ledger.sqlite.corrupt-*"))
        status, cluster = server.api("POST", "clusters", {"workers": 0})
        assert status == 202
        path = f"clusters/{cluster['id']}"
        wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)
        # Damaged while it runs.
        ledger.write_bytes(b"no database" * 999)
        assert server.api("GET", "usage")[0] == 200

        def entered():
            return [row.id for row in Ledger(ledger).list()] == [cluster["id"]]

        wait_for(entered, what="the cluster to be entered again", seconds=25)
        wait_for(lambda: server.api("GET", path)[0] == 200, what="the server to have it again", seconds=10)
        assert server.ask("GET", "/api/status")[0] == 200
    finally:
        server.close()


def test_what_cannot_be_resolved_fails_with_the_reason(server):
    status, cluster = server.api("POST", "clusters", {"requirements": ["numpy==99999"]})
    assert status == 202
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] == "failed", what="the failure", seconds=60)
    cluster = server.api("GET", path)[1]
    assert "numpy==99999" in cluster["reason"]
    assert "Traceback" not in cluster["reason"]
    server.api("DELETE", path)


@pytest.mark.parametrize(
    ("victim", "stopped"),
    each_night(
        [("supervisor", False), ("supervisor", True), ("server", False), ("server", True)],
        [("supervisor", True), ("server", False)],
    ),
)
def test_no_orphans_and_no_lost_cluster(tmp_path, victim, stopped):
    # A ledger of its own: another server would rightly hold the cluster.
    env = apart()
    server = JupyterServer(tmp_path, env=env)
    try:
        cluster = server.api("POST", "clusters", {"workers": 1})[1]
        path = f"clusters/{cluster['id']}"
        wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster", seconds=60)
        family = server.descendants()
        before, lines = server.api("GET", path)[1], server.api("GET", f"{path}/logs?node=scheduler")[1]["lines"]
        if stopped:
            next(p for p in family if "spawn_main" in words(p)).send_signal(signal.SIGSTOP)
        if victim == "supervisor":
            supervisor = next(p for p in family if "coiled_jupyter.supervisor" in words(p).split())
            supervisor.send_signal(signal.SIGKILL)
            wait_for(lambda: server.api("GET", path)[1]["status"] == "lost", what="the loss to be seen", seconds=15)
            _, alive = psutil.wait_procs(family, timeout=15)
            assert not alive
        else:
            server.process.kill()
            server.process.wait()
            server = JupyterServer(tmp_path, env=env)
            wait_for(lambda: server.api("GET", path)[0] == 200, what="the adoption", seconds=10)
            after = server.api("GET", path)[1]
            assert after["status"] in ("degraded" if stopped else "idle", "running", "idle")
            # With its history.
            for key in ("name", "created_at", "steps", "desired", "scheduler"):
                assert after[key] == before[key]
            assert server.api("GET", f"{path}/logs?node=scheduler")[1]["lines"][: len(lines)] == lines
    finally:
        server.close()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
