"""The process that runs a cluster's class (`texts.cluster_host`), as its supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from .. import tasks
from ..core.errors import Unavailable
from ..core.launch import ClusterClass
from ..factories.failures import explained
from ..texts import source
from . import logs
from .nodes import begin

LINE_LIMIT = 1 << 22
CLOSE_SECONDS = 70.0
"""How long it may take to close the cluster: the process ends itself earlier if its loop is blocked."""
_CLEARED = ("PYTHON", "VIRTUAL_ENV", "CONDA", "JUPYTER", "JPY_", "COILED_JUPYTER_")
_log = logging.getLogger("coiled_jupyter.supervisor")


class Started(msgspec.Struct):
    """Where the scheduler is, and by which certificates it is reached."""

    address: str
    tls: dict[str, str] | None = None
    dashboard: str = ""


class _Event(msgspec.Struct):
    event: str
    id: int = 0
    error: str | None = None
    address: str = ""
    tls: dict[str, str] | None = None
    dashboard: str = ""
    kind: str = ""
    text: str = ""
    module: str = ""
    units: dict[str, tuple[str, ...]] | None = None
    pending: str = ""
    lost: str = ""
    refused: str = ""
    port: Annotated[int, msgspec.Meta(gt=0, lt=65536)] | None = None


class Host:
    """One such process.

    Attributes
    ----------
    units
        The names of the workers that were asked for, by job or process; None where the class doesn't tell.
    pending, lost, refused
        What waits at the platform, what has ended there without a worker, and what it didn't grant, in words.

    """

    def __init__(self, cluster_id: str, made: ClusterClass) -> None:
        self._id, self._made = cluster_id, made
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self._answers: dict[int, asyncio.Future[int | None]] = {}
        self._last = 0
        self._prefix = ""
        self.units: dict[str, tuple[str, ...]] | None = None
        self.pending = self.lost = self.refused = ""

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is not None and self._process.returncode is not None

    async def start(
        self, interpreter: str, environ: Mapping[str, str], folder: Path, alive: int, tls: Mapping[str, str] | None
    ) -> Started:
        """Start the class in a Python, and return its scheduler; Unavailable in the platform's words.

        `tls` are the paths of certificates that it is given.
        """
        self._prefix = str(Path(interpreter).parent.parent)
        argv = [interpreter, "-c", source("cluster_host")]
        self._process = await begin(self._id, "platform", argv, environ, folder, alive, LINE_LIMIT)
        self._reader = asyncio.create_task(self._read(self._process), name="platform")
        self._send(
            {
                "module": self._made.module,
                "name": self._made.name,
                "args": self._made.args,
                "kwargs": self._made.kwargs,
                "queue": self._made.queue,
                "tls": tls,
                "logs": str(logs.log_path(self._id, "platform").parent),
            }
        )
        return await self._started

    async def relay(self, folder: Path, port: int) -> int:
        """Open a relay to a scheduler that only the class reaches; return its port on loopback.

        `folder` has the certificates of the relay, and `port` is the one to be taken if it is free, or 0.
        """
        opened = await self.call("relay", text=source("relay"), folder=str(folder), port=port)
        if opened is None:
            raise Unavailable("The cluster's class opened no way to its scheduler", "See its log")
        return opened

    async def call(self, name: str, **fields: Any) -> int | None:
        """Have the class do something, and wait until it has; Unavailable in the platform's words."""
        self._last += 1
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._answers[self._last] = answer
        self._send({"id": self._last, "call": name, **fields})
        return await answer

    async def close(self) -> None:
        """Close the cluster, wait until the platform has been told, and end the process."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), CLOSE_SECONDS)
        if self._process.returncode is None:
            _log.error("the platform didn't close the cluster in %.0f s", CLOSE_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), 5.0)
        await tasks.end([self._reader])

    def _send(self, line: object) -> None:
        if self._process is None or self._process.stdin is None or self.ended:
            raise Unavailable("The process that runs the cluster's class has ended", "See its log")
        self._process.stdin.write(msgspec.json.encode(line) + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        try:
            while process.stdout is not None and (line := await process.stdout.readline()):
                self._take(msgspec.json.decode(line, type=_Event))
        except (OSError, ValueError, msgspec.DecodeError):
            _log.exception("the process of the cluster's class sent an invalid event")
        finally:
            why = Unavailable(f"Its class ended: {logs.last_words(self._id, ['platform'])}", "See its log")
            unanswered: list[asyncio.Future[Any]] = [self._started, *self._answers.values()]
            for waiting in unanswered:
                if not waiting.done():
                    waiting.set_exception(why)
                    # Nobody may be waiting any more.
                    waiting.exception()

    def _take(self, event: _Event) -> None:
        if event.event == "started" and not self._started.done():
            self._started.set_result(Started(event.address, event.tls, event.dashboard))
        elif event.event == "failed" and not self._started.done():
            self._started.set_exception(self._error(event.text, event.kind, event.module))
        elif event.event == "state":
            self.units, self.pending, self.lost = event.units, event.pending, event.lost
            self.refused = ""
            if event.refused:
                error = self._error(event.refused)
                self.refused = f"{error.message}. {error.hint}"
        elif event.event == "answer" and event.id in self._answers:
            answer = self._answers.pop(event.id)
            if not answer.done() and event.error is not None:
                answer.set_exception(self._error(event.error))
            elif not answer.done():
                answer.set_result(event.port)

    def _error(self, text: str, kind: str = "platform", module: str = "") -> Unavailable:
        return explained(text, kind=kind, module=module, prefix=self._prefix, requires=self._made.requires)


def variables(interpreter: str) -> dict[str, str]:
    """Return the variables of a process that speaks to a platform: those of the user, whose configuration and login it needs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_CLEARED)}
    kept["PYTHONUNBUFFERED"] = "1"
    kept["PATH"] = os.pathsep.join([str(Path(interpreter).parent), kept.get("PATH", os.defpath)])
    return kept


def chosen(
    units: Mapping[str, Sequence[str]], count: int, present: Mapping[str, str], least: Sequence[str]
) -> list[str]:
    """Return the units to close so that at most `count` workers stay: first those without a worker, then the least used.

    Parameters
    ----------
    present
        The names of the workers that are there, by address.
    least
        Addresses of workers, those to be closed first.

    """
    names = set(present.values())
    ranks = {present[address]: rank for rank, address in enumerate(least) if address in present}

    def rank(unit: str) -> tuple[bool, int]:
        there = [name for name in units[unit] if name in names]
        # A job ends with all its workers: the busiest decides.
        return bool(there), max((ranks.get(name, len(ranks)) for name in there), default=0)

    left, found = sum(map(len, units.values())), []
    newest_first = list(units)[::-1]
    for unit in sorted(newest_first, key=rank):
        if left - len(units[unit]) < count:
            break
        left -= len(units[unit])
        found.append(unit)
    return found
