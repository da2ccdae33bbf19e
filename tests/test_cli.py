"""The command line as a person runs it: processes of their own, exit codes, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from coiled_jupyter.core.wire import (
    Cluster,
    Diff,
    ErrorBody,
    Explanation,
    Layer,
    Plan,
    Software,
    Sync,
    Usage,
)
from tests import commandline
from tests.index import make_wheel
from tests.processes import apart, wait_for


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    # A ledger of its own, so that "the only cluster" is ours.
    env = {**os.environ, **apart()}
    yield env
    for cluster in json.loads(run("cluster", "list", "--json", env=env)[1]):
        run("cluster", "stop", cluster["id"], env=env)


def run(*arguments, env, timeout=120, text=""):
    """Return (exit code, standard output, standard error)."""
    code, out, error = commandline.run(*arguments, env=env, timeout=timeout, text=text)
    # What Dask writes to its own log when a worker goes is shown as it is, and is in a report.
    said = error if arguments[:2] == ("cluster", "logs") or arguments[:1] == ("doctor",) else error + out
    assert "Traceback" not in said
    return code, out, error


def test_without_clusters(home):
    code, out, _ = run(env=home)
    assert code == 0
    assert "limit 100" in out
    assert "No clusters" in out
    code, out, _ = run("cluster", "list", "--json", env=home)
    assert (code, json.loads(out)) == (0, [])
    code, _, error = run("diff", env=home)
    assert code == 3
    assert "cluster create" in error


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "nonsense"),
        (["cluster"], "VERB"),
        (["cluster", "create", "--workers", "many"], "workers"),
        (["cluster", "create", "--workers", "-1"], "workers"),
        (["cluster", "create", "--requirement", "-r x"], "requirement"),
        (["cluster", "create", "--requirement", "x @ https://e/x.whl"], "requirement"),
        (["cluster", "create", "--memory", "lots"], "memory"),
        (["diff", "--fail-on", "everything"], "fail-on"),
        (["explain", "/no/such/file"], "/no/such/file"),
    ],
)
def test_usage_errors_name_what_is_wrong_and_start_nothing(home, arguments, word):
    code, _, error = run(*arguments, env=home)
    assert code == 2
    assert word in error
    assert json.loads(run("cluster", "list", "--json", env=home)[1]) == []


def test_create_diff_and_stop(home):
    code, out, error = run("cluster", "create", "mine", "--workers", "1", env=home)
    assert code == 0, error
    assert "mine" in out
    assert "Start workers" in error
    code, out, _ = run("status", "--json", env=home)
    usage = msgspec.json.decode(out, type=Usage)
    assert (code, usage.cores.allocated) == (0, 1)
    # The same interpreter on both sides: nothing is planned, of this package's own installation, which is a checkout's, neither.
    # A plan waits some seconds only for the comparison of files, and local code that isn't compared yet is to be built.
    wait_for(lambda: run("diff", "--fail-on", "minor", env=home)[0] == 0, seconds=120, what="the comparison of files")
    code, out, error = run("sync", "--dry-run", "--json", env=home)
    plan = msgspec.json.decode(out, type=Plan)
    assert (code, plan.how, plan.actions) == (0, "nothing", ()), error
    # Equal, whatever the least severity.
    for limit in ("breaks", "risky", "minor"):
        code, out, _ = run("diff", "--cluster", "mine", "--fail-on", limit, env=home)
        assert code == 0, out
    assert "✓" in out
    code, out, _ = run("diff", "--json", env=home)
    diff = msgspec.json.decode(out, type=Diff)
    assert diff.verdict == "equal"
    assert {row.name for row in diff.rows} >= {"dask", "distributed", "python"}
    code, out, _ = run("cluster", "stop", "mine", "--json", env=home)
    assert msgspec.json.decode(out, type=Cluster).status == "stopped"
    code, out, _ = run("diff", env=home)
    assert code == 3
    code, out, _ = run("explain", "--cluster", "mine", env=home, text="KilledWorker")
    assert code == 3
    assert "cluster:" in out
    code, out, _ = run("cluster", "stop", "mine", env=home)
    assert json.loads(run("cluster", "list", "--json", env=home)[1]) == []


def test_a_cluster_is_synchronized_and_brought_back_from_a_shell(home):
    mine = version("iniconfig")
    # It hasn't iniconfig, which a scheduler can be given without a restart.
    wanted = ("--requirement", "distributed==2026.8.0")
    assert run("cluster", "create", "shell", "--workers", "1", *wanted, env=home)[0] == 0
    for arguments, word in (
        (["--drain-seconds", "-1"], "drain_seconds"),
        (["x @ https://e/x.whl"], "scope[0]"),
        (["iniconfig"], "--yes"),
    ):
        code, _, error = run("sync", *arguments, env=home)
        assert code == 2, error
        assert word in error
    code, out, _ = run("sync", "iniconfig", "--dry-run", env=home)
    assert code == 0
    assert f"- → {mine}" in out
    assert "Nothing is lost." in out
    code, out, _ = run("sync", "iniconfig", "--dry-run", "--json", env=home)
    plan = msgspec.json.decode(out, type=Plan)
    assert (code, plan.how, [action.name for action in plan.actions]) == (0, "roll", ["iniconfig"])
    code, out, error = run("sync", "iniconfig", "--yes", env=home)
    assert code == 0, error
    assert "✓ The worker runs exactly the planned packages" in out
    assert "✓ Verify" in error
    rows = {row.name: row for row in msgspec.json.decode(run("diff", "--json", env=home)[1], type=Diff).rows}
    assert rows["iniconfig"].status == "same", rows["iniconfig"]
    code, out, _ = run("sync", "iniconfig", "--yes", env=home)
    assert (code, "nothing to do" in out) == (0, True)
    code, out, _ = run("undo", "--list", "--json", env=home)
    assert (code, [layer.id for layer in msgspec.json.decode(out, type=list[Layer])]) == (0, [plan.layer, "base"])
    code, out, _ = run("undo", "--yes", "--json", env=home)
    undone = msgspec.json.decode(out, type=Sync)
    assert (code, undone.state, undone.layer_before) == (0, "done", plan.layer)
    assert run("undo", "--to", "nonsense", "--yes", env=home)[0] == 3
    assert run("cluster", "stop", "shell", env=home)[0] == 0
    assert run("cluster", "stop", "shell", env=home)[0] == 0


def test_differences_exit_with_one_at_their_severity_and_explain(home, tmp_path):
    code, out, error = run(
        *("cluster", "create", "older", "--workers", "1"),
        *("--requirement", "distributed==2026.7.1", "--requirement", "cloudpickle==3.0.0"),
        env=home,
    )
    assert code == 0, error
    code, out, _ = run("diff", env=home)
    assert code == 1
    assert "distributed" in out
    failure = "TypeError: _make_skeleton_class() takes 6 positional arguments but 7 were given\n"
    code, out, _ = run("explain", env=home, text=failure)
    assert code == 0
    assert out.startswith("The failure points at cloudpickle.")
    assert "seen: TypeError: _make_skeleton_class()" in out
    file = tmp_path / "failure.txt"
    file.write_bytes(failure.encode() + b"\xff")
    code, out, _ = run("explain", "--cluster", "older", "--json", str(file), env=home)
    explanation = msgspec.json.decode(out, type=Explanation)
    assert (code, explanation.basis) == (0, "named")
    assert [cause.row.name for cause in explanation.causes] == ["cloudpickle"]
    assert run("explain", env=home, text="x" * 200_001)[0] == 2
    assert run("explain", env=home, text="")[0] == 2
    assert run("explain", "--cluster", "nobody", env=home, text=failure)[0] == 3
    code, out, _ = run("cluster", "stop", env=home)
    assert code == 0
    run("cluster", "stop", "older", env=home)


def test_a_failed_start_says_why(home):
    code, _, error = run(
        "cluster", "create", "never", "--requirement", "dask==1.0", "--requirement", "dask==2.0", env=home
    )
    assert code == 1
    assert "dask" in error
    code, out, _ = run("cluster", "stop", "nobody", "--json", env=home)
    assert code == 3
    assert msgspec.json.decode(out, type=ErrorBody).error.kind == "not_found"
    run("cluster", "stop", "never", env=home)


@pytest.mark.nightly
def test_software_is_kept_run_compared_and_forgotten(home, tmp_path):
    env = {**home, "COILED_JUPYTER_DATA_DIR": str(tmp_path / "data"), "JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}
    file = tmp_path / "environment.yml"
    file.write_text("dependencies: [dask=2026.3.0, distributed=2026.3.0, {pip: [iniconfig==1.1.1]}]")
    code, out, err = run("software", "create", "analysis", "--file", str(file), env=env)
    assert code == 0, err
    assert "analysis: " in out
    code, out, _ = run("software", "show", "analysis", "--json", env=env)
    shown = msgspec.json.decode(out, type=Software)
    assert {"iniconfig": "1.1.1"}.items() <= {p.name: p.version for p in shown.packages}.items()
    assert shown.source == "environment.yml"
    assert run("software", "create", "analysis", "six", env=env)[0] == 1
    code, _, err = run("software", "show", "analyses", env=env)
    assert (code, "did you mean analysis" in err) == (3, True)
    assert run("software", "create", "bad", "-r", env=env)[0] == 2
    assert run("software", "create", "bad", "--file", str(tmp_path / "none.txt"), env=env)[0] == 2
    code, _, err = run("cluster", "create", "soft", "--workers", "1", "--software", "analysis", env=env)
    assert code == 0, err
    assert "analysis" in run("software", "list", env=env)[1]
    code, _, err = run("software", "delete", "analysis", env=env)
    assert (code, "in use by soft" in err) == (1, True)
    code, out, _ = run("diff", "--cluster", "soft", "--software", "analysis", "--all", env=env)
    (line,) = [line for line in out.splitlines() if line.split()[1:2] == ["iniconfig"]]
    assert line.split()[2:5] == [version("iniconfig"), "1.1.1", "1.1.1"]
    assert run("cluster", "stop", "soft", env=env)[0] == 0
    target = tmp_path / "pylock.toml"
    assert run("software", "export", "analysis", "--output", str(target), env=env)[0] == 0
    assert run("software", "export", "analysis", "--output", str(target), env=env)[0] == 2, "nothing is overwritten"
    code, out, err = run("software", "create", "again", "--file", str(target), "--json", env=env)
    assert code == 0, err
    assert msgspec.json.decode(out, type=Software).packages == shown.packages
    assert run("software", "delete", "analysis", env=env)[0] == 0
    # What else a file may name is the administrator's to say, for a shell as for a server.
    wheel = make_wheel(tmp_path, "cj_local")
    more = tmp_path / "more.txt"
    more.write_text(f"dask==2026.3.0\ndistributed==2026.3.0\n{wheel}\n")
    code, _, err = run("software", "create", "more", "--file", str(more), env=env)
    assert (code, "c.CoiledJupyter.allowed_in_files = ['paths']" in err) == (2, True), err
    (tmp_path / "jupyter_server_config.py").write_text("c.CoiledJupyter.allowed_in_files = ['paths']")
    env["JUPYTER_CONFIG_DIR"] = str(tmp_path)
    code, out, err = run("software", "create", "more", "--file", str(more), "--json", env=env)
    assert code == 0, err
    assert ("cj-local", "1.0") in [(p.name, p.version) for p in msgspec.json.decode(out, type=Software).packages]
    assert run("software", "delete", "more", env=env)[0] == 0
    assert run("software", "clean", env=env)[1].startswith("Removed")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("coiled-jupyter st", {"status"}),
        ("coiled-jupyter cluster cre", {"create"}),
        ("coiled-jupyter diff --fail-on ", {"breaks", "risky", "minor"}),
        ("coiled-jupyter sync nump", {"numpy"}),
        ("coiled-jupyter software show an", {"analysis"}),
    ],
)
def test_a_shell_completes_commands_options_and_names(tmp_path, line, words):
    env = {**os.environ, "COILED_JUPYTER_DATA_DIR": str(tmp_path)}
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "analysis.json").write_text("")
    env |= {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    script = f'exec 8>"{tmp_path}/found" 9>/dev/null; exec "{Path(sys.executable).parent}/coiled-jupyter"'
    subprocess.run(["bash", "-c", script], env=env, check=False, timeout=30)
    assert words <= {word.strip() for word in (tmp_path / "found").read_text().split()}


def test_help_names_every_command(home):
    code, out, _ = run("--help", env=home)
    assert code == 0
    for word in ("status", "diff", "explain", "cluster", "software"):
        assert word in out
    code, out, _ = run("--version", env=home)
    assert out.split() == ["coiled-jupyter", version("coiled-jupyter")]


def test_a_closed_pipe_is_no_fault(home):
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "coiled_jupyter.cli"], stdout=write, stderr=subprocess.PIPE, env=home, check=False
    )
    os.close(write)
    assert process.returncode == 0
    assert process.stderr == b""


@pytest.mark.nightly
def test_steering_within_the_limit_of_an_admin(home, tmp_path):
    (tmp_path / "jupyter_server_config.py").write_text("c.CoiledJupyter.core_limit = 3")
    env = {**home, "JUPYTER_CONFIG_DIR": str(tmp_path)}
    code, _, error = run("cluster", "create", "steered", "--workers", "4", env=env)
    assert (code, "3 of 3 are free" in error) == (1, True), error
    assert run("cluster", "create", "x", "--env", "NOT_SET_HERE", env=env)[0] == 2
    assert run("cluster", "create", "x", "--env", "LD_PRELOAD=x", env=env)[0] == 2
    assert run("cluster", "create", "x", "--adaptive", "3", "2", env=env)[0] == 2
    code, out, error = run(
        *("cluster", "create", "steered", "--adaptive", "1", "3", "--env", "SOME_SECRET", "--json"),
        env={**env, "SOME_SECRET": "hush"},
    )
    assert code == 0, error
    assert json.loads(out)["desired"]["adaptive"] == {"minimum": 1, "maximum": 3}
    assert "hush" not in out
    try:
        code, out, error = run("cluster", "scale", "9", "steered", env=env)
        assert (code, "3 of 9 workers: the limit of 3 cores" in out) == (0, True), (out, error)
        code, out, _ = run("cluster", "adapt", "steered", "--minimum", "1", "--maximum", "2", "--json", env=env)
        assert (code, json.loads(out)["desired"]["adaptive"]) == (0, {"minimum": 1, "maximum": 2})
        assert run("cluster", "adapt", "steered", "--off", env=env)[0] == 0
        assert run("cluster", "adapt", "steered", env=env)[0] == 2
        assert run("cluster", "scale", "-1", "steered", env=env)[0] == 2
        assert run("cluster", "keep", "60", "steered", env=env)[0] == 0
        assert run("cluster", "restart", "steered", env=env)[0] == 0
        assert run("cluster", "rename", "steered", "renamed", env=env)[0] == 0
        code, out, _ = run("cluster", "logs", "renamed", "--node", "scheduler", env=env)
        assert (code, "Scheduler at" in out) == (0, True), out
    finally:
        for name in ("steered", "renamed"):
            run("cluster", "stop", name, env=env)
    (tmp_path / "jupyter_server_config.py").write_text("c.CoiledJupyter.core_limit = 'many'")
    code, _, error = run("status", env=env)
    assert (code, "core_limit" in error) == (3, True), error
