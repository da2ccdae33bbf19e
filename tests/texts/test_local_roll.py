"""The text that rolls a kernel's own cluster: nothing imported, nothing raised, on every Python that can be found."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.environments import interpreters
from tests.texts.test_clients import values

TEXT = Path("coiled_jupyter/texts/local_roll.py").resolve()
_RUN = """
import json, sys
n = {"__name__": "t"}
exec(compile(open(sys.argv[1], "rb").read(), "local_roll", "exec"), n)
asked = [{"verb": "look", "scheduler": "x"}, {"verb": "begin", "ticket": "1", "scheduler": "x", "workers": [], "seconds": 1},
         {"verb": "tell", "ticket": 1}, {"verb": "stop", "ticket": 1}]
print(json.dumps([[n["call"](request) for request in asked], sorted({"distributed", "dask", "tornado"} & set(sys.modules))]))
"""


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_without_dask_there_is_nothing_to_roll(minor):
    asked = subprocess.run(
        [interpreters()[minor], "-W", "error", "-c", _RUN, str(TEXT)], capture_output=True, check=True, text=True
    )
    answers, modules = json.loads(asked.stdout)
    look, begun, told, stopped = map(json.loads, answers)
    assert look == {"kind": "elsewhere", "asynchronous": False, "workers": []}
    assert begun == {"error": "gone"}
    assert told == {"state": "unknown"}
    assert stopped == {"stopped": False}
    assert modules == []


_namespace: dict = {"__name__": "t"}
exec(compile(TEXT.read_text(encoding="utf-8"), "local_roll", "exec"), _namespace)


@given(values | st.fixed_dictionaries({"verb": st.sampled_from(["look", "begin", "tell", "stop"]), "ticket": values}))
def test_any_request_is_answered(value):
    assert isinstance(json.loads(_namespace["call"](value)), dict)
