"""Makes plans: gathers what a plan rests on, has uv resolve it, and lets `core.plan` decide; nothing is touched.

A plan is held here until it is used or ten minutes old; it belongs to the user who asked for it and is used once.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
from msgspec import Struct

from .configuration import Configuration
from .core import plan as core
from .core.cluster import BuildSpec, Readings, now
from .core.errors import Conflict, Impossible, Invalid, NotFound
from .core.plan import Had, Wanted
from .core.rules import RuleSet
from .core.survey import Survey, SurveyPlace, SurveyWorker
from .core.sync import BASE, State, StatePlace, SyncPlace, SyncSpec, Wheel, again
from .core.wire import (
    Cluster,
    Confirmation,
    Diff,
    Environment,
    Plan,
    PlanAction,
    PlanCreate,
    PlanLost,
    PlanOther,
    PlanRoll,
    Row,
)
from .software import index as indexes
from .software import local
from .software.resolve import Target, Wish, resolve

HELD_SECONDS = 600.0
HELD_PLANS = 50
IMPORTED = 20
"""Packages that a new environment must be able to import before it is used, at most."""


class Basis(Struct, frozen=True, kw_only=True):
    """What a plan rests on, read a moment ago."""

    cluster: Cluster
    kernel: Environment
    executable: str
    """The kernel's Python, where it is on this machine."""
    readings: Readings
    survey: Survey
    diff: Diff
    states: Sequence[State]
    rules: RuleSet


class Held(Struct, frozen=True, kw_only=True):
    """A plan with what carries it out."""

    plan: Plan
    body: PlanCreate
    spec: SyncSpec
    user: str
    until: float
    undo_of: str | None = None


