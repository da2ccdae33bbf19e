"""What is installed from the sdist and the wheel, in virtualenvs that have nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.texts.test_probe import interpreters

ROOT = Path(__file__).resolve().parents[1]
VERSION = json.loads((ROOT / "package.json").read_text())["version"]


def run(*command, **options) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return re.sub("\x1b\\[[0-9;]*m", "", done.stdout + done.stderr)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist of the checkout, and the wheel made of that sdist where no Node can be found."""
    out = tmp_path_factory.mktemp("dist")
    tools = tmp_path_factory.mktemp("tools")
    (tools / "uv").symlink_to(
        Path(shutil.which("uv", path=str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]))
    )
    run(tools / "uv", "build", "--sdist", "--python", sys.executable, "--out-dir", out, ROOT)
    sdist = next(out.glob("*.tar.gz"))
    env = {**os.environ, "PATH": str(tools)}
    assert shutil.which("node", path=env["PATH"]) is None
    run(tools / "uv", "build", "--wheel", "--python", sys.executable, "--out-dir", out, sdist, env=env)
    return sdist, next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def bare(built, tmp_path_factory):
    """A virtualenv with the wheel and what it requires."""
    venv = tmp_path_factory.mktemp("bare") / "venv"
    uv = Path(sys.executable).parent / "uv"
    run(uv, "venv", "-q", "--python", sys.executable, venv)
    run(uv, "pip", "install", "-q", "--python", venv / "bin/python", built[1])
    return venv


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


def test_both_extensions_are_enabled_with_no_further_command(bare):
    env = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")} | {
        "HOME": str(bare.parent),
        "PATH": f"{bare / 'bin'}{os.pathsep}{os.defpath}",
    }
    page = run(bare / "bin/jupyter", "labextension", "list", env=env)
    line = next(line for line in page.splitlines() if "coiled-jupyter" in line)
    assert f"v{VERSION}" in line
    assert "enabled" in line
    assert "OK" in line
    server = run(bare / "bin/jupyter", "server", "extension", "list", env=env)
    assert "coiled_jupyter enabled" in server
    assert f"coiled_jupyter {VERSION} OK" in server


def test_the_command_works_and_imports_no_dask(bare):
    assert run(bare / "bin/coiled-jupyter", "--version").strip() == f"coiled-jupyter {VERSION}"
    code = "import sys, coiled_jupyter.server.app, coiled_jupyter.commands.terminal; print([m for m in sys.modules if m.split('.')[0] in ('dask', 'distributed')])"
    assert run(bare / "bin/python", "-c", code).strip() == "[]"


OTHERS = sorted(set(interpreters()) & {"3.10", "3.11", "3.12", "3.13"} - {"{}.{}".format(*sys.version_info)})


@pytest.mark.timeout(600)
@pytest.mark.parametrize("minor", OTHERS)
def test_the_installed_wheel_works_on_other_pythons(built, minor, tmp_path):
    venv, uv = tmp_path / "venv", Path(sys.executable).parent / "uv"
    run(uv, "venv", "-q", "--python", interpreters()[minor], venv)
    tools = ["pytest", "pytest-timeout", "hypothesis", "numpy", "jsonschema"]
    run(uv, "pip", "install", "-q", "--python", venv / "bin/python", built[1], *tools)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    env = {**os.environ, "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    # What a Python can make a difference to: syntax and libraries everywhere, and one real cluster, server and command.
    process = "tests/supervisor/test_process.py"
    parts = [
        "tests/core",
        "--ignore=tests/core/test_explain_real.py",
        "tests/test_ledger.py",
        "tests/test_golden.py",
        "tests/software/test_files.py",
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
