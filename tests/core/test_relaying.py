"""Which clusters are reached through a relay in a kernel, and what a kernel may answer that is to open one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.clients import KernelClient
from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.core.relaying import Relay, answer, needed, refused


@pytest.mark.parametrize(
    ("address", "in_memory", "through"),
    [
        ("gateway://10.0.0.7:80/x", True, True),
        ("gateway://10.0.0.7:80/x", False, True),
        ("tls://10.0.0.7:8786", True, True),
        ("tls://10.0.0.7:8786", False, False),
        ("tcp://10.0.0.7:8786", False, False),
        # What isn't encrypted isn't relayed.
        ("tcp://10.0.0.7:8786", True, False),
        ("ws://10.0.0.7:8786", True, False),
    ],
)
def test_a_relay_is_for_encrypted_clusters_that_only_a_client_reaches(address, in_memory, through):
    client = KernelClient(id="c", status="running", address=address, in_memory_tls=in_memory)
    assert needed(client) is through


@given(st.text())
def test_any_answer_is_a_port_or_a_reason_or_refused(text):
    try:
        relay = answer(text)
    except Invalid:
        return
    assert relay.port is None or 0 < relay.port < 65536
    assert refused(relay)


def test_why_there_is_none_is_said_without_what_the_kernel_said():
    assert "another machine" in refused(answer('{"error": "elsewhere"}'))
    assert "<b>" not in refused(Relay(error="<b>"))
    with pytest.raises(Invalid):
        answer('{"port": 70000}')
