"""Decodes what a kernel tells of its Dask clients, and a scheduler of itself and its clients: hostile until checked here.

Limits: 4 MiB for one text and some more for what wraps several, 200 clients, 10,000 workers, 200 characters shown of
one text.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from .errors import CoiledError, Invalid, Timeout, TooLarge, Unavailable
from .wire import ClientInfo, Worker

SIZE_LIMIT = 4 * 1024 * 1024
WRAPPED_LIMIT = 16 * 1024 * 1024
CLIENT_LIMIT = 200
WORKER_LIMIT = 10_000

_Text = Annotated[str, Meta(max_length=2000)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
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


class _State(Struct, frozen=True):
    id: _Text
    address: _Text | None = None
    last_seen: float | None = None
    versions: dict[_Text, _Text] = {}


class _States(Struct, frozen=True):
    clients: tuple[_State, ...]
    count: _Count


class _Metrics(Struct, frozen=True):
    memory: _Count = 0
    task_counts: dict[str, int] | None = None
    # A Dask before 2023 counts beside the other figures.
    executing: int = 0
    ready: int = 0
    waiting: int = 0

    def count(self, state: str) -> int:
        value = getattr(self, state) if self.task_counts is None else self.task_counts.get(state, 0)
        return max(0, int(value))


class _Node(Struct, frozen=True):
    name: str | int | float | None = None
    host: _Text = ""
    status: _Text = "running"
    nthreads: _Count = 0
    memory_limit: float | None = None
    metrics: _Metrics = _Metrics()


class Identity(Struct, frozen=True):
    """What a scheduler tells of itself; only what is used of it."""

    address: _Text
    id: _Text | None = None
    workers: dict[_Text, _Node] = {}

    def worker_list(self, seen_at: str, groups: Mapping[str, str]) -> tuple[Worker, ...]:
        """Return the workers as they are shown; `groups` is the group of each that was read."""
        return tuple(
            Worker(
                id=address,
                name=show(str(node.name if node.name is not None else address)),
                status=show(node.status),
                host=show(node.host),
                threads=node.nthreads,
                busy=node.metrics.count("executing"),
                memory=node.metrics.memory,
                memory_limit=_limit(node.memory_limit),
                group=groups.get(address),
                restarts=0,
                seen_at=seen_at,
            )
            for address, node in sorted(self.workers.items(), key=lambda item: (str(item[1].name), item[0]))
        )

    def tasks(self, *states: str) -> int:
        """Return how many tasks of all workers are in one of these states."""
        return sum(node.metrics.count(state) for node in self.workers.values() for state in states)

    def in_memory(self) -> int | None:
        """Return how many results the workers hold, each copy counted; None where one of them doesn't tell."""
        told = [node.metrics.task_counts for node in self.workers.values()]
        return None if None in told else sum(max(0, counts.get("memory", 0)) for counts in told if counts)


def _limit(value: float | None) -> int | None:
    return int(value) if value and math.isfinite(value) and 0 < value < 2**53 else None


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


def decode_clients(data: str) -> tuple[KernelClient, ...]:
    """Decode ``texts.clients.clients``; clients whose scheduler isn't known yet are left out."""
    found = decode(data, tuple[KernelClient, ...])
    if len(found) > CLIENT_LIMIT:
        raise TooLarge(f"The kernel names {len(found)} Dask clients, more than can be shown")
    return tuple(client for client in found if client.scheduler)


def decode_identity(identity: Mapping[str, Any]) -> Identity:
    """Check what a scheduler tells of itself (``NodeLink.identity``)."""
    try:
        found = msgspec.convert(identity, Identity, strict=False)
    except (msgspec.ValidationError, RecursionError):
        raise Unavailable("The scheduler's identity isn't what a Dask scheduler tells") from None
    if len(found.workers) > WORKER_LIMIT:
        raise TooLarge(f"The scheduler names {len(found.workers)} workers, more than can be shown")
    return found


def decode_scheduler_clients(data: str, *, own: Mapping[str, str | None] | None = None) -> tuple[ClientInfo, ...]:
    """Decode ``texts.clients.of_scheduler``: the clients of a scheduler with the versions that they gave it.

    Parameters
    ----------
    own
        Ids of the clients of kernels of this server, with the name of the notebook.

    """
    states = decode(data, _States)
    if len(states.clients) > CLIENT_LIMIT:
        raise TooLarge(f"The scheduler names {len(states.clients)} clients, more than can be shown")
    notebooks = own or {}
    return tuple(
        ClientInfo(
            id=show(state.id),
            host=_host(state.address),
            last_seen=_time(state.last_seen),
            versions={
                show(name, 80): show(version, 80) for name, version in sorted(state.versions.items())[:CLIENT_LIMIT]
            },
            own=state.id in notebooks,
            opened_by=notebooks.get(state.id),
        )
        for state in states.clients
    )


def _host(address: str | None) -> str | None:
    try:
        return show(urlsplit(address or "").hostname or "") or None
    except ValueError:
        return None


def _time(seconds: float | None) -> str | None:
    try:
        seen = datetime.fromtimestamp(seconds or math.nan, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
    return seen.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