class Plans:
    """The plans of one server."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._held: dict[str, Held] = {}

    def hold(self, held: Held) -> Plan:
        """Keep a plan; the oldest go first."""
        moment = time.monotonic()
        self._held = {key: value for key, value in self._held.items() if value.until > moment}
        while len(self._held) >= HELD_PLANS:
            del self._held[next(iter(self._held))]
        self._held[held.plan.id] = held
        return held.plan

    def get(self, plan_id: str, user: str) -> Held:
        """Return a plan of this user that may still be used, or raise NotFound."""
        held = self._held.get(plan_id)
        if held is None or held.user != user or held.until < time.monotonic():
            raise NotFound("There is no such plan any more", "Plans hold ten minutes and are used once: make a new one")
        return held

    def of(self, user: str) -> tuple[Plan, ...]:
        """Return the plans of this user that may still be used, the last one last."""
        return tuple(h.plan for h in self._held.values() if h.user == user and h.until >= time.monotonic())

    def take(self, plan_id: str, user: str) -> Held:
        """Return a plan and forget it."""
        held = self.get(plan_id, user)
        del self._held[plan_id]
        return held

    async def make(self, basis: Basis, body: PlanCreate, user: str, *, undo_of: str | None = None) -> Held:
        """Return a plan for what was just read; it isn't held yet.

        Raises
        ------
        Impossible
            Nothing of it can be done, with the resolver's words.
        Invalid, NotFound
            The body names what isn't there.

        """
        maker = _Maker(self._configuration, basis, body, user, undo_of)
        return await maker.held()


class _Maker:
    def __init__(
        self, configuration: Configuration, basis: Basis, body: PlanCreate, user: str, undo_of: str | None
    ) -> None:
        self._configuration, self._basis, self._body, self._user = configuration, basis, body, user
        self._undo_of = undo_of
        self._index = indexes.parse(configuration.index_options)
        groups = basis.readings.environments
        self._workers = [e for e in groups if e.role == "worker"]
        self._scheduler = next((e for e in groups if e.role == "scheduler"), None)
        self._group_of = {node: e.id for e in self._workers for node in e.nodes}
        self._places = {place.key: place for place in basis.survey.places}
        self._names = core.scope_names(body.scope, basis.diff.rows)
        self._refusals: list[PlanAction] = []
        self._blocked: list[PlanAction] = []
        """What keeps all of it from being done."""
        self._before = basis.cluster.environment.layer or BASE

    async def held(self) -> Held:
        basis, body = self._basis, self._body
        if basis.readings.unread and not self._workers:
            reason = basis.readings.unread[0].reason
            raise Impossible(f"No worker of the cluster could be read: {reason}", "Look at what could not be read")
        if not self._workers:
            raise Impossible("The cluster has no workers to synchronize", "Add a worker first")
        layer = body.source.layer if body.source else None
        movable = self._movable()
        if layer is not None:
            return self._to_state(layer, movable)
        check_names(body.scope, basis.diff.rows)
        return await self._to_kernel(movable)

    def _movable(self) -> list[SurveyWorker]:
        """Return the workers that can move to a layer; for the others say why not."""
        movable = []
        said: set[tuple[str, str]] = set()
        known = {place.layer for state in self._basis.states for place in state.places}
        for worker in self._basis.survey.workers:
            place = self._places.get(worker.place or "")
            why = core.unmovable(self._basis.survey, place, worker)
            if why is None and place is not None and place.layer is not None and place.layer not in known:
                # Where it would go back to isn't known, until its nannies are asked.
                why = "It runs in an environment of a sync that isn't known here: attach the cluster again."
            group = self._group_of.get(worker.address, "")
            if why is None:
                movable.append(worker)
            elif (group, why) not in said:
                said.add((group, why))
                self._refuse("workers", group, None, None, why)
        return movable

    def _refuse(self, name: str, group: str, before: str | None, after: str | None, why: str) -> None:
        self._refusals.append(_refusal(name, group, before, after, why))

    # ---- to a kernel's packages -------------------------------------------------------------------------------

    async def _to_kernel(self, movable: Sequence[SurveyWorker]) -> Held:
        basis = self._basis
        managed = basis.cluster.source == "managed"
        by_place = self._by_place(movable)
        other_python = [g for g in self._workers if core.python_refused(basis.kernel, g) is not None]
        if not other_python or not managed:
            for group in other_python:
                refused = core.python_refused(basis.kernel, group)
                if refused is not None and self._in_scope("python"):
                    self._refusals.append(refused)
            rolled = await self._roll(by_place, movable)
            if not managed or not self._stays(rolled):
                return rolled
            if not self._scheduler_bound(rolled):
                return rolled
        return await self._replace()

    def _in_scope(self, name: str) -> bool:
        return self._names is None or name in self._names

    def _by_place(self, movable: Sequence[SurveyWorker]) -> dict[str, list[Environment]]:
        """Return, by place, the groups of the workers there."""
        found: dict[str, list[Environment]] = {}
        for worker in movable:
            group = next((e for e in self._workers if worker.address in e.nodes), None)
            if group is not None and worker.place is not None and group.level == "all":
                groups = found.setdefault(worker.place, [])
                if group not in groups:
                    groups.append(group)
        return found

    async def _roll(self, by_place: Mapping[str, list[Environment]], movable: Sequence[SurveyWorker]) -> Held:
        basis = self._basis
        done: list[PlanAction] = []
        places: list[SyncPlace] = []
        for key, groups in sorted(by_place.items()):
            place = self._places[key]
            wish = core.wanted(basis.kernel, groups[0], self._scheduler, basis.diff.rows, self._names, basis.rules)
            if core.settled(basis.kernel, groups, wish, basis.diff.rows):
                continue
            wheels, had, lock = await self._have(_target(place), wish)
            found = core.actions(basis.kernel, groups, wish, had, basis.diff.rows)
            done += found
            if any(action.kind != "refuse" for action in found):
                places.append(
                    SyncPlace(
                        key=key,
                        host=place.host,
                        prefix=place.prefix,
                        layer=core.layer_id({place.key: lock}),
                        lock=lock,
                        expected=had.versions,
                        imports=_imports(basis.kernel, had, found),
                        wheels=wheels,
                    )
                )
        self._refuse_scheduler(places)
        concerned = {place.key for place in places}
        workers = [worker for worker in movable if worker.place in concerned]
        rolls, lost, alone = self._batches(workers, places)
        layer = core.layer_id({place.key: place.layer or "" for place in places}) if places else self._before
        return self._held("roll", done, places, rolls, lost, layer, alone=alone)

    def _batches(
        self,
        workers: Sequence[SurveyWorker],
        places: Sequence[SyncPlace],
        expected: Mapping[str, Mapping[str, str]] | None = None,
    ) -> tuple[tuple[PlanRoll, ...], PlanLost, bool]:
        """Return in which order workers restart, what that loses, and whether a temporary second worker is needed.

        `expected` is what the places will have, where the places don't say that themselves.
        """
        layers = [(expected or {}).get(place.key, place.expected) for place in places]
        names = {worker.address: worker.name for worker in workers}
        for worker, missing in core.stranded(workers, self._basis.survey.needs, layers).items():
            # Once they are lost, a worker that is told to make one of them again can't read that, and ends.
            why = (
                f"Values on worker {names[worker]} need {', '.join(missing[:5])}, which the new environment doesn't "
                "have: release them first, or choose packages so that it stays."
            )
            group = self._group_of.get(worker, "")
            self._blocked.append(_refusal(missing[0], group, None, None, why))
        if self._blocked:
            return (), PlanLost(), False
        rolls, lost, alone = core.batches(workers, self._group_of)
        if alone and self._basis.cluster.source != "managed":
            why = "There is no second worker that could take what the only one holds."
            return rolls, core.everything(workers, why), False
        return rolls, lost, alone

    async def _have(self, target: Target, wish: Wanted) -> tuple[tuple[Wheel, ...], Had, str]:
        """Return the wheels of what no index has, all that the environment will have, and its lock."""
        collected = await local.collect(
            list(wish.local.values()), python=self._basis.executable or sys.executable, index=self._index
        )
        pins = [f"{wheel.name}=={wheel.version}" for wheel in collected.wheels.values()]
        with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
            local.link(collected.wheels, Path(folder))
            resolution = await resolve(
                target,
                wish.hard,
                [Wish(requirement=line) for line in (*pins, *wish.wishes)],
                index=self._index,
                allow_source_builds=self._configuration.allow_source_builds,
                find_links=Path(folder) if pins else None,
            )
        wheels = tuple(
            Wheel(name=wheel.name, version=wheel.version, path=wheel.path, sha256=wheel.sha256)
            for wheel in collected.wheels.values()
            if resolution.versions.get(wheel.name) == wheel.version
        )
        had = Had(versions=resolution.versions, refused={**resolution.refused, **collected.refused})
        return wheels, had, resolution.lock

    def _stays(self, rolled: Held) -> list[PlanAction]:
        """Return what a roll leaves undone because of the scheduler."""
        group = self._scheduler.id if self._scheduler else ""
        return [a for a in rolled.plan.actions if a.kind == "refuse" and a.group == group]

    def _scheduler_bound(self, rolled: Held) -> bool:
        return bool(self._stays(rolled)) and self._scheduler is not None

    def _refuse_scheduler(self, places: Sequence[SyncPlace]) -> None:
        """Name what only a restart of the scheduler changes."""
        if self._scheduler is None:
            return
        near = [place for place in places if place.host == self._scheduler.host]
        added = near[0].expected if near else {}
        rows = core.remaining(self._basis.kernel, self._scheduler, added, self._basis.rules, now())
        who = (
            "It changes only when all of the cluster starts anew."
            if self._basis.cluster.source == "managed"
            else "Whoever runs the cluster has to restart its scheduler with it."
        )
        present = {package.name: package.version for package in self._scheduler.packages}
        for row in rows:
            if self._in_scope(row.name) and not (
                row.name == "python" and any(r.name == "python" for r in self._refusals)
            ):
                wished = row.kernel.version if row.kernel else None
                self._refuse(row.name, self._scheduler.id, present.get(row.name), wished, f"{row.why} {who}")

    # ---- all of it anew ---------------------------------------------------------------------------------------

    async def _replace(self) -> Held:
        """Plan to start the whole cluster in an environment like the kernel's."""
        basis, kernel = self._basis, self._basis.kernel
        self._refusals, self._blocked = [], []
        place = next(iter(self._places.values()), None)
        if place is None:
            raise Impossible("No nanny of the cluster answers", "Look at its logs")
        target = msgspec.structs.replace(_target(place), python=kernel.python)
        wish = core.wanted(kernel, self._workers[0], None, basis.diff.rows, self._names, basis.rules)
        own = {package.name for package in kernel.packages}
        if not {"dask", "distributed"} <= own:
            raise Impossible(
                "The notebook's environment has no Dask, which every cluster needs", "Install `distributed` there"
            )
        resolution = await resolve(
            target,
            ("dask", "distributed"),
            [Wish(requirement=line) for line in wish.wishes],
            index=self._index,
            allow_source_builds=self._configuration.allow_source_builds,
        )
        had = Had(
            versions=resolution.versions,
            refused={
                **resolution.refused,
                **dict.fromkeys(wish.local, "It isn't from an index, and the whole cluster is built from one."),
            },
        )
        every = [*self._workers, *([self._scheduler] if self._scheduler else [])]
        done = core.actions(kernel, every, wish, had, basis.diff.rows)
        if kernel.python != self._workers[0].python and self._in_scope("python"):
            done = (*done, _python_action(kernel, self._workers[0]))
        lost = core.everything(
            basis.survey.workers, "All processes of the cluster start anew, so what they hold is gone."
        )
        executable = self._basis.executable or sys.executable
        layer = core.layer_id({"all": f"{executable}\0{resolution.lock}"})
        build = BuildSpec(
            requirements=tuple(f"{name}=={version}" for name, version in sorted(resolution.versions.items())),
            python=executable,
            index_options=self._configuration.index_options,
            allow_source_builds=self._configuration.allow_source_builds,
        )
        places = [SyncPlace(key="", host=place.host, prefix="", layer=layer, expected=had.versions)]
        return self._held("replace", done, places, (), lost, layer, build=build, lock=resolution.lock)

    # ---- back to a state --------------------------------------------------------------------------------------

    def _to_state(self, layer: str, movable: Sequence[SurveyWorker]) -> Held:
        state = next((state for state in self._basis.states if state.id == layer), None)
        if state is None:
            raise NotFound("There is no such earlier state of this cluster", "See GET layers")
        if layer == self._before:
            return self._held("roll", [], [], (), PlanLost(), layer)
        if state.interpreter and str(Path(state.interpreter).parent.parent) != self._basis.cluster.environment.prefix:
            return self._back_to_interpreter(state)
        done: list[PlanAction] = []
        places: list[SyncPlace] = []
        kept = self._kept(state)
        for key, groups in sorted(self._by_place(movable).items()):
            known = kept.get(key)
            if known is None:
                self._refuse("workers", groups[0].id, None, None, f"{groups[0].host} wasn't part of that state.")
                continue
            done += _state_actions(groups, known.expected, self._basis, layer)
            places.append(
                SyncPlace(
                    key=key,
                    host=known.host,
                    prefix=known.prefix,
                    layer=known.layer,
                    # A base environment may have been changed by others since; what it has then is no fault.
                    expected=dict(known.expected) if known.layer is not None else {},
                    lock=known.lock,
                    imports=known.imports,
                    wheels=known.wheels,
                )
            )
        concerned = {place.key for place in places}
        workers = [worker for worker in movable if worker.place in concerned]
        rolls, lost, alone = self._batches(workers, places, {key: place.expected for key, place in kept.items()})
        return self._held("roll", done, places, rolls, lost, layer, alone=alone)

    def _kept(self, state: State) -> dict[str, StatePlace]:
        """Return, by place, what a state had there, on the Python that the cluster runs on."""
        if state.how != "replace":
            return {place.key: place for place in state.places}
        # All of the cluster was started on that Python, wherever its nannies are now.
        return {
            key: StatePlace(
                key=key,
                host=place.host,
                prefix=place.prefix,
                layer=None,
                path=place.prefix,
                executable=place.executable,
                expected=_expected(state),
            )
            for key, place in self._places.items()
        }

    def _back_to_interpreter(self, state: State) -> Held:
        """Plan to start all of the cluster on the Python that it ran on in a state, and in its layers where it had some."""
        lost = core.everything(
            self._basis.survey.workers, "All processes of the cluster start anew, so what they hold is gone."
        )
        layered = [again(place) for place in state.places if place.layer is not None]
        expected, bare = _expected(state), _expected(state)
        if layered:
            # Its scheduler had none of that.
            on_it = (s for s in self._basis.states if s.interpreter == state.interpreter)
            bare = next((_expected(s) for s in on_it if s.how == "replace" or s.id == BASE), {})
        done = [
            *_state_actions(self._workers, expected, self._basis, state.id),
            *_state_actions([self._scheduler] if self._scheduler else [], bare, self._basis, state.id),
        ]
        sure = {} if layered or state.id == BASE else dict(expected)
        places = [SyncPlace(key="", host="", prefix="", layer=state.id, expected=sure), *layered]
        return self._held("replace", done, places, (), lost, state.id, interpreter=state.interpreter)

    # ---- the plan ---------------------------------------------------------------------------------------------

    def _held(
        self,
        how: str,
        done: Sequence[PlanAction],
        places: Sequence[SyncPlace],
        rolls: Sequence[PlanRoll],
        lost: PlanLost,
        layer: str,
        *,
        alone: bool = False,
        build: BuildSpec | None = None,
        lock: str = "",
        interpreter: str | None = None,
    ) -> Held:
        basis, body = self._basis, self._body
        listed = (*self._blocked, *done, *self._refusals)
        does = [action for action in listed if action.kind != "refuse"]
        back = body.source is not None and body.source.layer is not None and layer != self._before
        if not does and not back:
            how = "refused" if listed else "nothing"
        elif how == "roll" and not rolls:
            how = "refused"
        needs: list[Confirmation] = []
        if how in ("roll", "replace") and core.loses(lost) and "lost_results" not in body.confirm:
            needs.append("lost_results")
        present = {layer for place in basis.survey.places for layer in place.layers}
        missing = any(place.layer and place.layer not in present for place in places)
        agreed = "plain_connection" in body.confirm or not self._index.secrets or basis.survey.encrypted
        # Going back to what is there installs nothing.
        if how == "roll" and missing and not agreed:
            needs.append("plain_connection")
        sizes = [len([w for r in rolls if r.batch == b for w in r.workers]) for b in sorted({r.batch for r in rolls})]
        seconds = core.expected_seconds(
            how, build=missing, batch_sizes=sizes or [len(basis.survey.workers)], cores=len(sizes) or 1
        )
        moment = datetime.now(timezone.utc)
        plan = Plan(
            id=secrets.token_hex(8),
            digest=core.digest(
                basis.cluster.id,
                self._before,
                how,
                layer,
                () if back else _told(basis.kernel),
                sorted({(e.role, e.host, e.prefix, _told(e)) for e in basis.readings.environments}),
                _changes(listed, basis.readings.environments),
                needs,
                lock,
                [place.lock for place in places],
            ),
            cluster=basis.cluster.id,
            direction="to_cluster",
            how=how,  # type: ignore[arg-type]  # one of the four by what stands above
            actions=listed,
            rolls=tuple(rolls) if how == "roll" else (),
            restarts=_restarts(how, sizes, alone),
            lost=lost if how in ("roll", "replace") else PlanLost(),
            others=tuple(
                PlanOther(client=client.id, host=client.host, opened_by=client.opened_by)
                for client in basis.cluster.other_clients
                if not client.own
            ),
            seconds=round(seconds, 1) if how in ("roll", "replace") else 0.0,
            needs=tuple(needs),
            layer=None if layer == BASE else layer,
            created_at=iso(moment),
            expires_at=iso(moment + timedelta(seconds=HELD_SECONDS)),
            temporary=alone and how == "roll",
        )
        spec = SyncSpec(
            id=secrets.token_hex(6),
            plan=plan.id,
            cluster=basis.cluster.id,
            how=how,
            layer=layer,
            layer_before=self._before,
            places=tuple(places),
            rolls=plan.rolls,
            alone=alone,
            drain_seconds=body.drain_seconds,
            lost_ok="lost_results" in body.confirm,
            lost=plan.lost,
            environ={**self._index.uv, **self._index.pip} if agreed else {},
            options=self._index.options,
            only_binary=not self._configuration.allow_source_builds,
            build=build,
            lock=lock,
            interpreter=interpreter,
            changes=core.changes(listed),
            undo_of=self._undo_of,
        )
        return Held(
            plan=plan,
            body=body,
            spec=spec,
            user=self._user,
            until=time.monotonic() + HELD_SECONDS,
            undo_of=self._undo_of,
        )


