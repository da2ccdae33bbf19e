"""Asks a platform, in a Python of the user's, what it declares for new clusters and which of the user's clusters run there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from ..core.errors import Timeout, Unavailable
from ..core.launch import ClusterClass
from ..core.times import since_epoch
from ..core.wire import Offers, Option, RunningThere
from ..factories.contract import Entry
from ..factories.failures import explained
from ..supervisor.host import variables
from ..texts import source

ASK_SECONDS = 40.0
KEPT_SECONDS = 60.0
"""Seconds that an answer is good enough to check the options of a request."""
_BYTES = 1 << 20
_ANY = r"[^\x00-\x1f\x7f]*"
"""What a text may be that a platform declares: it checks its own options, and they go to it as JSON."""
_Word: TypeAlias = Annotated[str, Meta(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Value: TypeAlias = Annotated[str, Meta(max_length=2000)] | int | float | bool | None


class _Declared(Struct):
    name: _Word
    type: Literal["boolean", "integer", "number", "string", ""]
    label: Annotated[str, Meta(max_length=2000)]
    default: _Value
    minimum: float | None
    maximum: float | None
    choices: Annotated[tuple[Annotated[str, Meta(max_length=2000)], ...], Meta(max_length=1000)]


class _Running(Struct):
    name: _Word
    status: _Word
    started: float


class _Event(Struct):
    event: Literal["offers", "failed"]
    options: Annotated[tuple[_Declared, ...], Meta(max_length=200)] = ()
    clusters: Annotated[tuple[_Running, ...], Meta(max_length=1000)] = ()
    kind: str = ""
    text: str = ""
    module: str = ""


class Asking:
    """Asks platforms, each in one process at a time, and keeps their answers for a minute."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._known: dict[tuple[str, str], tuple[float, Offers]] = {}

    async def ask(self, entry: Entry, interpreter: str, *, anew: bool = True) -> Offers:
        """Return what a platform offers; without `anew` an answer of the last minute will do.

        Raises
        ------
        Unavailable
            There is no such package, or the platform doesn't answer; in its own words.
        Timeout
            It didn't answer in time.

        """
        if entry.question is None:
            return Offers(options={}, clusters=())
        key = (entry.name, interpreter)
        async with self._lock:
            at, known = self._known.get(key, (float("-inf"), None))
            if known is not None and not anew and time.monotonic() - at < KEPT_SECONDS:
                return known
            found = _offers(entry, await _asked(entry.question, interpreter, entry.credentials))
            self._known = {key: (time.monotonic(), found)}
            return found


async def _asked(question: ClusterClass, interpreter: str, credentials: Mapping[str, str]) -> _Event:
    """Run the text ``cluster_host``, which asks and ends; raise what it has met."""
    spec = msgspec.json.encode(
        {"ask": True, "module": question.module, "name": question.name, "args": (), "kwargs": question.kwargs}
    )
    home = Path.home()
    try:
        process = await asyncio.create_subprocess_exec(
            interpreter,
            "-c",
            source("cluster_host"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=home if home.is_dir() else "/",
            env={**variables(interpreter), **credentials},
            start_new_session=True,
            limit=_BYTES,
        )
    except OSError as error:
        raise Unavailable(f"{interpreter} can't be run: {error.strerror}", "Choose another environment") from None
    line = b""
    try:
        if process.stdin is not None and process.stdout is not None:
            process.stdin.write(spec + b"\n")
            line = await asyncio.wait_for(process.stdout.readline(), ASK_SECONDS)
        event = msgspec.json.decode(line, type=_Event)
    except asyncio.TimeoutError:
        raise Timeout(
            f"The platform didn't say within {ASK_SECONDS:.0f} s what it offers",
            "Check that it can be reached from this machine",
        ) from None
    except (ValueError, msgspec.DecodeError):
        raise Unavailable("The platform's answer about what it offers can't be read", "Check its version") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if event.event == "failed":
        prefix = str(Path(interpreter).parent.parent)
        raise explained(event.text, kind=event.kind, module=event.module, prefix=prefix, requires=question.requires)
    return event


def _offers(entry: Entry, event: _Event) -> Offers:
    """Return what may be chosen: what an administrator decides isn't an option, and what isn't a scalar keeps its default."""
    options = {
        one.name: Option(
            type=one.type,
            description=one.label or one.name,
            default=one.default,
            minimum=one.minimum,
            maximum=one.maximum,
            choices=one.choices,
            pattern=_ANY if one.type == "string" else None,
        )
        for one in event.options
        if one.type and one.name not in (*entry.reserved, *entry.options, *entry.given)
    }
    running = (
        RunningThere(name=one.name, status=one.status, started_at=since_epoch(one.started)) for one in event.clusters
    )
    return Offers(options=options, clusters=tuple(sorted(running, key=lambda one: one.started_at, reverse=True)))
