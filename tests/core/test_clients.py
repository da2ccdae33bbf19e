"""What kernels and schedulers tell of clients is decoded or refused, never believed and never a fault."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.clients import (
    CLIENT_LIMIT,
    SIZE_LIMIT,
    Answer,
    Answers,
    KernelClient,
    Ticket,
    cluster_id,
    decode,
    decode_clients,
    decode_identity,
    decode_scheduler_clients,
    show,
    value_of,
)
from coiled_jupyter.core.errors import CoiledError, TooLarge, Unavailable
from coiled_jupyter.core.wire import ClientInfo
from coiled_jupyter.discovery import marked

CLIENT = {"id": "Client-1", "status": "running", "address": "tcp://a:1", "scheduler": "Scheduler-1"}
STATE = {"id": "Client-1", "address": "tls://10.0.0.1:5", "last_seen": 1.7e9, "versions": {"python": "3.12.1"}}
NODE = {"name": 0, "host": "a", "status": "running", "nthreads": 2, "memory_limit": 1e9, "metrics": {"memory": 5}}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=20), children, max_size=5),
    max_leaves=20,
)


@given(st.text(max_size=300) | values.map(json.dumps))
def test_any_text_is_decoded_or_refused(text):
    for decoder in (
        decode_clients,
        decode_scheduler_clients,
        lambda data: decode(data, Ticket),
        lambda data: decode(data, Answers),
    ):
        try:
            decoder(text)
        except CoiledError:
            continue


@given(st.sampled_from(sorted(CLIENT)), values)
def test_any_value_of_a_client_is_decoded_or_refused(key, value):
    try:
        found = decode_clients(json.dumps([{**CLIENT, key: value}]))
    except CoiledError:
        return
    assert all(isinstance(client, KernelClient) and client.scheduler for client in found)


@given(st.sampled_from(sorted(STATE)), values)
def test_any_value_of_a_scheduler_client_is_decoded_or_refused(key, value):
    try:
        found = decode_scheduler_clients(json.dumps({"clients": [{**STATE, key: value}], "count": 1}))
    except CoiledError:
        return
    for client in found:
        shown = [client.id, client.host or "", *client.versions, *client.versions.values()]
        assert all(text.isprintable() for text in shown)


@given(st.sampled_from([*sorted(NODE), "workers", "id", "address"]), values)
def test_any_value_of_an_identity_is_decoded_or_refused(key, value):
    identity = {"address": "tcp://a:1", "id": "Scheduler-1", "workers": {"tcp://a:2": {**NODE}}}
    (identity if key in identity else identity["workers"]["tcp://a:2"])[key] = value
    try:
        found = decode_identity(identity)
    except CoiledError:
        return
    for worker in found.worker_list("now", {}):
        assert worker.busy >= 0
        assert worker.threads >= 0
        assert worker.memory >= 0
        assert worker.name.isprintable()


def test_what_a_scheduler_tells():
    identity = decode_identity({"address": "tcp://a:1", "id": "S", "workers": {"tcp://a:2": NODE}, "more": 1})
    (worker,) = identity.worker_list("now", {"tcp://a:2": "g"})
    assert (worker.id, worker.name, worker.threads, worker.memory, worker.memory_limit, worker.group) == (
        "tcp://a:2", "0", 2, 5, 10**9, "g",
    )  # fmt: skip
    told = json.dumps({"clients": [STATE, {"id": "Client-2"}], "count": 2})
    first, second = decode_scheduler_clients(told, own={"Client-1": "train.ipynb"})
    assert (first.host, first.versions, first.own, first.opened_by) == (
        "10.0.0.1", {"python": "3.12.1"}, True, "train.ipynb",
    )  # fmt: skip
    assert first.last_seen == "2023-11-14T22:13:20.000Z"
    assert (second.host, second.versions, second.own, second.last_seen) == (None, {}, False, None)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([{"memory": 3}, {"executing": 1}], 3), ([{"memory": 3}, None], None), ([], 0), ([{"memory": -1}], 0)],
)
def test_results_that_are_held_are_counted_where_all_workers_tell_them(counts, expected):
    nodes = {
        f"tcp://a:{n}": {**NODE, "metrics": {"memory": 5} if count is None else {"task_counts": count}}
        for n, count in enumerate(counts)
    }
    identity = decode_identity({"address": "tcp://a:1", "id": "S", "workers": nodes})
    assert identity.in_memory() == expected


def test_limits():
    with pytest.raises(TooLarge):
        decode_clients(" " * (SIZE_LIMIT + 1))
    with pytest.raises(TooLarge):
        decode_clients(json.dumps([CLIENT] * (CLIENT_LIMIT + 1)))
    assert isinstance(value_of(Answer(text="x" * (SIZE_LIMIT + 1))), Unavailable)
    assert value_of(Answer(text="x")) == "x"
    # What a kernel gives as a reason is a key of ours or nothing: its own text isn't shown.
    assert "<b>" not in str(value_of(Answer(error="<b>")))


@given(st.text())
def test_text_of_others(text):
    shown = show(text)
    assert shown.isprintable()
    assert len(shown) <= 200
    assert show(shown) == shown


@given(st.text(), st.text())
def test_an_id_for_each_scheduler(one, other):
    assert (cluster_id(one) == cluster_id(other)) == (one == other)
    assert cluster_id(one).isalnum()


ids = st.sampled_from([f"Client-{number}" for number in range(6)])


@given(st.lists(ids, unique=True), st.dictionaries(ids, st.none() | st.just("a.ipynb")))
def test_clients_of_notebooks_are_marked_and_none_is_lost(listed, notebooks):
    infos = [ClientInfo(id=key, host=None, last_seen=None, versions={}) for key in listed]
    found = marked(infos, notebooks)
    assert sorted(client.id for client in found) == sorted({*listed, *notebooks})
    assert {client.id for client in found if client.own} == set(notebooks)
    assert all(client.opened_by == notebooks.get(client.id) for client in found)
