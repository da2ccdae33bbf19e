"""The present state of one cluster: each change is a new revision for watchers, each change of status or packages also for the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..core.snapshot import still
from ..core.times import now
from ..core.wire import Cluster, Step, StepState
from ..ledger import AsyncLedger

_log = logging.getLogger("coiled_jupyter.supervisor")


class Snapshot:
    """The state of one cluster.

    Parameters
    ----------
    cluster
        The initial state.
    ledger
        Stores the state at each change of status, steps or layer, as soon as possible.
    publish
        Called with the cluster after each change that isn't just of a time or of memory.

    """

    def __init__(self, cluster: Cluster, ledger: AsyncLedger, publish: Callable[[Cluster], None]) -> None:
        self.cluster = cluster
        self._ledger, self._publish = ledger, publish
        self._started: dict[str, float] = {}
        self._warnings: dict[str, str] = {}
        self._ended = False

    def set(self, **fields: Any) -> None:
        """Change fields of the cluster."""
        before = self.cluster
        changed = msgspec.structs.replace(before, **fields)
        status_changed = changed.status != before.status
        if "since" not in fields:
            changed = msgspec.structs.replace(changed, since=now() if status_changed else before.since)
        # Memory changes all the time; a page that shows it polls for it.
        quiet = {"since": "", "memory": before.memory}
        same = msgspec.structs.replace(still(changed), **quiet) == msgspec.structs.replace(still(before), **quiet)
        if same and "revision" not in fields:
            self.cluster = changed
            return
        self.cluster = msgspec.structs.replace(changed, revision=before.revision + 1)
        # A process that connects without a supervisor's help takes from the ledger what the cluster runs.
        packages = [(one.environment.layer, one.environment.sealed) for one in (before, changed)]
        if status_changed or "steps" in fields or packages[0] != packages[1]:
            self.store()
        self._publish(self.cluster)

    def store(self, *, ended: bool = False) -> None:
        """Have the ledger store the present state."""
        # What is learned of one that has ended doesn't bring it back.
        self._ended = over = self._ended or ended
        cluster = self.cluster
        self._ledger.keep("snapshot", lambda ledger: ledger.snapshot(cluster.id, cluster, ended=over))

    def warn(self, subject: str, text: str | None) -> None:
        """Set the warning about a subject; None removes it."""
        if self._warnings.get(subject) != text:
            self._warnings.pop(subject, None)
            if text is not None:
                self._warnings[subject] = text
            self.set(warnings=tuple(self._warnings.values()))

    def begin_steps(self, *names: str, reason: str | None = None) -> None:
        """Begin a start with these steps, without workers."""
        self._started.clear()
        steps = tuple(Step(name=name, state="waiting") for name in names)
        self.set(status="starting", reason=reason, steps=steps, workers=())

    def step(self, name: str, state: StepState) -> None:
        """Record that a step has begun or ended."""
        _log.info("%s: %s", name, state)
        seconds = round(time.monotonic() - self._started.setdefault(name, time.monotonic()), 3)
        step = Step(name=name, state=state, seconds=seconds)
        self.set(steps=tuple(step if old.name == name else old for old in self.cluster.steps))

    def end_steps(self, state: StepState) -> None:
        """End the running step."""
        for step in self.cluster.steps:
            if step.state == "running":
                self.step(step.name, state)
