"""Environments of other Pythons and versions, built once and kept between runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from uv import find_uv_bin


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
