"""Decodes what a kernel says of a roll of its own cluster, hostile until checked here, and puts it into sentences."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

from msgspec import Meta, Struct

from .clients import decode, show

SIZE_LIMIT = 1024 * 1024
_Text = Annotated[str, Meta(max_length=1000)]
_Lines = Annotated[tuple[_Text, ...], Meta(max_length=1000)]
_Seconds = Annotated[float, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
Kind: TypeAlias = Literal["nannies", "threads", "elsewhere"]
T = TypeVar("T", bound=Struct)


class Look(Struct, frozen=True):
    """How the workers of a cluster run.

    Attributes
    ----------
    kind
        Under ``nannies`` in the kernel's process, as its ``threads``, or ``elsewhere``.
    asynchronous
        Whether the cluster's event loop is the kernel's own, which a running cell holds.
    workers
        The addresses of those under nannies.

    """

    kind: Kind
    asynchronous: bool = False
    workers: Annotated[tuple[_Text, ...], Meta(max_length=20_000)] = ()


class Begun(Struct, frozen=True):
    """The answer to ``begin``: a ticket, or why there is none."""

    ticket: _Text | None = None
    error: _Text | None = None


class Told(Struct, frozen=True):
    """The answer to ``tell``: how far a roll is.

    Attributes
    ----------
    why, worker, what
        How it ended: a word of `ended`, the worker's name and a detail.
    doing, of, since
        What it is at: a word of `doing`, the worker's name, and for how many seconds.
    done
        How many of the planned workers were dealt with.
    silent
        Seconds since the cluster's event loop ran last.
    lines, next
        The lines of its log since the last call, and the number of all lines.

    """

    state: Literal["running", "done", "failed", "cancelled", "unknown"]
    why: _Text = ""
    worker: _Text = ""
    what: _Text = ""
    doing: _Text = ""
    of: _Text = ""
    since: _Seconds = 0.0
    done: _Count = 0
    silent: _Seconds = 0.0
    lines: _Lines = ()
    next: _Count = 0


class Stopped(Struct, frozen=True):
    """The answer to ``stop``."""

    stopped: bool


def answer(text: str, kind: type[T]) -> T:
    """Decode an answer of ``texts/local_roll.py``; raises as `clients.decode`."""
    return decode(text, kind, limit=SIZE_LIMIT)


_DOING = {
    "lend": "a temporary worker starts, which takes over what the only one holds",
    "shuffle": "waiting for a shuffle in which worker {} takes part",
    "hand over": "worker {} hands over its results",
    "tasks": "waiting for the running tasks of worker {}",
    "restart": "worker {} restarts",
    "helper": "the temporary worker hands over what it holds, and ends",
}
_HELD_UP = "waiting for the cluster's event loop, which a running cell holds"
_HELD_UP_SECONDS = 3.0


def doing(told: Told, total: int) -> str:
    """Say what a roll of `total` workers is at."""
    if told.silent > _HELD_UP_SECONDS:
        return _HELD_UP
    what = _DOING.get(told.doing, "").format(show(told.of, 40))
    return f"{min(told.done, total)} of {total}{': ' if what else ''}{what}"


_ENDED = {
    "busy": "A task on worker {} ran longer than {:g} s. Try again when it has ended, or allow more time.",
    "shuffle": "A shuffle in which worker {} takes part ran longer than {:g} s. Try again when it has ended.",
    "held": "Worker {} could not hand over all its results: no other worker took them.",
    "actors": "Worker {} can't hand over its results, since actors live on it.",
    "full": "The other workers have no room for what worker {} holds. Add a worker, or release results.",
    "silent": "Worker {} doesn't answer.",
    "gone": "Worker {} has left the cluster by itself. Look at its logs, then try again.",
    "away": "Worker {} has not come back after its restart. Look at what its nanny logs.",
    "lend": "A temporary worker, to take over what the only one holds, could not be started.",
    "late": "It took longer than all steps together may take.",
    "closed": "The notebook has closed the cluster.",
}


def ended(told: Told, seconds: float) -> str:
    """Say why a roll has failed; a task may run for `seconds`."""
    text = _ENDED.get(told.why)
    if text is None:
        return f"A bug in coiled-jupyter: {show(told.what, 80) or 'no reason is known'}."
    return text.format(show(told.worker, 40), seconds)


_REFUSED = {
    "running": "The workers of this cluster are being restarted already",
    "leaving": "A temporary worker of the last sync still hands over what it holds",
    "gone": "The notebook has closed the cluster",
    "threads": "The workers of this cluster are not processes of their own any more",
}


def refused(begun: Begun) -> str:
    """Say why a roll could not be begun."""
    return _REFUSED.get(begun.error or "", "The kernel could not begin to restart the workers")
