"""Turns what a scheduler says of itself, its workers and its clients into fields: hostile until checked here.

A value of the wrong type, or that is no finite number of the right sign, counts as if it were missing: it never raises
and never hides the other workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from .clients import CLIENT_LIMIT, decode, show
from .errors import TooLarge
from .wire import ClientInfo, Cores, Memory, Tasks, Worker

WORKER_LIMIT = 10_000
LARGEST = 2**53
"""The largest number that JSON and the page keep exactly."""

_Text = Annotated[str, Meta(max_length=2000)]


class Node(Struct, frozen=True, kw_only=True):
    """A worker as its scheduler describes it.

    Attributes
    ----------
    executing
        Tasks that run.
    waiting
        Tasks that the worker has taken and doesn't run yet.
    in_memory
        Results that it holds; None where it doesn't count them.
    memory_limit
        In bytes; None where it has no limit.
    last_seen
        The time of the last heartbeat, in seconds by the scheduler's clock.

    """

    address: str
    name: str
    host: str
    status: str
    threads: int
    executing: int
    waiting: int
    in_memory: int | None
    memory: int
    memory_limit: int | None
    last_seen: float | None


class Identity(Struct, frozen=True, kw_only=True):
    """What a scheduler says of itself.

    Attributes
    ----------
    address
        Empty where it isn't known, as is `id`.
    dashboard
        The port of Dask's own pages, or None.
    nodes
        By address, in the order in which they are shown.

    """

    address: str
    id: str
    dashboard: int | None
    nodes: dict[str, Node]

    def workers(
        self, seen_at: str, groups: Mapping[str, str], restarts: Mapping[str, int] | None = None
    ) -> tuple[Worker, ...]:
        """Return the workers as they are shown, with the group of each that was read and its restarts by name."""
        return tuple(
            Worker(
                id=address,
                name=node.name,
                status=node.status,
                host=node.host,
                threads=node.threads,
                busy=node.executing,
                memory=node.memory,
                memory_limit=node.memory_limit,
                group=groups.get(address),
                restarts=(restarts or {}).get(node.name, 0),
                seen_at=seen_at,
            )
            for address, node in self.nodes.items()
        )

    def cores(self, requested: int | None = None) -> Cores:
        """Return the threads; where nobody asked for a number, `requested` is what there is."""
        threads = sum(node.threads for node in self.nodes.values())
        busy = sum(node.executing for node in self.nodes.values())
        return Cores(busy=busy, allocated=threads, requested=threads if requested is None else requested)

    def memory(self, machine: int | None = None) -> Memory:
        """Return the memory; no limit is named where a worker has none, and never more than the `machine` has."""
        limits = [node.memory_limit for node in self.nodes.values()]
        limit = sum(value for value in limits if value) if limits and None not in limits else None
        used = sum(node.memory for node in self.nodes.values())
        return Memory(used=used, limit=limit if limit is None or machine is None else min(limit, machine))

    def tasks(self, queued: int) -> Tasks:
        """Return the tasks; `queued` are those that the scheduler itself holds back (`SchedulerState`)."""
        held = [node.in_memory for node in self.nodes.values()]
        return Tasks(
            running=sum(node.executing for node in self.nodes.values()),
            queued=queued + sum(node.waiting for node in self.nodes.values()),
            done_per_second=None,
            in_memory=None if None in held else sum(count for count in held if count),
        )


def decode_identity(identity: object) -> Identity:
    """Return what a scheduler says of itself (``NodeLink.identity``).

    Raises
    ------
    TooLarge
        It names more workers than can be shown.

    """
    found = _mapping(identity)
    workers = _mapping(found.get("workers"))
    if len(workers) > WORKER_LIMIT:
        raise TooLarge(f"The scheduler names {len(workers)} workers, more than can be shown")
    nodes = [_node(str(address)[:2000], _mapping(info)) for address, info in workers.items()]
    return Identity(
        address=_text(found.get("address")),
        id=_text(found.get("id")),
        dashboard=_number(_mapping(found.get("services")).get("dashboard"), 65535) or None,
        nodes={node.address: node for node in sorted(nodes, key=lambda node: (node.name, node.address))},
    )


def _node(address: str, info: Mapping[Any, Any]) -> Node:
    metrics = _mapping(info.get("metrics"))
    counts = metrics.get("task_counts")
    if isinstance(counts, Mapping):
        in_memory: int | None = _count(counts.get("memory"))
    else:
        # A Dask before 2023 counts beside the other figures; its scheduler counts what waits (`SchedulerState`).
        counts, in_memory = {"executing": metrics.get("executing")}, _number(metrics.get("in_memory"))
    name, seen = info.get("name"), info.get("last_seen")
    named = isinstance(name, str) or (isinstance(name, (int, float)) and abs(name) < LARGEST)
    return Node(
        address=address,
        name=show(str(name)) if named and str(name) else show(address),
        host=show(_text(info.get("host"))),
        status=show(_text(info.get("status"))) or "running",
        threads=_count(info.get("nthreads")),
        executing=_count(counts.get("executing")),
        waiting=_count(counts.get("ready")) + _count(counts.get("waiting")),
        in_memory=in_memory,
        memory=_count(metrics.get("memory")),
        memory_limit=_count(info.get("memory_limit")) or None,
        last_seen=float(seen) if isinstance(seen, (int, float)) and abs(seen) < LARGEST else None,
    )


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value[:2000] if isinstance(value, str) else ""


def _number(value: object, largest: int = LARGEST) -> int | None:
    # Every comparison with a NaN is false.
    return int(value) if isinstance(value, (int, float)) and 0 <= value <= largest else None


def _count(value: object) -> int:
    return _number(value) or 0


class _Client(Struct, frozen=True):
    id: _Text
    address: _Text | None = None
    last_seen: float | None = None
    versions: dict[_Text, _Text] = {}


class _State(Struct, frozen=True):
    clients: tuple[_Client, ...]
    queued: Annotated[int, Meta(ge=0, le=LARGEST)] = 0
    dashboard: bool = False


class SchedulerState(Struct, frozen=True):
    """What a scheduler says when it is asked by a text.

    Attributes
    ----------
    queued
        Tasks that could run and don't, other than those that the workers count.
    dashboard
        Whether it serves Dask's dashboard, for which it needs bokeh.

    """

    clients: tuple[ClientInfo, ...] = ()
    queued: int = 0
    dashboard: bool = False


def decode_state(data: str, *, own: Mapping[str, str | None] | None = None) -> SchedulerState:
    """Decode ``texts.clients.of_scheduler``, with the versions that the clients gave their scheduler.

    Parameters
    ----------
    own
        Ids of the clients of kernels of this server, with the name of the notebook.

    """
    state = decode(data, _State)
    if len(state.clients) > CLIENT_LIMIT:
        raise TooLarge(f"The scheduler names {len(state.clients)} clients, more than can be shown")
    notebooks = own or {}
    clients = tuple(
        ClientInfo(
            id=show(client.id),
            host=_host(client.address),
            last_seen=_time(client.last_seen),
            versions={
                show(name, 80): show(version, 80) for name, version in sorted(client.versions.items())[:CLIENT_LIMIT]
            },
            own=client.id in notebooks,
            opened_by=notebooks.get(client.id),
        )
        for client in state.clients
    )
    return SchedulerState(clients, state.queued, state.dashboard)


def dashboard_url(address: str, port: int | None, state: SchedulerState) -> str | None:
    """Return the URL of the dashboard that a scheduler serves at a port of the host of its address, if it does."""
    found = urlsplit(address)
    host = "127.0.0.1" if found.scheme == "inproc" else found.hostname
    if port is None or not state.dashboard or host is None or found.scheme not in ("tcp", "tls", "inproc"):
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/status"


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
