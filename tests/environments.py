"""Environments of other Pythons and versions, built once and kept between runs."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from uv import find_uv_bin

MINORS = [f"3.{minor}" for minor in range(8, 15)]


_TOLD: dict[str, str] = {}


def tell(found: dict[str, str]) -> None:
    """Take what another process of this run has found for what `interpreters` returns: to ask each costs seconds."""
    _TOLD.update(found)


@functools.cache
def interpreters() -> dict[str, str]:
    """{minor: path} of the CPythons on this machine."""
    if _TOLD:
        return dict(_TOLD)
    candidates = [shutil.which(f"python{minor}") for minor in MINORS]
    found = subprocess.run(
        [find_uv_bin(), "python", "list", "--only-installed", "--output-format", "json"],
        capture_output=True,
        check=True,
    )
    candidates += [entry["path"] for entry in json.loads(found.stdout) if entry["implementation"] == "cpython"]
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates += [str(path) for path in sorted(root.glob("*/bin/python"))]
    made: dict[str, str] = {}
    for path in filter(None, candidates):
        asked = subprocess.run(
            [
                path,
                "-c",
                "import platform, sys; print(platform.python_implementation(), '%d.%d' % sys.version_info[:2])",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        implementation, _, minor = asked.stdout.strip().partition(" ")
        if implementation == "CPython" and minor in MINORS:
            made.setdefault(minor, path)
    return made


def cache() -> Path:
    default = Path.home() / ".cache" / "coiled-jupyter-tests"
    return Path(os.environ.get("COILED_JUPYTER_TEST_CACHE") or default)


def environment(python: str, *requirements: str) -> Path:
    """Return the interpreter of a virtual environment of `python` (a path) with these requirements."""
    # Of a virtualenv's Python this is the one that it was made with, whatever checkout it belongs to.
    python = os.path.realpath(python)
    key = hashlib.blake2b("\n".join([python, *sorted(requirements)]).encode(), digest_size=8).hexdigest()
    folder = cache() / key
    made, marker = folder / "bin" / "python", folder / ".complete"
    # Two runs at once: one builds, the other waits for it.
    with _locked(key):
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            uv = find_uv_bin()
            subprocess.run([uv, "venv", "-q", "--python", python, str(folder)], check=True)
            subprocess.run([uv, "pip", "install", "-q", "--python", str(made), *requirements], check=True)
            marker.touch()
    return made


@contextlib.contextmanager
def _locked(key: str) -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def copied(made: Path, folder: Path) -> Path:
    """Copy an `environment`, by its interpreter, for a test that changes it; return the copy's interpreter.

    No file is shared, and what is compiled already needn't be compiled by each process of each test.
    """
    original = made.parent.parent
    compiled = original / ".compiled"
    with _locked(original.name):
        if not compiled.exists():
            subprocess.run([made, "-m", "compileall", "-qq", original / "lib"], check=False)
            compiled.touch()
    shutil.copytree(original, folder, symlinks=True, ignore=shutil.ignore_patterns(".complete", ".compiled"))
    for path in folder.glob("lib/python3*/site-packages/**/*.pyc"):
        # Where it isn't clear that this is newer than its source, a reading of files compares the two.
        os.utime(path)
    return folder / "bin" / "python"
