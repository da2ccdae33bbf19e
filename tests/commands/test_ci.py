"""A comparison with a cluster at an address, as a pipeline makes it: outside Jupyter, leaving nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from coiled_jupyter.core.wire import Diff
from tests.environments import environment
from tests.processes import apart, free_port, wait_for
from tests.schema import check_types
from tests.test_cli import run
from tests.texts.test_probe import interpreters


@pytest.fixture(scope="module")
def home():
    return {**os.environ, **apart()}


def node(python, kind: str, *arguments: str) -> subprocess.Popen:
    command = [str(python), "-m", f"distributed.cli.dask_{kind}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def address(home):
    """The address of a cluster that somebody else runs, with an older numpy and an older iniconfig."""
    python = environment(interpreters()["3.11"], "distributed==2026.7.1", "numpy==1.26.4", "iniconfig==1.1.1")
    port = free_port()
    where = f"tcp://127.0.0.1:{port}"
    started = [node(python, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")]
    try:
        started.append(node(python, "worker", where, "--no-dashboard", "--nthreads", "1"))
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
    code, out, error = run("diff", "--cluster", address, "--fail-on", "block", "--json", env=home)
    assert code == 1, error
    diff = json.loads(out)
    check_types(diff, (Diff,), "diff")
    assert diff["verdict"] == "breaks"
    assert {row["name"] for row in diff["rows"] if row["severity"] == "block"} >= {"numpy"}
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


@pytest.mark.parametrize(
    ("where", "code", "word"),
    [
        ("tcp://127.0.0.1:1", 3, "refused"),
        ("http://127.0.0.1:8786", 2, "tcp://"),
        ("tls://127.0.0.1:8786", 2, "cluster attach"),
        ("tcp://169.254.169.254:80", 2, "may not be attached"),
    ],
)
def test_what_can_not_be_compared_says_why_and_is_no_success(home, where, code, word):
    ended, out, error = run("diff", "--cluster", where, "--fail-on", "block", env=home)
    assert ended == code
    assert word in out + error
    assert json.loads(run("cluster", "list", "--json", env=home)[1]) == []


def test_with_equal_packages_it_is_a_success(home):
    port = free_port()
    where = f"tcp://127.0.0.1:{port}"
    started = [node(sys.executable, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")]
    try:
        started.append(node(sys.executable, "worker", where, "--no-dashboard", "--nthreads", "1"))
        wait_for(lambda: run("diff", "--cluster", where, env=home)[0] == 0, what="an equal cluster")
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)
