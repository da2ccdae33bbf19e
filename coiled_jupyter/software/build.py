"""Resolves, locks and builds software environments with uv: one virtualenv per lock, named by the lock's hash.

Rules: nothing is built in place of something that is used; the marker is written last, and a folder without it is
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
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..core.cluster import BuildSpec, now
from ..core.errors import Impossible, Unavailable
from ..paths import data_dir

MARKER = "coiled-jupyter.json"
_log = logging.getLogger("coiled_jupyter.software")
_SECRET = re.compile(r"//[^/@\s]*@")
_FRAME = " \u00d7\u2570\u2500\u25b6\u2502"
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A software environment on disk."""

    prefix: str
    interpreter: str
    lock_hash: str
    created_at: str


def _uv() -> str:
    from uv import find_uv_bin

    try:
        return os.fsdecode(find_uv_bin())
    except FileNotFoundError:
        raise Unavailable("uv isn't installed beside this server", "Install it with `pip install uv`") from None


def _python(wish: str | None) -> str:
    """Return what uv is asked for: a path, or the wish where uv has to look itself."""
    if wish is None or os.sep in wish:
        return wish or sys.executable
    if f"{'.'.join(map(str, sys.version_info[:3]))}.".startswith(f"{wish}."):
        return sys.executable
    # pyenv's shims on PATH stand for versions that aren't chosen, and uv stops at them.
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [path for path in versions.glob(f"{wish}*/bin/python") if f"{path.parts[-3]}.".startswith(f"{wish}.")]
    numbered = [
        (tuple(map(int, path.parts[-3].split("."))), path)
        for path in found
        if path.parts[-3].replace(".", "").isdigit()
    ]
    return str(max(numbered)[1]) if numbered else wish


def _environ() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "UV_", "PIP_", "VIRTUAL_ENV", "CONDA"))}
    # The cache is the user's own; everything else that changes a resolution is the admin's to say.
    cache = {"UV_CACHE_DIR": os.environ["UV_CACHE_DIR"]} if "UV_CACHE_DIR" in os.environ else {}
    return {**kept, **cache, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


_INDEXES = {
    **dict.fromkeys(("--default-index", "--index-url", "-i"), "UV_DEFAULT_INDEX"),
    **dict.fromkeys(("--index", "--extra-index-url"), "UV_INDEX"),
    **dict.fromkeys(("--find-links", "-f"), "UV_FIND_LINKS"),
}


def _indexes(options: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return uv's options and the variables that stand for those of addresses, which may hold passwords.

    Every user of the machine can read the arguments of a process, and only its own user the variables.
    """
    left: list[str] = []
    variables: dict[str, str] = {}
    rest = iter(options)
    for option in rest:
        name, equals, value = option.partition("=")
        variable = _INDEXES.get(name)
        if variable is None:
            left.append(option)
            continue
        address = value if equals else next(rest, "")
        between = "," if variable == "UV_FIND_LINKS" else " "
        variables[variable] = between.join(filter(None, (variables.get(variable), address)))
    return tuple(left), variables


async def _run(*argv: str, cwd: Path, deadline: float, variables: Mapping[str, str] | None = None) -> None:
    """Run uv; raise Impossible with its own words where it fails."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env={**_environ(), **(variables or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=1 << 20,
    )
    said: list[str] = []

    async def listen() -> None:
        while process.stderr is not None and (line := await process.stderr.readline()):
            said.append(line.decode(errors="replace"))
            words = _plain(said[-1])
            if words:
                # To the supervisor's log, which is shown while the environment is built.
                _log.info("uv: %s", words)
        await process.wait()

    try:
        await asyncio.wait_for(listen(), deadline)
    except asyncio.TimeoutError:
        raise Unavailable(f"uv didn't end within {deadline:.0f} s", "Look at the network and the index") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise Impossible(f"The packages could not be installed: {_words(''.join(said))}")


def _plain(line: str) -> str:
    return _SECRET.sub("//", _COLOUR.sub("", line)).strip().strip(_FRAME)


def _words(text: str) -> str:
    """Return what uv said, without colours, credentials and paths of ours."""
    lines = [_plain(line) for line in text.splitlines()]
    return " ".join(" ".join(line for line in lines if line).split())[:2000] or "uv gave no reason"


def complete(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the requirements with what a cluster can't run without."""
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    return (*lines, *(name for name in ("dask", "distributed") if name not in names))


async def lock(spec: BuildSpec, *, deadline: float = 300) -> str:
    """Return the text of a lock with hashes for this machine and the spec's Python.

    Raises
    ------
    Impossible
        Nothing satisfies the requirements; the message holds the resolver's reason.

    """
    lines = complete(spec.requirements)
    options, variables = _indexes(spec.index_options)
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
        wanted, locked = Path(folder, "requirements.in"), Path(folder, "requirements.txt")
        wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
        await _run(
            *(_uv(), "pip", "compile", "--no-config", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
            *("--python", _python(spec.python)),
            *(() if spec.allow_source_builds else ("--only-binary", ":all:")),
            *options,
            *("--output-file", str(locked), "--", str(wanted)),
            cwd=Path(folder),
            variables=variables,
            deadline=deadline,
        )
        return locked.read_text(encoding="utf-8")


async def build(spec: BuildSpec, locked: str, *, deadline: float = 1200) -> Built:
    """Return the environment of a lock, built if it isn't there yet."""
    python = _python(spec.python)
    options, variables = _indexes(spec.index_options)
    # The interpreter is part of the name: one lock on two Pythons makes two environments.
    key = hashlib.blake2b(f"{python}\0{locked}".encode(), digest_size=10).hexdigest()
    home = data_dir() / "software"
    home.mkdir(mode=0o700, exist_ok=True)
    prefix = home / key
    async with _locked(home / f"{key}.lock", deadline):
        built = _marked(prefix)
        if built is not None:
            return built
        shutil.rmtree(prefix, ignore_errors=True)
        lock_file = home / f"{key}.txt"
        lock_file.write_text(locked, encoding="utf-8")
        started = time.monotonic()
        await _run(
            *(_uv(), "venv", "--no-config", "--quiet", "--python", python, "--", str(prefix)), cwd=home, deadline=60
        )
        interpreter = prefix / "bin" / "python"
        await _run(
            *(_uv(), "pip", "sync", "--no-config", "--quiet", "--require-hashes", "--python", str(interpreter)),
            *(() if spec.allow_source_builds else ("--only-binary", ":all:")),
            *options,
            *("--", str(lock_file)),
            cwd=home,
            variables=variables,
            deadline=max(deadline - (time.monotonic() - started), 1),
        )
        built = Built(prefix=str(prefix), interpreter=str(interpreter), lock_hash=key, created_at=now())
        _mark(prefix, built)
        return built


def _marked(prefix: Path) -> Built | None:
    try:
        built = msgspec.json.decode((prefix / MARKER).read_bytes(), type=Built)
    except (OSError, msgspec.DecodeError):
        return None
    # The Python that it was built on may have been removed.
    return built if os.access(built.interpreter, os.X_OK) else None


def _mark(prefix: Path, built: Built) -> None:
    staging = prefix / f"{MARKER}.new"
    with staging.open("wb") as stream:
        stream.write(msgspec.json.encode(built))
        stream.flush()
        os.fsync(stream.fileno())
    staging.rename(prefix / MARKER)


@contextlib.asynccontextmanager
async def _locked(path: Path, deadline: float) -> AsyncIterator[None]:
    """Hold a file's lock, so that two processes never build one environment at once."""
    with path.open("w") as stream:
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
