"""Records the progress of one sync: in the ledger, as soon as possible, and for the cluster's watchers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from ...core.change.journal import LOG_LINES, first, step
from ...core.change.state import SyncSpec
from ...core.errors import CoiledError, Unavailable
from ...core.times import now
from ...core.wire import PlanLost, StepState, Sync, SyncGroup, SyncLog, SyncResult, SyncState
from ...ledger import Ledger
from .host import Host

SEND_SECONDS = 0.3
JOURNAL_SECONDS = 20.0
"""Seconds that a sync waits for the ledger to have what another supervisor needs to go back; it changes nothing before."""
_log = logging.getLogger("coiled_jupyter.supervisor")


class Progress:
    """The record of one sync; only `written` raises.

    Parameters
    ----------
    sync
        As recorded by an earlier supervisor; None for a new sync.

    """

    def __init__(self, host: Host, spec: SyncSpec, sync: Sync | None = None) -> None:
        self.sync = sync or first(spec, now())
        self._host, self._spec = host, spec
        self._lines: deque[str] = deque(self.sync.log.lines, maxlen=LOG_LINES)
        self._count = self.sync.log.next
        self._started: dict[str, float] = {}
        self._sent_at = 0.0

    def log(self, line: str) -> None:
        """Add a line to the sync's log; lines are sent in batches."""
        _log.info("sync: %s", line)
        self._lines.append(line[:2000])
        self._count += 1
        if time.monotonic() - self._sent_at > SEND_SECONDS:
            self._record(save=False)

    def enter(self, state: SyncState) -> None:
        """Enter a state that isn't final."""
        self._record(state=state)

    def begin(self, name: str) -> None:
        """Begin a step."""
        self._started[name] = time.monotonic()
        self.finish(name, "running")

    def finish(self, name: str, state: StepState = "done", text: str = "") -> None:
        """End a step, or update its text with the state ``running``."""
        seconds = round(time.monotonic() - self._started.get(name, time.monotonic()), 3)
        self._record(steps=step(self.sync, name, state, seconds=seconds, text=text))

    def stop(self, state: StepState, why: str) -> None:
        """End running steps with `state`, and cancel waiting ones."""
        for one in self.sync.steps:
            if one.state == "running":
                self.finish(one.name, state, why)
            elif one.state == "waiting":
                self._record(steps=step(self.sync, one.name, "cancelled"))

    def end(self, state: SyncState, text: str, groups: Sequence[SyncGroup] = (), lost: PlanLost | None = None) -> None:
        """Enter a final state."""
        self._record(
            state=state, result=SyncResult(text=text, groups=tuple(groups), lost=lost or PlanLost()), ended_at=now()
        )

    def replace(self, sync: Sync) -> None:
        """Replace the whole record."""
        self.sync = sync
        self._record()

    async def mark_undone(self, undone: str) -> None:
        """Record that this sync has undone `undone`."""
        by = self.sync.id

        def mark(ledger: Ledger) -> Sync | None:
            for sync, spec in ledger.journal.syncs():
                if sync.id == undone:
                    marked = msgspec.structs.replace(sync, undone_by=by, revision=sync.revision + 1)
                    ledger.journal.save_sync(marked, spec)
                    return marked
            return None

        try:
            marked = await self._host.ledger.ask(mark)
        except CoiledError:
            self._host.ledger.keep(f"undone {undone}", mark)
        else:
            if marked is not None:
                self._send(marked)

    async def written(self) -> None:
        """Wait until the ledger has this record; Unavailable with the reason if it can't be written."""
        ledger = self._host.ledger
        if ledger.fault is not None:
            self.log(f"{ledger.fault}: retrying")
        if not await ledger.flush(JOURNAL_SECONDS):
            why = ledger.fault or "The ledger of clusters doesn't answer"
            raise Unavailable(f"{why}, so the old state could not be brought back if this process ended", "Try again")

    def _record(self, *, save: bool = True, **fields: Any) -> None:
        self._sent_at = time.monotonic()
        log = SyncLog(lines=tuple(self._lines), next=self._count)
        sync = self.sync = msgspec.structs.replace(self.sync, revision=self.sync.revision + 1, log=log, **fields)
        if save:
            self._host.ledger.keep(f"sync {sync.id}", lambda held: held.journal.save_sync(sync, self._spec))
        self._send(sync)

    def _send(self, sync: Sync) -> None:
        try:
            self._host.push_sync(sync)
        except Exception:  # noqa: BLE001 - a failure to send never ends a sync
            _log.exception("a change of a sync could not be sent")
