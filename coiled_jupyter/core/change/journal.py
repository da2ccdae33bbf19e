"""A sync as it is recorded and shown: its first entry, its steps, what was verified, and its end."""

from __future__ import annotations

from msgspec.structs import replace

from ..compare.packages import running
from ..times import now
from ..wire import Environment, StepState, Sync, SyncGroup, SyncLog, SyncResult, SyncStep
from .state import BASE, StatePlace, SyncPlace, SyncSpec

FINAL = frozenset({"done", "failed", "cancelled", "lost"})
LOG_LINES = 500
BUILD, TEST_START, MOVE, RESTART, VERIFY = (
    "Build the environment",
    "Test start",
    "Move the workers",
    "Restart the cluster",
    "Verify",
)
"""The names of a sync's steps."""


def first(spec: SyncSpec, at: str) -> Sync:
    """Return the first entry of a sync."""
    names = (BUILD, MOVE, VERIFY) if spec.how == "roll" else (BUILD, TEST_START, RESTART, VERIFY)
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
    )


def verified(environment: Environment, place: SyncPlace | StatePlace, path: str) -> SyncGroup:
    """Return whether a group runs from `path` with exactly the packages that `place` expects, and in what not."""
    found = {p.name: p.version for p in environment.packages if p.source is None or p.source.kind != "module"}
    expected = dict(place.expected)
    wrong: list[str] = []
    if environment.level != "all":
        wrong.append("not all of it could be read")
    if environment.prefix != path:
        wrong.append(f"it runs from {environment.prefix}")
    if expected:
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                wrong.append(f"{name} is {found.get(name, 'missing')} instead of {expected.get(name, 'none')}")
        wrong += [f"{p.name} still runs {old}" for p in environment.packages for old in running(p, with_older=True)]
        # What a base environment had before is no fault of a sync.
        wrong += [f"{problem.package or problem.where}: {problem.kind}" for problem in environment.problems]
    text = "as planned" if not wrong else "; ".join(wrong[:5]) + ("; …" if len(wrong) > 5 else "")
    return SyncGroup(
        group=environment.id,
        role=environment.role,
        host=environment.host,
        nodes=environment.nodes,
        verified=not wrong,
        text=text,
    )


def lost(sync: Sync, why: str) -> Sync:
    """Return a sync that nobody carries out any more, and of whose cluster nothing is claimed."""
    result = SyncResult(text=why)
    return replace(sync, state="lost", result=result, ended_at=sync.ended_at or now(), revision=sync.revision + 1)


def step(
    sync: Sync, name: str, state: StepState, *, seconds: float | None = None, text: str = ""
) -> tuple[SyncStep, ...]:
    """Return a sync's steps with one of them changed, or added where it is new."""
    made = SyncStep(name=name, state=state, seconds=seconds, text=text)
    if all(old.name != name for old in sync.steps):
        return (*sync.steps, made)
    return tuple(made if old.name == name else old for old in sync.steps)
