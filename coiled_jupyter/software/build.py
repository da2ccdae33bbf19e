"""Resolves, locks and builds software environments with uv: one virtualenv per lock, named by the lock's hash.

Rules: nothing that is in use is replaced; the marker is written last, and a folder without it is
removed; only wheels unless the configuration allows more; the index comes from the configuration only.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..core.errors import Unavailable
from ..core.launch import BuildSpec
from ..core.times import now
from ..paths import data_dir, write, writing
from . import index as index_options
from . import uv

MARKER = "coiled-jupyter.json"


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A built software environment; `size` in bytes, including files that others share by hard links."""

    prefix: str
    interpreter: str
    lock_hash: str
    created_at: str
    size: int = 0


def home() -> Path:
    """Return the folder of all builds."""
    return data_dir("software")


def python_path(wish: str | None) -> str:
    """Return the Python to request of uv: a path, or the wish if uv has to search itself."""
    if wish is None or os.sep in wish:
        return wish or sys.executable
    if f"{'.'.join(map(str, sys.version_info[:3]))}.".startswith(f"{wish}."):
        return sys.executable
    # pyenv's shims on PATH exist for versions that aren't active, and uv stops at them.
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [path for path in versions.glob(f"{wish}*/bin/python") if f"{path.parts[-3]}.".startswith(f"{wish}.")]
    numbered = [
        (tuple(map(int, path.parts[-3].split("."))), path)
        for path in found
        if path.parts[-3].replace(".", "").isdigit()
    ]
    return str(max(numbered)[1]) if numbered else wish


async def python_here(wish: str) -> str | None:
    """Return the full version of the Python that a build for `wish` would have, or None if there is none here."""
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
        made = Path(folder, "venv")
        ended = await uv.attempt(
            *("venv", "--no-config", "--quiet", "--python", python_path(wish), "--", str(made)),
            cwd=Path(folder),
            deadline=60,
            level=logging.DEBUG,
        )
        if ended.status:
            return None
        told = re.search(r"(?m)^version_info *= *(\d+\.\d+\.\d+)", (made / "pyvenv.cfg").read_text(encoding="utf-8"))
        return told[1] if told else None


def complete(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the requirements, with Dask and distributed added."""
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    return (*lines, *(name for name in ("dask", "distributed") if name not in names))


async def lock(spec: BuildSpec, *, deadline: float = 300) -> str:
    """Return the text of a lock with hashes for this machine and the spec's Python.

    Raises
    ------
    Impossible
        Nothing satisfies the requirements; the message holds the resolver's reason.

    """
    lines, index = complete(spec.requirements), _index(spec)
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
        wanted, locked = Path(folder, "requirements.in"), Path(folder, "requirements.txt")
        wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
        await uv.run(
            *("pip", "compile", "--no-config", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
            *("--python", python_path(spec.python)),
            *(() if spec.allow_source_builds else ("--only-binary", ":all:")),
            *index.options,
            *("--output-file", str(locked), "--", str(wanted)),
            cwd=Path(folder),
            deadline=deadline,
            index=index,
        )
        return locked.read_text(encoding="utf-8")


def _index(spec: BuildSpec) -> index_options.Index:
    index = index_options.parse(spec.index_options)
    for folder in spec.links:
        index = index.with_links(Path(folder))
    return index


def _key(python: str, locked: str) -> str:
    # The interpreter is part of the name: one lock with two Pythons gives two environments.
    return hashlib.blake2b(f"{python}\0{locked}".encode(), digest_size=10).hexdigest()


def find(spec: BuildSpec) -> Built | None:
    """Return the build of a spec that has a lock, or None."""
    return _marked(home() / _key(python_path(spec.python), spec.lock)) if spec.lock else None


async def build(spec: BuildSpec, locked: str, *, deadline: float = 1200) -> Built:
    """Return the environment of a lock; build it if it doesn't exist."""
    python, index = python_path(spec.python), _index(spec)
    key, top = _key(python, locked), home()
    prefix = top / key
    async with _locked(top / f"{key}.lock", deadline):
        built = _marked(prefix)
        if built is not None:
            # Its age protects it from removal until the cluster that needs it runs.
            os.utime(prefix)
            return built
        shutil.rmtree(prefix, ignore_errors=True)
        lock_file = top / f"{key}.txt"
        lock_file.write_text(locked, encoding="utf-8")
        started = time.monotonic()
        await uv.run(*("venv", "--no-config", "--quiet", "--python", python, "--", str(prefix)), cwd=top, deadline=60)
        interpreter = prefix / "bin" / "python"
        await uv.run(
            *("pip", "sync", "--no-config", "--quiet", "--require-hashes", "--python", str(interpreter)),
            *(() if spec.allow_source_builds else ("--only-binary", ":all:")),
            *index.options,
            *("--", str(lock_file)),
            cwd=top,
            deadline=max(deadline - (time.monotonic() - started), 1),
            index=index,
        )
        built = Built(
            prefix=str(prefix),
            interpreter=str(interpreter),
            lock_hash=key,
            created_at=now(),
            size=await asyncio.to_thread(size, prefix),
        )
        write(prefix / MARKER, msgspec.json.encode(built))
        return built


def size(folder: Path, *, unshared: bool = False) -> int:
    """Return the total size of a folder's files in bytes; with `unshared`, of those without other hard links."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(root, name))  # noqa: PTH118 - of tens of thousands of files
                total += found.st_size if not unshared or found.st_nlink == 1 else 0
    return total


def _marked(prefix: Path) -> Built | None:
    try:
        built = msgspec.json.decode((prefix / MARKER).read_bytes(), type=Built)
    except (OSError, msgspec.DecodeError):
        return None
    # The Python that it was built with may have been removed.
    return built if os.access(built.interpreter, os.X_OK) else None


@contextlib.asynccontextmanager
async def _locked(path: Path, deadline: float) -> AsyncIterator[None]:
    """Hold a file's lock, so that two processes never build one environment at once; the block writes beside that file."""
    with writing(path.parent), path.open("w") as stream:
        end = time.monotonic() + deadline
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Unavailable("Another process is still building this environment") from None
                await asyncio.sleep(0.1)
        yield
