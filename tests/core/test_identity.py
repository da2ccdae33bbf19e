"""What a scheduler says of itself gives the same sane figures on each way to it, whatever it says, and never a fault."""

from __future__ import annotations

import asyncio
import json
import math
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import CoiledError, TooLarge
from coiled_jupyter.core.identity import (
    LARGEST,
    WORKER_LIMIT,
    Identity,
    SchedulerState,
    dashboard_url,
    decode_identity,
    decode_state,
)
from coiled_jupyter.texts import source

STATE = {"id": "Client-1", "address": "tls://10.0.0.1:5", "last_seen": 1.7e9, "versions": {"python": "3.12.1"}}
NODE = {
    "name": 0,
    "host": "a",
    "status": "running",
    "nthreads": 2,
    "memory_limit": 1e9,
    "last_seen": 1.7e9,
    "metrics": {"memory": 5, "task_counts": {"executing": 1, "ready": 2, "waiting": 3, "memory": 4}},
}
IDENTITY = {"address": "tcp://a:1", "id": "Scheduler-1", "services": {"dashboard": 8787}}
# What msgpack can say.
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=50),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=20), children, max_size=5),
    max_leaves=20,
)
odd = values | st.sampled_from([math.inf, -math.inf, math.nan, -1, 2**53 + 1, 2**64 - 1, True, "4", "", (), {}, None])


class Comm:
    """A connection to a scheduler that answers every request with the same."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def write(self, message: dict[str, object]) -> None:
        pass

    async def read(self) -> object:
        return self._answer

    def abort(self) -> None:
        pass


async def _through_kernel(answer: object) -> str | None:
    async def connect(address: str, **arguments: object) -> Comm:
        return Comm(answer)

    client = SimpleNamespace(
        id="Client-1",
        status="running",
        scheduler=SimpleNamespace(address="tcp://a:1"),
        loop=SimpleNamespace(asyncio_loop=asyncio.get_running_loop()),
        connection_args={},
    )
    instances = SimpleNamespace(Client=SimpleNamespace(_instances=[client]))
    modules = {"distributed.client": instances, "distributed.comm.core": SimpleNamespace(connect=connect)}
    text: dict[str, Any] = {"__name__": "text"}
    exec(compile(source("clients"), "clients", "exec"), text)
    text["sys"] = SimpleNamespace(modules=modules)
    ticket = json.loads(text["begin"]({"client": "Client-1", "operation": "identity"}))["ticket"]
    while not (result := json.loads(text["result"](ticket)))["answers"]:
        await asyncio.sleep(0)
    return result["answers"]["scheduler"].get("text")


def through_kernel(identity: object) -> object:
    """Return the identity as it comes through a kernel's client, by the text that runs there."""
    text = asyncio.run(_through_kernel(identity))
    return text and json.loads(text)


def over_the_wire(identity: object) -> object:
    return msgpack.unpackb(msgpack.packb(identity), strict_map_key=False, use_list=False)


def check(found: Identity) -> None:
    memory, cores, tasks = found.memory(2**40), found.cores(), found.tasks(3)
    assert memory.limit is None or 0 < memory.limit <= 2**40
    for figure in (memory.used, cores.busy, cores.allocated, cores.requested, tasks.running, tasks.in_memory or 0):
        assert isinstance(figure, int)
        assert 0 <= figure <= LARGEST * max(1, len(found.nodes))
    assert tasks.queued >= 3
    assert found.dashboard is None or 0 < found.dashboard < 65536
    for worker in found.workers("now", {}):
        assert worker.name.isprintable()
        assert worker.status
        assert worker.memory_limit is None or worker.memory_limit > 0


@given(st.sampled_from([*NODE, "task_counts", "executing", "memory", "worker"]), odd)
def test_any_value_of_a_worker_gives_the_same_figures_on_each_way(key, value):
    counts = {**NODE["metrics"]["task_counts"], **({key: value} if key in ("executing", "memory") else {})}
    metrics = {**NODE["metrics"], "task_counts": value if key == "task_counts" else counts}
    node = {**NODE, "metrics": metrics, **({key: value} if key in NODE else {})}
    sent = {**IDENTITY, "workers": {"tcp://a:2": value if key == "worker" else node, "tcp://a:3": NODE}}
    raw, kernel = decode_identity(over_the_wire(sent)), decode_identity(through_kernel(over_the_wire(sent)))
    assert raw == kernel
    check(raw)
    assert set(raw.nodes) == {"tcp://a:2", "tcp://a:3"}
    other = raw.nodes["tcp://a:3"]
    assert (other.name, other.threads, other.executing, other.waiting, other.in_memory) == ("0", 2, 1, 5, 4)


@given(st.sampled_from([*IDENTITY, "workers"]), odd)
def test_any_value_of_a_scheduler_gives_the_same_figures_on_each_way(key, value):
    sent = {**IDENTITY, "workers": {"tcp://a:2": NODE}, key: value}
    raw, kernel = decode_identity(over_the_wire(sent)), decode_identity(through_kernel(over_the_wire(sent)))
    assert raw == kernel
    check(raw)


