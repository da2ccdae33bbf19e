"""Removes builds of software environments that nothing uses any more."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from ...core.errors import NotFound, Unavailable
from ...core.wire import SoftwareFreed
from .. import build
from .store import NamedEnvironments, home

YOUNG_SECONDS = 600.0
"""Age in seconds from which a build may be removed: a starting cluster names its build only once it runs."""


def clean(environments: NamedEnvironments, kept: Collection[str]) -> SoftwareFreed:
    """Remove builds that nothing uses any more.

    Parameters
    ----------
    kept
        Folders that something runs from, or can go back to.

    """
    _clean_wheels(environments)
    named = {built.prefix for name in environments.names() if (built := _built(environments, name)) is not None}
    found = SoftwareFreed()
    for prefix in build.home().iterdir():
        if not prefix.is_dir() or str(prefix) in named or str(prefix) in kept or _runs(prefix):
            continue
        with contextlib.suppress(OSError):
            if time.time() - prefix.stat().st_mtime < YOUNG_SECONDS:
                continue
            with prefix.with_name(f"{prefix.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = build.size(prefix, unshared=True)
                # First it stops being an environment, then its files are removed.
                (prefix / build.MARKER).unlink(missing_ok=True)
                shutil.rmtree(prefix, ignore_errors=True)
                prefix.with_name(f"{prefix.name}.txt").unlink(missing_ok=True)
            found = SoftwareFreed(builds=found.builds + 1, size=found.size + size)
    return found


def _clean_wheels(environments: NamedEnvironments) -> None:
    """Remove files that belong to no environment."""
    used: set[str] = set()
    for name in environments.names():
        try:
            used.update(str(Path(wheel.path).parent) for wheel in environments.get(name).wheels)
        except (NotFound, Unavailable):
            # Which files an unreadable one needs isn't known.
            return
    for folder in (home() / "wheels").glob("*"):
        with contextlib.suppress(OSError):
            if str(folder) not in used and time.time() - folder.stat().st_mtime > YOUNG_SECONDS:
                shutil.rmtree(folder)


def _built(environments: NamedEnvironments, name: str) -> build.Built | None:
    try:
        return environments.built(environments.get(name))
    except (NotFound, Unavailable):
        return None


def _runs(prefix: Path) -> bool:
    """Whether a process of this user runs from a folder, as far as can be seen."""
    import psutil

    start = f"{prefix}{os.sep}"
    for process in psutil.process_iter(["cmdline"]):
        line: Sequence[str] = process.info["cmdline"] or ()
        if line and line[0].startswith(start):
            return True
    return False
