"""Memory that hardly moves, and the times at which something was seen, are no news."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.snapshot import MEMORY_FLOOR, MEMORY_STEP, settled, timeless
from coiled_jupyter.core.wire import Cluster

IDLE = msgspec.json.decode((Path(__file__).resolve().parents[1] / "wire/cluster-idle.json").read_bytes(), type=Cluster)
replace = msgspec.structs.replace
memories = st.lists(st.integers(0, 2**40), min_size=1, max_size=5)


def with_memory(memory: list[int]) -> Cluster:
    workers = tuple(replace(IDLE.workers[0], id=f"w{number}", memory=it) for number, it in enumerate(memory))
    return replace(IDLE, workers=workers, memory=replace(IDLE.memory, used=sum(memory)))


@given(memories, memories)
def test_what_is_told_is_near_what_was_read_and_the_sum_is_that_of_the_workers(earlier, later):
    before, after = with_memory(earlier), with_memory(later)
    told = settled(before, after)
    assert told.memory.used == sum(worker.memory for worker in told.workers)
    for worker, read in zip(told.workers, after.workers, strict=True):
        assert abs(worker.memory - read.memory) <= max(MEMORY_STEP * worker.memory, MEMORY_FLOOR)
    assert replace(told, workers=after.workers, memory=after.memory) == after
    # What has come to rest stays.
    assert settled(told, after) == told


def test_small_moves_do_not_add_up_unseen():
    told = with_memory([100 * 2**20])
    for mib in range(100, 200):
        told = settled(told, with_memory([mib * 2**20]))
        memory = told.workers[0].memory
        assert abs(memory - mib * 2**20) <= max(MEMORY_STEP * memory, MEMORY_FLOOR)


def test_times_are_no_news_and_all_else_is():
    later = replace(
        IDLE,
        seen_at="2030-01-01T00:00:00Z",
        workers=tuple(replace(w, seen_at="2030-01-01T00:00:00Z") for w in IDLE.workers),
    )
    assert timeless(later) == timeless(IDLE)
    assert timeless(replace(later, reason="other")) != timeless(IDLE)
    assert timeless(replace(later, status="degraded")) != timeless(IDLE)
