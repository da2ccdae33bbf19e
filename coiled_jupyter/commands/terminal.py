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
from .base import DONE, FAILED, UNREAD, USAGE, EndedSteps, present
from .compare import TEXT_LIMIT
from .parser import parser
from .run import run

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_COLOURS = {"✕": 31, "!": 33, "?": 33, "✓": 32, "+": 36}


class Terminal:
    """Writes results to standard output: words, or with `json` exactly what the REST API answers."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._ended = EndedSteps()
        self._live = not json and sys.stderr is not None and sys.stderr.isatty()
        self._coloured = not json and _takes_colours()
        self._status = ""
        self._turns = 0

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        self._show("")
        if not self._json:
            print(coloured(text) if self._coloured else text, flush=True)

    def note(self, text: str) -> None:
        """Print how far it is, beside the result."""
        self._show("")
        if not self._json:
            print(text, file=sys.stderr)

    def waiting(self, text: str) -> None:
        """Print what takes long beside the result, also where that is JSON."""
        # A line that changes shows the step that runs already.
        if not self._status:
            print(f"… {text}", file=sys.stderr, flush=True)

    def steps(self, steps: Sequence[Step | SyncStep]) -> None:
        """Print what has ended, and at a terminal in one line that changes what runs and for how long."""
        for line in self._ended.lines(steps):
            self.note(line)
        if self._live:
            self._show(present(steps))

    def _show(self, status: str) -> None:
        if status or self._status:
            self._status = status
            self._turns += 1
            frame = _FRAMES[self._turns % len(_FRAMES)]
            print(f"\r\x1b[K{f'{frame} {status}' if status else ''}", end="", file=sys.stderr, flush=True)

    def value(self, value: Any) -> None:
        """Print JSON."""
        if self._json:
            print(msgspec.json.encode(value).decode(), flush=True)

    def warn(self, text: str) -> None:
        """Print why there is no result."""
        self.note(f"coiled-jupyter: {text}")

    async def confirmed(self, question: str, offer: Any = None) -> bool:
        """Ask at the terminal."""
        if not (sys.stdin is not None and sys.stdin.isatty()):
            raise Invalid("yes", "There is no terminal to ask at", "Run again with --yes to apply")
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


def _takes_colours() -> bool:
    """Whether standard output is a terminal whose user wants colours (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stdout is not None and sys.stdout.isatty()


def coloured(text: str) -> str:
    """Return a line in the colour of the sign that it begins with; of a table's line only the sign."""
    colour = _COLOURS.get(text[:2].strip()) if text[1:2] == " " else None
    if colour is None:
        return text
    end = 1 if text[1:3] == "  " else len(text)
    return f"\x1b[{colour}m{text[:end]}\x1b[0m{text[end:]}"


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
