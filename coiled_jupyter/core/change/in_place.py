"""Decides what a rolling restart in place does: workers run what is installed now in the environment they share.

Nothing is installed, so there is nothing to undo, and a worker that restarts runs everything as it is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..compare.packages import OLDER, running
from ..rules import equal_versions
from ..wire import ActionKind, Environment, Package, PlanAction, PlanLost, PlanRoll, Row, SyncGroup
from .actions import newer
from .goals import SCHEDULER_BOUND, refusal
from .moves import fits
from .survey import SurveyWorker

THREADS = (
    "The workers of this cluster are threads of the notebook's kernel (processes=False), so they run what the kernel runs. "
    "Restart the kernel to have it run what is installed now; that ends this cluster."
)
ELSEWHERE = (
    "It runs from another environment than the notebook that opened it: {}. A restart doesn't change what is installed "
    "there; install it there, then sync again."
)
ANOTHER = (
    "The workers of this cluster run from the environment of the notebook that opened it, and can't run from another one. "
    "Choose that notebook's kernel, or start a cluster for this one."
)
NOT_ITS_OWN = (
    "It joined this cluster from outside, so the notebook can't restart it: whoever started it has to do that."
)
NO_UNDO = "To go back, install the earlier versions in the notebook's environment and sync again."
_IN_USE = "Workers still run it as it was before {} was installed."
_EDITED = "Workers still run it as it was before its files changed."
_ALONG = "A worker that restarts runs everything as it is installed now."
_KERNEL = (
    "The notebook's kernel, in which the scheduler lives too, still runs {}: restart the kernel to have it run {}. That "
    "ends this cluster; until then the notebook and its workers differ."
)
_BOUND = (
    "The scheduler lives in the notebook's kernel and still runs {}, while workers that restart would run {}. They must be "
    "equal to understand each other: restart the kernel instead, and open the cluster again."
)


class InPlace(Struct, frozen=True, kw_only=True):
    """What a rolling restart does.

    Attributes
    ----------
    blocked
        Refusals because of which nothing is done.
    workers
        The addresses of the workers that restart, in order.
    temporary
        Whether a second worker is needed meanwhile, to keep what the only one holds.

    """

    actions: tuple[PlanAction, ...] = ()
    refused: tuple[PlanAction, ...] = ()
    blocked: tuple[PlanAction, ...] = ()
    workers: tuple[str, ...] = ()
    rolls: tuple[PlanRoll, ...] = ()
    lost: PlanLost = PlanLost()
    temporary: bool = False


def decide(
    kernel: Environment,
    groups: Sequence[Environment],
    own: frozenset[str],
    loads: Sequence[SurveyWorker],
    names: frozenset[str] | None,
    rows: Sequence[Row],
) -> InPlace:
    """Return what restarts and what that changes.

    Parameters
    ----------
    kernel
        Of the notebook that opened the cluster.
    groups
        The workers.
    own
        The addresses of the workers that the notebook can restart.
    loads
        What each worker holds.
    names
        The packages that it is about; None for all.

    """
    why = {row.name: row.why for row in rows}
    group_of = {node: group for group in groups for node in group.nodes}
    refused: list[PlanAction] = []
    planned: set[str] = set()
    for group in groups:
        older = _older(group)
        if (group.host, group.prefix) != (kernel.host, kernel.prefix):
            refused.append(refusal("workers", group.id, ELSEWHERE.format(group.prefix)))
            continue
        nodes = {node for name, nodes in older.items() if names is None or name in names for node in nodes}
        if nodes - own:
            refused.append(refusal("workers", group.id, NOT_ITS_OWN))
        planned |= nodes & own
    actions: list[PlanAction] = []
    for group in groups:
        moving = planned & set(group.nodes)
        older = {name: nodes & moving for name, nodes in _older(group).items()}
        for package in group.packages:
            if older.get(package.name):
                actions.append(_action(package, group, moving, names, why.get(package.name, "")))
    holding = {load.address: load for load in loads}
    ordered = sorted(planned, key=lambda a: (holding[a].alone if a in holding else 0, a))
    mine = [_kernel_refused(p, kernel) for p in kernel.packages if running(p, with_older=True)]
    blocked = [action for action in mine if action.name in SCHEDULER_BOUND] if ordered else []
    idle = not any(w.alone or w.running or w.futures or w.scattered or w.actors for w in loads)
    temporary = len(loads) == 1 and bool(ordered) and not idle
    return InPlace(
        actions=tuple(actions),
        refused=(*(action for action in mine if action not in blocked), *refused),
        blocked=tuple(blocked),
        workers=tuple(ordered),
        rolls=tuple(
            PlanRoll(group=group_of[address].id, workers=(address,), batch=number)
            for number, address in enumerate(ordered, 1)
        ),
        lost=_lost([holding[address] for address in ordered if address in holding], loads, temporary=temporary),
        temporary=temporary,
    )


def verified(group: Environment, planned: Mapping[str, str]) -> SyncGroup:
    """Return whether no worker of a group runs anything older than what is installed, and it has the planned versions.

    `planned` are versions by name; a package that was installed anew since is no fault.
    """
    wrong = [f"{p.name} still runs {old}" for p in group.packages for old in running(p, with_older=True)]
    present = {package.name: package.version for package in group.packages}
    wrong += [
        f"{name} is {present.get(name, 'missing')} instead of {version}"
        for name, version in sorted(planned.items())
        if name not in present or not equal_versions(present[name], version)
    ]
    return SyncGroup(
        group=group.id,
        role=group.role,
        host=group.host,
        nodes=group.nodes,
        verified=not wrong,
        text="as planned" if not wrong else "; ".join(wrong[:5]) + ("; …" if len(wrong) > 5 else ""),
    )


def restarts(workers: int, *, temporary: bool) -> tuple[str, ...]:
    """Say what restarts."""
    if temporary:
        return ("The only worker restarts; a temporary second one keeps its results.", NO_UNDO)
    if workers == 1:
        return ("1 worker restarts, after handing its results to the others.", NO_UNDO)
    return (f"{workers} workers restart, one after the other, after handing their results to the others.", NO_UNDO)


def _older(group: Environment) -> dict[str, set[str]]:
    """Return, by package, the nodes that run another version of it than what is installed."""
    found: dict[str, set[str]] = {}
    for package in group.packages:
        old = set(running(package, with_older=True))
        nodes = {node for loaded in package.loaded if loaded.version in old for node in loaded.nodes}
        if nodes:
            found[package.name] = nodes
    return found


def _versions(package: Package, nodes: set[str] | None = None) -> list[str]:
    old = set(running(package, with_older=True))
    return [
        loaded.version
        for loaded in package.loaded
        if loaded.version in old and (nodes is None or nodes & set(loaded.nodes))
    ]


def _action(
    package: Package, group: Environment, moving: set[str], names: frozenset[str] | None, why: str
) -> PlanAction:
    old = next(iter(_versions(package, moving)), OLDER)
    edited = old == OLDER
    kind: ActionKind = "install" if edited else "upgrade" if newer(package.version, old) else "downgrade"
    if names is not None and package.name not in names:
        reason = _ALONG
    else:
        reason = why or (_EDITED if edited else _IN_USE.format(package.version))
    return PlanAction(
        kind=kind,
        name=package.name,
        before=package.version if edited else old,
        after=package.version,
        group=group.id,
        why=reason,
    )


def _kernel_refused(package: Package, kernel: Environment) -> PlanAction:
    old = next(iter(_versions(package)), OLDER)
    shown = f"{package.name} as it was before its files changed" if old == OLDER else f"{package.name} {old}"
    text = _BOUND if package.name in SCHEDULER_BOUND else _KERNEL
    before = package.version if old == OLDER else old
    return refusal(package.name, kernel.id, text.format(shown, package.version), before, package.version)


def _lost(moving: Sequence[SurveyWorker], workers: Sequence[SurveyWorker], *, temporary: bool) -> PlanLost:
    lost, reasons = PlanLost(), []
    for worker in moving:
        if worker.actors:
            reasons.append(f"worker {worker.name} holds {worker.actors} actors, which can't move")
            lost = replace(lost, actors=lost.actors + worker.actors)
        if not temporary and not fits([worker], workers):
            reasons.append(f"what worker {worker.name} holds doesn't fit into the others")
            lost = replace(lost, futures=lost.futures + worker.futures, scattered=lost.scattered + worker.scattered)
    why = "; ".join(dict.fromkeys(reasons))
    return replace(lost, why=f"{why[:1].upper()}{why[1:]}." if why else "")
