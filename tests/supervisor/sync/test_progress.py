"""What is recorded of a sync, while the ledger is locked and nothing can be sent."""

from __future__ import annotations

import asyncio

import pytest

from coiled_jupyter.core.change.journal import BUILD, MOVE
from coiled_jupyter.core.change.state import SyncSpec
from coiled_jupyter.core.errors import Unavailable
from coiled_jupyter.ledger import AsyncLedger, Ledger
from coiled_jupyter.supervisor.sync import progress as module
from coiled_jupyter.supervisor.sync.progress import Progress
from tests.supervisor.sync.test_law import held

SPEC = SyncSpec(id="s1", plan="p1", cluster="c1")


class Host:
    """A supervisor with a ledger, and with watchers to whom nothing can be sent."""

    def __init__(self, path) -> None:
        self.ledger = AsyncLedger(path, retry_seconds=0.1)
        self.sent = 0

    def push_sync(self, sync) -> None:
        self.sent += 1
        raise OSError("no watcher can be reached")


def test_what_can_not_be_sent_or_written_now_ends_no_sync_and_is_written_later(tmp_path, monkeypatch):
    path = tmp_path / "ledger"
    monkeypatch.setattr(module, "JOURNAL_SECONDS", 0.3)

    async def go() -> None:
        host = Host(path)
        progress = Progress(host, SPEC)
        ledger = Ledger(path)
        with held(path):
            progress.enter("building")
            progress.begin(BUILD)
            progress.log("a line")
            with pytest.raises(Unavailable, match="could not be brought back"):
                await progress.written()
            progress.finish(BUILD)
            progress.end("failed", "The ledger of clusters can't be written.")
            assert ledger.journal.syncs() == []
        await progress.written()
        ((sync, spec),) = ledger.journal.syncs()
        assert (sync.state, spec.id, sync.log.lines) == ("failed", "s1", ("a line",))
        assert sync == progress.sync
        assert host.sent >= 4
        await host.ledger.close()

    asyncio.run(go())


def test_a_sync_that_another_supervisor_began_goes_on_where_it_was(tmp_path):
    async def go() -> None:
        host = Host(tmp_path / "ledger")
        first = Progress(host, SPEC)
        first.enter("rolling")
        first.log("one")
        first.begin(MOVE)
        again = Progress(host, SPEC, first.sync)
        again.log("two")
        again.end("failed", "back")
        assert again.sync.log.lines == ("one", "two")
        assert again.sync.revision > first.sync.revision
        await host.ledger.close()

    asyncio.run(go())
