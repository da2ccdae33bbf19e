"""In which order workers restart, what that loses, and which can't."""

from __future__ import annotations

from hypothesis import given

from coiled_jupyter.core.change import moves
from coiled_jupyter.core.change.survey import Survey, SurveyProcess
from coiled_jupyter.core.wire import PlanLost
from tests.core.change.samples import place, worker, workers


@given(workers)
def test_every_worker_restarts_once(many):
    rolls, _, _ = moves.batches(many, {})
    addresses = [address for roll in rolls for address in roll.workers]
    assert sorted(addresses) == sorted(w.address for w in many)
    assert {roll.batch for roll in rolls} == set(range(1, max(roll.batch for roll in rolls) + 1))


@given(workers)
def test_what_a_batch_holds_fits_into_the_others_or_is_named_as_lost(many):
    rolls, lost, alone = moves.batches(many, {})
    by = {w.address: w for w in many}
    if lost != PlanLost() or alone or not any(w.alone for w in many):
        return
    for batch in {roll.batch for roll in rolls}:
        moving = [by[a] for roll in rolls if roll.batch == batch for a in roll.workers]
        rest = [w for w in many if w not in moving]
        room = sum(max(int((w.memory_limit or 0) * moves.ROOM) - w.memory, 0) for w in rest)
        assert sum(w.alone for w in moving) <= room


def test_all_at_once_only_where_nobody_holds_or_does_anything():
    idle = [worker(n) for n in range(64)]
    assert {roll.batch for roll in moves.batches(idle, {})[0]} == {1}
    busy = [*idle[:-1], worker(63, running=1)]
    assert len({roll.batch for roll in moves.batches(busy, {})[0]}) >= moves.AT_ONCE


def test_an_actor_is_named_before_the_roll():
    _, lost, _ = moves.batches([worker(0, actors=1, futures=5), worker(1)], {})
    assert (lost.actors, lost.futures) == (1, 0)
    assert "actor" in lost.why


def test_more_than_the_others_can_take_is_named_before_the_roll():
    _, lost, _ = moves.batches([worker(0, alone=900, futures=2), worker(1)], {})
    assert lost.futures == 2
    assert "fit" in lost.why


def test_a_single_worker_that_holds_something_needs_a_second():
    assert moves.batches([worker(0, alone=10, futures=1)], {})[2]
    assert not moves.batches([worker(0)], {})[2]


def test_why_a_worker_cannot_move_is_said():
    survey = Survey(scheduler=SurveyProcess(host="h", pid=1), workers=(), places=(), encrypted=True)
    assert moves.unmovable(survey, place(), worker(0)) is None
    assert "nanny" in moves.unmovable(survey, place(), worker(0, nanny=None))
    assert "doesn't answer" in moves.unmovable(survey, place(), worker(0, nanny_process=None))
    shared = worker(0, nanny_process=SurveyProcess(host="h", pid=1))
    assert "scheduler" in moves.unmovable(survey, place(), shared)
    assert "CPython" in moves.unmovable(survey, place(implementation="pypy"), worker(0))
    assert "written" in moves.unmovable(survey, place(home=None), worker(0))


def test_values_that_need_what_a_layer_lacks_are_found():
    many = [worker(1, alone=10, futures=2), worker(2, alone=10, scattered=1), worker(3)]
    needs = {"tcp://1": ("numpy", "tabulate"), "tcp://2": ("numpy",)}
    lacking = moves.lacking_needs(many, needs, [{"numpy": "1"}, {}])
    assert lacking == {"tcp://1": ("tabulate",)}
    # Of two layers that differ, values may come to either.
    assert moves.lacking_needs(many, needs, [{"numpy": "1", "tabulate": "1"}, {"tabulate": "1"}]) == {
        "tcp://1": ("numpy",),
        "tcp://2": ("numpy",),
    }
