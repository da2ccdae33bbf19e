"""Sealed graphs over the routes of a real server: a scheduler keeps its packages, and nothing that was computed is lost."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.environments import environment, interpreters
from tests.kernelspecs import kernel_spec
from tests.links.test_through_kernel import TODAY
from tests.processes import JupyterServer, short_folder, wait_for
from tests.remote import RemoteCluster
from tests.server.test_discovered import Notebook, compared

EARLIER = """
import time
import numpy as np
import pandas as pd
from distributed import Client
client = Client({address!r})
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


def test_the_scheduler_keeps_numpy_and_the_notebook_loses_nothing(server, tmp_path):
    old = environment(interpreters()["3.11"], *TODAY, "numpy==1.26.4", "pandas==2.0.3")
    notebook = Notebook(server, "sealed.ipynb", "new")
    with RemoteCluster(tmp_path / "remote", old, workers=2) as remote:
        cluster = attached(server, remote)
        notebook.run(EARLIER.format(address=remote.address))
        path = f"diff?kernel={notebook.kernel}&cluster={cluster['id']}"
        before = compared(server, path)
        assert before["verdict"] == "breaks"
        assert before["unsealed"] is False

        status, plan = server.api("POST", "plans", {"cluster": cluster["id"], "kernel": notebook.kernel}, timeout=120)
        assert status == 201, plan
        assert plan["how"] == "roll", plan
        assert plan["needs"] == [], plan["lost"]
        (seal,) = plan["scheduler"]
        assert seal["way"] == "seal"
        assert "numpy" in seal["names"]
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
