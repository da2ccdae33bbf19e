# PYTHON_ARGCOMPLETE_OK
"""The `coiled-jupyter` command: everything that the panel does without a browser, on the same service as the server.

Exit codes: 0 done (diff: no row at or above --fail-on), 1 such rows or a failure, 2 usage, 3 could not read.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from .commands.base import DONE, FAILED, UNREAD, USAGE
from .commands.parser import parser
from .commands.run import run
from .core.errors import CoiledError, Invalid, NotFound, Timeout, Unavailable


class Terminal:
    """Writes results to standard output: words, or with `json` exactly what the REST API answers."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        if not self._json:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Print how far it is, beside the result."""
        if not self._json:
            print(text, file=sys.stderr)

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
        # In a thread, so that what runs beside goes on while a person thinks.
        answer = await asyncio.to_thread(input, f"{question} [y/N] ")
        return answer.strip().lower() in ("y", "yes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    top = parser()
    if "_ARGCOMPLETE" in os.environ:
        # A shell asks what the line can become; this prints it and ends.
        import argcomplete

        from .commands.completion import complete

        argcomplete.autocomplete(complete(top), always_complete_options="long")
    arguments = top.parse_args(argv)
    if arguments.version:
        from . import __version__

        print(f"coiled-jupyter {__version__}")
        return DONE
    out = Terminal(json=getattr(arguments, "json", False))
    try:
        return asyncio.run(run(arguments, out))
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130
    except CoiledError as error:
        out.value(error.to_wire())
        out.warn(error.told())
        if isinstance(error, Invalid):
            return USAGE
        return UNREAD if isinstance(error, (NotFound, Unavailable, Timeout)) else FAILED


if __name__ == "__main__":
    sys.exit(main())
