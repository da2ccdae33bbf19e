"""A fault of the ledger never ends, blocks or hides a sync: on real clusters whose ledger is locked, full or read-only."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coiled_jupyter.core.change.journal import FINAL
from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.ledger import Ledger
from tests.nightly import each_night
from tests.supervisor.test_sync import cell, told
from tests.supervisor.test_sync_faults import FULL, STEPS, Site, all_there, attached, site, values


@contextlib.contextmanager
def held(path: Path, how: str = "IMMEDIATE") -> Iterator[None]:
    """Hold the ledger locked against writing, or with ``EXCLUSIVE`` against reading too, as another process."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as connection:
        connection.execute(f"BEGIN {how}")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def full(path: Path) -> Iterator[None]:
    """Have every write of a sync fail as on a disk that is full."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as connection:
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER full_{event} BEFORE {event} ON syncs "
                "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
        try:
            yield
        finally:
            for event in ("INSERT", "UPDATE"):
                connection.execute(f"DROP TRIGGER full_{event}")


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Have the ledger be a file that not even root can write."""
    if subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True).returncode:
        pytest.skip("only root can mount the read-only file that this needs")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


FAULTS = {"locked": (held, "locked"), "full": (full, "the disk is full"), "read-only": (read_only, "read-only")}


async def listed(here: Site, sync: str) -> str:
    """Return the state of a sync as the list of syncs has it, and a request for it alone."""
    (state,) = [one.state for one in await here.service.changing.syncs() if one.id == sync]
    assert (await here.service.changing.find_sync(sync)).state == state
    return state


def workers(here: Site) -> list[int]:
    return sorted(process.pid for process in here.workers())


@pytest.mark.parametrize("fault", each_night(["locked", "full", "read-only"], ["locked"]))
def test_a_sync_whose_journal_can_not_be_written_fails_with_its_reason_and_moves_nothing(tmp_path, fault):
    breaking, reason = FAULTS[fault]

    async def body(here: Site) -> None:
        await values(here)
        before = workers(here)
        ledger = Ledger()
        plan = await here.lab.plan(here.cluster)
        with breaking(ledger.path):
            begun = await here.service.sync(plan.id)
            await here.lab.until(lambda: here.lab.reached(begun, "building", "rolling", *FINAL))
            assert await listed(here, begun.id) in ("building", "rolling", "failed")
            ended = await here.lab.ended(begun, 120)
            assert ended.state == "failed", told(ended)
            assert reason in ended.result.text, told(ended)
            assert await listed(here, begun.id) == "failed"
            assert workers(here) == before
            await all_there(here)
        # It is written as soon as that is possible, and the next sync goes through.
        await here.lab.until(lambda: begun.id in {s.id for s, _ in ledger.journal.syncs() if s.state == "failed"})
        assert await here.check(ended) == "failed"
        again = await here.sync()
        assert await here.check(again) == "done", told(again)

    with attached(tmp_path) as (cluster, home):
        site(cluster, home, body)


@FULL
@pytest.mark.parametrize("step", ["building", "rolling"])
def test_a_sync_whose_journal_can_not_be_written_can_be_cancelled(tmp_path, step):
    async def body(here: Site) -> None:
        await values(here)
        ledger = Ledger()
        plan = await here.lab.plan(here.cluster)
        with held(ledger.path):
            begun = await here.service.sync(plan.id)
            await here.lab.until(lambda: here.lab.reached(begun, step, *FINAL))
            await here.service.cancel_sync(begun.id)
            ended = await here.lab.ended(begun)
            assert ended.state == "cancelled", told(ended)
            assert await listed(here, begun.id) == "cancelled"
        assert await here.check(ended) == "cancelled"
        await all_there(here)

    with attached(tmp_path) as (cluster, home):
        site(cluster, home, body)


@pytest.mark.nightly
@pytest.mark.parametrize(("cancelled", "how"), [(False, "EXCLUSIVE"), (True, "EXCLUSIVE"), (False, "IMMEDIATE")])
def test_a_journal_that_can_not_be_written_in_mid_roll_stops_neither_the_roll_nor_the_way_back(
    tmp_path, cancelled, how
):
    async def body(here: Site) -> None:
        await values(here)
        counted = await cell(here.notebook, "counts('kept')")
        ledger = Ledger()
        plan = await here.lab.plan(here.cluster)
        begun = await here.service.sync(plan.id)
        await here.lab.until(lambda: _touched(here, begun))
        with held(ledger.path, how):
            if cancelled:
                with contextlib.suppress(CoiledError):
                    await here.service.cancel_sync(begun.id)
            ended = await here.lab.ended(begun, 120)
            assert ended.state in (("cancelled", "done") if cancelled else ("done",)), told(ended)
            assert await listed(here, begun.id) == ended.state
        assert await here.check(ended) == ended.state
        await all_there(here)
        assert await cell(here.notebook, "counts('kept')") == counted
        await here.lab.until(lambda: (ended.id, ended.state) in {(s.id, s.state) for s, _ in ledger.journal.syncs()})

    with attached(tmp_path) as (cluster, home):
        site(cluster, home, body)


async def _touched(here: Site, sync) -> bool:
    """Whether a sync has begun to restart workers, so that its journal was written before."""
    found = await here.service.changing.find_sync(sync.id)
    return found.state in (*STEPS[2:], *FINAL) or any("batch" in step.text for step in found.steps)


def test_a_sync_that_was_refused_because_its_supervisor_did_not_answer_does_not_begin_later(tmp_path):
    async def body(here: Site) -> None:
        await values(here)
        before = workers(here)
        plan = await here.lab.plan(here.cluster)
        os.kill(here.supervisor(), signal.SIGSTOP)
        try:
            with pytest.raises(CoiledError):
                await here.service.sync(plan.id)
        finally:
            os.kill(here.supervisor(), signal.SIGCONT)
        await here.lab.ready(here.cluster, 2)
        # A plan made now says that no sync runs.
        assert (await here.lab.plan(here.cluster)).how == "roll"
        # The ledger is that of all tests of this process.
        assert here.cluster not in {sync.cluster for sync in await here.service.changing.syncs()}
        assert workers(here) == before

    with attached(tmp_path) as (cluster, home):
        site(cluster, home, body)
