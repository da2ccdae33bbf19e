"""Restarts the workers of a notebook's own cluster in place, through its kernel, and keeps track of these syncs.

The kernel carries it out by itself; this asks how far it is, and reads every worker afterwards. These syncs are known
as long as this process lives: the cluster lives no longer than its kernel, and there is no state to go back to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec

from .. import tasks
from ..core.change import in_place as deciding
from ..core.change.journal import FINAL, LOG_LINES, RESTART_WORKERS, VERIFY, first, lost, step
from ..core.clients import KernelClient
from ..core.errors import CoiledError, Conflict, NotFound, Timeout
from ..core.groups import Readings, modules
from ..core.local_roll import Begun, Look, Stopped, Told, answer, doing, ended, refused
from ..core.rules import RuleSet
from ..core.times import now
from ..core.wire import Change, Cluster, PlanCreate, PlanLost, Sync, SyncGroup, SyncLog, SyncResult
from .discovery import Discovery, Kernels
from .plans.gather import Source, compared
from .plans.held import HeldPlan
from .plans.in_place import Inputs, make

ASK_SECONDS = 0.3
"""Seconds between two looks at a roll."""
TELL_SECONDS = 1.0
"""Seconds after which a step is told again of which nothing but its time has changed."""
READ_SECONDS = 60.0
"""Seconds within which every worker must have been read after the restarts."""
SILENT_SECONDS = 600.0
"""Seconds that a kernel that lives may be silent, as while a cell holds the interpreter's lock."""
LEAVE_SECONDS = 10.0
"""Seconds within which a temporary worker of the last sync may end before the next one is refused."""
KEPT = 50
TRIES = 4
"""How often a kernel is asked that doesn't answer in time, as one with a busy cell on a busy machine."""
_GONE = (
    "The notebook's kernel has ended or restarted during the sync, and its cluster with it: its workers and their results "
    "are gone. Run the cell that opens the cluster again."
)
_CLOSED = "The notebook closed the cluster during the sync."
_SILENT = (
    "The notebook's kernel has not answered for ten minutes, so it isn't known how far it is. The restarts go on or end by "
    "themselves; look at the workers when the kernel answers."
)
_LEFT = "Workers that had restarted run what is installed now; the others were left as they are."
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Environments(Protocol):
    """The environments of kernels."""

    async def source(self, kernel_id: str | None) -> Source:
        """Return the environment of a kernel, or raise NotFound or Unavailable."""


class _Run:
    """One sync, and the kernel that carries it out."""

    def __init__(self, sync: Sync, held: HeldPlan, kernel: str, process: object) -> None:
        self.sync, self.held, self.kernel, self.process = sync, held, kernel, process
        self.began: dict[str, float] = {}
        self.cancelled = False
        self.task: asyncio.Task[None] | None = None


