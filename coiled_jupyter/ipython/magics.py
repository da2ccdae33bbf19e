"""The magics `%coiled`, the commands of the shell with results that are values, and `%%coiled`, a cell on the cluster."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from .. import bringing
from ..commands.base import DONE, UNREAD, CommandFailed
from ..commands.parser import Parser, parser
from ..commands.run import run
from ..core.cell import in_the_way
from ..core.errors import CoiledError, Conflict, NotFound, Unavailable, packages_needed
from ..core.notebook import cell_imports
from ..core.sealing import ALL
from ..core.wire import Diff, Step, SyncStep
from ..links import this_process as here
from ..links.own_kernel import OwnKernel
from .cells import Cells, RemoteError
from .connect import connect, seal_again
from .progress import Progress
from .results import Result
from .threads import finished


class _Left(Exception):
    """Help was asked for."""


class _Parser(Parser):
    """Says in one line what is wrong, and never ends the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(self.told(message))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise _Left


class Cell:
    """Keeps what a command tells, for the value of the cell; shows how far it is while it runs."""

    def __init__(self, progress: Progress, command: str, *, everything: bool = False) -> None:
        self.command, self._everything = command, everything
        self.lines: list[str] = []
        self.values: list[Any] = []
        self.warnings: list[str] = []
        self.progress = progress
        self.left = False
        """Whether it ended where a person would have been asked."""

    def line(self, text: str = "") -> None:
        """Keep a line of the result."""
        self.lines.append(text)

    def note(self, text: str) -> None:
        """Show how far it is."""
        self.progress.add(text)

    def waiting(self, text: str) -> None:
        """Show what takes long."""
        self.progress.wait(text)

    def steps(self, steps: Sequence[Step | SyncStep]) -> None:
        """Show how the steps stand."""
        self.progress.steps(steps)

    def value(self, value: Any) -> None:
        """Keep the result."""
        self.values.append(value)

    def warn(self, text: str) -> None:
        """Keep why there is no result."""
        self.warnings.append(text)

    async def confirmed(self, question: str, offer: Any = None) -> bool:
        """Leave it at what would be done: a cell that is run again by a program has nobody to ask."""
        self.line("Nothing was changed. Run again with --yes to apply")
        self.value(offer)
        self.left = True
        return False

    async def text(self) -> str:
        """Return the last error of this notebook, from the cluster where it was raised there."""
        error = getattr(sys, "last_value", None)
        if error is None:
            raise NotFound("No cell of this notebook has failed yet", "Name a file with the error's text")
        if isinstance(error, RemoteError):
            return error.remote
        return "".join(traceback.format_exception(error))

    def result(self) -> Result:
        """Return what was told."""
        value = self.values[-1] if self.values else None
        return Result(self.command, value, tuple(self.lines), everything=self._everything)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the magic: the shell's, and what only a notebook can do."""
    return parser(_Parser, notebook=True)


def _parsed(top: argparse.ArgumentParser, line: str) -> argparse.Namespace | None:
    """Return what a line asks for, or None where help was all."""
    try:
        words = shlex.split(line)
    except ValueError:
        raise UsageError("A quotation mark in this line has no end") from None
    try:
        return top.parse_args(words)
    except _Left:
        return None


