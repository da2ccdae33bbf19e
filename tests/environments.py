"""Environments of other Pythons and versions, built once and kept between runs."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from uv import find_uv_bin

MINORS = [f"3.{minor}" for minor in range(8, 15)]


@functools.cache
def interpreters() -> dict[str, str]:
    """{minor: path} of the CPythons on this machine."""
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
    key = hashlib.blake2b("\n".join([python, *sorted(requirements)]).encode(), digest_size=8).hexdigest()
    folder = cache() / key
    made, marker = folder / "bin" / "python", folder / ".complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (cache() / f"{key}.lock").open("w") as lock:
        # Two runs at once: one builds, the other waits for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            uv = find_uv_bin()
            subprocess.run([uv, "venv", "-q", "--python", python, str(folder)], check=True)
            subprocess.run([uv, "pip", "install", "-q", "--python", str(made), *requirements], check=True)
            marker.touch()
    return made
