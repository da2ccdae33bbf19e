"""Decides what a sync would do: which packages change where, what restarts in which order, what would be lost.

Pure: what is there was read by others, what can be had was resolved by uv. A plan never promises more than a roll can
keep: what only a restart of the scheduler changes is either a replacement of the whole cluster, or refused by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from packaging.version import InvalidVersion, Version

from .diff import compare, running
from .rules import RuleSet, equal_versions, minor
from .survey import Survey, SurveyPlace, SurveyWorker
from .wire import ActionCause, ActionKind, Environment, Package, PlanAction, PlanLost, PlanRoll, Row

SCHEDULER_BOUND = frozenset({"cloudpickle", "dask", "distributed", "msgpack", "tornado"})
"""What a worker must have as its scheduler has it, or they don't understand each other."""
ROOM = 0.6
"""The part of a worker's memory limit up to which it takes what others hand over; Dask begins to spill above."""
AT_ONCE = 3
"""At most one worker of so many restarts at a time while any holds or does something."""
BUILD_SECONDS, CHECK_SECONDS, BATCH_SECONDS, WORKER_SECONDS, REPLACE_SECONDS = 5.0, 2.0, 2.0, 1.0, 6.0


_ABSENT = "The notebook doesn't have it."
_UNNEEDED = "Nothing in the new environment needs it."
_REQUIRED = "Another package needs this version."
_REPLACED = "Its installation on the cluster is replaced."


class Wanted(Struct, frozen=True, kw_only=True):
    """What one place is to have, as far as it can be had.

    Attributes
    ----------
    hard
        Requirements without which its workers wouldn't run.
    wishes
        ``name==version``, the most important first.
    chosen
        Names that the sync is about; what else is wished is there already.
    local
        Packages of the kernel that no index has, by name: they travel as wheels.
    removed
        Names that shall go.

    """

    hard: tuple[str, ...]
    wishes: tuple[str, ...]
    chosen: frozenset[str]
    local: Mapping[str, Package]
    removed: frozenset[str] = frozenset()


class Had(Struct, frozen=True, kw_only=True):
    """What can be had of it: all versions that a layer would have, and why some wishes can't be met."""

    versions: Mapping[str, str]
    refused: Mapping[str, str] = {}


class Outcome(Struct, frozen=True, kw_only=True):
    """The decided part of a plan for a cluster whose workers roll."""

    actions: tuple[PlanAction, ...]
    rolls: tuple[PlanRoll, ...]
    lost: PlanLost
    remaining: tuple[str, ...]
    """Names that stay different on the scheduler and matter there."""
    alone: bool
    """Whether a single worker needs a temporary second that takes what it holds."""


def scope_names(scope: str | Sequence[str], rows: Sequence[Row]) -> frozenset[str] | None:
    """Return the names that a scope means; None for all."""
    if scope == "all":
        return None
    if scope == "rated":
        return frozenset(row.name for row in rows if row.severity in ("block", "warn"))
    return frozenset(scope)


def wanted(
    kernel: Environment,
    present: Environment,
    scheduler: Environment | None,
    rows: Sequence[Row],
    names: frozenset[str] | None,
    rules: RuleSet,
) -> Wanted:
    """Return what workers with the packages of `present` are to have, to be as `kernel` as far as `names` goes.

    `scheduler` is what they must fit; None where the scheduler starts anew with them.
    """
    mine = {package.name: package for package in kernel.packages if _travels(package)}
    theirs = {package.name: package for package in present.packages if _travels(package)}
    rated = {row.name: row for row in rows}
    bound = {} if scheduler is None else {p.name: _runs(p) for p in scheduler.packages if p.name in SCHEDULER_BOUND}
    order = {"block": 0, "warn": 1, "note": 2, "ok": 3}

    def important(name: str) -> tuple[int, bool, str]:
        row = rated.get(name)
        return (order[row.severity], not row.in_use, name) if row else (4, True, name)

    chosen = frozenset(
        name for name in (mine.keys() | theirs.keys() if names is None else names) if name in mine or name in theirs
    ) - set(bound)
    tools = rules.tools()
    targets: dict[str, str] = {}
    local: dict[str, Package] = {}
    removed: set[str] = set()
    for name in sorted(chosen, key=important):
        package = mine.get(name)
        if package is None:
            # The tools of a notebook are no difference, so theirs stay.
            if name in tools:
                targets[name] = theirs[name].version
            else:
                removed.add(name)
            continue
        if name in tools and name not in theirs:
            continue
        if rules.only_where(name, present) is not None:
            continue
        if package.source is not None:
            local[name] = package
        else:
            targets[name] = package.version
    for name in sorted(theirs.keys() - chosen - bound.keys() - removed, key=important):
        targets.setdefault(name, theirs[name].version)
    return Wanted(
        hard=tuple(f"{name}=={version}" for name, version in sorted(bound.items())),
        wishes=tuple(f"{name}=={version}" for name, version in targets.items()),
        chosen=chosen,
        local=local,
        removed=frozenset(removed),
    )


