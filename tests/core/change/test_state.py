"""How a state is named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.change.state import layer_id


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
def test_a_state_is_named_by_its_locks_alone(locks):
    assert layer_id(locks) == layer_id(dict(reversed(list(locks.items()))))
