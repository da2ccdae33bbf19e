"""What kernels say of their Dask clients is decoded or refused, never believed and never a fault."""

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
    show,
    value_of,
)
from coiled_jupyter.core.errors import CoiledError, TooLarge, Unavailable
from coiled_jupyter.core.identity import decode_state
from coiled_jupyter.core.wire import ClientInfo
from coiled_jupyter.service.discovery import marked

CLIENT = {"id": "Client-1", "status": "running", "address": "tcp://a:1", "scheduler": "Scheduler-1"}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=20), children, max_size=5),
    max_leaves=20,
)


@given(st.text(max_size=300) | values.map(json.dumps))
def test_any_text_is_decoded_or_refused(text):
    for decoder in (
        decode_clients,
        decode_state,
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