class Here(Struct, frozen=True, kw_only=True):
    """What a new environment on the kernel's machine is to have, to be as the workers.

    Attributes
    ----------
    workers
        The workers as one: what all of them have alike.
    refused
        What stays different, and why.
    apart
        What of the kernel's own a new environment lacks, though it is no difference.

    """

    workers: Environment
    wish: Wanted
    refused: tuple[PlanAction, ...]
    apart: tuple[PlanAction, ...]


def wanted_here(
    kernel: Environment,
    groups: Sequence[Environment],
    rows: Sequence[Row],
    names: frozenset[str] | None,
    rules: RuleSet,
    needed: frozenset[str],
) -> Here:
    """Return what an environment beside `kernel` is to have, to be as the workers of `groups` as far as `names` goes.

    `needed` is what ipykernel requires there: of that, and of the notebook's tools, a kernel keeps its own, or it may not
    start.
    """
    workers, split = _as_one(groups)
    mine = {package.name: package for package in kernel.packages if _travels(package)}
    theirs = {package.name: package for package in workers.packages}
    scope = mine.keys() | theirs.keys() | split.keys() if names is None else names
    own = needed | rules.tools()
    rated = {row.name for row in rows if row.severity != "ok"}
    why: dict[str, str] = {}
    for name in scope | mine.keys():
        here, there = mine.get(name), theirs.get(name)
        if here is not None and here.source is not None:
            if name in own or name not in scope or there is not None or name in split:
                why[name] = f"It isn't from an index: install it in the new kernel yourself, from {here.source.url}."
        elif name not in scope or name == "python":
            continue
        elif name in split and name not in rules.tools():
            why[name] = f"The workers differ among themselves: {split[name]}."
        elif there is not None and there.source is not None and name not in own:
            why[name] = f"The workers have it from {there.source.url}, which is no index."
        elif name in own and here is not None and (name in rated or names is not None) and not _alike(here, there):
            why[name] = "The new kernel needs it to start, and keeps the notebook's version."
    chosen = (frozenset(scope) - own - split.keys() - {"python"}) - why.keys()
    wish = wanted(workers, kernel, None, rows, chosen, rules)
    left = {name for name in why if name in mine and mine[name].source is not None}
    pins = [f"{name}=={mine[name].version}" for name in sorted(own) if name in mine and name not in left]
    pins += [pin for pin in wish.wishes if pin.partition("==")[0] not in own | left]
    refused: list[PlanAction] = []
    apart: list[PlanAction] = []
    for name, reason in sorted(why.items()):
        before, after = (side[name].version if name in side else None for side in (mine, theirs))
        action = PlanAction(kind="refuse", name=name, before=before, after=after, group=kernel.id, why=reason)
        differs = name in scope and (name in split or (name in theirs and not _alike(theirs[name], mine.get(name))))
        (apart if name in left and not differs else refused).append(action)
    return Here(workers=workers, wish=replace(wish, wishes=tuple(pins)), refused=tuple(refused), apart=tuple(apart))


