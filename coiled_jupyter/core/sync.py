"""What a supervisor is handed to carry out a plan, what it remembers of the states of a cluster, and how a run is told."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from .cluster import BuildSpec
from .diff import running
from .wire import Direction, Environment, PlanLost, PlanRoll, StepState, Sync, SyncGroup, SyncLog, SyncStep

BASE = "base"
"""The id of the state in which nothing has been synchronized."""
FINAL = frozenset({"done", "failed", "cancelled", "lost"})
LOG_LINES = 500


class Wheel(Struct, frozen=True, kw_only=True):
    """A wheel on this machine that travels to the nodes."""

    name: str
    version: str
    path: str
    sha256: str


class SyncPlace(Struct, frozen=True, kw_only=True):
    """What one place gets: a layer with exactly these versions.

    Attributes
    ----------
    key
        Of `core.survey.SurveyPlace`.
    layer
        The id of its layer, or None to go back to the base environment.
    lock
        Requirements with hashes; empty where the layer must be there already.
    expected
        Every distribution and its version; empty for a base environment, which may be changed by others.
    imports
        Distributions that must be importable from it.

    """

    key: str
    host: str
    prefix: str
    layer: str | None
    lock: str = ""
    expected: Mapping[str, str] = {}
    imports: tuple[str, ...] = ()
    wheels: tuple[Wheel, ...] = ()


class SyncSpec(Struct, frozen=True, kw_only=True):
    """All that a supervisor needs to carry out one plan; crosses by its socket only.

    Attributes
    ----------
    layer, layer_before
        States; `core.sync.BASE` is the base environment.
    alone
        Whether a single worker needs a temporary second.
    lost_ok
        Whether the user agreed to losing what the plan named.
    environ, options
        Of the installer: addresses and credentials of indexes, never stored, logged or shown; and what holds no secret.
    build, interpreter
        For a replacement of the whole cluster: what its new Python is made from, or where it lies.

    """

    id: str
    plan: str | None
    cluster: str
    direction: Direction = "to_cluster"
    how: str = "roll"
    layer: str = BASE
    layer_before: str = BASE
    places: tuple[SyncPlace, ...] = ()
    rolls: tuple[PlanRoll, ...] = ()
    alone: bool = False
    drain_seconds: float = 120.0
    lost_ok: bool = False
    lost: PlanLost = PlanLost()
    environ: Mapping[str, str] = {}
    options: tuple[str, ...] = ()
    only_binary: bool = True
    build: BuildSpec | None = None
    lock: str = ""
    interpreter: str | None = None
    changes: int = 0
    undo_of: str | None = None


class StatePlace(Struct, frozen=True, kw_only=True):
    """Where a state's layer lies on one place, how its nannies are pointed to it, and how it is made again."""

    key: str
    host: str
    prefix: str
    layer: str | None
    path: str
    executable: str
    entries: tuple[str, ...] = ()
    expected: Mapping[str, str] = {}
    size: int | None = None
    lock: str = ""
    imports: tuple[str, ...] = ()
    wheels: tuple[Wheel, ...] = ()


class State(Struct, frozen=True, kw_only=True):
    """A state that a cluster was in: its layers by place, or the interpreter that all of it ran on."""

    id: str
    cluster: str
    how: str
    packages: int
    places: tuple[StatePlace, ...] = ()
    interpreter: str | None = None
    created_at: str = ""
    used_at: str = ""


def again(place: StatePlace) -> SyncPlace:
    """Return what makes a state's layer again."""
    return SyncPlace(
        key=place.key,
        host=place.host,
        prefix=place.prefix,
        layer=place.layer,
        lock=place.lock,
        expected=place.expected,
        imports=place.imports,
        wheels=place.wheels,
    )


def first(spec: SyncSpec, at: str) -> Sync:
    """Return a sync before its first step."""
    names = {
        "roll": ("Build the environment", "Move the workers", "Verify"),
        "replace": ("Build the environment", "Rehearse", "Start the cluster anew", "Verify"),
    }[spec.how]
    return Sync(
        id=spec.id,
        plan=spec.plan,
        cluster=spec.cluster,
        direction=spec.direction,
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
    """Return what a reading says of nodes that shall run from `path` with what `place` expects."""
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
        wrong += [f"{p.name} still runs {old}" for p in environment.packages for old in running(p, untold=True)]
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


def step(
    sync: Sync, name: str, state: StepState, *, seconds: float | None = None, text: str = ""
) -> tuple[SyncStep, ...]:
    """Return a sync's steps with one of them changed, or added where it is new."""
    made = SyncStep(name=name, state=state, seconds=seconds, text=text)
    if all(old.name != name for old in sync.steps):
        return (*sync.steps, made)
    return tuple(made if old.name == name else old for old in sync.steps)
