"""Finds the wheels that a lock means for another place, and fetches them to this machine, for nodes that can't.

Rules: only wheels, for the place's Python and platform, chosen by uv; a file is used only if its SHA-256 is in the lock;
credentials of an index go to its own host only, and into no message.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import netrc
import os
import re
import shutil
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec
from packaging import tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from ..activity import doing
from ..core.errors import Impossible, Unavailable
from ..paths import data_dir, writing
from . import uv
from .index import Index
from .local import sha256
from .resolve import Target, target_options

SIZE_LIMIT = 2 << 30
ANSWER_SECONDS = 20.0
"""Seconds that a server may be silent."""
LOOK_SECONDS = 5.0
"""Seconds in which servers are asked for sizes that their index doesn't tell."""
AT_ONCE = 8
PAUSES = (1.0, 4.0)
"""Seconds between attempts to fetch a file."""
_KEPT_SECONDS = 14 * 86400.0
_BLOCK = 1 << 16
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_log = logging.getLogger("coiled_jupyter.software")


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A wheel on an index.

    Attributes
    ----------
    name, file
        Of the package, by PEP 503, and of the file.
    url
        Without credentials; ``file:`` where it is on this machine.
    hashes
        SHA-256 that the lock admits for the package.
    size
        In bytes; None where that isn't known.

    """

    name: str
    file: str
    url: str
    hashes: tuple[str, ...]
    size: int | None = None


class _Wheel(msgspec.Struct, frozen=True):
    url: str = ""
    path: str = ""
    size: int | None = None


class _Package(msgspec.Struct, frozen=True):
    name: str
    wheels: tuple[_Wheel, ...] = ()


class _Lock(msgspec.Struct, frozen=True):
    packages: tuple[_Package, ...] = ()


async def find(
    target: Target, lock: str, *, index: Index, without: Sequence[str] = (), deadline: float = 60
) -> tuple[Remote, ...]:
    """Return the wheel of each package of a lock for a place.

    Parameters
    ----------
    lock
        Requirement lines with hashes, as of `resolve.Resolution`.
    without
        Names of packages that no index has.

    Raises
    ------
    Impossible
        There is no wheel of a package for the place; the message names it.
    Unavailable
        The index didn't answer, or not in time.

    """
    pins = {name: pin for name, pin in _pins(lock).items() if name not in without}
    if not pins:
        return ()
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
        wanted, found = Path(folder, "in.txt"), Path(folder, "pylock.toml")
        wanted.write_text("".join(f"{name}=={version}\n" for name, (version, _) in pins.items()), encoding="utf-8")
        ended = await uv.attempt(
            *("pip", "compile", "--no-config", "--quiet", "--no-deps", "--no-header", "--no-annotate"),
            *(*target_options(target), "--only-binary", ":all:", *index.options),
            *("--format", "pylock.toml", "--output-file", str(found), "--", str(wanted)),
            cwd=Path(folder),
            deadline=deadline,
            index=index,
            level=logging.DEBUG,
        )
        if ended.status == 1:
            raise Impossible(f"There is no wheel for the node of each package: {ended.words[:700]}")
        if ended.status:
            raise Unavailable(f"The wheels can't be found: {ended.words[:2000]}", "Look at the network and the index")
        told = msgspec.toml.decode(found.read_bytes(), type=_Lock)
        base = Path(folder).as_uri() + "/"
    ranks = {tag: rank for rank, tag in enumerate(_tags(target))}
    remotes = []
    wheels: dict[str, tuple[_Wheel, ...]] = {canonicalize_name(each.name): each.wheels for each in told.packages}
    for name, (version, hashes) in pins.items():
        choice = _best(wheels.get(name, ()), base, ranks)
        if choice is None:
            raise Impossible(f"There is no wheel of {name} {version} for the node's Python and platform")
        url, wheel = choice
        remotes.append(Remote(name=name, file=_file(url), url=url, hashes=hashes, size=wheel.size))
    return tuple(remotes)


def _pins(lock: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return ``{name: (version, hashes)}`` of a lock."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    name = ""
    for line in lock.splitlines():
        match = _PINNED.match(line)
        if match:
            name = canonicalize_name(match[1])
            found[name] = (match[2], ())
        if name:
            version, hashes = found[name]
            found[name] = (version, (*hashes, *_HASH.findall(line)))
    return found


def _best(wheels: Sequence[_Wheel], base: str, ranks: Mapping[tags.Tag, int]) -> tuple[str, _Wheel] | None:
    """Return the URL of the wheel that an installer would take of those that uv has left, and that wheel."""
    rated = []
    for wheel in wheels:
        url = wheel.url or urljoin(base, wheel.path)
        with contextlib.suppress(InvalidWheelFilename):
            _, _, build, having = parse_wheel_filename(_file(url))
            rank = min((ranks[tag] for tag in having if tag in ranks), default=len(ranks))
            rated.append((rank, tuple(-part if isinstance(part, int) else 0 for part in build), url, wheel))
    if not rated:
        return None
    _, _, url, wheel = min(rated, key=lambda each: each[:3])
    return url, wheel


def _file(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _tags(target: Target) -> Iterator[tags.Tag]:
    """Yield the tags of wheels that a place can use, the best first; uv is who decides which it can."""
    minor = int(target.python.split(".")[1])
    platforms = list(_platforms(target))
    yield from tags.cpython_tags((3, minor), platforms=platforms)
    yield from tags.compatible_tags((3, minor), f"cp3{minor}", platforms)


def _platforms(target: Target) -> Iterator[str]:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(target.machine.lower(), target.machine.lower())
    if target.platform != "linux":
        yield from tags.mac_platforms((14, 0), "arm64" if machine == "aarch64" else machine)
        return
    number = re.search(r" (\d{1,4})\.(\d{1,4})", target.libc)
    last = int(number[2]) if number else 17
    if target.libc.startswith("musl"):
        yield from (f"musllinux_1_{minor}_{machine}" for minor in range(last if number else 2, -1, -1))
    else:
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        for minor in range(last, 4, -1):
            yield f"manylinux_2_{minor}_{machine}"
            if minor in legacy:
                yield f"{legacy[minor]}_{machine}"
    yield f"linux_{machine}"


# ---- fetching -----------------------------------------------------------------------------------------------------


async def sized(remotes: Sequence[Remote], *, index: Index) -> tuple[Remote, ...]:
    """Return the wheels with the sizes that their index doesn't tell, as far as servers tell them in a few seconds."""
    server = _Server(index)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(remote: Remote) -> Remote:
        if remote.size is not None:
            return remote
        async with gate:
            return msgspec.structs.replace(remote, size=await asyncio.to_thread(server.size, remote))

    tasks = [asyncio.ensure_future(one(remote)) for remote in remotes]
    await asyncio.wait(tasks, timeout=LOOK_SECONDS) if tasks else None
    for task in tasks:
        task.cancel()
    return tuple(
        task.result() if task.done() and not task.cancelled() and task.exception() is None else remote
        for task, remote in zip(tasks, remotes, strict=True)
    )