def actions_here(kernel: Environment, here: Here, had: Had, rows: Sequence[Row]) -> tuple[PlanAction, ...]:
    """Return in what an environment that is built of `had` differs from the kernel's; none where nothing is changed."""
    said = {action.name for action in (*here.refused, *here.apart)}
    done: list[PlanAction] = []
    for action in actions(here.workers, [kernel], here.wish, had, rows):
        # One that is damaged, or older in the process, is no difference between two environments.
        if action.name in said or (action.kind == "install" and action.before == action.after):
            continue
        if action.name in had.refused and action.kind != "refuse":
            # It isn't what the sync is about, and can't be had here all the same.
            done.append(replace(action, kind="refuse", after=None, why=had.refused[action.name], cause="told"))
        else:
            why = "The workers don't have it." if action.cause == "absent" else action.why
            done.append(replace(action, why=why, cause="told"))
    return tuple(done)


def _alike(a: Package, b: Package | None) -> bool:
    return b is not None and equal_versions(a.version, b.version)


def _as_one(groups: Sequence[Environment]) -> tuple[Environment, dict[str, str]]:
    """Return what all groups have alike, and by name how they differ in the rest."""
    tables = [{package.name: package for package in group.packages if _travels(package)} for group in groups]
    alike: list[Package] = []
    split: dict[str, str] = {}
    for name in sorted({name for table in tables for name in table}):
        found = [table.get(name) for table in tables]
        first = found[0]
        if first is not None and all(_alike(first, package) for package in found):
            alike.append(first)
        else:
            split[name] = " and ".join(sorted({p.version if p else "none" for p in found}))
    return replace(groups[0], packages=tuple(alike)), split


def actions(
    kernel: Environment, groups: Iterable[Environment], wish: Wanted, had: Had, rows: Sequence[Row]
) -> tuple[PlanAction, ...]:
    """Return what happens to each package of the groups that move to a layer with `had`."""
    why = {row.name: row.why for row in rows}
    mine = {package.name: package for package in kernel.packages}
    done: list[PlanAction] = []
    for group in groups:
        before = {package.name: package for package in group.packages if _travels(package)}
        for name in sorted(before.keys() | had.versions.keys() | had.refused.keys() | wish.local.keys()):
            action = _action(name, group, before.get(name), mine, wish, had, why)
            if action is not None:
                done.append(action)
    return tuple(done)


def _action(
    name: str,
    group: Environment,
    present: Package | None,
    mine: Mapping[str, Package],
    wish: Wanted,
    had: Had,
    why: Mapping[str, str],
) -> PlanAction | None:
    before, after = present.version if present else None, had.versions.get(name)

    def act(kind: ActionKind, reason: str, cause: ActionCause = "told") -> PlanAction:
        return PlanAction(kind=kind, name=name, before=before, after=after, group=group.id, why=reason, cause=cause)

    if name in had.refused and name in wish.chosen:
        wished = mine[name].version if name in mine else None
        return replace(act("refuse", had.refused[name]), after=wished)
    if name in wish.local and after is not None:
        if present is not None and before == after and _same_content(present, wish.local[name]):
            return None
        source = wish.local[name].source
        return act("build", f"Built from {source.url if source else 'the notebook'}, as the notebook has it.")
    if before == after:
        damaged = any(problem.package == name for problem in group.problems) or bool(
            present and running(present, untold=True)
        )
        source = present.source if present else None
        if after is not None and (damaged or source is not None) and name in wish.chosen:
            return act("install", why[name]) if why.get(name) else act("install", _REPLACED, "replaced")
        return None
    if after is None:
        return act("remove", _ABSENT, "absent") if name in wish.removed else act("remove", _UNNEEDED, "unneeded")
    kind: ActionKind = "install" if before is None else "upgrade" if newer(after, before) else "downgrade"
    if name in wish.chosen and f"{name}=={after}" in wish.wishes and (why.get(name) or before is not None):
        return act(kind, why.get(name, ""))
    return act(kind, _REQUIRED, "required")


def settled(kernel: Environment, groups: Sequence[Environment], wish: Wanted, rows: Sequence[Row]) -> bool:
    """Whether the groups have all that is wished already, so that nothing has to be resolved or built."""
    versions = dict(line.split("==", 1) for line in (*wish.hard, *wish.wishes))
    versions |= {name: package.version for name, package in wish.local.items()}
    return not actions(kernel, groups, wish, Had(versions=versions), rows)


