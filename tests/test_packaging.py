"""What is installed from the sdist and the wheel, in virtualenvs that have nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import installed
from tests.environments import interpreters
from tests.installed import ROOT, UV, run
from tests.nightly import each_night
from tests.processes import JupyterServer, apart, free_port, wait_for

VERSION = json.loads((ROOT / "package.json").read_text())["version"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return installed.Shared(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def built(shared):
    """The sdist of the checkout, and the wheel made of that sdist where no Node can be found."""
    return shared.built()


@pytest.fixture(scope="module")
def bare(built, tmp_path_factory):
    """A virtualenv with the wheel and what it requires: no Jupyter."""
    return installed.install(tmp_path_factory.mktemp("bare") / "venv", sys.executable, built[1]).parent.parent


@pytest.fixture(scope="module", params=each_night(["oldest", "newest"], ["oldest"]))
def lab(request, shared, built, tmp_path_factory):
    """The Python of a virtualenv with a lab: the oldest of everything that is supported, or the newest."""
    if request.param == "oldest":
        return shared.oldest()
    venv = tmp_path_factory.mktemp(request.param) / "venv"
    newest = max(interpreters(), key=lambda minor: int(minor.partition(".")[2]))
    return installed.install(venv, interpreters()[newest], f"{built[1]}[lab]", "notebook", "ipykernel")


def test_the_version_is_in_one_place(built):
    sdist, wheel = built
    assert sdist.name == f"coiled_jupyter-{VERSION}.tar.gz"
    assert wheel.name == f"coiled_jupyter-{VERSION}-py3-none-any.whl"


def test_the_wheel_has_the_page_the_licence_and_nothing_of_the_workshop(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = archive.namelist()
    data = f"coiled_jupyter-{VERSION}.data/data"
    assert f"{data}/share/jupyter/labextensions/coiled-jupyter/install.json" in names
    assert any(
        name.startswith(f"{data}/share/jupyter/labextensions/coiled-jupyter/static/remoteEntry") for name in names
    )
    assert f"{data}/etc/jupyter/jupyter_server_config.d/coiled_jupyter.json" in names
    assert f"coiled_jupyter-{VERSION}.dist-info/licenses/LICENSE" in names
    assert "coiled_jupyter/texts/probe.py" in names
    assert not [
        name for name in names if name.startswith(("tests", "scripts", "node_modules")) or "labextension/src" in name
    ]


def test_the_sdist_has_what_a_build_needs_and_no_leftovers(built):
    with tarfile.open(built[0]) as archive:
        names = archive.getnames()
    relative = {name.partition("/")[2] for name in names}
    assert {"yarn.lock", "package.json", "LICENSE", "hatch_build.py", "labextension/src/index.ts"} <= relative
    assert not [
        name
        for name in relative
        # A development build names its chunks after the folder, which is no part of the path.
        if "node_modules" in name.split("/") or name.startswith((".venv", ".cache", "artifacts"))
    ]


@pytest.mark.nightly
def test_both_extensions_are_enabled_with_no_further_command(lab, tmp_path):
    page, server = installed.extensions(tmp_path, lab)
    line = next(line for line in page.splitlines() if "coiled-jupyter" in line)
    assert f"v{VERSION}" in line
    assert "enabled" in line
    assert "OK" in line, page
    assert "not compatible" not in page
    assert "coiled_jupyter enabled" in server
    assert f"coiled_jupyter {VERSION} OK" in server


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_lab_of_the_oldest_and_of_the_newest_set_starts_a_cluster_and_compares(lab, tmp_path):
    """Without jupyterlab's part: what the page's own tests drive in a browser is served here."""
    server = JupyterServer(tmp_path, "lab", python=lab, env=apart())
    try:
        kernel = server.ask("POST", "/api/kernels", {"name": "python3"})[1]["id"]
        cluster = server.api("POST", "clusters", {"name": "mine", "workers": 1})[1]["id"]

        def verdict() -> str:
            return server.api("GET", f"diff?kernel={kernel}&cluster={cluster}")[1]["verdict"]

        wait_for(lambda: verdict() == "equal", seconds=120, what="a verdict")
    finally:
        server.close()
    assert "coiled_jupyter | extension was successfully loaded" in server.log.read_text()


def test_without_jupyter_the_command_the_module_and_the_configuration_work(bare, tmp_path):
    python, env = bare / "bin/python", installed.environ(tmp_path, bare / "bin/python") | apart()
    listed = run(UV, "pip", "list", "--python", python)
    assert not [line for line in listed.splitlines() if line.startswith(("jupyter-server", "jupyterlab", "ipython"))]
    command = bare / "bin/coiled-jupyter"
    assert run(command, "--version", env=env).strip() == f"coiled-jupyter {VERSION}"
    env["JUPYTER_CONFIG_DIR"] = str(tmp_path)
    (tmp_path / "jupyter_server_config.py").write_text("c.CoiledJupyter.core_limit = 3")
    assert "limit 3" in run(command, env=env)
    try:
        run(command, "cluster", "create", "mine", "--workers", "1", env=env)
        code = "import coiled_jupyter as c; print(c.connect('mine').submit(sum, [1, 2]).result())"
        assert run(python, "-c", code, env=env, cwd=tmp_path).strip() == "3"
        run(command, "diff", "--cluster", "mine", env=env)
        # Beside the virtualenv, so that it stays as it is for the other tests.
        run(UV, "pip", "install", "-q", "--python", python, "--target", tmp_path / "beside", "ipython")
        cell = ["-m", "IPython", "--no-banner", "-c", "%load_ext coiled_jupyter\n%coiled"]
        assert "limit 3" in run(python, *cell, env=env | {"PYTHONPATH": str(tmp_path / "beside")}, cwd=tmp_path)
    finally:
        run(command, "cluster", "stop", "mine", env=env)
    port = free_port()
    where = f"tcp://127.0.0.1:{port}"
    node = [
        python,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-dashboard",
    ]
    with subprocess.Popen([str(part) for part in node], env=env, stderr=subprocess.DEVNULL) as scheduler:
        try:
            wait_for(lambda: _reached(command, where, env), what="the scheduler")
            assert where in run(
                python, "-c", f"import coiled_jupyter as c; print(c.connect({where!r}))", env=env, cwd=tmp_path
            )
        finally:
            scheduler.terminate()


def _reached(command: Path, where: str, env: dict[str, str]) -> bool:
    ended = subprocess.run([command, "diff", "--cluster", where, "--json"], capture_output=True, env=env, check=False)
    # Nothing else is unread: without a worker, nothing is known of what tasks would meet.
    return [entry["node"] for entry in json.loads(ended.stdout).get("unread", [])] == ["workers"]


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(bare, tmp_path):
    env = installed.environ(tmp_path, bare / "bin/python") | apart()
    env |= {"COILED_JUPYTER_DATA_DIR": str(tmp_path / "data"), "JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}
    run(bare / "bin/coiled-jupyter", "software", "create", "kept", "iniconfig==1.1.1", env=env)
    for words, package in (
        (["bin/coiled-jupyter", "software", "install", "kept"], "jupyter-client"),
        (["bin/python", "-c", "import coiled_jupyter.widgets"], "ipywidgets"),
    ):
        command = [bare / words[0], *words[1:]]
        ended = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode != 0
        assert f"The package {package} isn't installed here: install it with `" in ended.stderr
        assert f"python -m pip install {package}`" in ended.stderr


def test_an_older_packaging_reads_everything_but_a_lock(built, tmp_path):
    python = installed.install(tmp_path / "venv", sys.executable, built[1], "packaging==25.0")
    env = installed.environ(tmp_path, python) | apart() | {"COILED_JUPYTER_DATA_DIR": str(tmp_path / "data")}
    command = python.parent / "coiled-jupyter"
    run(command, "software", "create", "kept", "iniconfig==1.1.1", env=env)
    run(command, "software", "export", "kept", "--output", tmp_path / "pylock.toml", env=env)
    again = [command, "software", "create", "again", "--file", tmp_path / "pylock.toml"]
    ended = subprocess.run(again, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "needs packaging 26.1 or newer, and this is 25.0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_server_and_the_command_import_no_dask(lab):
    code = "import sys, coiled_jupyter.server.app, coiled_jupyter.commands.terminal; print([m for m in sys.modules if m.split('.')[0] in ('dask', 'distributed')])"
    assert run(lab, "-c", code, env=installed.environ(lab.parent, lab), cwd=lab.parent).strip() == "[]"


OTHERS = sorted(set(interpreters()) & {"3.10", "3.11", "3.12", "3.13", "3.14"} - {"{}.{}".format(*sys.version_info)})


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("minor", each_night(OTHERS, OTHERS[-1:]))
def test_the_installed_wheel_works_on_other_pythons(built, minor, tmp_path):
    tools = ["pytest", "pytest-timeout", "hypothesis", "numpy", "jsonschema"]
    venv = installed.install(tmp_path / "venv", interpreters()[minor], f"{built[1]}[lab]", *tools).parent.parent
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    env = {**os.environ, "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    # What a Python can make a difference to: syntax and libraries everywhere, and one real cluster, server and command.
    process = "tests/supervisor/test_process.py"
    parts = [
        "tests/core",
        "tests/ledger",
        "tests/test_golden.py",
        "tests/software/named/test_files.py",
        "tests/links/test_scheduler.py",
        "tests/server/test_authorization.py",
        "tests/test_cli.py::test_create_diff_and_stop",
        "tests/test_cli.py::test_software_is_kept_run_compared_and_forgotten",
        f"{process}::test_a_client_computes_and_a_stop_while_tasks_run_is_quick",
        f"{process}::test_its_clients_are_told_with_their_versions",
    ]
    options = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=brief"]
    said = run(venv / "bin/python", *options, *parts, cwd=tmp_path, env=env)
    assert "passed" in said
    assert "skipped" not in said