async def fetch(remote: Remote, *, index: Index) -> tuple[Path, str]:
    """Return the path of a wheel on this machine, and its SHA-256; it is fetched unless it is there already.

    Raises
    ------
    Impossible
        The file isn't one that the lock names.
    Unavailable
        It can't be fetched.

    """
    with doing(f"Fetching {remote.file}"):
        for pause in PAUSES:
            try:
                return await _attempt(remote, index)
            except _Broken:
                await asyncio.sleep(pause)
        return await _attempt(remote, index)


async def _attempt(remote: Remote, index: Index) -> tuple[Path, str]:
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(_fetch, remote, index, stop))
    try:
        return await asyncio.shield(work)
    finally:
        # A thread can't be cancelled; it ends after the next block.
        stop.set()
        if not work.done():
            work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


class _Broken(Unavailable):
    """A connection failed, which may be otherwise the next time."""


def _fetch(remote: Remote, index: Index, stop: threading.Event) -> tuple[Path, str]:
    home = data_dir("fetched")
    for digest in remote.hashes:
        path = home / digest / remote.file
        if path.is_file() and sha256(path) == digest:
            os.utime(path.parent)
            return path, digest
    _prune(home)
    with writing(home):
        handle, staging = tempfile.mkstemp(prefix=".new-", dir=home)
    try:
        with os.fdopen(handle, "wb") as stream:
            digest = _Server(index).read(remote, stream, stop)
        if digest not in remote.hashes:
            raise Impossible(f"{remote.file} on the index isn't the file that the plan's lock names, so it isn't used")
        with writing(home):
            folder = home / digest
            folder.mkdir(mode=0o700, exist_ok=True)
            Path(staging).replace(folder / remote.file)
        return folder / remote.file, digest
    finally:
        Path(staging).unlink(missing_ok=True)


