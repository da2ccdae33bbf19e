"""The ledger's door for event loops, while another connection holds the file locked, and when its folder goes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time

import msgspec
import pytest

from coiled_jupyter.core.errors import Conflict, Timeout, Unavailable
from coiled_jupyter.core.launch import LaunchSpec
from coiled_jupyter.core.times import now
from coiled_jupyter.ledger import AsyncLedger, Ledger


def spec(name: str) -> LaunchSpec:
    return LaunchSpec(id=name, name=name, workers=1, created_at=now())


def reserve(name: str):
    return lambda ledger: ledger.reserve(spec(name), core_limit=10, cluster_limit=9)


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextlib.asynccontextmanager
async def longest_gap(gaps: list[float]):
    """Append the longest time for which the event loop did nothing else."""

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()


async def written(ledger: AsyncLedger) -> None:
    assert await ledger.flush(10)


def test_answers_and_errors_come_back(tmp_path):
    async def go():
        ledger = AsyncLedger(tmp_path / "ledger")
        cluster = await ledger.ask(reserve("a"))
        assert [row.id for row in await ledger.ask(Ledger.list)] == [cluster.id] == ["a"]
        with pytest.raises(Conflict):
            await ledger.ask(reserve("a"))
        await ledger.close()

    asyncio.run(go())


def test_what_is_kept_waits_for_a_locked_file_and_only_the_last_counts(tmp_path):
    async def go():
        ledger = AsyncLedger(tmp_path / "ledger", retry_seconds=0.1)
        cluster = await ledger.ask(reserve("a"))
        tried = []

        def save(number: int):
            changed = msgspec.structs.replace(cluster, revision=number)

            def work(held: Ledger) -> None:
                tried.append(number)
                held.snapshot("a", changed)

            return work

        gaps: list[float] = []
        async with longest_gap(gaps):
            with locked(tmp_path / "ledger"):
                ledger.keep("snapshot", save(0))
                while ledger.fault is None:
                    await asyncio.sleep(0.02)
                assert "locked" in ledger.fault
                for number in range(1, 2000):
                    ledger.keep("snapshot", save(number))
                asked = time.monotonic()
                with pytest.raises((Timeout, Unavailable)):
                    await ledger.ask(reserve("b"), 0.5)
                assert time.monotonic() - asked < 10
            await written(ledger)
        assert ledger.fault is None
        # All that was said meanwhile was one attempt at a time, and the last one is in the file.
        assert len(tried) < 50
        assert (await ledger.ask(lambda held: held.get("a"))).snapshot.revision == 1999
        # What was told as failed isn't carried out later.
        assert [row.id for row in await ledger.ask(Ledger.list)] == ["a"]
        # A machine that does other work may take the loop's turn; SQLite would for a second.
        assert max(gaps) < 0.9
        await ledger.close()

    asyncio.run(go())


def test_who_gives_up_leaves_nothing_behind_and_calls_do_not_pile_up(tmp_path):
    async def go():
        ledger = AsyncLedger(tmp_path / "ledger")
        await ledger.ask(Ledger.list)
        with locked(tmp_path / "ledger"):
            asked = [asyncio.create_task(ledger.ask(reserve(f"c{number}"), 1.5)) for number in range(300)]
            await asyncio.sleep(0.2)
            asked[1].cancel()
            errors = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(error, (Timeout, Unavailable, asyncio.CancelledError)) for error in errors)
        assert sum("too much" in str(error) for error in errors) >= 90
        assert await ledger.ask(Ledger.list) == []
        await ledger.close()

    asyncio.run(go())


def test_a_folder_that_cannot_be_made_is_no_end_and_one_that_goes_is_made_again(tmp_path):
    async def go():
        (tmp_path / "file").touch()
        ledger = AsyncLedger(tmp_path / "file" / "ledger", retry_seconds=0.1)
        with pytest.raises(Unavailable, match="can't be opened"):
            await ledger.ask(Ledger.list)
        (tmp_path / "file").unlink()
        assert await ledger.ask(Ledger.list) == []
        await ledger.ask(reserve("a"))
        shutil.rmtree(tmp_path / "file")
        # The rows are lost with it; whoever owns a cluster enters it again.
        assert await ledger.ask(Ledger.list) == []
        await ledger.ask(reserve("a"))
        await ledger.close()

    asyncio.run(go())
