"""What a supervisor reads of its cluster: one reading at a time, and the newest question counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from coiled_jupyter.core.cluster import Readings, now
from coiled_jupyter.core.wire import Cluster
from coiled_jupyter.supervisor.process import Supervisor

GOLDEN = Path(__file__).parents[1] / "wire" / "cluster-idle.json"


class Waiting:
    """A reader that waits for a worker which has gone."""

    complete = True

    async def read(self, workers, wanted=()):
        await asyncio.Event().wait()


class Quick:
    complete = True

    async def read(self, workers, wanted=()):
        return Readings(taken_at=now())


class Reading(Supervisor):
    """The part of a supervisor that reads, without a cluster's processes."""

    def __init__(self) -> None:
        self.cluster = msgspec.json.decode(GOLDEN.read_bytes(), type=Cluster)
        self.readings = Readings()
        self._reading_lock, self._reading, self._read_at = asyncio.Lock(), None, float("-inf")
        self._reader, self._new_reader = Waiting(), Quick
        self._wanted, self._silent, self._asked = frozenset(), {}, frozenset()

    async def _observe(self) -> None:
        pass

    def _absent(self):
        return 0, 0


async def begun(supervisor: Reading) -> asyncio.Task[Readings]:
    reading = asyncio.create_task(supervisor._read())
    while supervisor._reading is None:
        await asyncio.sleep(0)
    return reading


def test_a_reading_that_waits_for_who_has_gone_gives_way_to_a_new_one():
    async def go() -> None:
        supervisor = Reading()
        waiting = [await begun(supervisor), asyncio.create_task(supervisor._read())]
        found = await asyncio.wait_for(supervisor.read_anew(), 5)
        assert found.taken_at is not None
        # Who had asked before has the new one too.
        assert [(await asyncio.wait_for(one, 5)).taken_at is not None for one in waiting] == [True, True]

    asyncio.run(go())


def test_who_gives_up_a_reading_ends_it_and_leaves_the_next_free():
    async def go() -> None:
        supervisor = Reading()
        reading = await begun(supervisor)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(reading, 5)
        assert supervisor._reading is None
        assert (await asyncio.wait_for(supervisor.read_anew(), 5)).taken_at is not None

    asyncio.run(go())
