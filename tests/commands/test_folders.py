"""Folders of ours that can't be made, or can't be written: one sentence, whatever the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.processes import apart
from tests.test_cli import run

COMMANDS = [
    ("status",),
    ("software", "list"),
    ("software", "create", "new", "iniconfig==1.1.1"),
    ("cluster", "create", "new", "--workers", "1"),
    ("diff",),
    ("doctor",),
]


@pytest.fixture
def places(tmp_path):
    """Runtime folders that can't be, by what is wrong with them."""
    (tmp_path / "file").write_text("")
    return {
        "nowhere": "/proc/x",
        "below a file": str(tmp_path / "file" / "x"),
        "a file": str(tmp_path / "file"),
        "too long": str(tmp_path / ("x" * 120)),
    }


@pytest.mark.parametrize("kind", ["nowhere", "below a file", "a file", "too long"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_runtime_folder_that_can_not_be_is_one_sentence(places, kind, words, tmp_path):
    env = {**os.environ, "COILED_JUPYTER_RUNTIME_DIR": places[kind], "COILED_JUPYTER_DATA_DIR": str(tmp_path / "data")}
    code, out, error = run(*words, env=env)
    assert (code, out) == (3, "")
    # On a busy machine it has said before what it waits for.
    told = [line for line in error.splitlines() if not line.startswith("… ")]
    assert told[0].startswith("coiled-jupyter: The ") or "isn't a folder of this user" in told[0]
    assert ("too long for a socket" in error) == (kind == "too long")
    assert "COILED_JUPYTER_RUNTIME_DIR" in error
    assert len(told) == 2


def test_no_data_folder_hinders_what_needs_none(tmp_path):
    env = {**os.environ, **apart(), "COILED_JUPYTER_DATA_DIR": "/proc/x"}
    assert run("status", env=env)[0] == 0
    for words in (("software", "list"), ("software", "create", "new", "iniconfig==1.1.1"), ("software", "show", "new")):
        code, out, error = run(*words, env=env)
        assert (code, out) == (3, "")
        assert "COILED_JUPYTER_DATA_DIR" in error
    # The rules of a user are told to be missing, and the rest is compared.
    assert run("cluster", "create", "mine", "--workers", "1", env=env)[0] == 0
    try:
        code, out, _ = run("diff", env=env)
        assert (code, "✓ Same packages on mine" in out) == (0, True), out
        code, _, error = run("cluster", "create", "built", "--requirement", "iniconfig==1.1.1", env=env)
        assert code == 1
        assert "COILED_JUPYTER_DATA_DIR" in error or "/proc/x" in error
        assert "bug in coiled-jupyter" not in error
    finally:
        run("cluster", "stop", "mine", env=env)


def _mounts() -> list[str]:
    """Return the command that gives a program mounts of its own, as this user may."""
    for options in ("-m", "-rm"):
        command = ["unshare", options]
        if (
            shutil.which("unshare")
            and not subprocess.run([*command, "true"], check=False, capture_output=True).returncode
        ):
            return command
    pytest.skip("This user can't mount anything")


SCRIPT = """
mount -t tmpfs tmpfs "$1" && export COILED_JUPYTER_DATA_DIR="$1/data" && command="$2 -m coiled_jupyter.cli"
$command software create kept iniconfig==1.1.1 >/dev/null || exit 9
mount -o remount,ro "$1"
for words in "software create new iniconfig==1.1.1" "software delete kept" "software install kept" \
    "cluster create c --workers 1 --software kept"; do
  echo "# $words"; $command $words 2>&1; echo "= $?"
done
echo "# rest"; $command software list && $command software export kept >/dev/null && $command software clean
"""


def test_a_data_folder_that_can_only_be_read_is_one_sentence(tmp_path):
    place = Path(tempfile.mkdtemp(prefix="cj-"))
    env = {**os.environ, **apart()}
    done = subprocess.run(
        [*_mounts(), "sh", "-c", SCRIPT, "sh", str(place), sys.executable],
        capture_output=True,
        text=True,
        env=env,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    refused, _, rest = done.stdout.partition("# rest")
    assert refused.count("can't be written: Read-only file system") == 4, refused
    assert [line for line in refused.splitlines() if line.startswith("=")] == ["= 3", "= 3", "= 3", "= 1"]
    assert "bug in coiled-jupyter" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "kept  " in rest
    assert "Removed" in rest
    run("cluster", "stop", "c", env=env)