def doubtful(kernel: Environment, groups: Iterable[Environment]) -> bool:
    """Whether it can't be told yet if local code is the same, since the files on the workers weren't looked at."""
    local = {package.name: package.version for package in kernel.packages if package.source and package.content}
    return any(
        local.get(package.name) == package.version
        for group in groups
        if group.role == "worker" and group.level == "all" and group.content_at is None
        for package in group.packages
    )


def changes(done: Iterable[PlanAction]) -> int:
    """Return how many packages change."""
    return len({action.name for action in done if action.kind != "refuse"})


def remaining(
    kernel: Environment, scheduler: Environment | None, added: Mapping[str, str], rules: RuleSet, at: str
) -> tuple[Row, ...]:
    """Return the rows that stay bad on the scheduler though every worker has what the notebook has.

    `added` are packages that the scheduler can import in addition afterwards.
    """
    if scheduler is None:
        return ()
    known = {package.name for package in scheduler.packages}
    more = tuple(Package(name=n, version=v) for n, v in sorted(added.items()) if n not in known)
    after = replace(scheduler, packages=(*scheduler.packages, *more))
    diff = compare(kernel, [after], cluster_id="", cluster_name="", kernel_id=None, kernel_label="", at=at, rules=rules)
    return tuple(row for row in diff.rows if row.severity in ("block", "warn"))


