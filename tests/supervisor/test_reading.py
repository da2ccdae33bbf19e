"""What a supervisor reads of its cluster: one reading at a time, and the newest question counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from coiled_jupyter.core.groups import Readings
from coiled_jupyter.core.times import now
from coiled_jupyter.core.wire import Cluster
from coiled_jupyter.ledger import AsyncLedger
from coiled_jupyter.supervisor.reading import Reading
from coiled_jupyter.supervisor.snapshot import Snapshot

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


class Workers:
    """The port `reading.Observed`, of workers that are all there."""

    def __init__(self) -> None:
        self.silent: dict[str, float] = {}
        self.groups: dict[str, str] = {}

    async def observe(self) -> None:
        pass

    def absent(self):
        return 0, 0


def a_reading(tmp_path) -> Reading:
    """Return a reading that waits, and will get a quick reader when it begins anew."""
    cluster = msgspec.json.decode(GOLDEN.read_bytes(), type=Cluster)
    readers = iter([Waiting(), Quick()])
    snapshot = Snapshot(cluster, AsyncLedger(tmp_path / "ledger"), lambda _: None)
    reading = Reading(snapshot, Workers(), lambda: next(readers))
    reading.begin()
    return reading


async def begun(reading: Reading) -> asyncio.Task[Readings]:
    task = asyncio.create_task(reading.read())
    while reading.due(watched=False):
        await asyncio.sleep(0)
    # A turn more: the reader has been asked.
    await asyncio.sleep(0)
    return task


def test_a_reading_that_waits_for_who_has_gone_gives_way_to_a_new_one(tmp_path):
    async def go() -> None:
        reading = a_reading(tmp_path)
        waiting = [await begun(reading), asyncio.create_task(reading.read())]
        found = await asyncio.wait_for(reading.anew(), 5)
        assert found.taken_at is not None
        # Who had asked before has the new one too.
        assert [(await asyncio.wait_for(one, 5)).taken_at is not None for one in waiting] == [True, True]

    asyncio.run(go())


def test_who_gives_up_a_reading_ends_it_and_leaves_the_next_free(tmp_path):
    async def go() -> None:
        reading = a_reading(tmp_path)
        task = await begun(reading)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        assert (await asyncio.wait_for(reading.anew(), 5)).taken_at is not None

    asyncio.run(go())


class Counted:
    """A reader that tells what the nodes have when it is asked, after a moment."""

    complete = True

    def __init__(self) -> None:
        self.state = 0
        self.told: list[str] = []
        self.goes_on = asyncio.Event()

    async def read(self, workers, wanted=()):
        self.told.append(f"state {self.state}")
        await self.goes_on.wait()
        return Readings(taken_at=self.told[-1])


def test_what_was_asked_for_before_a_change_is_no_answer_to_who_asks_after_it(tmp_path):
    async def go() -> None:
        counted = Counted()
        cluster = msgspec.json.decode(GOLDEN.read_bytes(), type=Cluster)
        reading = Reading(
            Snapshot(cluster, AsyncLedger(tmp_path / "ledger"), lambda _: None), Workers(), lambda: counted
        )
        reading.begin()
        before = await begun(reading)
        counted.state = 1
        after = [asyncio.create_task(reading.read()) for _ in range(5)]
        await asyncio.sleep(0)
        counted.goes_on.set()
        assert (await asyncio.wait_for(before, 5)).taken_at == "state 0"
        # All that waited share one reading.
        assert {(await asyncio.wait_for(one, 5)).taken_at for one in after} == {"state 1"}
        assert counted.told == ["state 0", "state 1"]
        # What is only shown may be a moment old.
        counted.state = 2
        assert (await reading.read(within=60)).taken_at == "state 1"
        assert (await reading.read()).taken_at == "state 2"

    asyncio.run(go())
