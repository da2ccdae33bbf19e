"""`%coiled` and `%%coiled` in a real kernel and in plain IPython: the shell's commands, and cells on a cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from coiled_jupyter.ipython.progress import VIEW
from coiled_jupyter.ipython.results import MIME
from tests.patience import deadline
from tests.processes import apart


class Kernel:
    """A kernel in which cells run."""

    def __init__(self, **environ: str) -> None:
        self.manager, self.client = start_new_kernel(env={**os.environ, **environ})

    def run(self, code: str, seconds: float = 120) -> tuple[str, list[dict]]:
        """Return how a cell ended, and its outputs."""
        status = "aborted"
        # A kernel that has just told an error aborts what reaches it within a moment.
        while status == "aborted":
            found: list[dict] = []
            reply = self.client.execute_interactive(code, timeout=seconds, output_hook=found.append, store_history=True)
            status = reply["content"]["status"]
        return status, [{"type": m["header"]["msg_type"], **m["content"]} for m in found]

    def value(self, code: str):
        """Return what an expression is, by JSON."""
        status, found = self.run(f"import json as _json\nprint(_json.dumps({code}))")
        assert status == "ok", found
        # What Dask logs meanwhile goes to the other stream.
        return json.loads("".join(output["text"] for output in found if output.get("name") == "stdout"))

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    # What is kept under a name here is no other test's.
    kernel = Kernel(**apart(), COILED_JUPYTER_DATA_DIR=str(tmp_path_factory.mktemp("data")))
    # Before the magic is there: it counts as imported all the same.
    assert kernel.run("import numpy\n%load_ext coiled_jupyter")[0] == "ok"
    status, found = kernel.run("%coiled cluster create only --workers 1 --requirement iniconfig==1.1.1")
    assert status == "ok", found
    yield kernel
    kernel.run("%coiled cluster stop only")
    kernel.close()


def shown(found: list[dict], kind: str) -> dict:
    return next(output for output in found if output["type"] == kind)["data"]


def displayed(found: list[dict]) -> str:
    """Return all that was displayed; what takes long is named first."""
    kinds = ("display_data", "update_display_data")
    return "\n".join(output["data"].get("text/plain", "") for output in found if output["type"] in kinds)


def test_a_diff_is_a_value_that_shows_itself(kernel):
    status, found = kernel.run("d = %coiled diff\nd")
    assert status == "ok"
    data = shown(found, "execute_result")
    assert "numpy" in data["text/plain"]
    assert "var(--jp-error-color1)" in data["text/html"]
    assert "✕ breaks" in data["text/html"]
    assert data[MIME]["verdict"] == "breaks"
    rows = {row["name"]: row for row in data[MIME]["rows"]}
    assert (rows["numpy"]["severity"], rows["numpy"]["use"]) == ("breaks", "imported")
    assert rows["iniconfig"]["kernel"]["version"] != "1.1.1"
    assert not rows["msgspec"]["use"]
    assert kernel.value("[d.verdict, d.command, len(d.rows) > 20]") == ["breaks", "diff", True]
    assert kernel.value("[len(c := get_ipython().run_line_magic('coiled', 'cluster list')), c[0].name]") == [1, "only"]


def test_what_is_wrong_is_one_line_and_fails_the_cell(kernel):
    for line, word in (
        ("%coiled nonsense", "invalid choice"),
        ("%coiled diff --nonsense", "unrecognized"),
        ("%coiled cluster", "required"),
        ("%coiled 'open", "no end"),
    ):
        status, found = kernel.run(line)
        assert status == "error"
        (said,) = [output["text"] for output in found if output["type"] == "stream"]
        assert said.startswith("UsageError: ")
        assert word in said.lower()
        assert len(said.strip().splitlines()) == 1
    status, found = kernel.run("%coiled diff --cluster nobody")
    (error,) = [output for output in found if output["type"] == "error"]
    assert (status, error["ename"]) == ("error", "NotFound")
    assert "Traceback" not in "".join(error["traceback"])
    assert "no cluster nobody" in "".join(error["traceback"])


def test_differences_fail_the_cell_only_where_that_is_asked_for(kernel):
    assert kernel.run("%coiled diff")[0] == "ok"
    status, found = kernel.run("%coiled diff --fail-on breaks")
    assert status == "error"
    assert MIME in shown(found, "display_data")


def test_help_is_told_and_is_no_error(kernel):
    status, found = kernel.run("%coiled sync --help")
    (said,) = [output["text"] for output in found if output["type"] == "stream"]
    assert (status, "usage: %coiled sync" in said) == ("ok", True)
    reply = kernel.client.inspect("%coiled", 7, reply=True, timeout=20)
    text = reply["content"]["data"]["text/plain"]
    assert all(f"%coiled {command}" in text for command in ("diff", "sync", "cluster create", "software install"))


def test_lines_are_completed(kernel):
    for line, word in (
        ("%coiled cluster cre", "create"),
        ("%coiled diff --cluster on", "only"),
        ("%coiled sy", "sync"),
    ):
        reply = kernel.client.complete(line, len(line), reply=True, timeout=30)
        assert word in [match.strip() for match in reply["content"]["matches"]], (line, reply["content"])


def test_the_cells_own_line_is_completed_too(kernel):
    for line, word in (("%%coiled --cl", "--cluster"), ("%%coiled --cluster on", "only")):
        reply = kernel.client.complete(f"{line}\n1 + 1", len(line), reply=True, timeout=30)
        assert word in [match.strip() for match in reply["content"]["matches"]], (line, reply["content"])


def test_a_table_of_pandas(kernel):
    assert kernel.run("t = (get_ipython().run_line_magic('coiled', 'diff')).to_frame().set_index('package')")[0] == "ok"
    assert kernel.value("[*t.loc['iniconfig', ['cluster', 'status', 'severity']]]") == ["1.1.1", "differs", "risky"]
    assert kernel.value("get_ipython().run_line_magic('coiled', 'cluster list').to_frame()['name'].tolist()") == [
        "only"
    ]


def test_the_last_error_of_the_notebook_is_explained(kernel):
    assert kernel.run("raise ModuleNotFoundError(\"No module named 'numpy'\")")[0] == "error"
    status, found = kernel.run("%coiled explain")
    assert status == "ok", found
    assert "numpy" in shown(found, "execute_result")["text/plain"]
    # Of a cell on the cluster, what the worker said.
    assert kernel.run("%%coiled --force\nimport numpy")[0] == "error"
    causes = "[cause.row.name for cause in get_ipython().run_line_magic('coiled', 'explain').causes]"
    assert kernel.value(causes) == ["numpy"]


def test_a_name_that_is_nearly_right_is_told_and_an_address_that_is_silent_is_one_line(kernel):
    for line in ("%coiled diff --cluster onyl", "%coiled connect onyl"):
        status, found = kernel.run(line)
        (error,) = [output for output in found if output["type"] == "error"]
        assert (status, "did you mean only?" in error["evalue"]) == ("error", True), error
    # Nobody listens at the port of a socket that is bound and silent.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{bound.getsockname()[1]}"
        status, found = kernel.run(f"__import__('coiled_jupyter').connect('{address}', timeout=1)")
    (error,) = [output for output in found if output["type"] == "error"]
    assert (status, error["ename"]) == ("error", "Unavailable")
    assert len(error["traceback"]) <= 2
    assert "can't be reached" in error["traceback"][0]


def test_what_a_command_imports_is_not_taken_for_the_notebooks(kernel):
    """Else a cluster that lacks what only this package needs would differ by it."""
    assert kernel.run("%coiled software list")[0] == "ok"
    kernel.client.complete("%coiled sy", 10, reply=True, timeout=30)
    _, found = kernel.run("%coiled diff --all")
    rows = {row["name"]: row for row in shown(found, "execute_result")[MIME]["rows"]}
    assert kernel.value("[name in __import__('sys').modules for name in ('argcomplete', 'msgspec')]") == [True, True]
    used = {name for name in ("argcomplete", "msgspec", "coiled-jupyter") if rows[name]["use"]}
    assert used == set()
    assert kernel.run("import msgspec")[0] == "ok"
    _, found = kernel.run("%coiled diff --all")
    rows = {row["name"]: row for row in shown(found, "execute_result")[MIME]["rows"]}
    assert rows["msgspec"]["use"]


def test_code_beside_the_notebook_is_compared_where_no_server_reads_it(kernel, tmp_path):
    """It was left out, so a notebook could be told "equal" whose tasks would fail."""
    (tmp_path / "cj_beside").mkdir()
    (tmp_path / "cj_beside" / "inner.py").write_text("A = 1\n")
    assert kernel.run(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nfrom cj_beside import inner")[0] == "ok"
    end = deadline(60)
    while True:
        _, found = kernel.run("%coiled diff --all")
        told = shown(found, "execute_result")[MIME]
        row = next((row for row in told["rows"] if row["name"] == "cj_beside/"), None)
        if row and told["checked"]["content"]:
            break
        # Until the files have been compared nobody knows.
        assert row is None or row["status"] == "unknown", row
        assert time.monotonic() < end, told["unread"]
    assert (row["status"], row["severity"], row["use"]) == ("only_kernel", "breaks", "imported")
    assert (
        kernel.run(
            f"sys.path.remove({str(tmp_path)!r})\ndel inner, sys.modules['cj_beside.inner'], sys.modules['cj_beside']"
        )[0]
        == "ok"
    )


def test_a_sync_is_seen_first_then_done_and_undone(kernel):
    status, found = kernel.run("%coiled sync iniconfig")
    assert status == "ok", found
    seen = shown(found, "execute_result")
    assert "iniconfig  1.1.1 →" in seen["text/plain"]
    assert seen["text/plain"].endswith("Run again with --yes to apply")
    assert seen[MIME]["how"] == "roll"
    status, found = kernel.run("s = %coiled sync iniconfig --yes\ns")
    assert status == "ok", found
    assert shown(found, "execute_result")[MIME]["state"] == "done"
    # How far it was moved while the cell ran, as a widget where ipywidgets is there; what is kept is text.
    assert [output["type"] for output in found].count("update_display_data") >= 1
    shows = [output["data"] for output in found if output["type"] in ("display_data", "update_display_data")]
    last = shows[-1]
    assert any(VIEW in data and 'aria-label="Steps"' in data["text/html"] for data in shows)
    bar = [output for output in found if output["type"] == "comm_msg"]
    assert any(output["data"].get("state", {}).get("value") for output in bar), bar
    assert VIEW not in last
    assert "✓ Verify" in last["text/plain"]
    own = kernel.value("__import__('importlib.metadata').metadata.version('iniconfig')")
    there = (
        "client.submit(eval, \"__import__('importlib.metadata').metadata.version('iniconfig')\", pure=False)"
        ".result(timeout=30)"
    )
    assert kernel.run("import warnings; warnings.simplefilter('ignore'); client = %coiled connect")[0] == "ok"
    assert kernel.value(there) == own
    assert kernel.run("%coiled undo --yes")[0] == "ok"
    assert kernel.value(there) == "1.1.1"


@pytest.mark.nightly
def test_a_kernel_as_the_workers_is_planned_in_a_cell_and_made_only_with_yes(kernel):
    assert kernel.run("p = %coiled sync --to-kernel iniconfig --dry-run")[0] == "ok"
    own = kernel.value("__import__('importlib.metadata').metadata.version('iniconfig')")
    changes = "[[a.name, a.before, a.after] for a in p.actions if a.kind != 'refuse']"
    assert kernel.value(f"[p.how, p.direction, {changes}]") == ["build", "to_kernel", [["iniconfig", own, "1.1.1"]]]
    status, found = kernel.run("%coiled sync --to-kernel iniconfig")
    seen = shown(found, "execute_result")["text/plain"]
    assert (status, "new environment" in seen) == ("ok", True)
    assert seen.endswith("Run again with --yes to apply")


def test_what_this_kernel_has_is_kept_under_a_name(kernel):
    # Of a run that was ended.
    kernel.run("%coiled software delete by-cell")
    status, found = kernel.run("s = %coiled software create by-cell")
    assert status == "ok", found
    own = kernel.value("{d.name.lower(): d.version for d in __import__('importlib.metadata').metadata.distributions()}")
    # This package is installed from a checkout, which no index has.
    assert kernel.value("[s.name, s.source, [left.name for left in s.left_out]]") == [
        "by-cell",
        "kernel",
        ["coiled-jupyter"],
    ]
    kept = kernel.value(
        "{p.name: p.version for p in get_ipython().run_line_magic('coiled', 'software show by-cell').packages}"
    )
    assert {name: kept[name] for name in ("dask", "ipykernel", "numpy")} == {
        name: own[name] for name in ("dask", "ipykernel", "numpy")
    }
    assert len(kept) > 100
    status, found = kernel.run("%coiled software create by-cell six==1.17.0")
    (error,) = [output for output in found if output["type"] == "error"]
    assert (error["ename"], "A software environment by-cell exists already" in error["evalue"]) == ("Conflict", True)
    assert kernel.run("%coiled software create by-cell six==1.17.0 --replace")[0] == "ok"
    assert kernel.value(
        "'six' in [p.name for p in get_ipython().run_line_magic('coiled', 'software show by-cell').packages]"
    )
    assert kernel.run("%coiled software delete by-cell")[0] == "ok"
    assert "by-cell" not in kernel.value("[s.name for s in get_ipython().run_line_magic('coiled', 'software list')]")


def test_without_ipywidgets_how_far_it_is_is_an_output_that_changes(kernel):
    # As where it isn't installed: the import fails.
    assert kernel.run("import sys; hidden = sys.modules.pop('ipywidgets'); sys.modules['ipywidgets'] = None")[0] == "ok"
    try:
        status, found = kernel.run("%coiled sync iniconfig --yes")
        assert status == "ok", found
        shows = [output["data"] for output in found if output["type"] in ("display_data", "update_display_data")]
        # However quick it was: it moved, and is over at last.
        assert any("<progress" in shown["text/html"] for shown in shows)
        assert "<progress" not in shows[-1]["text/html"]
        assert not any(VIEW in data for data in shows)
        assert "✓ Verify" in shows[-1]["text/plain"]
        assert not [output for output in found if output["type"].startswith("comm_")]
    finally:
        assert kernel.run("sys.modules['ipywidgets'] = hidden")[0] == "ok"
        assert kernel.run("%coiled undo --yes")[0] == "ok"


def test_without_a_name_the_cluster_of_the_notebooks_own_client_is_meant(kernel):
    """Also where it isn't listed anywhere: somebody else's cluster is never compared instead."""
    opened = (
        "from dask.distributed import Client\nmine = Client(n_workers=1, threads_per_worker=1, dashboard_address=None)"
    )
    assert kernel.run(opened)[0] == "ok"
    try:
        assert kernel.run("d = %coiled diff")[0] == "ok"
        named, port = kernel.value("[d.cluster.name, mine.scheduler.address.rpartition(':')[2]]")
        assert port in named
        # Both run this very environment.
        assert kernel.value("d.verdict") == "equal"
        assert kernel.run("d = %coiled diff --cluster only")[0] == "ok"
        assert kernel.value("[d.cluster.name, d.verdict]") == ["only", "breaks"]
    finally:
        kernel.run("mine.close(); mine.cluster.close()")


def test_a_live_widget_shows_state_and_verdict_while_cells_run_and_ends_when_closed(kernel):
    assert (
        kernel.run("from coiled_jupyter.widgets import ClusterStatus\nw = ClusterStatus('only', seconds=0.2)")[0]
        == "ok"
    )
    wait = "import time\nend = time.monotonic() + 60\nwhile {} and time.monotonic() < end: time.sleep(0.1)"
    _, found = kernel.run(wait.format("w.verdict != 'breaks'"))
    # It has moved while the cell ran.
    assert [output for output in found if output["type"] == "comm_msg"]
    assert kernel.value("[w.cluster.name, w.cluster.cores.allocated, w.verdict, w.reason]") == ["only", 1, "breaks", ""]
    text = kernel.value("w.value")
    assert "will break on" in text
    assert "Cores: 0 busy of 1" in text
    data = shown(kernel.run("w")[1], "execute_result")
    assert VIEW in data
    assert data["text/plain"].startswith("ClusterStatus: only is ")
    assert kernel.run("w.close()")[0] == "ok"
    assert kernel.run("w._coiled_watch.thread.join(20)")[0] == "ok"
    assert kernel.value("w._coiled_watch.thread.is_alive()") is False
    assert kernel.run("w = ClusterStatus('nobody')")[0] == "ok"
    kernel.run(wait.format("not w.reason"))
    assert kernel.value("[w.cluster, w.verdict, w.reason]") == [
        None,
        "unknown",
        "There is no cluster nobody\n  Running clusters: only",
    ]
    assert kernel.run("w.close()")[0] == "ok"


def test_a_client_goes_on_when_its_cluster_is_started_anew(kernel):
    assert kernel.run("client = %coiled connect only")[0] == "ok"
    before = kernel.value("client.submit(eval, \"__import__('os').getppid()\", pure=False).result(timeout=30)")
    assert kernel.run("%coiled cluster restart only --what cluster")[0] == "ok"
    again = (
        "def again():\n    import time\n    deadline = time.monotonic() + 60\n    while time.monotonic() < deadline:\n"
        "        try:\n            parent = client.submit(eval, \"__import__('os').getppid()\", pure=False).result(timeout=5)\n"
        "        except Exception:\n            continue\n"
        f"        if parent != {before}:\n            return True\n"
    )
    assert kernel.run(again)[0] == "ok"
    assert kernel.value("again()") is True


def test_an_interrupt_ends_a_command(kernel):
    kernel.client.execute("%coiled cluster logs --follow")
    end = deadline(30)
    while kernel.client.get_iopub_msg(timeout=30)["content"].get("execution_state") != "busy":
        assert time.monotonic() < end
    time.sleep(2)
    kernel.manager.interrupt_kernel()
    reply = kernel.client.get_shell_msg(timeout=30)
    assert (reply["content"]["status"], reply["content"]["ename"]) == ("error", "KeyboardInterrupt")
    assert kernel.value("1 + 1") == 2


def test_a_notebook_that_a_program_runs_stops_where_a_command_fails(tmp_path):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(text) for text in ("%load_ext coiled_jupyter", "%coiled", "%coiled diff", "1/0")
        ]
    )
    env = {**os.environ, **apart()}
    with pytest.raises(CellExecutionError, match="No cluster is running"):
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute(env=env, cwd=str(tmp_path))
    assert "No clusters" in notebook.cells[1].outputs[0]["data"]["text/plain"]
    assert notebook.cells[3].execution_count is None


def test_in_plain_ipython(tmp_path):
    script = tmp_path / "s.ipy"
    script.write_text(
        "%load_ext coiled_jupyter\nprint(repr(get_ipython().run_line_magic('coiled', '')))\n%coiled nonsense\n"
    )
    env = {**os.environ, **apart(), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
    )
    assert "No clusters" in done.stdout
    assert "invalid choice: 'nonsense'" in done.stdout + done.stderr


def streams(found: list[dict], name: str = "stdout") -> str:
    return "".join(output["text"] for output in found if output["type"] == "stream" and output["name"] == name)


def test_a_cell_runs_on_the_cluster_and_tells_what_it_prints_meanwhile(kernel):
    cell = (
        "%%coiled\nimport os, sys, time, warnings\nprint('pid', os.getpid())\ntime.sleep(1)\n"
        "warnings.warn('careful')\nprint('at last', file=sys.stderr)\n{'a': 40 + 2}"
    )
    arrived: list[float] = []

    def hook(message: dict) -> None:
        if message["header"]["msg_type"] == "stream":
            arrived.append(time.monotonic())
        found.append({"type": message["header"]["msg_type"], **message["content"]})

    found: list[dict] = []
    reply = kernel.client.execute_interactive(cell, timeout=60, output_hook=hook)
    assert reply["content"]["status"] == "ok", found
    assert int(streams(found).split()[1]) != kernel.value("__import__('os').getpid()")
    assert "UserWarning: careful" in streams(found, "stderr")
    assert "at last" in streams(found, "stderr")
    assert shown(found, "execute_result")["text/plain"] == "{'a': 42}"
    # The first print was told before the cell's second was over.
    assert arrived[-1] - arrived[0] > 0.5


def test_only_named_values_go_along_and_the_last_comes_back(kernel):
    assert kernel.run("numbers = [1, 2, 3]\ntext = 'x'")[0] == "ok"
    assert kernel.run("%%coiled -i numbers,text -o total\ntext * sum(numbers)")[0] == "ok"
    assert kernel.value("total") == "x" * 6
    assert kernel.run("%%coiled -o double\nlambda value: value * 2")[0] == "ok"
    assert kernel.value("double(4)") == 8
    status, found = kernel.run("%%coiled\nnumbers")
    assert (status, [o["ename"] for o in found if o["type"] == "error"]) == ("error", ["RemoteError"])
    for line, word in (
        ("-i nobody", "no variable nobody"),
        ("-o 3", "a name of a variable"),
        ("--nonsense", "unrecognized"),
    ):
        status, found = kernel.run(f"%%coiled {line}\n1")
        assert (status, word in streams(found, "stderr").lower()) == ("error", True), found
    status, found = kernel.run("%%coiled -o lock\nimport threading\nthreading.Lock()")
    assert status == "error"
    assert "didn't come back" in str(found)


GONE = """
class Gone:
    status = "connecting"
    def close(self, timeout):
        raise ValueError("IOStream is not idle; cannot convert to SSL")
