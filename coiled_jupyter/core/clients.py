"""Decodes what a kernel says of its Dask clients, and what comes through one of them: hostile until checked here.

Limits: 4 MiB for one text and some more for what wraps several, 200 clients, 200 characters shown of one text.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from .errors import CoiledError, Invalid, Timeout, TooLarge, Unavailable

SIZE_LIMIT = 4 * 1024 * 1024
WRAPPED_LIMIT = 16 * 1024 * 1024
CLIENT_LIMIT = 200

_Text = Annotated[str, Meta(max_length=2000)]
T = TypeVar("T")


class KernelClient(Struct, frozen=True, kw_only=True):
    """One live Dask client of a kernel, as ``texts.clients.clients`` tells it.

    Attributes
    ----------
    scheduler
        The scheduler's id, the key that joins clients to clusters; None until the client has heard it.
    cluster_class
        Set where the client's program started the cluster itself.
    inproc
        Scheduler and workers live in the kernel's own process.
    in_memory_tls
        The certificates are nowhere but in the kernel's memory.
    tls_files
        Else the paths of the authority's certificate, the client's own and its key, as the kernel was given them.

    """

    id: _Text
    status: _Text
    address: _Text
    scheduler: _Text | None = None
    security: _Text = ""
    cluster_class: _Text | None = None
    cluster_name: _Text | None = None
    inproc: bool = False
    in_memory_tls: bool = False
    tls_files: tuple[_Text, ...] = ()
    asynchronous: bool = False
    workers: int = 0


class Ticket(Struct, frozen=True):
    """The answer to ``begin``."""

    ticket: int | None = None
    error: _Text | None = None


class Answer(Struct, frozen=True):
    """What one place answered to a request through a client."""

    text: str | None = None
    error: _Text | None = None


class Answers(Struct, frozen=True):
    """The answer to ``result``: what has come in so far."""

    done: bool
    answers: dict[str, Answer] = {}
    error: _Text | None = None


def show(text: str, length: int = 200) -> str:
    """Return a text of somebody else's without what changes how other text is shown."""
    return "".join(character for character in text[: 4 * length] if character.isprintable())[:length]


def cluster_id(scheduler: str) -> str:
    """Return the id of a cluster that was found, always the same for one scheduler."""
    return hashlib.blake2b(scheduler.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def decode(data: str, kind: type[T], *, limit: int = SIZE_LIMIT) -> T:
    """Decode an answer by its schema.

    Raises
    ------
    TooLarge
        It is larger than `limit`.
    Invalid
        It isn't what was asked for.

    """
    if len(data) > limit:
        raise TooLarge(f"The answer is larger than {limit // 2**20} MiB, so it wasn't read")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Invalid("answer", "The answer isn't what was asked for, so it wasn't read") from None


class Sealed(Struct, frozen=True):
    """What ``texts.seal.change`` answers: the ids of the schedulers that get sealed graphs, and why it failed."""

    sealed: Annotated[tuple[Annotated[str, Meta(max_length=500)], ...], Meta(max_length=1000)] = ()
    error: Annotated[str, Meta(max_length=500)] = ""


def decode_clients(data: str) -> tuple[KernelClient, ...]:
    """Decode ``texts.clients.clients``; clients whose scheduler isn't known yet are left out."""
    found = decode(data, tuple[KernelClient, ...])
    if len(found) > CLIENT_LIMIT:
        raise TooLarge(f"The kernel names {len(found)} Dask clients, more than can be shown")
    return tuple(client for client in found if client.scheduler)


_REASONS = {
    "busy": (
        "The event loop of the notebook's client is held up, by a running cell where the client is asynchronous; "
        "the reading follows when it goes on"
    ),
    "late": "No answer in time",
    "gone": "The client was closed",
    "unknown": "The kernel no longer knows of this request",
    "connection": "The connection failed",
    "large": "The answer is larger than 4 MiB, so it wasn't read",
    "many": "Too many requests are under way in the kernel",
    "Refused": "The process refused to be read, or its answer isn't text",
    "LookupError": "The scheduler doesn't know this worker any more",
}


def failed(error: str | None) -> CoiledError:
    """Return in plain words why a request through a kernel's client wasn't answered; `data` has the short word."""
    known = error if error in _REASONS else "failed"
    kind = Timeout if known in ("late", "busy") else Unavailable
    return kind(_REASONS.get(known, "The request through the notebook's own client failed"), why=known)


def text_of(answer: Answer | None) -> str:
    """Return the text that a place answered, or raise Unavailable."""
    found = value_of(answer)
    if isinstance(found, CoiledError):
        raise found
    return found


def value_of(answer: Answer | None) -> str | CoiledError:
    """Return the text that a place answered, or the error."""
    if answer is None:
        return failed("late")
    if answer.text is None:
        return failed(answer.error)
    return answer.text if len(answer.text) <= SIZE_LIMIT else failed("large")
