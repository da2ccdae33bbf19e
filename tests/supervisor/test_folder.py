"""The folder of a cluster is made again, whatever of it is gone; scratch of killed supervisors is removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from coiled_jupyter.core.errors import Unavailable
from coiled_jupyter.supervisor.folder import ClusterFolder, Scratch
from tests.processes import short_folder

KILLED = """
import os, sys
from coiled_jupyter.supervisor.folder import Scratch
(Scratch("killed1").make() / "spilled").write_bytes(b"x")
os._exit(9)
"""


@pytest.fixture
def cluster(monkeypatch, capfd):
    # Output goes to the log of the folder that is made again; the fixture brings the test's own back.
    monkeypatch.setenv("COILED_JUPYTER_RUNTIME_DIR", short_folder())
    made = ClusterFolder("folder1")
    made.make_certificates()
    yield made
    os.close(made.alive)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "gone", [("s",), ("alive",), ("ca.pem",), ("s", "alive"), ()], ids=lambda it: "-".join(it) or "all"
)
def test_whatever_is_gone_of_a_folder_is_made_again_and_nobody_waits_for_a_lock_of_its_own(cluster, gone):
    (cluster.path / "s").touch()
    assert cluster.whole()
    for name in gone:
        (cluster.path / name).unlink()
    if not gone:
        shutil.rmtree(cluster.path)
    cluster.make_again()
    (cluster.path / "s").touch()
    assert cluster.whole()
    assert (cluster.path / "ca.pem").stat().st_mode & 0o777 == 0o600
    # Another process sees that it lives.
    with (cluster.path / "alive").open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.timeout(30)
def test_a_lock_that_somebody_else_holds_is_not_waited_for(cluster):
    (cluster.path / "alive").unlink()
    with (cluster.path / "alive").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            cluster.make_again()
    cluster.make_again()
    (cluster.path / "s").touch()
    assert cluster.whole()


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "scratch"


def test_what_a_killed_supervisor_left_is_removed_by_the_next_and_what_lives_stays(data):
    lives = Scratch("lives1")
    lives.make()
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == 9
    assert (data / "killed1" / "spilled").exists()
    other = Scratch("other1")
    assert other.make() == data / "other1"
    assert sorted(path.name for path in data.iterdir()) == ["lives1", "lives1.lock", "other1", "other1.lock"]
    other.remove()
    lives.remove()
    assert list(data.iterdir()) == []


def test_the_folder_that_dask_is_configured_with_comes_first(data, tmp_path):
    scratch = Scratch("c1")
    folder = scratch.make(str(tmp_path / "fast"))
    assert folder.is_relative_to(tmp_path / "fast")
    assert folder.stat().st_mode & 0o777 == 0o700
    scratch.remove()
    assert not folder.exists()


def test_without_any_place_it_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path / "file" / "data"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(Unavailable, match="no folder for spilled data"):
        Scratch("c1").make()
