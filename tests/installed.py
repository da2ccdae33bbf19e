"""The sdist and the wheel of this checkout, and virtualenvs that have nothing but what was asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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


def build_wheel(out: Path) -> Path:
    """Return the wheel of this checkout, with the page as it is built now."""
    run(UV, "build", "--wheel", "--python", sys.executable, "--out-dir", out, ROOT)
    return next(out.glob("*.whl"))


def install(venv: Path, python: str, *packages: object) -> Path:
    """Make a virtualenv with these packages and what they require; return its Python."""
    run(UV, "venv", "-q", "--python", python, venv)
    run(UV, "pip", "install", "-q", "--python", venv / "bin/python", *packages)
    return venv / "bin/python"


def oldest(venv: Path, python: str, wheel: Path) -> Path:
    """Make a virtualenv with the wheel and the oldest version of everything that it says it works with."""
    # Only of what is a direct requirement the floor is taken; what others require is as new as they let it be.
    floors = [*_PROJECT["dependencies"], *LAB, *BESIDE]
    return install(venv, python, "--resolution", "lowest-direct", *floors, wheel)


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


def without_node(out: Path, tools: Path) -> tuple[Path, Path]:
    """Return the sdist of the checkout, and the wheel made of that sdist where no Node can be found."""
    (tools / "uv").symlink_to(shutil.which("uv", path=str(UV.parent) + os.pathsep + os.environ["PATH"]))
    run(tools / "uv", "build", "--sdist", "--python", sys.executable, "--out-dir", out, ROOT)
    sdist = next(out.glob("*.tar.gz"))
    env = {**os.environ, "PATH": str(tools)}
    assert shutil.which("node", path=env["PATH"]) is None
    run(tools / "uv", "build", "--wheel", "--python", sys.executable, "--out-dir", out, sdist, env=env)
    return sdist, next(out.glob("*.whl"))
