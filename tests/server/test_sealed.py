"""Sealed graphs over the routes of a real server: a scheduler keeps its packages, and nothing that was computed is lost."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.environments import environment, interpreters
from tests.kernelspecs import kernel_spec
from tests.links.test_through_kernel import TODAY
from tests.processes import JupyterServer, short_folder, wait_for
from tests.remote import RemoteCluster
from tests.server.test_discovered import Notebook, compared

OPEN = """
import time
import numpy as np
import pandas as pd
from distributed import Client
client = Client({address!r})
"""
EARLIER = """
client.run_on_scheduler(exec, "import numpy, pandas")
kept = client.map(pow, range(100), [2] * 100, key="kept")
client.gather(kept)
scattered = client.scatter(list(range(5)), broadcast=False)
slow = client.submit(time.sleep, 4, key="slow")
# Held, as by the traceback of a cell that has failed.
failed = client.submit(np.sum, np.arange(10))
assert "deserialization" in str(failed.exception(timeout=30))
"""
# Text of variable width is numpy 2's: 1.26 can't unpickle it.
STORY = """
assert client.submit(np.sum, np.arange(10)).result(timeout=30) == 45
text = np.array(["a", "bc"], dtype=np.dtypes.StringDType())
assert client.submit(len, text, pure=False).result(timeout=30) == 2
assert client.submit(lambda frame: float(frame.x.sum()), pd.DataFrame({"x": [1.0, 2.0]}), pure=False).result(timeout=30) == 3

def nested(text):
    from distributed import worker_client
    with worker_client() as inner:
        return inner.submit(len, text, pure=False).result(timeout=30)

assert client.submit(nested, text, pure=False).result(timeout=30) == 2
"""
KEPT = """
assert client.gather(kept) == [n ** 2 for n in range(100)]
assert client.gather(scattered) == list(range(5))
slow.result(timeout=60)
log = "__import__('json').dumps([sum(1 for t in s.transition_log if t[1] == 'processing' and t[2] == 'memory' and "
log += "str(t[0]).startswith(P)) for s in __import__('distributed').Scheduler._instances])"
import json
for prefix, count in (("kept", 100), ("slow", 1)):
    assert json.loads(client.run_on_scheduler(eval, log, {"P": prefix})) == [count]
"""
ELSEWHERE = """
import sys, warnings
warnings.simplefilter("ignore")
import coiled_jupyter
from distributed import Client
from IPython.core.interactiveshell import InteractiveShell
sealed = lambda: hasattr(Client._graph_to_futures, "unsealed")
client = coiled_jupyter.connect(sys.argv[1])
assert sealed(), "connect"
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "coiled_jupyter")
assert sealed(), "loaded"
shell.run_line_magic("unload_ext", "coiled_jupyter")
assert not sealed(), "unloaded"
shell.run_line_magic("load_ext", "coiled_jupyter")
assert sealed(), "loaded again"
assert client.submit(sum, [1, 2]).result(timeout=30) == 3
client.close()
"""
SCHEDULER_HAS = """
found = client.run_on_scheduler(eval, "[__import__('sys').modules[n].__version__ for n in ('numpy', 'pandas')]")
assert found == ["1.26.4", "2.0.3"], found
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("server")
    python = environment(interpreters()["3.11"], *TODAY, "numpy==2.4.6", "pandas==2.3.3")
    kernel_spec(root / "home" / "data", "new", python)
    server = JupyterServer(root, env={"COILED_JUPYTER_RUNTIME_DIR": short_folder()})
    yield server
    server.close()


def carried_out(server, sync: dict) -> dict:
    def ended():
        status, now = server.api("GET", f"syncs/{sync['id']}")
        assert status == 200, now
        return now if now["ended_at"] else None

    return wait_for(ended, what="the end of the sync", seconds=120)


def attached(server, cluster: RemoteCluster) -> dict:
    status, made = server.api("POST", "clusters", {"address": cluster.address})
    assert status == 202, made

    def ready():
        _, seen = server.api("GET", f"clusters/{made['id']}")
        return seen if seen["status"] in ("running", "idle") and len(seen["workers"]) == 2 else None

    return wait_for(ready, what="the attached cluster", seconds=30)


def planned(server, cluster: dict, notebook: Notebook) -> tuple[dict, dict]:
    """Return a plan that restarts no scheduler and loses nothing, and what it says of the scheduler."""
    status, plan = server.api("POST", "plans", {"cluster": cluster["id"], "kernel": notebook.kernel}, timeout=120)
    assert status == 201, plan
    assert plan["how"] == "roll", plan
    assert plan["needs"] == [], plan["lost"]
    (seal,) = plan["scheduler"]
    assert seal["way"] == "seal"
    assert "numpy" in seal["names"]
    return plan, seal


