"""The processes of one cluster as its supervisor sees them: started and signalled by the launcher (`texts.launch`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from .. import tasks
from ..core.errors import CoiledError
from . import logs

LINE_LIMIT = 1 << 16

_log = logging.getLogger("coiled_jupyter.supervisor")


class Node:
    """One scheduler or nanny, the leader of a process group of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid: int | None = None
        self.ended = False
        self.started = time.monotonic()


class _Event(msgspec.Struct):
    started: str | None = None
    ended: str | None = None
    pid: int | None = None
    code: int | None = None


class Nodes:
    """Starts, signals and ends nodes; a node is `ended` once its process group, or the launcher, has ended.

    Parameters
    ----------
    cluster_id
        The cluster whose logs receive the nodes' output.
    prefix
        Prefix of the names of these logs.

    """

    def __init__(self, cluster_id: str, prefix: str = "") -> None:
        self._id, self._prefix = cluster_id, prefix
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._nodes: dict[str, Node] = {}

    async def open(self, argv: Sequence[str], environ: Mapping[str, str], folder: Path, alive: int) -> None:
        """Start the launcher, which imports Dask; it and its forks inherit the descriptor `alive`."""
        self._process = await begin(self._id, f"{self._prefix}launcher", argv, environ, folder, alive)
        self._reader = asyncio.create_task(self._read(self._process), name="launcher")

    def start(self, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Node:
        """Start a node; it replaces an ended one of this name."""
        node = self._nodes[name] = Node(name)
        request = {"start": name, "arguments": list(arguments), "environ": dict(environ)}
        try:
            log = str(logs.log_path(self._id, f"{self._prefix}{name}"))
        except CoiledError:
            log = os.devnull
        node.ended = not self._send({**request, "log": log})
        return node

    def signal(self, node: Node, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to a node or to its whole group, unless it has ended."""
        if not node.ended:
            self._send({"signal": node.name, "number": int(number), "group": group})

    async def close(self, seconds: float) -> None:
        """End all remaining nodes, by SIGTERM and then SIGKILL, and the launcher."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # The guard then kills the nodes' process groups.
                self._process.kill()
            # asyncio waits until its output has ended too, which somebody else may hold open.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), seconds)
        await tasks.end([self._reader])

    def _send(self, request: object) -> bool:
        if self._process is None or self._process.stdin is None or self._process.returncode is not None:
            return False
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        return True

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        try:
            while process.stdout is not None and (line := await process.stdout.readline()):
                event = msgspec.json.decode(line, type=_Event)
                node = self._nodes.get(event.started or event.ended or "")
                if node is not None and event.started:
                    node.pid = event.pid
                elif node is not None and event.pid is None:
                    _log.info("%s ended with %s", node.name, event.code)
                    node.ended = True
        except (OSError, ValueError, msgspec.DecodeError):
            _log.exception("the launcher sent an invalid event")
        finally:
            for node in self._nodes.values():
                node.ended = True


async def begin(
    cluster_id: str,
    log: str,
    argv: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    alive: int,
    limit: int = LINE_LIMIT,
) -> asyncio.subprocess.Process:
    """Start a program of a cluster that takes requests by stdin, tells events of at most `limit` bytes, and has a log.

    It inherits the descriptor `alive`, whose number is in ``COILED_JUPYTER_ALIVE``, and is in a session of its own.
    """
    descriptor = logs.open_log(cluster_id, log)
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=descriptor,
            cwd=folder,
            env={**environ, "COILED_JUPYTER_ALIVE": str(alive)},
            pass_fds=(alive,),
            start_new_session=True,
            limit=limit,
        )
    finally:
        os.close(descriptor)