@given(odd)
def test_anything_else_is_a_scheduler_that_says_nothing(value):
    found = decode_identity(value if not isinstance(value, dict) else None)
    assert (found.address, found.id, found.nodes) == ("", "", {})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (2, 1, 5, 4, 5, 10**9)),
        ({"nthreads": None}, (0, 1, 5, 4, 5, 10**9)),
        ({"nthreads": "2"}, (0, 1, 5, 4, 5, 10**9)),
        ({"nthreads": math.inf}, (0, 1, 5, 4, 5, 10**9)),
        ({"memory_limit": None}, (2, 1, 5, 4, 5, None)),
        ({"memory_limit": 0}, (2, 1, 5, 4, 5, None)),
        ({"memory_limit": math.inf}, (2, 1, 5, 4, 5, None)),
        ({"memory_limit": math.nan}, (2, 1, 5, 4, 5, None)),
        ({"memory_limit": -1}, (2, 1, 5, 4, 5, None)),
        ({"metrics": None}, (2, 0, 0, None, 0, 10**9)),
        ({"metrics": [1]}, (2, 0, 0, None, 0, 10**9)),
        ({"metrics": {"memory": math.nan, "task_counts": {}}}, (2, 0, 0, 0, 0, 10**9)),
        ({"metrics": {"memory": 5, "task_counts": None}}, (2, 0, 0, None, 5, 10**9)),
        # A Dask before 2023.
        ({"metrics": {"memory": 5, "executing": 1, "ready": 7, "in_memory": 9}}, (2, 1, 0, 9, 5, 10**9)),
        ({"metrics": {"memory": 5, "task_counts": {"executing": None, "ready": -1, "memory": 4}}}, (2, 0, 0, 4, 5, 10**9)),
    ],
)  # fmt: skip
def test_odd_values(change, expected):
    sent = {**IDENTITY, "workers": {"tcp://a:2": {**NODE, **change}}}
    for identity in (sent, over_the_wire(sent), through_kernel(sent)):
        found = decode_identity(identity)
        cores, memory, tasks = found.cores(), found.memory(), found.tasks(0)
        seen = (cores.allocated, tasks.running, tasks.queued, tasks.in_memory, memory.used, memory.limit)
        assert seen == expected


@pytest.mark.parametrize("workers", [None, [], "none", 7, [NODE]])
def test_workers_that_are_no_table(workers):
    for identity in ({**IDENTITY, "workers": workers}, through_kernel({**IDENTITY, "workers": workers})):
        found = decode_identity(identity)
        assert (found.id, found.nodes, found.dashboard) == ("Scheduler-1", {}, 8787)


@pytest.mark.parametrize(
    ("address", "port", "url"),
    [
        ("tls://127.0.0.1:5", 8787, "http://127.0.0.1:8787/status"),
        ("tcp://[::1]:5", 1, "http://[::1]:1/status"),
        ("inproc://10.0.0.1/7/1", 1, "http://127.0.0.1:1/status"),
        ("gateway://10.0.0.1:5/name", 1, None),
        ("tcp://a:5", None, None),
        ("", 1, None),
    ],
)
def test_where_a_dashboard_is(address, port, url):
    assert dashboard_url(address, port, SchedulerState(dashboard=True)) == url
    # The port is there without it.
    assert dashboard_url(address, port, SchedulerState()) is None


def test_what_a_scheduler_says():
    nodes = {"tcp://a:3": {**NODE, "name": "b"}, "tcp://a:2": NODE}
    found = decode_identity({**IDENTITY, "workers": nodes, "more": 1})
    first, second = found.workers("now", {"tcp://a:2": "g"}, {"b": 3})
    assert (first.id, first.name, first.threads, first.memory, first.memory_limit, first.group, first.restarts) == (
        "tcp://a:2", "0", 2, 5, 10**9, "g", 0,
    )  # fmt: skip
    assert (second.id, second.name, second.group, second.restarts) == ("tcp://a:3", "b", None, 3)
    assert found.cores(9).requested == 9
    # What the scheduler holds back is queued as what the workers hold is.
    assert found.tasks(30).queued == 40
    assert found.memory(10**9).limit == 10**9


def test_more_workers_than_can_be_shown_are_refused():
    with pytest.raises(TooLarge):
        decode_identity({"workers": {f"tcp://a:{n}": {} for n in range(WORKER_LIMIT + 1)}})


@given(st.sampled_from([*STATE, "queued"]), odd)
def test_any_value_of_a_state_is_decoded_or_refused(key, value):
    try:
        queued = {"queued": value} if key == "queued" else {}
        found = decode_state(json.dumps({"clients": [{**STATE, key: value}], **queued}))
    except CoiledError:
        return
    assert found.queued >= 0
    for client in found.clients:
        shown = [client.id, client.host or "", *client.versions, *client.versions.values()]
        assert all(text.isprintable() for text in shown)


def test_the_clients_and_the_queue_of_a_scheduler():
    found = decode_state(
        json.dumps({"clients": [STATE, {"id": "Client-2"}], "queued": 38}), own={"Client-1": "train.ipynb"}
    )
    first, second = found.clients
    assert found.queued == 38
    assert (first.host, first.versions, first.own, first.opened_by) == (
        "10.0.0.1", {"python": "3.12.1"}, True, "train.ipynb",
    )  # fmt: skip
    assert first.last_seen == "2023-11-14T22:13:20.000Z"
    assert (second.host, second.versions, second.own, second.last_seen) == (None, {}, False, None)
