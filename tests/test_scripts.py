"""The commands of the README's first screen, as a person runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.processes import apart, wait_for, words

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / "scripts" / "lab"


@pytest.fixture
def env(tmp_path):
    home = {"HOME": str(tmp_path / "home"), **apart()}
    (tmp_path / "home").mkdir()
    return {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")} | home


def test_the_lab_starts_in_seconds_shows_the_numpy_and_leaves_no_process(env, tmp_path):
    env["COILED_JUPYTER_VENV"] = sys.prefix
    log = tmp_path / "log"
    with log.open("wb") as file:
        lab = subprocess.Popen([sys.executable, LAB, "--no-browser"], env=env, stdout=file, stderr=subprocess.STDOUT)
    family: list[psutil.Process] = []
    try:
        wait_for(lambda: "Press Ctrl-C" in log.read_text() or lab.poll() is not None, seconds=120, what="the lab")
        said = log.read_text()
        assert "The demo cluster runs: 2 workers" in said, said
        # With the environment there, it took seconds: nothing was installed or built.
        assert re.search(r"\[ +\d\.\d s\] The environment is ready", said), said
        url, token = re.search(
            r"JupyterLab runs: (http://127\.0\.0\.1:\d+)/lab/tree/\S+\?token=([0-9a-f]{48})", said
        ).groups()
        family = psutil.Process(lab.pid).children(recursive=True)
        assert len(family) >= 7  # lab, supervisor, launcher, scheduler, two nannies, two workers
        assert all(token not in words(process) for process in family)

        def ask(path, body=None):
            request = urllib.request.Request(
                url + path, json.dumps(body).encode() if body else None, {"Authorization": f"token {token}"}
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)

        body = {
            "path": "first-look.ipynb",
            "name": "first-look.ipynb",
            "type": "notebook",
            "kernel": {"name": "python3"},
        }
        kernel = ask("/api/sessions", body)["kernel"]["id"]
        (cluster,) = ask("/coiled-jupyter/api/clusters")

        def numpy():
            rows = ask(f"/coiled-jupyter/api/diff?kernel={kernel}&cluster={cluster['id']}")["rows"]
            return next((row for row in rows if row["name"] == "numpy" and row["status"] == "differs"), None)

        row = wait_for(numpy, seconds=40, what="the row of numpy")
        if sys.version_info < (3, 13):
            assert row["severity"] == "breaks"
        family = psutil.Process(lab.pid).children(recursive=True)
        lab.send_signal(signal.SIGINT)
        assert lab.wait(30) == 0
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive
        assert "Traceback" not in log.read_text()
    finally:
        if lab.poll() is None:
            # JupyterLab has a session of its own, and would outlive a script that is killed.
            family += psutil.Process(lab.pid).children(recursive=True)
            lab.kill()
            lab.wait()
        for process in family:
            if process.is_running():
                process.kill()


@pytest.mark.parametrize("script", ["lab", "test", "setup"])
def test_where_venv_does_not_work_the_package_is_named(env, tmp_path, script):
    """As on Debian without python3-venv: an interpreter whose library has everything but ensurepip."""
    minor = "{}.{}".format(*sys.version_info)
    library = tmp_path / "python" / "lib" / f"python{minor}"
    library.mkdir(parents=True)
    for path in Path(sysconfig.get_path("stdlib")).iterdir():
        if path.name not in ("ensurepip", "site-packages"):
            (library / path.name).symlink_to(path)
    python = tmp_path / "python" / "bin" / f"python{minor}"
    python.parent.mkdir()
    shutil.copy(os.path.realpath(sys._base_executable), python)
    env["COILED_JUPYTER_VENV"] = str(tmp_path / "venv")
    done = subprocess.run([python, ROOT / "scripts" / script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"apt-get install python{minor}-venv" in done.stderr
    assert "Traceback" not in done.stderr
    # A second run, with the package there, begins at the beginning.
    assert not (tmp_path / "venv").exists()


def test_an_interrupted_setup_says_so_and_goes_on_at_the_next_run(env, tmp_path):
    env["COILED_JUPYTER_VENV"] = str(tmp_path / "venv")
    lab = subprocess.Popen([sys.executable, LAB], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "Making a virtualenv" in lab.stdout.readline()
    lab.send_signal(signal.SIGINT)
    _, error = lab.communicate(timeout=30)
    assert lab.returncode == 1
    assert "Interrupted" in error
    assert "Traceback" not in error
    assert not (tmp_path / "venv").exists()