def test_the_scheduler_keeps_numpy_and_the_notebook_loses_nothing(server, tmp_path):
    old = environment(interpreters()["3.11"], *TODAY, "numpy==1.26.4", "pandas==2.0.3")
    notebook = Notebook(server, "sealed.ipynb", "new")
    with RemoteCluster(tmp_path / "remote", old, workers=2) as remote:
        cluster = attached(server, remote)
        notebook.run(OPEN.format(address=remote.address) + EARLIER)
        path = f"diff?kernel={notebook.kernel}&cluster={cluster['id']}"
        before = compared(server, path)
        assert before["verdict"] == "breaks"
        assert before["unsealed"] is False

        plan, seal = planned(server, cluster, notebook)
        assert "keeps numpy 1.26.4" in seal["text"]
        # What waits for the restart of a scheduler is nothing that the notebook needs.
        assert not [action for action in plan["actions"] if action["kind"] == "refuse"], plan["actions"]

        status, sync = server.api("POST", "syncs", {"plan": plan["id"]}, timeout=60)
        assert status == 201, sync
        done = carried_out(server, sync)
        assert done["state"] == "done", done
        assert seal["text"] in done["result"]["text"]
        notebook.run(STORY)
        notebook.run(KEPT)
        notebook.run(SCHEDULER_HAS)
        after = compared(server, path)
        assert after["verdict"] in ("compatible", "risky"), [r for r in after["rows"] if r["severity"] != "same"]
        numpy = next(row for row in after["rows"] if row["name"] == "numpy")
        assert (numpy["status"], numpy["severity"]) == ("differs", "same")
        assert "sealed" in numpy["why"]

        # Another process, such as a script: by `connect()`, and for as long as the magic is loaded.
        other = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, cluster["id"]],
            env=server.env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert other.returncode == 0, other.stderr[-2000:]

        # A restarted kernel has lost it: that is said, and one request brings it back.
        status, _ = server.ask("POST", f"/api/kernels/{notebook.kernel}/restart", {}, timeout=60)
        assert status == 200
        again = wait_for(lambda: _unsealed(server, path), what="the restarted kernel", seconds=30)
        assert again["verdict"] == "breaks"
        notebook.run(
            f"from distributed import Client\nimport numpy as np, pandas as pd\nclient = Client({remote.address!r})"
        )
        body = {"cluster": cluster["id"], "sealed": True}
        status, told = server.api("PUT", f"kernels/{notebook.kernel}/seal", body, timeout=60)
        assert status == 204, told
        notebook.run(STORY)
        assert compared(server, path)["unsealed"] is False

        status, undo = server.api("POST", f"syncs/{sync['id']}/undo", {}, timeout=60)
        assert status == 201, undo
        undone = carried_out(server, undo)
        assert undone["state"] == "done", undone
        plain = "assert not hasattr(Client._graph_to_futures, 'unsealed')"
        wait_for(lambda: _works(notebook, plain), what="plain graphs", seconds=20)
        status, refused = server.api("PUT", f"kernels/{notebook.kernel}/seal", body)
        assert status == 409, refused
        notebook.run("client.close()")
    notebook.close()


@pytest.mark.nightly
def test_a_cluster_of_our_own_keeps_its_scheduler_and_every_result(server):
    body = {"name": "ours", "workers": 2, "requirements": ["numpy==1.26.4", "pandas==2.0.3"]}
    status, made = server.api("POST", "clusters", body)
    assert status == 202, made
    notebook = Notebook(server, "ours.ipynb", "new")
    cluster = wait_for(lambda: _running(server, made["id"], 2), what="the cluster", seconds=120)
    status, code = server.api("GET", f"clusters/{cluster['id']}/client?kernel={notebook.kernel}")
    assert status == 200, code
    scheduler = cluster["scheduler"]["id"]
    notebook.run("import time\nimport numpy as np, pandas as pd\n" + code["code"] + EARLIER)
    plan, _ = planned(server, cluster, notebook)
    status, sync = server.api("POST", "syncs", {"plan": plan["id"]}, timeout=60)
    assert status == 201, sync
    done = carried_out(server, sync)
    assert done["state"] == "done", done
    notebook.run(STORY)
    notebook.run(KEPT)
    notebook.run(SCHEDULER_HAS)
    status, undo = server.api("POST", f"syncs/{sync['id']}/undo", {}, timeout=60)
    assert status == 201, undo
    assert carried_out(server, undo)["state"] == "done"
    notebook.run("assert client.gather(kept) == [n ** 2 for n in range(100)]")
    assert server.api("GET", f"clusters/{cluster['id']}")[1]["scheduler"]["id"] == scheduler
    notebook.run("client.close()")
    notebook.close()
    server.api("DELETE", f"clusters/{cluster['id']}")


