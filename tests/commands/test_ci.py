"""A comparison with a cluster at an address, as a pipeline makes it: outside Jupyter, leaving nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from packaging.utils import canonicalize_name

from coiled_jupyter.core.wire import Diff, Plan, Software
from coiled_jupyter.factories.local import write_tls
from coiled_jupyter.links import this_process as here
from tests.environments import environment, interpreters
from tests.processes import apart, free_port, wait_for
from tests.remote import RemoteCluster, until_workers
from tests.schema import check_types
from tests.test_cli import run


@pytest.fixture(scope="module")
def home():
    return {**os.environ, **apart()}


def node(python, kind: str, *arguments: str) -> subprocess.Popen:
    command = [str(python), "-m", f"distributed.cli.dask_{kind}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def old() -> Path:
    """Return a Python whose numpy and iniconfig are older."""
    return environment(interpreters()["3.11"], "distributed==2026.7.1", "numpy==1.26.4", "iniconfig==1.1.1")


@pytest.fixture(scope="module")
def address(home):
    """The address of a cluster that somebody else runs, with an older numpy and an older iniconfig."""
    python = old()
    port = free_port()
    where = f"tcp://127.0.0.1:{port}"
    started = [node(python, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")]
    try:
        started.append(node(python, "worker", where, "--no-dashboard", "--nthreads", "1"))
        until_workers(where)
        wait_for(
            lambda: json.loads(run("diff", "--cluster", where, "--json", env=home)[1]).get("verdict") == "breaks",
            what="the cluster",
        )
        yield where
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def test_a_pipeline_stops_at_what_breaks_and_leaves_nothing_behind(home, address):
    code, out, error = run("diff", "--cluster", address, "--fail-on", "breaks", "--json", env=home)
    assert code == 1, error
    diff = json.loads(out)
    check_types(diff, (Diff,), "diff")
    assert diff["verdict"] == "breaks"
    assert {row["name"] for row in diff["rows"] if row["severity"] == "breaks"} >= {"numpy"}
    code, out, _ = run(
        "explain", "--cluster", address, env=home, text="ImportError: cannot import name 'x' from 'iniconfig'"
    )
    assert (code, "iniconfig" in out) == (0, True)
    assert json.loads(run("cluster", "list", "--json", env=home)[1]) == []


def test_one_that_is_attached_is_used_and_stays(home, address):
    assert run("cluster", "attach", address, "--name", "theirs", env=home)[0] == 0
    code, out, _ = run("diff", "--cluster", address, "--json", env=home)
    assert (code, json.loads(out)["cluster"]["name"]) == (1, "theirs")
    assert [c["name"] for c in json.loads(run("cluster", "list", "--json", env=home)[1])] == ["theirs"]
    assert run("cluster", "stop", "theirs", env=home)[0] == 0


@pytest.mark.nightly
def test_the_workers_packages_come_to_a_kernel_of_their_own_and_this_environment_stays(home, address, tmp_path):
    env = {**home, "COILED_JUPYTER_DATA_DIR": str(tmp_path / "data"), "JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}
    mine, to_kernel = installed(sys.executable), ("sync", "--to-kernel", "--cluster", address)
    code, out, error = run(*to_kernel, "iniconfig", "--dry-run", "--json", env=env)
    assert code == 0, error
    plan = msgspec.json.decode(out, type=Plan)
    assert (plan.direction, plan.how) == ("to_kernel", "build")
    done = {action.name: action for action in plan.actions if action.kind != "refuse"}
    assert {name: (a.before, a.after) for name, a in done.items()} == {"iniconfig": (mine["iniconfig"], "1.1.1")}
    for words, ended, said in (
        (["nonsense"], 2, "scope[0]"),
        (["--software", "x"], 2, "software"),
        (["iniconfig"], 2, "--yes"),
    ):
        code, _, error = run(*to_kernel, *words, env=env)
        assert (code, said in error) == (ended, True), error
    assert not (tmp_path / "jupyter").exists()

    code, out, error = run(*to_kernel, "--yes", env=env)
    assert code == 0, (out, error)
    told = re.search("Undo: jupyter kernelspec remove (coiled-\\S+), and coiled-jupyter software delete (\\S+)", out)
    kernel, name = told.groups()
    spec = json.loads((tmp_path / "jupyter" / "kernels" / kernel / "kernel.json").read_text())
    new, theirs = installed(spec["argv"][0]), workers(env, address)
    assert {"numpy": "1.26.4", "iniconfig": "1.1.1", "distributed": "2026.7.1"}.items() <= new.items()
    # All that the workers have, but for what a kernel needs; nothing else is there than that.
    needed = here.closure("ipykernel")
    assert {n: v for n, v in theirs.items() if new.get(n) != v}.keys() <= needed
    assert {n: mine[n] for n in needed & mine.keys()}.items() <= new.items()
    assert "pandas" not in new
    assert installed(sys.executable) == mine
    shown = msgspec.json.decode(run("software", "show", name, "--json", env=env)[1], type=Software)
    assert {package.name: package.version for package in shown.packages} == new
    assert shown.source.startswith("workers of ")
    assert run("software", "delete", name, env=env)[0] == 0
    assert json.loads(run("cluster", "list", "--json", env=home)[1]) == []


def installed(python: str) -> dict[str, str]:
    """Return what is installed in the environment of a Python, asked of a process of its own."""
    code = "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    return {canonicalize_name(name): version for name, version in json.loads(done.stdout)}


def workers(env, address: str) -> dict[str, str]:
    diff = msgspec.json.decode(run("diff", "--cluster", address, "--json", env=env)[1], type=Diff)
    (group,) = [group.id for group in diff.cluster.groups if group.role == "worker"]
    rows = [row for row in diff.rows if not row.condition]
    found = {row.name: side.version for row in rows for side in row.groups if side.group == group}
    return {name: version for name, version in found.items() if version is not None and name != "python"}


@pytest.mark.nightly
def test_an_encrypted_one_is_compared_with_files_that_are_named_or_that_dask_is_configured_with(home, tmp_path):
    (tmp_path / "jupyter_server_config.py").write_text(f"c.CoiledJupyter.tls_roots = [{str(tmp_path)!r}]")
    env = {**home, "JUPYTER_CONFIG_DIR": str(tmp_path)}
    with RemoteCluster(tmp_path / "tls", old(), tls=True, nannies=False) as cluster:
        files = dict(zip(("ca", "cert", "key"), cluster.tls.values(), strict=True))
        diff = ("diff", "--cluster", cluster.address, "--fail-on", "breaks", "--json")
        named = [word for name, path in files.items() for word in (f"--{name}", path)]
        until_workers(cluster.address, tls=cluster.tls)
        wait_for(
            lambda: json.loads(run(*diff, *named, env=env)[1]).get("verdict") == "breaks", what="the encrypted cluster"
        )
        keys = ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")
        told = {f"DASK_DISTRIBUTED__COMM__TLS__{key}": path for key, path in zip(keys, files.values(), strict=True)}
        code, out, error = run(*diff, env={**env, **told})
        assert (code, json.loads(out)["verdict"]) == (1, "breaks"), error
        # What isn't in a file can't be handed to another process.
        told["DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"] = Path(files["key"]).read_text()
        for words, more, lacking in (
            ([], {}, "no --ca and no --cert and no --key"),
            (["--ca", files["ca"]], {}, "no --cert and no --key"),
            ([], told, "there is no --key"),
        ):
            code, out, _ = run(*diff, *words, env={**env, **more})
            assert (code, lacking in json.loads(out)["error"]["message"]) == (2, True), out
            assert "PRIVATE" not in out
        others = tmp_path / "others"
        others.mkdir()
        write_tls(others)
        wrong = [word for name in files for word in (f"--{name}", str(others / f"{name}.pem"))]
        code, out, _ = run(*diff, *wrong, env=env)
        assert (code, "doesn't accept these certificates" in out) == (3, True), out
    assert json.loads(run("cluster", "list", "--json", env=env)[1]) == []


@pytest.mark.parametrize(
    ("where", "code", "word"),
    [
        ("tcp://127.0.0.1:1", 3, "refused"),
        ("http://127.0.0.1:8786", 2, "tcp://"),
        ("tls://127.0.0.1:8786", 2, "cluster attach"),
        ("tcp://169.254.169.254:80", 2, "can't be attached"),
    ],
)
def test_what_can_not_be_compared_says_why_and_is_no_success(home, where, code, word):
    ended, out, error = run("diff", "--cluster", where, "--fail-on", "breaks", env=home)
    assert ended == code
    assert word in out + error
    assert json.loads(run("cluster", "list", "--json", env=home)[1]) == []


def test_with_equal_packages_it_is_a_success(home):
    port = free_port()
    where = f"tcp://127.0.0.1:{port}"
    started = [node(sys.executable, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")]
    try:
        started.append(node(sys.executable, "worker", where, "--no-dashboard", "--nthreads", "1"))
        until_workers(where)
        wait_for(lambda: run("diff", "--cluster", where, env=home)[0] == 0, what="an equal cluster")
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)
