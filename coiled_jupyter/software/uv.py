"""Runs uv: with an environment that only the configuration decides, a deadline, and its words without secrets."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import re
import signal
from collections import deque
from pathlib import Path

import msgspec

from ..activity import doing
from ..core.errors import Impossible, Unavailable
from .index import Index

NO_INDEX_OPTIONS = Index()
_log = logging.getLogger("coiled_jupyter.software")
_SECRET = re.compile(r"//[^/\s]*@")
_FRAME = " \u00d7\u2570\u2500\u25b6\u2502"
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_KEPT_LINES = 1000
_DOING = {
    "compile": "Resolving the packages: uv asks the index",
    "sync": "Installing the packages",
    "venv": "Making a virtualenv",
    "build": "Building a package from its source",
}


class Ended(msgspec.Struct, frozen=True):
    """How a run of uv ended: its exit status (0: done, 1: it can't be, 2: something didn't answer) and its words."""

    status: int
    words: str


def binary() -> str:
    """Return the path of the uv that is installed with this package."""
    from uv import find_uv_bin

    try:
        return os.fsdecode(find_uv_bin())
    except FileNotFoundError:
        raise Unavailable("uv isn't installed beside this server", "Install it with `pip install uv`") from None


def version() -> str:
    """Return the version of that uv."""
    return importlib.metadata.version("uv")


def libc() -> str:
    """Return this machine's C library as `core.survey.SurveyPlace` tells it, such as ``glibc 2.36``; empty where unknown."""
    return (os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None) or ""


def environ(index: Index = NO_INDEX_OPTIONS) -> dict[str, str]:
    """Return the variables that uv runs with."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "UV_", "PIP_", "VIRTUAL_ENV", "CONDA"))}
    # The cache is the user's own; everything else that changes a resolution is the admin's to say.
    cache = {"UV_CACHE_DIR": os.environ["UV_CACHE_DIR"]} if "UV_CACHE_DIR" in os.environ else {}
    return {**kept, **cache, **index.uv, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


async def attempt(
    *argv: str, cwd: Path, deadline: float, index: Index = NO_INDEX_OPTIONS, level: int = logging.INFO, **more: str
) -> Ended:
    """Run uv with `argv` (without its own path) and return how it ended; `more` are further variables.

    Raises
    ------
    Unavailable
        It didn't end within `deadline` seconds; then it has been killed with all that it started.

    """
    variables = {**environ(index), **more}
    return await execute(
        binary(), *argv, cwd=cwd, deadline=deadline, environ=variables, hidden=index.hidden, level=level
    )


async def execute(
    *argv: str,
    cwd: Path,
    deadline: float,
    environ: dict[str, str],
    hidden: tuple[str, ...] = (),
    level: int = logging.INFO,
) -> Ended:
    """Run a program as `attempt` runs uv; its words are logged at `level`, without what is `hidden`."""
    name = Path(argv[0]).name
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=1 << 20,
    )
    said: deque[str] = deque(maxlen=_KEPT_LINES)

    async def listen() -> None:
        stream = process.stderr
        while stream is not None:
            try:
                line = await stream.readline()
            except ValueError:
                # A line of more than a MiB, of a build that prints what it likes.
                continue
            if not line:
                break
            words = _plain(line.decode(errors="replace"), hidden)
            if words:
                said.append(words)
                _log.log(level, "%s: %s", name, words)
        await process.wait()

    try:
        with doing(next((text for word, text in _DOING.items() if word in argv[1:3]), f"Waiting for {name}")):
            await asyncio.wait_for(listen(), deadline)
    except asyncio.TimeoutError:
        raise Unavailable(f"{name} didn't end within {deadline:.0f} s", "Look at the network and the index") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Ended(process.returncode or 0, " ".join(" ".join(said).split()) or f"{name} gave no reason")


async def run(*argv: str, cwd: Path, deadline: float, index: Index = NO_INDEX_OPTIONS) -> None:
    """Run uv; raise Impossible with its own words where it fails."""
    ended = await attempt(*argv, cwd=cwd, deadline=deadline, index=index)
    if ended.status:
        raise Impossible(f"The packages could not be installed: {ended.words[:2000]}")


def _plain(line: str, hidden: tuple[str, ...]) -> str:
    """Return a line of uv's without colours, frames and credentials."""
    line = _SECRET.sub("//", _COLOUR.sub("", line))
    for word in hidden:
        line = line.replace(word, "****")
    return line.strip().strip(_FRAME)