def _kill_worker(server, cluster: dict, sync: dict, remote: RemoteCluster, notebook: Notebook) -> None:
    (worker, *_) = psutil.Process(remote.processes[-1].pid).children()
    worker.kill()


def _kill_supervisor(server, cluster: dict, sync: dict, remote: RemoteCluster, notebook: Notebook) -> None:
    runtime, found = server.env["COILED_JUPYTER_RUNTIME_DIR"], []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "coiled_jupyter.supervisor" in process.cmdline():
                found += [process] if process.environ().get("COILED_JUPYTER_RUNTIME_DIR") == runtime else []
    assert found
    for process in found:
        process.kill()


def _cancel(server, cluster: dict, sync: dict, remote: RemoteCluster, notebook: Notebook) -> None:
    server.api("DELETE", f"syncs/{sync['id']}")


def _stop_scheduler(server, cluster: dict, sync: dict, remote: RemoteCluster, notebook: Notebook) -> None:
    remote.scheduler.send_signal(signal.SIGSTOP)
    time.sleep(3)
    remote.scheduler.send_signal(signal.SIGCONT)


def _restart_kernel(server, cluster: dict, sync: dict, remote: RemoteCluster, notebook: Notebook) -> None:
    status, _ = server.ask("POST", f"/api/kernels/{notebook.kernel}/restart", {}, timeout=60)
    assert status == 200


TRUTH = """
import json
seen = "__import__('json').dumps(__import__('importlib.metadata', fromlist=['x']).version('numpy'))"
print(json.dumps(list(client.run(eval, seen).values())))
versions = {json.loads(text) for text in client.run(eval, seen).values()}
"""


@pytest.mark.nightly
@pytest.mark.parametrize("step", ["building", "rolling"])
@pytest.mark.parametrize("fault", [_kill_worker, _kill_supervisor, _cancel, _stop_scheduler, _restart_kernel])
def test_whatever_happens_in_a_sync_with_sealed_graphs_nothing_is_green_that_is_not(server, tmp_path, fault, step):
    old = environment(interpreters()["3.11"], *TODAY, "numpy==1.26.4", "pandas==2.0.3")
    notebook = Notebook(server, "fault.ipynb", "new")
    with RemoteCluster(tmp_path / "remote", old, workers=2) as remote:
        cluster = attached(server, remote)
        notebook.run(OPEN.format(address=remote.address) + EARLIER)
        plan, _ = planned(server, cluster, notebook)
        status, sync = server.api("POST", "syncs", {"plan": plan["id"]}, timeout=60)
        assert status == 201, sync
        wait_for(lambda: _at(server, sync, step), what=step, seconds=120)
        fault(server, cluster, sync, remote, notebook)
        done = carried_out(server, sync)
        if fault is _restart_kernel:
            notebook.run(OPEN.format(address=remote.address))
        path = f"diff?kernel={notebook.kernel}&cluster={cluster['id']}"
        after = wait_for(lambda: _whole(server, path, fault is not _kill_worker), what="a whole reading", seconds=90)
        rows = {row["name"]: row for row in after["rows"]}
        # Green for numpy needs both: workers that run the notebook's, and graphs that the scheduler doesn't open.
        notebook.run(TRUTH)
        new = _works(notebook, "assert versions == {'2.4.6'}, versions")
        sealed = _works(notebook, "assert hasattr(Client._graph_to_futures, 'unsealed')")
        assert (rows["numpy"]["severity"] == "same") == (new and sealed), (done["state"], rows["numpy"], new, sealed)
        assert after["verdict"] != "equal"
        if new and sealed:
            notebook.run(STORY)
        if fault in (_cancel, _stop_scheduler, _kill_supervisor):
            # Nobody's data was on a process that ended without handing it over.
            notebook.run("assert client.gather(kept) == [n ** 2 for n in range(100)]")
        notebook.run("client.close()")
    notebook.close()


def _running(server, cluster: str, workers: int):
    _, seen = server.api("GET", f"clusters/{cluster}")
    assert seen["status"] != "failed", seen
    return seen if seen["status"] in ("running", "idle") and len(seen["workers"]) == workers else None


def _at(server, sync: dict, step: str) -> bool:
    _, now = server.api("GET", f"syncs/{sync['id']}")
    return now["state"] == step or bool(now["ended_at"])


def _whole(server, path: str, all_read: bool):
    status, diff = server.api("GET", path)
    good = status == 200 and diff["checked"]["content"] and not (all_read and diff["unread"])
    return diff if good and len([g for g in diff["cluster"]["groups"] if g["role"] == "worker"]) else None


def _unsealed(server, path: str):
    status, diff = server.api("GET", path)
    return diff if status == 200 and diff["unsealed"] and diff["verdict"] == "breaks" else None


def _works(notebook: Notebook, code: str) -> bool:
    try:
        notebook.run(code)
    except AssertionError:
        time.sleep(0.2)
        return False
    return True