def stranded(
    workers: Iterable[SurveyWorker], needs: Mapping[str, Iterable[str]], layers: Iterable[Mapping[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Return, by worker, what its values need to be unpickled and some layer (distributions by name) hasn't.

    A layer without a distribution is one of which that isn't known.
    """
    known = [set(layer) for layer in layers if layer]
    found = {}
    for worker in workers:
        lacking = {name for name in needs.get(worker.address, ()) for layer in known if name not in layer}
        if lacking:
            found[worker.address] = tuple(sorted(lacking))
    return found


def batches(
    workers: Sequence[SurveyWorker], group_of: Mapping[str, str]
) -> tuple[tuple[PlanRoll, ...], PlanLost, bool]:
    """Return in which order workers restart, what that loses, and whether a temporary second worker is needed.

    Sized so that what a batch holds fits into the others; all at once where nobody holds or does anything.
    """
    if not workers:
        return (), PlanLost(), False
    idle = not any(w.alone or w.running or w.futures or w.scattered or w.actors for w in workers)
    if idle:
        return _rolls([list(workers)], group_of), PlanLost(), False
    alone = len(workers) == 1
    ordered = sorted(workers, key=lambda w: (w.alone, w.address))
    size = max(len(workers) // AT_ONCE, 1)
    rolled: list[list[SurveyWorker]] = []
    lost, reasons = PlanLost(), []
    for worker in ordered:
        if worker.actors:
            reasons.append(f"worker {worker.name} holds {worker.actors} actors, which can't move")
            lost = _add(lost, replace(worker, futures=0, scattered=0, running=0))
        full = not alone and not fits([worker], workers)
        if full:
            reasons.append(f"what worker {worker.name} holds doesn't fit into the others")
        if full:
            lost = _add(lost, replace(worker, actors=0, running=0))
        batch = rolled[-1] if rolled else []
        if batch and len(batch) < size and fits([*batch, worker], workers):
            batch.append(worker)
        else:
            rolled.append([worker])
    why = "; ".join(dict.fromkeys(reasons))
    return _rolls(rolled, group_of), replace(lost, why=f"{why[:1].upper()}{why[1:]}." if why else ""), alone


def fits(moving: Sequence[SurveyWorker], workers: Iterable[SurveyWorker]) -> bool:
    """Whether what some of the workers hold alone has room in the memory of the others."""
    addresses = {worker.address for worker in moving}
    room = sum(_room(other) for other in workers if other.address not in addresses)
    return sum(worker.alone for worker in moving) <= room


def everything(workers: Iterable[SurveyWorker], why: str) -> PlanLost:
    """Return what is lost when all of a cluster starts anew."""
    lost = PlanLost()
    for worker in workers:
        lost = _add(lost, worker)
    return replace(lost, why=why if lost != PlanLost() else "")


def loses(lost: PlanLost) -> bool:
    """Whether anything is lost that can't be had again without work."""
    return bool(lost.futures or lost.scattered or lost.running or lost.actors)


def unmovable(survey: Survey, place: SurveyPlace | None, worker: SurveyWorker) -> str | None:
    """Return why a worker can't move to a layer, and who can do it, or None."""
    if worker.nanny is None:
        return "It has no nanny that could restart it: whoever started it has to do that."
    if worker.nanny_process is None or place is None:
        return f"Its nanny doesn't answer: {survey.reasons.get(worker.nanny, 'no reason is known')}"
    if worker.nanny_process == survey.scheduler:
        return (
            "Its nanny shares a process with the scheduler, as in a LocalCluster: open the cluster anew, with the "
            "environment that it shall have."
        )
    if place.implementation != "cpython":
        return f"Layers are made for CPython only; this is {place.implementation}."
    if place.home is None:
        return f"No folder on {place.host} can be written by its user: whoever runs the cluster has to install it."
    if place.uv is None and not place.pip:
        # A uv that is sent decides that later; here nothing is known of the platforms.
        return None
    return None


def python_refused(kernel: Environment, group: Environment) -> PlanAction | None:
    """Return the action that says that a roll can't change Python, where it differs in a way that matters."""
    if kernel.implementation == group.implementation and minor(kernel.python) == minor(group.python):
        return None
    return PlanAction(
        kind="refuse",
        name="python",
        before=group.python,
        after=kernel.python,
        group=group.id,
        why="Workers can't get another Python than their scheduler's while the cluster runs: its owner has to start it "
        "anew with the notebook's Python.",
    )


def layer_id(locks: Mapping[str, str]) -> str:
    """Return the id of a state: of its locks by place."""
    seen = hashlib.blake2b(digest_size=8)
    for key, lock in sorted(locks.items()):
        seen.update(f"{key}\0{lock}\0".encode())
    return seen.hexdigest()


def digest(*parts: object) -> str:
    """Return the digest of what a plan rests on and does."""
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=12).hexdigest()


def expected_seconds(how: str, *, build: bool, batch_sizes: Sequence[int], cores: int) -> float:
    """Return roughly how long it takes; a worker's start needs about a second of one core."""
    seconds = (BUILD_SECONDS if build else 0.0) + CHECK_SECONDS
    if how == "replace":
        return seconds + REPLACE_SECONDS + WORKER_SECONDS * sum(batch_sizes) / max(cores, 1)
    return seconds + sum(BATCH_SECONDS + WORKER_SECONDS * (size - 1) / max(cores, 1) for size in batch_sizes)


def _rolls(rolled: Sequence[Sequence[SurveyWorker]], group_of: Mapping[str, str]) -> tuple[PlanRoll, ...]:
    rolls = []
    for number, batch in enumerate(rolled, 1):
        of: dict[str, list[str]] = {}
        for worker in batch:
            of.setdefault(group_of.get(worker.address, ""), []).append(worker.address)
        rolls += [PlanRoll(group=group, workers=tuple(names), batch=number) for group, names in sorted(of.items())]
    return tuple(rolls)


def _room(worker: SurveyWorker) -> int:
    if worker.memory_limit is None:
        return 1 << 50
    # What it said of its memory may be older than what it holds.
    return max(int(worker.memory_limit * ROOM) - max(worker.memory, worker.alone), 0)


def _add(lost: PlanLost, worker: SurveyWorker) -> PlanLost:
    return replace(
        lost,
        futures=lost.futures + worker.futures,
        scattered=lost.scattered + worker.scattered,
        running=lost.running + worker.running,
        actors=lost.actors + worker.actors,
    )


def _travels(package: Package) -> bool:
    """Whether this is Python code; a conda package of another kind has no wheel."""
    if package.name == "python" or (package.source is not None and package.source.kind == "module"):
        return False
    return package.channel is None or "py" in (package.build or "")


def _runs(package: Package) -> str:
    # The process decides what a worker must fit, not its disk.
    return next(iter(running(package)), package.version)


def _same_content(present: Package, local: Package) -> bool:
    return bool(present.content) and present.content == local.content


def newer(after: str, before: str) -> bool:
    """Whether a version comes after another, or is equal to it."""
    if equal_versions(after, before):
        return True
    try:
        return Version(after) > Version(before)
    except InvalidVersion:
        return after > before