clients = get_ipython().magics_manager.registry["CoiledMagics"]._cells._clients
kept = dict(clients)
clients.update(dict.fromkeys(kept, Gone()))
"""


def test_a_client_that_has_given_up_to_connect_again_is_replaced(kernel):
    """As Dask's does where its scheduler starts anew in the midst of a handshake; its close raises that."""
    assert kernel.run("%%coiled\n1 + 1")[0] == "ok"
    assert kernel.run(GONE)[0] == "ok"
    assert kernel.value("len(kept)") > 0
    status, found = kernel.run("%%coiled\n1 + 1")
    assert status == "ok", found
    assert kernel.run("[client.close() for client in kept.values()]\ndel kept")[0] == "ok"


def test_a_cell_goes_to_an_address_too(kernel):
    address = kernel.value("get_ipython().run_line_magic('coiled', 'cluster list')[0].scheduler.address")
    status, found = kernel.run(f"%%coiled --cluster {address} -o there\n6 * 7")
    assert status == "ok", found
    assert kernel.value("there") == 42


def test_a_cell_that_fails_shows_the_lines_of_the_worker(kernel):
    status, found = kernel.run("%%coiled\ndef f():\n    return 1 / 0\n\nf()")
    (error,) = [output for output in found if output["type"] == "error"]
    told = "\n".join(error["traceback"])
    assert status == "error"
    assert "On the cluster:" in told
    assert "return 1 / 0" in told
    assert "ZeroDivisionError" in told
    assert "coiled_jupyter/" not in told
    assert kernel.run("%%coiled\n1 +")[0] == "error"
    assert kernel.run("%%coiled\nraise SystemExit(3)")[0] == "error"
    assert kernel.run("%%coiled\n1 + 1")[0] == "ok", "the worker goes on"


