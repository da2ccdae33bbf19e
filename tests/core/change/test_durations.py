"""How long a sync is expected to take: by what its steps took here before, and only roughly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coiled_jupyter.core.change.durations import LAST, ROUGH, ROUND, about, expected_seconds, learned
from coiled_jupyter.core.change.journal import BUILD, MOVE, RESTART, TEST_START, VERIFY, first
from coiled_jupyter.core.change.state import SyncSpec
from coiled_jupyter.core.wire import PlanRoll, SyncStep
from tests.core.change.samples import AT


def entry(took: dict[str, float], state: str = "done", **fields):
    rolls = tuple(PlanRoll(group="g", workers=("a",), batch=number) for number in (1, 2))
    spec = SyncSpec(id="i", plan=None, cluster="c", **{"rolls": rolls, "builds": True, **fields})
    steps = tuple(SyncStep(name=name, state="done", seconds=seconds) for name, seconds in took.items())
    return replace(first(spec, AT), steps=steps, state=state), spec


def test_without_syncs_the_figures_are_those_of_an_ordinary_machine():
    assert learned([]) == ROUGH


def test_it_is_the_median_of_the_last_few_of_each_kind():
    slow = [entry({BUILD: seconds, MOVE: 2 * seconds, VERIFY: 1.0}) for seconds in (20.0, 30.0, 400.0)]
    old = [entry({BUILD: 1.0, MOVE: 2.0, VERIFY: 1.0})] * LAST
    there = entry({BUILD: 0.4, MOVE: 60.0, VERIFY: 3.0}, builds=False)
    found = learned([*slow, *old])
    assert (found.build, found.batch, found.check) == (20.0, 20.0, ROUGH.check)
    assert learned([*slow, there]).check == 0.4
    # What failed tells of what it had done before.
    failed = entry({BUILD: 50.0}, state="failed")
    assert (learned([failed]).build, learned([failed]).batch) == (50.0, ROUGH.batch)
    whole = entry({BUILD: 9.0, TEST_START: 4.0, RESTART: 8.0, VERIFY: 1.0}, how="replace", rolls=())
    assert (learned([whole]).restart, learned([whole]).node) == (12.0, 0.0)


def test_what_is_expected_follows_what_was_learned():
    fast = expected_seconds("roll", ROUGH, build=True, batch_sizes=[1, 1])
    slow = expected_seconds("roll", replace(ROUGH, build=60.0, batch=20.0), build=True, batch_sizes=[1, 1])
    assert fast < slow
    assert expected_seconds("roll", ROUGH, build=False, batch_sizes=[1, 1]) < fast
    assert expected_seconds("replace", ROUGH, build=True, batch_sizes=[8]) in ROUND


@given(st.floats(0, 1e5))
def test_it_is_never_an_exact_figure(seconds):
    assert about(seconds) >= 1
    assert about(seconds) in ROUND or about(seconds) % 1000 == 0
