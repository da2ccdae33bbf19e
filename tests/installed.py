"""The sdist and the wheel of this checkout, and virtualenvs that have nothing but what was asked for."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.environments import interpreters

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).parent / "uv"
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LAB = _PROJECT["optional-dependencies"]["lab"]
# What the page supports beside what is declared.
BESIDE = ["notebook>=7.2,<8", "ipykernel>=6.29"]


def run(*command, **options) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return re.sub("\x1b\\[[0-9;]*m", "", done.stdout + done.stderr)


class Shared:
    """What several modules of a test run use, each made by the first that asks for it and changed by nobody."""

    def __init__(self, base: Path) -> None:
        # Processes of one run have folders of their own in one; a run in one process has nothing beside its own.
        self._folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed"

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        folder = self._folder / name
        self._folder.mkdir(exist_ok=True)
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / ".complete").exists():
                # What an attempt that failed has left.
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / ".complete").touch()
        return folder

    def built(self) -> tuple[Path, Path]:
        """Return the sdist of the checkout, and the wheel made of that sdist where no Node can be found."""
        folder = self._made("built", _without_node)
        return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))

    def oldest(self) -> Path:
        """Return the Python of a virtualenv with the wheel and the oldest version of everything that it works with."""
        wheel = self.built()[1]
        return self._made("oldest", lambda folder: _oldest(folder / "venv", wheel)) / "venv/bin/python"


def build_wheel(out: Path) -> Path:
    """Return the wheel of this checkout, with the page as it is built now."""
    run(UV, "build", "--wheel", "--python", sys.executable, "--out-dir", out, ROOT)
    return next(out.glob("*.whl"))


def install(venv: Path, python: str, *packages: object) -> Path:
    """Make a virtualenv with these packages and what they require; return its Python."""
    run(UV, "venv", "-q", "--python", python, venv)
    run(UV, "pip", "install", "-q", "--python", venv / "bin/python", *packages)
    return venv / "bin/python"


def _oldest(venv: Path, wheel: Path) -> None:
    # Only of what is a direct requirement the floor is taken; what others require is as new as they let it be.
    floors = [*_PROJECT["dependencies"], *LAB, *BESIDE]
    install(venv, python_of("3.10"), "--resolution", "lowest-direct", *floors, wheel)


def floor(name: str) -> str:
    """Return the oldest version of a package that is declared."""
    lines = [Requirement(line) for line in (*_PROJECT["dependencies"], *LAB, *BESIDE)]
    (specifiers,) = [line.specifier for line in lines if line.name == name]
    return next(one.version for one in specifiers if one.operator == ">=")


def environ(home: Path, python: Path) -> dict[str, str]:
    """Return the variables of a user who has nothing of Jupyter's but what is installed beside `python`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "PYTHON", "IPYTHON"))}
    return {**kept, "HOME": str(home), "PATH": f"{python.parent}{os.pathsep}{os.defpath}"}


def extensions(home: Path, python: Path) -> tuple[str, str]:
    """Return what Jupyter lists of our page and of our server extension."""
    env = environ(home, python)
    page = run(python, "-m", "jupyter", "labextension", "list", env=env, cwd=home)
    server = run(python, "-m", "jupyter", "server", "extension", "list", env=env, cwd=home)
    return page, server


def python_of(minor: str) -> str:
    """Return the path of a Python; skips the test where this machine has none."""
    found = interpreters().get(minor)
    if found is None:
        pytest.skip(f"There is no Python {minor} on this machine")
    return found


def _without_node(out: Path) -> None:
    tools = out / "tools"
    tools.mkdir()
    (tools / "uv").symlink_to(shutil.which("uv", path=str(UV.parent) + os.pathsep + os.environ["PATH"]))
    run(tools / "uv", "build", "--sdist", "--python", sys.executable, "--out-dir", out, ROOT)
    sdist = next(out.glob("*.tar.gz"))
    env = {**os.environ, "PATH": str(tools)}
    assert shutil.which("node", path=env["PATH"]) is None
    run(tools / "uv", "build", "--wheel", "--python", sys.executable, "--out-dir", out, sdist, env=env)
