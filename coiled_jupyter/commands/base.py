"""What the commands share: where their results go, and requests checked as the routes check them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from ..core.errors import CoiledError, Invalid
from ..core.times import age, now
from ..core.wire import Step, SyncStep

DONE, FAILED, USAGE, UNREAD = 0, 1, 2, 3
"""Exit codes: done; rows at or above `--fail-on`, or a failure; wrong usage; something could not be read."""
_T = TypeVar("_T")


class Output(Protocol):
    """Where a command's results go: a terminal, or a notebook's cell.

    `line` prints as text what `value` passes on as the REST API's answer.
    """

    def line(self, text: str = "") -> None:
        """Print a line of the result."""

    def note(self, text: str) -> None:
        """Show progress while it runs."""

    def waiting(self, text: str) -> None:
        """Show, from any thread, what takes long; it is no part of the result."""

    def steps(self, steps: Sequence[Step | SyncStep]) -> None:
        """Show the present state of the steps of long work."""

    def value(self, value: Any) -> None:
        """Pass on the answer of the REST API's route."""

    def warn(self, text: str) -> None:
        """Print why there is no result."""

    async def confirmed(self, question: str, offer: Any = None) -> bool:
        """Ask a person, who has seen the `offer`; Invalid if there is nobody to ask."""

    async def text(self) -> str:
        """Return the failure to explain if no file is named."""


class EndedSteps:
    """Words for the steps of long work, each once, when it has ended."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def lines(self, steps: Sequence[Step | SyncStep]) -> list[str]:
        """Return a line for each step that has ended since the last call."""
        new = [step for step in steps if step.state not in ("waiting", "running")]
        new = [step for step in new if (step.name, step.state) not in self._told]
        self._told.update((step.name, step.state) for step in new)
        return [
            f"{'✓' if step.state == 'done' else '✕'} {step.name}  {step.seconds or 0:.1f} s  {step.text}".rstrip()
            for step in new
        ]


def counted(count: int, noun: str, of: str = "") -> str:
    """Return a number with its noun, such as ``1 worker`` or ``0 of 2 workers``; `noun` has a plural in s."""
    return f"{of}{count} {noun}{'' if count == 1 else 's'}"


def running(steps: Sequence[Step | SyncStep]) -> str:
    """Return the name of the step that runs, or nothing."""
    return next((step.name for step in steps if step.state == "running"), "")


def present(steps: Sequence[Step | SyncStep]) -> str:
    """Return the step that runs with its growing time in whole seconds, or nothing."""
    step = next((step for step in steps if step.state == "running"), None)
    if step is None:
        return ""
    begun = age(step.started_at, now()) if isinstance(step, SyncStep) else None
    seconds = max(begun if begun is not None else step.seconds or 0.0, 0.0)
    return f"{step.name}{f' ({step.text})' if step.text else ''}, {seconds:.0f} s"


class CommandFailed(CoiledError):
    """A command has failed; in a notebook its cell fails too, so that a program that runs notebooks stops."""


def body(raw: dict[str, Any], kind: type[_T]) -> _T:
    """Return a request of the REST API, checked as there."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        raise Invalid(path.rstrip("`"), f"{path.rstrip('`')}: {text}") from None


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}
