"""Which cluster a name means."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from coiled_jupyter.core.choice import choose
from coiled_jupyter.core.errors import Conflict, NotFound
from coiled_jupyter.core.wire import SchedulerInfo
from tests.test_golden import _cluster


def cluster(key: str, name: str, status: str = "running", port: int = 1):
    scheduler = SchedulerInfo(address=f"tcp://10.0.0.7:{port}", id=None, dashboard=None)
    return replace(_cluster(), id=key, name=name, status=status, scheduler=scheduler)


MINE, YOURS = cluster("a1", "mine", port=1), cluster("b2", "yours", port=2)
GONE = cluster("c3", "mine", "stopped", port=3)


@pytest.mark.parametrize("name", ["mine", "a1", "tcp://10.0.0.7:1"])
def test_by_name_id_and_address_one_that_lives_before_one_that_has_ended(name):
    assert choose(name, [GONE, YOURS, MINE]) is MINE


def test_without_a_name_the_only_one_that_lives():
    assert choose(None, [GONE, MINE]) is MINE
    with pytest.raises(Conflict, match="mine, yours"):
        choose(None, [YOURS, MINE])
    with pytest.raises(NotFound, match="No cluster is running") as caught:
        choose(None, [GONE])
    assert "cluster create" in caught.value.hint


def test_one_that_has_ended_is_found_and_two_of_a_name_are_told():
    assert choose("mine", [GONE, YOURS]) is GONE
    with pytest.raises(Conflict, match="Several clusters are called mine"):
        choose("mine", [MINE, replace(MINE, id="d4")])


def test_the_nearest_name_is_told_and_what_there_is():
    with pytest.raises(NotFound, match=r"There is no cluster mien; did you mean mine\?") as caught:
        choose("mien", [MINE, YOURS])
    assert caught.value.hint == "Running clusters: mine, yours"
    with pytest.raises(NotFound) as caught:
        choose("x" * 5000, [cluster(f"{n}", f"cluster-{n}") for n in range(30)])
    assert len(caught.value.message) < 300
    assert caught.value.hint.endswith(" and 20 more")