def test_a_cell_that_can_not_work_is_refused_with_the_row_that_says_why(kernel):
    status, found = kernel.run("%%coiled\nprint('begun')\nimport numpy")
    (error,) = [output for output in found if output["type"] == "error"]
    assert (status, error["ename"]) == ("error", "Conflict")
    assert "numpy" in error["evalue"]
    assert "begun" not in streams(found)
    status, found = kernel.run("array = __import__('numpy').ones(3)\n0")
    assert [o["ename"] for o in kernel.run("%%coiled -i array\n1")[1] if o["type"] == "error"] == ["Conflict"]
    status, found = kernel.run("%%coiled --force\nprint('begun')\nimport numpy")
    assert "begun" in streams(found)
    assert [o["ename"] for o in found if o["type"] == "error"] == ["RemoteError"]
    # What differs and has nothing to do with the cell is no reason.
    assert kernel.run("%%coiled\n1 + 1")[0] == "ok"


def test_an_interrupt_ends_a_cell_on_its_worker(kernel):
    kernel.client.execute("%%coiled\nimport time\nfor i in range(600):\n    print(i)\n    time.sleep(0.1)")
    end = deadline(40)
    while kernel.client.get_iopub_msg(timeout=40)["header"]["msg_type"] != "stream":
        assert time.monotonic() < end
    kernel.manager.interrupt_kernel()
    reply = kernel.client.get_shell_msg(timeout=30)
    assert (reply["content"]["status"], reply["content"]["ename"]) == ("error", "KeyboardInterrupt")
    # The only thread of the only worker is free again.
    assert kernel.run("%%coiled\n'free'", 30)[0] == "ok"