def _prune(home: Path) -> None:
    """Remove what has not been used for long, and what a killed process has left."""
    for path in home.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


class _Server:
    """Asks the servers of an index, in a thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._insecure = {
            urlsplit(f"//{host.rpartition('://')[2]}").netloc for host in index.uv.get("UV_INSECURE_HOST", "").split()
        }
        self._logins = dict(_logins(index))

    def size(self, remote: Remote) -> int | None:
        """Return the size of a file, or None where its server doesn't tell it."""
        try:
            with self._open(remote.url, LOOK_SECONDS) as answer:
                return int(answer.headers["Content-Length"])
        except (OSError, ValueError, TypeError):
            return None

    def read(self, remote: Remote, stream: Any, stop: threading.Event) -> str:
        """Write a file into a stream, and return its SHA-256."""
        seen = hashlib.sha256()
        size = 0
        try:
            with self._open(remote.url, ANSWER_SECONDS) as answer:
                while block := answer.read(_BLOCK):
                    size += len(block)
                    if stop.is_set() or size > SIZE_LIMIT:
                        raise Unavailable(f"{remote.file} was not fetched: it is too large, or isn't needed any more")
                    seen.update(block)
                    stream.write(block)
        except (OSError, ValueError) as error:
            # A server that answers says the same again.
            raise (Unavailable if isinstance(error, urllib.error.HTTPError) else _Broken)(
                f"{remote.file} can't be fetched by this computer: {_reason(error)}",
                "Look at the network and the index",
            ) from None
        return seen.hexdigest()

    def _open(self, url: str, seconds: float) -> Any:
        parts = urlsplit(url)
        # Whether a file of this machine is meant is decided by uv, from the administrator's options.
        request = urllib.request.Request(url)  # noqa: S310
        login = self._logins.get(parts.netloc) or _netrc(parts.hostname or "")
        if login and parts.scheme in ("http", "https"):
            # A redirection to another host is not sent it.
            request.add_unredirected_header("Authorization", login)
        context = ssl.create_default_context()
        if {parts.netloc, parts.hostname} & self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        try:
            return opener.open(request, timeout=seconds)
        except urllib.error.HTTPError as error:
            # It holds the connection.
            error.close()
            raise


def _logins(index: Index) -> Iterator[tuple[str, str]]:
    """Yield hosts, with their ports, and the header that they are sent."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"):
        for value in re.split(r"[\s,]+", index.uv.get(name, "")):
            user, mark, host = urlsplit(value[value.find("http") :]).netloc.rpartition("@")
            if mark:
                yield host, _basic(*map(unquote, (user.partition(":")[0], user.partition(":")[2])))


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _netrc(host: str) -> str | None:
    try:
        known = netrc.netrc().hosts.get(host)
    except (OSError, netrc.NetrcParseError, UnicodeError):
        return None
    return _basic(known[0], known[2] or "") if known else None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"its server answers {error.code}"
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or getattr(cause, "verify_message", None) or type(cause).__name__)
