"""The text that finds a process's Dask clients: nothing imported, nothing raised, on every Python that can be found."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.environments import interpreters

TEXT = Path("coiled_jupyter/texts/clients.py").resolve()
_RUN = """
import json, sys
n = {"__name__": "t"}
exec(compile(open(sys.argv[1], "rb").read(), "clients", "exec"), n)
print(json.dumps([n["clients"](), n["begin"]({"client": "x", "operation": "identity"}), n["result"](1),
                  n["of_scheduler"]("x"), sorted({"distributed", "dask", "tornado"} & set(sys.modules))]))
"""


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_without_dask_there_are_none(minor):
    asked = subprocess.run(
        [interpreters()[minor], "-W", "error", "-c", _RUN, str(TEXT)], capture_output=True, check=True, text=True
    )
    clients, begun, result, scheduler, modules = json.loads(asked.stdout)
    assert json.loads(clients) == []
    assert json.loads(begun) == {"error": "gone"}
    assert json.loads(result) == {"done": True, "error": "unknown"}
    assert "error" in json.loads(scheduler)
    assert modules == []


_namespace: dict = {"__name__": "t"}
exec(compile(TEXT.read_text(encoding="utf-8"), "clients", "exec"), _namespace)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=20), children, max_size=5),
    max_leaves=10,
)


@given(values)
def test_any_request_is_answered(value):
    assert "error" in json.loads(_namespace["begin"](value))
    assert json.loads(_namespace["result"](value))["done"]
    assert "error" in json.loads(_namespace["of_scheduler"](value))


@given(values | st.binary() | st.sets(st.integers()) | st.complex_numbers())
def test_anything_becomes_json(value):
    json.dumps(_namespace["_plain"](value, 8), allow_nan=False)
