"""What the commands share: where their results go, and requests checked as the routes check them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from ..core.errors import CoiledError, Invalid
from ..core.wire import Step, SyncStep

DONE, FAILED, USAGE, UNREAD = 0, 1, 2, 3
"""How a command ends: done; rows at the severity that was named, or a failure; wrong usage; something could not be read."""
_T = TypeVar("_T")


class Output(Protocol):
    """Where a command's results go: a terminal, or a notebook's cell.

    What is told by `line` says in words what `value` says as the REST API answers it.
    """

    def line(self, text: str = "") -> None:
        """Tell a line of the result."""

    def note(self, text: str) -> None:
        """Tell how far it is, while it runs."""

    def steps(self, steps: Sequence[Step | SyncStep]) -> None:
        """Tell how the steps of long work stand now."""

    def value(self, value: Any) -> None:
        """Give what the route of the REST API answers."""

    def warn(self, text: str) -> None:
        """Tell why there is no result."""

    async def confirmed(self, question: str) -> bool:
        """Ask a person; Invalid where there is none to ask."""

    async def text(self) -> str:
        """Return the failure that is to be explained where no file is named."""


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


class CommandFailed(CoiledError):
    """A command has ended without what it is for; in a notebook its cell fails, so that a program that runs notebooks stops."""


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