class _Told:
    """A value on the cluster, of which only its repr came back."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def cell_parser() -> argparse.ArgumentParser:
    """Return the parser of the first line of a `%%coiled` cell."""
    top = _Parser(
        prog="%%coiled",
        description="Run this cell on a cluster. Its output appears while it runs; only the named variables are sent.",
        epilog="Example: %%coiled -i path -o total",
    )
    top.add_argument("-i", dest="give", action="append", default=[], metavar="NAMES", help="variables to send: a,b")
    top.add_argument("-o", dest="out", metavar="NAME", help="assign its last value to this variable")
    top.add_argument("--cluster", metavar="X", help="name or id (default: the only cluster)")
    top.add_argument("--force", action="store_true", help="run it even if differences will break it")
    return top


@magics_class
class CoiledMagics(Magics):
    """`%coiled` and `%%coiled` in IPython."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._cells = Cells()

    @line_cell_magic
    def coiled(self, line: str, cell: str | None = None) -> Any:
        """See how the packages of this kernel and of a cluster differ, and run clusters that match."""
        arguments = _parsed(make_parser() if cell is None else cell_parser(), line)
        if arguments is None:
            return None
        if cell is not None:
            return self._run_cell(arguments, cell)
        if arguments.version:
            from .. import __version__

            return __version__
        if arguments.command == "connect":
            return connect(arguments.cluster)
        return self._run(arguments)

    def _run(self, arguments: argparse.Namespace) -> Result:
        command = " ".join(filter(None, (arguments.command or "status", getattr(arguments, "verb", None))))
        cell = Cell(Progress(self.shell), command, everything=getattr(arguments, "all", False))
        try:
            code = _wait(arguments, cell)
        except CoiledError:
            # What was found out before it failed, such as a plan, is worth seeing.
            self._show(cell)
            raise
        finally:
            cell.progress.close()
        if code == DONE or cell.left:
            return cell.result()
        self._show(cell)
        if code == UNREAD:
            raise Unavailable("Not everything could be read", "The output above says what, and why")
        raise CommandFailed("; ".join(cell.warnings) or _OUTCOMES.get(command, "It didn't end well: see above"))

    def _run_cell(self, arguments: argparse.Namespace, source: str) -> Any:
        names = [name for names in arguments.give for name in names.split(",") if name]
        names_here: dict[str, Any] = self.shell.user_ns if self.shell is not None else {}
        missing = [name for name in names if name not in names_here]
        if missing:
            raise UsageError(f"There is no variable {missing[0]} to send")
        if arguments.out is not None and not arguments.out.isidentifier():
            raise UsageError(f"{arguments.out[:40]} isn't a name of a variable")
        given = {name: names_here[name] for name in names}
        compared = Cell(Progress(self.shell), "diff")
        words = ["diff", *(["--cluster", arguments.cluster] if arguments.cluster else [])]
        _wait(make_parser().parse_args(words), compared)
        diff: Diff = compared.values[-1]
        if not arguments.force:
            modules = cell_imports(source) | {type(value).__module__.partition(".")[0] for value in given.values()}
            rows = in_the_way(diff, modules)
            if rows:
                raise Conflict(f"This cell can't work on the cluster: {rows[0].why}", f"{rows[0].fix} Or give --force")
        # One at an address was attached for the comparison only.
        address = arguments.cluster is not None and "://" in arguments.cluster
        client = self._cells.client(arguments.cluster if address else diff.cluster.id)
        value, told = self._cells.run(client, source, given, wanted=arguments.out is not None)
        if arguments.out is not None:
            names_here[arguments.out] = value
            return None
        return _Told(told) if told else None

    def _show(self, cell: Cell) -> None:
        if cell.lines:
            from IPython.display import display

            display(cell.result())


_OUTCOMES = {"diff": "There are differences of the severity that --fail-on names"}


def _wait(arguments: argparse.Namespace, cell: Cell) -> int:
    with bringing(), packages_needed():
        return finished(lambda: run(arguments, cell, OwnKernel()), cell.progress.show)


def load(shell: Any) -> None:
    """Register the magic, and begin to tell what this kernel's own imports are from the user's."""
    here.begin([shell.user_ns])
    top = make_parser()
    CoiledMagics.coiled.__doc__ = f"{top.format_help()}\n{_all_help(top)}\n{cell_parser().format_help()}"
    shell.register_magics(CoiledMagics)
    for name in ("%coiled", "%%coiled"):
        shell.set_hook("complete_command", _completed, str_key=name)
    # A ledger that can't be read is no reason not to have the magic, which says so when it is used.
    with contextlib.suppress(CoiledError):
        seal_again()


def unload(shell: Any) -> None:
    """Take the magic away again, and have this kernel's clients send their graphs as plain Dask does."""
    here.seal(ALL, on=False)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("coiled", None)


def _completed(_: Any, event: Any) -> list[str]:
    with bringing():
        from ..commands.completion import candidates

    top = cell_parser() if event.command == "%%coiled" else make_parser()
    return candidates(top, event.text_until_cursor)


def _all_help(top: argparse.ArgumentParser) -> str:
    """Return the help of every command, for `%coiled?`."""
    parts: list[str] = []
    waiting: Sequence[argparse.ArgumentParser] = [top]
    while waiting:
        found = [
            command
            for one in waiting
            for action in one._actions
            if isinstance(action, argparse._SubParsersAction)
            for command in action.choices.values()
        ]
        parts += [command.format_help() for command in found]
        waiting = found
    return "\n".join(parts)