def check_names(scope: str | Sequence[str], rows: Sequence[Row]) -> None:
    """Raise Invalid where a scope names a package that neither side has."""
    known = {row.name for row in rows}
    for position, name in enumerate(scope if not isinstance(scope, str) else ()):
        if name not in known:
            raise Invalid(f"scope[{position}]", f"Neither side has a package called {name[:80]!r}")


def check_usable(plan: Plan) -> None:
    """Raise Conflict or Impossible where a plan can't be carried out as it stands."""
    if plan.how == "refused":
        why = next((action.why for action in plan.actions if action.kind == "refuse"), "Nothing of it can be done")
        raise Impossible(f"Nothing of this plan can be done: {why}", "See the plan's refused actions")
    if plan.how == "nothing":
        raise Conflict("There is nothing to do: the cluster has these packages already")
    if plan.needs:
        what = {"lost_results": "results would be lost", "plain_connection": "credentials would cross unencrypted"}
        raise Conflict(
            f"This plan needs your agreement first: {' and '.join(what[need] for need in plan.needs)}",
            "Make the plan again with `confirm`",
            needs=", ".join(plan.needs),
        )


def _refusal(name: str, group: str, before: str | None, after: str | None, why: str) -> PlanAction:
    return PlanAction(kind="refuse", name=name, before=before, after=after, group=group, why=why)


