"""Carries out commands for a person at a terminal, or for a program that reads JSON."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from ..activity import doing
from ..core.errors import CoiledError, Invalid, NotFound, Timeout, Unavailable, packages_needed
from ..core.wire import Step, SyncStep
from .base import DONE, FAILED, UNREAD, USAGE, EndedSteps
from .compare import TEXT_LIMIT
from .parser import parser
from .run import run


class Terminal:
    """Writes results to standard output: words, or with `json` exactly what the REST API answers."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._ended = EndedSteps()

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        if not self._json:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Print how far it is, beside the result."""
        if not self._json:
            print(text, file=sys.stderr)

    def waiting(self, text: str) -> None:
        """Print what takes long beside the result, also where that is JSON."""
        print(f"… {text}", file=sys.stderr, flush=True)

    def steps(self, steps: Sequence[Step | SyncStep]) -> None:
        """Print what has ended."""
        for line in self._ended.lines(steps):
            self.note(line)

    def value(self, value: Any) -> None:
        """Print JSON."""
        if self._json:
            print(msgspec.json.encode(value).decode(), flush=True)

    def warn(self, text: str) -> None:
        """Print why there is no result."""
        self.note(f"coiled-jupyter: {text}")

    async def confirmed(self, question: str) -> bool:
        """Ask at the terminal."""
        if not (sys.stdin is not None and sys.stdin.isatty()):
            raise Invalid("yes", "There is no terminal to ask at", "Give --yes, or look first with --dry-run")
        print(f"{question} [y/N] ", end="", flush=True)
        with doing(""):
            return (await _read(100, line=True)).strip().lower() in ("y", "yes")

    async def text(self) -> str:
        """Return standard input."""
        if sys.stdin is not None and sys.stdin.isatty():
            self.note("Paste the traceback, then press Ctrl-D")
        # No character takes more bytes, so what is too long is seen to be.
        with doing(""):
            return await _read(4 * TEXT_LIMIT)


async def _read(limit: int, *, line: bool = False) -> str:
    """Return standard input to its end, to the end of its first line, or to a little more than `limit` bytes.

    Without a thread, which would go on waiting for a person after an interrupt.
    """
    if sys.stdin is None:
        raise Invalid("file", "There is no standard input", "Name a file")
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    found = bytearray()
    place = sys.stdin.fileno()

    def take() -> None:
        try:
            part = os.read(place, 65536)
        except OSError:
            # Such as the terminal of a process in the background: there is nobody to ask.
            part = b""
        found.extend(part)
        if not ended.done() and (not part or len(found) > limit or (line and b"\n" in part)):
            ended.set_result(None)

    try:
        loop.add_reader(place, take)
    except PermissionError:
        # A regular file can't be waited for, and needn't be.
        while not ended.done():
            take()
    try:
        await ended
    finally:
        loop.remove_reader(place)
    return found.decode(errors="replace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    top = parser()
    if "_ARGCOMPLETE" in os.environ:
        # A shell asks what the line can become; this prints it and ends.
        import argcomplete

        from .completion import complete

        argcomplete.autocomplete(complete(top), always_complete_options="long")
    arguments = top.parse_args(argv)
    if arguments.version:
        from .. import __version__

        print(f"coiled-jupyter {__version__}")
        return DONE
    out = Terminal(json=getattr(arguments, "json", False))
    try:
        with packages_needed():
            return asyncio.run(run(arguments, out))
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except CoiledError as error:
        out.value(error.to_wire())
        out.warn(error.told())
        if isinstance(error, Invalid):
            return USAGE
        return UNREAD if isinstance(error, (NotFound, Unavailable, Timeout)) else FAILED
    except OSError as error:
        # Such as a full disk, which the user can mend: not an internal error.
        out.warn(f"{error.filename or 'This machine'}: {error.strerror or type(error).__name__}")
        return UNREAD
