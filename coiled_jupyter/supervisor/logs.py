"""The logs of a cluster's processes: one bounded file each, read page by page."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from ..core.errors import CoiledError, Invalid, NotFound
from ..core.wire import LogLine, Logs
from ..paths import cluster_dir

KEPT_BYTES = 8 * 1024 * 1024
"""Bytes after which a file is rotated to ``<node>.log.1``."""
ANSWER_BYTES = 512 * 1024
NODE_BYTES = 64 * 1024
ANSWER_LINES = 2000
LINE_BYTES = 8192
_ORDER = ("supervisor", "launcher", "scheduler")
_NODE = re.compile(r"[A-Za-z0-9_-]{1,40}")
_PLACE = re.compile(r"([A-Za-z0-9_-]{1,40}):([0-9]{1,18})")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) - ")
# Dask logs this for each of our own requests, many times a minute.
_OWN = re.compile(r".* - distributed\.worker - INFO - Run out-of-band function 'eval'")
_SECRET = re.compile(r"//[^/\s@]*@")


def log_path(cluster_id: str, node: str) -> Path:
    """Return the log file of one node, and create its folder if possible."""
    folder = cluster_dir(cluster_id) / "logs"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{node}.log"


def open_log(cluster_id: str, node: str) -> int:
    """Return a descriptor for the output of a process; that of the null device if its log can't be created."""
    try:
        return os.open(log_path(cluster_id, node), os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except (OSError, CoiledError):
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def trim(cluster_id: str) -> None:
    """Rotate files that have become too large, without disturbing the processes that write to them."""
    for path in log_path(cluster_id, "scheduler").parent.glob("*.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_size > KEPT_BYTES:
                shutil.copyfile(path, path.with_name(f"{path.name}.1"))
                os.truncate(path, 0)


def last_words(cluster_id: str, nodes: Iterable[str]) -> str:
    """Return the last meaningful log line of the first of these nodes that has one."""
    for node in nodes:
        with contextlib.suppress(OSError):
            lines = _clean(_tail(log_path(cluster_id, node), NODE_BYTES)[1]).splitlines()
            found = [line.strip() for line in lines if line.strip() and not line.startswith((" ", "Traceback"))]
            if found:
                return found[-1][:300]
    return "its log is empty"


def read(cluster_id: str, node: str | None = None, after: str | None = None) -> Logs:
    """Return lines of one node or all, oldest first: the last ones, or those after the `next` of an earlier answer.

    Raises
    ------
    NotFound
        There is no such node.
    Invalid
        `after` isn't the `next` of an answer.

    """
    folder = log_path(cluster_id, "scheduler").parent
    nodes = sorted((path.stem for path in folder.glob("*.log") if _NODE.fullmatch(path.stem)), key=_order)
    if node is not None and node not in nodes:
        raise NotFound(f"The cluster has no log of {node[:40]!r}", "It may not have started yet")
    places = _places(after)
    share = max(ANSWER_BYTES // max(len(nodes), 1), 4096)
    found: list[list[LogLine]] = []
    for name in nodes:
        if node in (None, name):
            with contextlib.suppress(OSError):
                path = folder / f"{name}.log"
                if after is None:
                    start, data = _tail(path, min(share, NODE_BYTES))
                else:
                    start, data = _from(path, places.get(name, 0), NODE_BYTES)
                end = data.rfind(b"\n") + 1
                # An incomplete line waits for its end, but not forever.
                end = len(data) if not end and len(data) >= LINE_BYTES else end
                places[name] = start + end
                found.append(list(_lines(name, data[:end])))
    lines = list(heapq.merge(*found, key=lambda line: line.at or ""))
    # A first answer leaves out the oldest lines.
    kept = lines[-ANSWER_LINES:] if after is None else lines
    return Logs(lines=tuple(kept), nodes=tuple(nodes), next=",".join(f"{k}:{v}" for k, v in sorted(places.items())))


def _order(node: str) -> tuple[int, int, str]:
    if node in _ORDER:
        return _ORDER.index(node), 0, node
    return len(_ORDER), int(node) if node.isdigit() else 0, node


def _places(after: str | None) -> dict[str, int]:
    if not after:
        return {}
    matches = [_PLACE.fullmatch(part) for part in after.split(",")]
    if len(after) > 20000 or None in matches:
        raise Invalid("after", "`after` must be the `next` of an earlier answer")
    return {match[1]: int(match[2]) for match in matches if match}


def _tail(path: Path, size: int) -> tuple[int, bytes]:
    """Return the last whole lines of a file, and their offset."""
    start = max(path.stat().st_size - size, 0)
    start, data = _from(path, start, size)
    if start:
        cut = data.find(b"\n") + 1
        return start + cut, data[cut:]
    return start, data


def _from(path: Path, start: int, size: int) -> tuple[int, bytes]:
    with path.open("rb") as file:
        # Shorter than before: it was rotated.
        start = start if start <= os.fstat(file.fileno()).st_size else 0
        file.seek(start)
        return start, file.read(size)


def _lines(node: str, data: bytes) -> Iterator[LogLine]:
    at = None
    for line in _clean(data).splitlines():
        if _OWN.fullmatch(line):
            continue
        match = _TIME.match(line)
        if match:
            with contextlib.suppress(ValueError, OverflowError, OSError):
                moment = datetime.strptime(f"{match[1]}.{match[2]}", "%Y-%m-%d %H:%M:%S.%f").astimezone(timezone.utc)
                at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        yield LogLine(at=at, node=node, text=line[:LINE_BYTES])


def _clean(data: bytes) -> str:
    """Return text without control characters, bidirectional marks, and secrets in URLs."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    text = "".join(character for character in text if character == "\n" or character.isprintable())
    return _SECRET.sub("//***@", text)
