"""The processes of one cluster as its supervisor sees them: started and signalled by the launcher (`texts.launch`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from .. import tasks

_log = logging.getLogger("coiled_jupyter.supervisor")


class Node:
    """One scheduler or nanny, the leader of a process group of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid: int | None = None
        self.ended = False
        self.started = time.monotonic()


class _Told(msgspec.Struct):
    started: str | None = None
    ended: str | None = None
    pid: int | None = None
    code: int | None = None


class Nodes:
    """Starts, signals and ends nodes; a node is `ended` once its group was seen to end, or the launcher has gone.

    Parameters
    ----------
    log_of
        Returns the file that takes what a node prints.

    """

    def __init__(self, log_of: Callable[[str], Path]) -> None:
        self._log_of = log_of
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._nodes: dict[str, Node] = {}

    async def open(self, argv: Sequence[str], environ: Mapping[str, str], folder: Path, alive: int) -> None:
        """Start the launcher, which imports Dask; it and its forks keep the descriptor `alive` open."""
        descriptor = os.open(self._log_of("launcher"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=descriptor,
                cwd=folder,
                env={**environ, "COILED_JUPYTER_ALIVE": str(alive)},
                pass_fds=(alive,),
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self._reader = asyncio.create_task(self._read(self._process), name="launcher")

    def start(self, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Node:
        """Start a node in the place of one with this name that has ended, if there was one."""
        node = self._nodes[name] = Node(name)
        request = {"start": name, "arguments": list(arguments), "environ": dict(environ)}
        node.ended = not self._send({**request, "log": str(self._log_of(name))})
        return node

    def signal(self, node: Node, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to a node or to its whole group; nothing where it has ended."""
        if not node.ended:
            self._send({"signal": node.name, "number": int(number), "group": group})

    async def close(self, seconds: float) -> None:
        """End all nodes that are left, by SIGTERM and then SIGKILL, and the launcher."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # Its guard kills the groups of the nodes then.
                self._process.kill()
            await self._process.wait()
        await tasks.end([self._reader])

    def _send(self, request: object) -> bool:
        if self._process is None or self._process.stdin is None or self._process.returncode is not None:
            return False
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        return True

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        try:
            while process.stdout is not None and (line := await process.stdout.readline()):
                told = msgspec.json.decode(line, type=_Told)
                node = self._nodes.get(told.started or told.ended or "")
                if node is not None and told.started:
                    node.pid = told.pid
                elif node is not None and told.pid is None:
                    _log.info("%s ended with %s", node.name, told.code)
                    node.ended = True
        except (OSError, ValueError, msgspec.DecodeError):
            _log.exception("the launcher said something else than it should")
        finally:
            for node in self._nodes.values():
                node.ended = True
