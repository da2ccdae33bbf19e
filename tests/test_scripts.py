"""The commands of the README's first screen, as a person runs them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil
import pytest

from tests.demo import demo, home
from tests.processes import ask as request
from tests.processes import wait_for, words

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / "scripts" / "lab"
API = "/coiled-jupyter/api"


@pytest.fixture
def env(tmp_path):
    return home(tmp_path / "home")


def test_the_lab_starts_in_seconds_shows_the_numpy_and_leaves_no_process(env, tmp_path):
    with demo(tmp_path, env) as running:
        said = running.log.read_text()
        assert "The demo cluster runs: 2 workers" in said, said
        # With the environment there, it took seconds: nothing was installed or built.
        assert re.search(r"\[ +\d\.\d s\] The environment is ready", said), said
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert len(family) >= 7  # lab, supervisor, launcher, scheduler, two nannies, two workers
        assert all(running.token not in words(process) for process in family)

        def ask(method, path, body=None):
            headers = {"Authorization": f"token {running.token}"}
            status, answer, _ = request(method, running.url + path, body, headers=headers, timeout=60)
            assert status < 300, answer
            return answer

        path = "first-look.ipynb"
        spec = ask("GET", f"/api/contents/{path}")["content"]["metadata"]["kernelspec"]
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": spec["name"]}}
        kernel = ask("POST", "/api/sessions", body)["kernel"]["id"]
        (cluster,) = ask("GET", f"{API}/clusters")

        def read():
            diff = ask("GET", f"{API}/diff?kernel={kernel}&cluster={cluster['id']}")
            return diff if any(row["name"] == "numpy" and row["status"] != "same" for row in diff["rows"]) else None

        diff = wait_for(read, seconds=40, what="the row of numpy")
        rows = {row["name"]: row for row in diff["rows"]}
        assert rows["numpy"]["severity"] == "breaks"
        # A kernel as a user's is: nothing of ours, and the Dask of the cluster.
        assert not {"coiled-jupyter", "jupyterlab"} & set(rows)
        assert rows["distributed"]["status"] == "same"
        # One click that loses nothing: the scheduler keeps its numpy, and the notebook's graphs pass through it.
        plan = ask("POST", f"{API}/plans", {"cluster": cluster["id"], "kernel": kernel})
        assert (plan["how"], plan["needs"]) == ("roll", []), plan
        running.stop()


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
