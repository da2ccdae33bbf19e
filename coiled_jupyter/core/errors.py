"""The errors that a person can meet, drawn as one tree; each carries data, a message and what to do next.

    CoiledError
    ├── Invalid       the request is wrong: which field, and why
    ├── NotFound      there is no such kernel, cluster, software environment …
    ├── Conflict      it collides with what exists: a limit, a name, a state
    ├── TooLarge      more than we read or accept
    ├── Impossible    nothing of the request can be done
    ├── TooMany       too many requests
    ├── Unavailable   a part that is needed doesn't answer or isn't there
    │   └── MissingPackage
    └── Timeout       a deadline passed

`kind` is what crosses the wire (``core.wire.ErrorKind``); only ``server.handlers`` turns it into a status code.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import ClassVar

from .wire import ErrorBody, ErrorKind, Problematic

Datum = str | int | float | bool | None | dict[str, int]


class CoiledError(Exception):
    """Root of all errors that are meant for a person.

    Parameters
    ----------
    message
        What happened and where, in plain words, without the text of a Python exception.
    hint
        What to do next.
    data
        The facts behind it: JSON scalars, or counts by name.

    """

    kind: ClassVar[ErrorKind] = "unavailable"

    def __init__(self, message: str, hint: str = "", **data: Datum) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = data

    def told(self) -> str:
        """Return the message: where, what, and on a line of its own what to do next."""
        field = str(self.data.get("field", ""))
        where = f"{field}: " if field and field not in self.message else ""
        return f"{where}{self.message}" + (f"\n  {self.hint}" if self.hint else "")

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: no traceback of ours helps a person."""
        return self.told().splitlines()

    def to_wire(self) -> ErrorBody:
        """Return the body of an error answer of REST and of the supervisor's socket."""
        return ErrorBody(error=Problematic(kind=self.kind, message=self.message, hint=self.hint, data=dict(self.data)))


class Invalid(CoiledError):
    """The request is wrong; `field` names the part of it that is."""

    kind = "invalid"

    def __init__(self, field: str, message: str, hint: str = "", **data: Datum) -> None:
        super().__init__(message, hint, field=field, **data)
        self.field = field


class NotFound(CoiledError):
    """There is no such thing."""

    kind = "not_found"


class Conflict(CoiledError):
    """It collides with what exists."""

    kind = "conflict"


class TooLarge(CoiledError):
    """More than is read or accepted."""

    kind = "too_large"


class Impossible(CoiledError):
    """Nothing of the request can be done."""

    kind = "impossible"


class TooMany(CoiledError):
    """Too many requests."""

    kind = "too_many"


class Unavailable(CoiledError):
    """A part that is needed isn't there or doesn't answer."""

    kind = "unavailable"


class MissingPackage(Unavailable, ModuleNotFoundError):
    """A Python package that only some commands need isn't installed."""


@contextlib.contextmanager
def packages_needed() -> Iterator[None]:
    """Name the package, and the command that installs it, if an import in the block fails because it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if isinstance(error, MissingPackage) or module in ("", "coiled_jupyter"):
            raise
        project = module.replace("_", "-").lower()
        command = f"{sys.executable} -m pip install {project}"
        raise MissingPackage(f"The package {project} isn't installed here: install it with `{command}`") from None


class Timeout(CoiledError):
    """A deadline passed."""

    kind = "timeout"


def from_wire(body: ErrorBody) -> CoiledError:
    """Rebuild the error that another process of ours sent."""
    problem = body.error
    data = dict(problem.data)
    field = data.pop("field", None)
    if problem.kind == "invalid":
        return Invalid(str(field or ""), problem.message, problem.hint, **data)
    for cls in CoiledError.__subclasses__():
        if cls.kind == problem.kind:
            return cls(problem.message, problem.hint, **problem.data)
    return CoiledError(problem.message, problem.hint, **problem.data)