def _told(environment: Environment) -> tuple[tuple[str, str], ...]:
    """Return what a plan rests on; whether files were looked at yet is no change of the world."""
    return tuple((package.name, package.version) for package in environment.packages)


def _changes(actions: Sequence[PlanAction], groups: Sequence[Environment]) -> list[tuple[str, ...]]:
    """Return what a plan does, by places: groups come and go with what their files say and their processes load."""
    where = {group.id: (group.role, group.host, group.prefix) for group in groups}
    return sorted(
        {
            (action.kind, action.name, action.before or "", action.after or "", *where.get(action.group, ()))
            for action in actions
            if action.kind == "refuse" or action.before != action.after
        }
    )


def _target(place: SurveyPlace) -> Target:
    return Target(
        python=place.python,
        implementation=place.implementation,
        platform=place.platform,
        machine=place.machine,
        libc=place.libc,
    )


def _imports(kernel: Environment, had: Had, found: Sequence[PlanAction]) -> tuple[str, ...]:
    """Return the distributions that must be importable: what changes, and what the notebook uses."""
    changed = [a.name for a in found if a.kind in ("install", "upgrade", "downgrade", "build")]
    used = [p.name for p in kernel.packages if p.in_use]
    names = dict.fromkeys(["distributed", *used, *changed])
    return tuple(name for name in names if name in had.versions)[:IMPORTED]


