"""A sync as it is recorded and shown: its first entry, its steps, what was verified, and its end."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from ..compare.packages import running
from ..sealing import ALL
from ..times import now
from ..wire import Environment, StepState, Sync, SyncGroup, SyncLog, SyncResult, SyncStep
from .state import BASE, StatePlace, SyncPlace, SyncSpec

FINAL = frozenset({"done", "failed", "cancelled", "lost"})
LOG_LINES = 500
BUILD, TEST_START, MOVE, RESTART, RESTART_WORKERS, VERIFY = (
    "Build the environment",
    "Test start",
    "Move the workers",
    "Restart the cluster",
    "Restart the workers",
    "Verify",
)
"""The names of a sync's steps."""
_STEPS = {"roll": (BUILD, MOVE, VERIFY), "in_place": (RESTART_WORKERS, VERIFY)}


def first(spec: SyncSpec, at: str) -> Sync:
    """Return the first entry of a sync."""
    names = _STEPS.get(spec.how, (BUILD, TEST_START, RESTART, VERIFY))
    return Sync(
        id=spec.id,
        plan=spec.plan,
        cluster=spec.cluster,
        direction="to_cluster",
        state="planned",
        steps=tuple(SyncStep(name=name, state="waiting") for name in names),
        log=SyncLog(),
        result=None,
        undo_of=spec.undo_of,
        undone_by=None,
        started_at=at,
        ended_at=None,
        layer=None if spec.layer == BASE else spec.layer,
        layer_before=None if spec.layer_before == BASE else spec.layer_before,
        changes=spec.changes,
        undoable=spec.how != "in_place",
    )


def verified(
    environment: Environment,
    place: SyncPlace | StatePlace,
    path: str,
    fine: str = "as planned",
    *,
    sealed: bool = False,
) -> SyncGroup:
    """Return whether a group runs from `path` with exactly the packages that `place` expects, and in what not.

    `fine` is what is said of one that does; `sealed` is whether the clients of its tasks have to send sealed graphs.
    """
    found = {p.name: p.version for p in environment.packages if p.source is None or p.source.kind != "module"}
    expected = dict(place.expected)
    wrong: list[str] = []
    if environment.level != "all":
        wrong.append("not all of it could be read")
    if environment.prefix != path:
        wrong.append(f"it runs from {environment.prefix}")
    if sealed and ALL not in environment.sealed:
        wrong.append("clients of its tasks send graphs that the scheduler can't unpickle")
    if expected:
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                wrong.append(f"{name} is {found.get(name, 'missing')} instead of {expected.get(name, 'none')}")
        wrong += [f"{p.name} still runs {old}" for p in environment.packages for old in running(p, with_older=True)]
        # What a base environment had before is no fault of a sync.
        wrong += [f"{problem.package or problem.where}: {problem.kind}" for problem in environment.problems]
    text = fine if not wrong else "; ".join(wrong[:5]) + ("; …" if len(wrong) > 5 else "")
    return SyncGroup(
        group=environment.id,
        role=environment.role,
        host=environment.host,
        nodes=environment.nodes,
        verified=not wrong,
        text=text,
    )


_DIFFERENT = re.compile(r" is \S+ instead of \S+| still runs ")


def misfit(wrong: Sequence[SyncGroup], installers: str) -> str:
    """Return why a verified sync isn't as planned, for a person, and which plugins may have undone it.

    Parameters
    ----------
    wrong
        The groups that aren't as planned.
    installers
        What is said of plugins that install packages where a worker starts; empty where there are none.

    """
    first = wrong[0]
    nodes = len(first.nodes)
    who = f"{nodes} workers on {first.host} aren't" if nodes != 1 else f"A worker on {first.host} isn't"
    more = f" (and {len(wrong) - 1} more groups)" if len(wrong) > 1 else ""
    told = f"{who} as planned{more}: {first.text.rstrip('.')}"
    if not installers or not any(_DIFFERENT.search(group.text) for group in wrong):
        return told
    return f"{told}. {installers.rstrip('.')}"


def lost(sync: Sync, why: str) -> Sync:
    """Return a sync that nobody carries out any more, and of whose cluster nothing is claimed."""
    result = SyncResult(text=why)
    return replace(sync, state="lost", result=result, ended_at=sync.ended_at or now(), revision=sync.revision + 1)


def step(
    sync: Sync, name: str, state: StepState, *, seconds: float | None = None, text: str = ""
) -> tuple[SyncStep, ...]:
    """Return a sync's steps with one of them changed, or added where it is new; one that runs keeps when it began."""
    made = SyncStep(name=name, state=state, seconds=seconds, text=text)
    before = next((old for old in sync.steps if old.name == name), None)
    begun = before.started_at if before is not None and before.state == "running" else None
    if state == "running" or begun is not None:
        made = replace(made, started_at=begun or now())
    if before is None:
        return (*sync.steps, made)
    return tuple(made if old.name == name else old for old in sync.steps)