class InPlace:
    """The plans and syncs of clusters that live in the kernels of notebooks.

    Parameters
    ----------
    rules
        Returns the rules by which differences are rated.
    changed
        Called after each change of a sync.

    """

    def __init__(
        self,
        kernels: Kernels,
        discovery: Discovery,
        environments: Environments,
        rules: Callable[[], RuleSet],
        changed: Callable[[Change], None],
    ) -> None:
        self._kernels, self._discovery, self._environments = kernels, discovery, environments
        self._rules, self._changed = rules, changed
        self._runs: dict[str, _Run] = {}

    async def close(self) -> None:
        """Stop following the syncs; kernels carry on by themselves."""
        await tasks.end([run.task for run in self._runs.values()])

    # ---- plans ------------------------------------------------------------------------------------------------

    async def look(self, cluster: Cluster) -> tuple[str, KernelClient, Look]:
        """Return the kernel and its client through which a notebook's cluster is reached, and how its workers run."""
        kernel, client = self._discovery.client(cluster.id)
        if client.inproc:
            return kernel, client, Look(kind="threads")
        asked = {"verb": "look", "scheduler": client.scheduler}
        return kernel, client, answer(await _patiently(lambda: self._kernels.roll(kernel, **asked)), Look)

    async def plan(self, body: PlanCreate, cluster: Cluster, look: Look, user: str) -> HeldPlan:
        """Return a plan of restarts in place, not held yet; raises as `plans.in_place.make`, and Conflict."""
        self._check_source(body)
        kernel, client = self._discovery.client(cluster.id)
        named = (body.source.kernel if body.source else None) or body.kernel or kernel
        opener = (await self._environments.source(kernel)).environment
        wanted = opener if named == kernel else (await self._environments.source(named)).environment
        readings = await self._readings(cluster.id, modules(opener))
        link, scheduler = self._discovery.link(cluster.id), client.scheduler or ""
        loads = await _patiently(lambda: link.worker_loads(scheduler)) if look.workers else ()
        return make(
            Inputs(
                body=body,
                # Its present state: reading everything took a while.
                cluster=next((c for c in self._discovery.clusters() if c.id == cluster.id), cluster),
                look=look,
                opener=opener,
                wanted=wanted,
                readings=readings,
                loads=loads,
                diff=compared(cluster, opener, readings, self._rules(), named),
            ),
            user,
        )

    async def _readings(self, cluster_id: str, wanted: tuple[str, ...]) -> Readings:
        readings = await self._discovery.readings(cluster_id, wanted, current=True)
        for _ in range(TRIES - 1):
            if not readings.unread:
                break
            readings = await self._discovery.readings(cluster_id, wanted, current=True)
        return readings

    @staticmethod
    def _check_source(body: PlanCreate) -> None:
        if body.source is None or body.source.kernel is not None:
            return
        if body.source.layer is not None:
            raise Conflict("The workers of this cluster have no earlier state to go back to", deciding.NO_UNDO)
        if body.source.software is not None:
            raise Conflict(
                "The workers of this cluster run from the environment of the notebook that opened it, and can't run from "
                "a software environment",
                "Start a cluster with that software environment instead",
            )

    # ---- syncs ------------------------------------------------------------------------------------------------

    def syncs(self) -> list[Sync]:
        """Return the syncs of this process, newest first."""
        return [run.sync for run in reversed(self._runs.values())]

    def has(self, sync_id: str) -> bool:
        """Whether this is a sync in place."""
        return sync_id in self._runs

    async def begin(self, held: HeldPlan, plan_id: str) -> Sync:
        """Have the kernel begin, and return the sync; Conflict if it can't."""
        kernel, client = self._discovery.client(held.spec.cluster)
        spec = msgspec.structs.replace(held.spec, plan=plan_id)
        process = self._kernels.process(kernel)
        asked = {
            "verb": "begin",
            "ticket": spec.id,
            "scheduler": client.scheduler,
            "workers": [worker for roll in spec.rolls for worker in roll.workers],
            "seconds": spec.drain_seconds,
            "lossy": spec.lost_ok,
        }
        deadline = time.monotonic() + LEAVE_SECONDS
        while True:
            begun = answer(await _patiently(lambda: self._kernels.roll(kernel, **asked)), Begun)
            if begun.error != "leaving" or time.monotonic() > deadline:
                break
            await asyncio.sleep(ASK_SECONDS)
        if begun.ticket is None:
            raise Conflict(refused(begun), "Look at the cluster, and try again in a moment")
        while len(self._runs) >= KEPT:
            ended_first = next((key for key, run in self._runs.items() if run.sync.state in FINAL), None)
            if ended_first is None:
                break
            del self._runs[ended_first]
        run = self._runs[spec.id] = _Run(first(spec, now()), held, kernel, process)
        self._record(run, state="rolling")
        self._step(run, RESTART_WORKERS, "running")
        run.task = asyncio.create_task(self._carry_out(run), name=f"sync in place {spec.id}")
        return run.sync

    async def cancel(self, sync_id: str) -> Sync:
        """Have a sync end before its next worker; Conflict if it has ended or only reads the workers."""
        run = self._runs.get(sync_id)
        if run is None:
            raise NotFound("There is no sync with this id", "See GET syncs")
        if run.sync.state != "rolling":
            raise Conflict(f"This sync is {run.sync.state.replace('_', ' ')} and can't be cancelled any more")
        run.cancelled = True
        asked = {"verb": "stop", "ticket": sync_id}
        answer(await _patiently(lambda: self._kernels.roll(run.kernel, **asked)), Stopped)
        return run.sync

    async def _carry_out(self, run: _Run) -> None:
        try:
            told = await self._follow(run)
            if told is None:
                return
            if told.state == "cancelled":
                self._end(run, "cancelled", f"Cancelled. {_LEFT}")
            elif told.why == "closed":
                self._lose(run, _CLOSED)
            elif told.state == "failed":
                self._end(run, "failed", f"{ended(told, run.held.spec.drain_seconds)} {_LEFT}")
            else:
                self._step(run, RESTART_WORKERS, "done", f"{len(run.held.plan.rolls)} restarted")
                self._record(run, state="verifying")
                self._step(run, VERIFY, "running")
                await self._verify(run)
        except CoiledError as error:
            self._end(run, "failed", error.message)
        except Exception:  # noqa: BLE001 - outermost edge of the task: the sync ends in any case
            _log.exception("a sync in place could not be followed because of a bug")
            self._end(run, "failed", "A bug in coiled-jupyter; the server's log has its details.")

    async def _follow(self, run: _Run) -> Told | None:
        """Return how a roll has ended; None where the sync is lost."""
        total, heard, said = len(run.held.plan.rolls), time.monotonic(), ("", 0.0)
        while True:
            await asyncio.sleep(ASK_SECONDS)
            if self._kernels.process(run.kernel) != run.process:
                self._lose(run, _GONE)
                return None
            try:
                text = await self._kernels.roll(run.kernel, verb="tell", ticket=run.sync.id, after=run.sync.log.next)
                told = answer(text, Told)
            except CoiledError as error:
                _log.debug("sync %s: %s", run.sync.id, error.message)
                if time.monotonic() - heard > SILENT_SECONDS:
                    self._lose(run, _SILENT)
                    return None
                continue
            heard = time.monotonic()
            if told.state == "unknown":
                self._lose(run, _GONE)
                return None
            lines = (*run.sync.log.lines, *told.lines)[-LOG_LINES:]
            run.sync = msgspec.structs.replace(run.sync, log=SyncLog(lines=lines, next=told.next))
            text = "cancelling" if run.cancelled else doing(told, total)
            if text != said[0] or heard - said[1] > TELL_SECONDS:
                said = (text, heard)
                self._step(run, RESTART_WORKERS, "running", text)
            if told.state != "running":
                return told

    async def _verify(self, run: _Run) -> None:
        """Read every worker anew and end the sync by what was found."""
        planned = {a.name: a.after for a in run.held.plan.actions if a.kind != "refuse" and a.after is not None}
        old = {worker for roll in run.held.plan.rolls for worker in roll.workers}
        deadline = time.monotonic() + READ_SECONDS
        while True:
            if self._kernels.process(run.kernel) != run.process:
                return self._lose(run, _GONE)
            groups, why = await self._read(run, planned, old)
            if not why or time.monotonic() > deadline:
                break
            await asyncio.sleep(ASK_SECONDS)
        if why:
            self._end(run, "failed", f"{why} {_LEFT}", groups)
            return None
        self._step(run, VERIFY, "done")
        count = sum(len(group.nodes) for group in groups)
        many = f"All {count} workers run" if count != 1 else "The worker runs"
        text = f"{many} what is installed now, as read from {'each' if count != 1 else 'it'}. {deciding.NO_UNDO}"
        self._end(run, "done", text, groups)
        return None

    async def _read(self, run: _Run, planned: dict[str, str], old: set[str]) -> tuple[tuple[SyncGroup, ...], str]:
        """Return what was read of the workers, and what isn't as planned; empty if all is."""
        try:
            readings = await self._discovery.read_anew(run.held.spec.cluster)
        except CoiledError as error:
            return (), f"The workers could not be read: {error.message}."
        workers = [group for group in readings.environments if group.role == "worker"]
        groups = tuple(deciding.verified(group, planned) for group in workers)
        unread = [entry for entry in readings.unread if entry.node != "scheduler"]
        if unread:
            return groups, f"{unread[0].node} could not be read: {unread[0].reason}."
        if not groups:
            return groups, "No worker could be read."
        wrong = next((group for group in groups if not group.verified), None)
        if wrong is not None:
            return groups, f"A worker isn't as planned: {wrong.text}."
        if any(node in old for group in groups for node in group.nodes):
            return groups, "A worker was not restarted."
        return groups, ""

    # ---- the record -------------------------------------------------------------------------------------------

    def _step(self, run: _Run, name: str, state: str, text: str = "") -> None:
        began = run.began.setdefault(name, time.monotonic())
        seconds = round(time.monotonic() - began, 3)
        self._record(run, steps=step(run.sync, name, state, seconds=seconds, text=text))  # type: ignore[arg-type]  # one of StepState

    def _end(self, run: _Run, state: str, text: str, groups: tuple[SyncGroup, ...] = ()) -> None:
        """End running steps as the sync ends, and cancel waiting ones."""
        for one in run.sync.steps:
            if one.state == "running":
                self._step(run, one.name, "done" if state == "done" else state, "" if state == "done" else text)
            elif one.state == "waiting":
                self._record(run, steps=step(run.sync, one.name, "cancelled"))
        gone = run.held.spec.lost if state == "done" else PlanLost()
        result = SyncResult(text=text, groups=groups, lost=gone)
        self._record(run, state=state, result=result, ended_at=now())

    def _lose(self, run: _Run, why: str) -> None:
        for one in run.sync.steps:
            if one.state in ("running", "waiting"):
                kind = "failed" if one.state == "running" else "cancelled"
                self._step(run, one.name, kind, why if kind == "failed" else "")
        run.sync = lost(run.sync, why)
        self._publish(run)

    def _record(self, run: _Run, **fields: object) -> None:
        run.sync = msgspec.structs.replace(run.sync, revision=run.sync.revision + 1, **fields)
        self._publish(run)

    def _publish(self, run: _Run) -> None:
        self._changed(Change(kind="sync", id=run.sync.id, revision=run.sync.revision))


async def _patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    for _ in range(TRIES - 1):
        with contextlib.suppress(Timeout):
            return await ask()
    return await ask()
