"""Paces scale together, down to what a busy machine needs, and come from one variable."""

from __future__ import annotations

import msgspec
import pytest

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.errors import Unavailable
from coiled_jupyter.core.launch import LaunchSpec
from coiled_jupyter.core.paces import Paces


def test_all_scale_and_none_goes_below_its_floor():
    tenth = Paces().scaled(0.1)
    assert (tenth.poll, tenth.sweep, tenth.adopt) == pytest.approx((0.2, 3.0, 0.3))
    assert (tenth.silent, tenth.missed) == (3.0, 20.0)
    assert Paces().scaled(1.0) == Paces()
    # A pace that was set below a floor stays as it was set.
    assert Paces(silent=1.0).scaled(1.0).silent == 1.0


def test_a_variable_sets_them_for_every_program_and_they_reach_the_supervisor(monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_PACE", "0.1")
    paces = Configuration().paces
    assert paces == Paces().scaled(0.1)
    spec = LaunchSpec(id="c", name="c", paces=paces)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=LaunchSpec).paces == paces
    monkeypatch.setenv("COILED_JUPYTER_PACE", "soon")
    with pytest.raises(Unavailable, match="COILED_JUPYTER_PACE"):
        Configuration()