def _expected(state: State) -> dict[str, str]:
    return dict(state.places[0].expected) if state.places else {}


def _state_actions(
    groups: Sequence[Environment], expected: Mapping[str, str], basis: Basis, layer: str
) -> list[PlanAction]:
    base = layer == BASE
    why = "The base environment has it so." if base else "That state had it so."
    if not expected:
        return []
    wish = Wanted(hard=(), wishes=(), chosen=frozenset(), local={})
    found = core.actions(basis.kernel, groups, wish, Had(versions=expected), ())
    return [msgspec.structs.replace(action, why=why, cause="base" if base else "state") for action in found]


def _python_action(kernel: Environment, group: Environment) -> PlanAction:
    kind = "upgrade" if core.newer(kernel.python, group.python) else "downgrade"
    return PlanAction(
        kind=kind,  # type: ignore[arg-type]  # one of two
        name="python",
        before=group.python,
        after=kernel.python,
        group=group.id,
        why="All of the cluster starts anew on the notebook's Python.",
        cause="python",
    )


def _restarts(how: str, sizes: Sequence[int], alone: bool) -> tuple[str, ...]:
    if how == "replace":
        return ("The scheduler and every worker start anew, at the same address; clients connect again by themselves.",)
    if how != "roll":
        return ()
    count = sum(sizes)
    if alone:
        return ("The only worker restarts; a temporary second one keeps what it holds.",)
    if len(sizes) == 1:
        return (f"{count} workers restart at once." if count != 1 else "The worker restarts.",)
    return (f"{count} workers restart in {len(sizes)} batches, and hand what they hold to the others before.",)


def iso(moment: datetime) -> str:
    """Return a time as it is on the wire."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
