"""Plans a roll: workers move, batch by batch, to layers with a kernel's packages, and no results are lost."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from ...core.change import actions as deciding
from ...core.change.goals import Available, Goal, cluster_goal, removable
from ...core.change.state import SyncPlace, Wheel, layer_id
from ...core.change.survey import SurveyPlace
from ...core.wire import Environment, PlanAction
from ...software import local
from ...software.resolve import resolve, target_of
from .draft import Draft, Movable, rolled
from .gather import PlanInputs
from .scheduler import for_scheduler

IMPORTED = 20
"""The most packages that are imported to check a new environment."""


async def roll(inputs: PlanInputs, names: frozenset[str] | None, candidates: Movable) -> Draft:
    """Return the draft of a roll to the kernel's packages; `names` is the scope, None for all packages."""
    kernel, rows = inputs.kernel, inputs.diff.rows
    found: list[PlanAction] = []
    places: list[SyncPlace] = []
    for key, groups in candidates.by_place(inputs):
        place = inputs.places[key]
        goal = cluster_goal(kernel, groups[0], inputs.scheduler, rows, names, inputs.rules, removable(inputs.body))
        if deciding.satisfied(kernel, groups, goal, rows):
            continue
        wheels, available, lock = await _available(inputs, place, goal)
        here = deciding.actions(kernel, groups, goal, available, rows)
        found += here
        if any(action.kind != "refuse" for action in here):
            places.append(
                SyncPlace(
                    key=key,
                    host=place.host,
                    prefix=place.prefix,
                    layer=layer_id({key: lock}),
                    lock=lock,
                    expected=available.versions,
                    imports=_imports(kernel, available, here),
                    wheels=wheels,
                )
            )
    refused = [*candidates.refused]
    if names is None or "python" in names:
        pythons = (deciding.python_refused(kernel, group) for group in inputs.workers)
        refused += [action for action in pythons if action is not None]
    needed = for_scheduler(inputs, names, places, python_refused=any(action.name == "python" for action in refused))
    refused += needed.refused
    # The same packages with and without seals are two states.
    seal = {"sealed": "yes"} if needed.sealed else {}
    # Workers that have the packages already may be all right, and graphs for the scheduler not.
    alone = bool(needed.sealed) and not (places or found or refused or inputs.cluster.environment.sealed)
    kept = {"before": inputs.state} if alone else {}
    locks = {place.key: place.layer or "" for place in places}
    layer = layer_id({**locks, **seal, **kept}) if places or alone else inputs.state
    draft = rolled(inputs, candidates, layer, places, found, refused, {place.key: place.expected for place in places})
    return replace(draft, scheduler=needed.ways, sealed=needed.sealed) if places or alone else draft


async def _available(inputs: PlanInputs, place: SurveyPlace, goal: Goal) -> tuple[tuple[Wheel, ...], Available, str]:
    """Return wheels of packages that no index has, all packages of the environment, and its lock."""
    python = inputs.executable or sys.executable
    collected = await local.collect(list(goal.local.values()), python=python, index=inputs.index)
    pins = [f"{wheel.name}=={wheel.version}" for wheel in collected.wheels.values()]
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
        local.link(collected.wheels, Path(folder))
        resolution = await resolve(
            target_of(place),
            goal.required,
            (*pins, *goal.preferred, *(pin for pin in goal.instead if pin.partition("==")[0] in collected.refused)),
            index=inputs.index,
            instead=goal.instead,
            hints=goal.hints,
            # What is sent are wheels.
            allow_source_builds=inputs.configuration.allow_source_builds and place.fetches is not False,
            find_links=Path(folder) if pins else None,
        )
    wheels = tuple(
        Wheel(name=wheel.name, version=wheel.version, path=wheel.path, sha256=wheel.sha256)
        for wheel in collected.wheels.values()
        if resolution.versions.get(wheel.name) == wheel.version
    )
    refused = {**resolution.refused, **collected.refused}
    return wheels, Available(versions=resolution.versions, refused=refused), resolution.lock


def _imports(kernel: Environment, available: Available, found: Sequence[PlanAction]) -> tuple[str, ...]:
    """Return the distributions that must be importable: those that change, and those in use."""
    changed = [a.name for a in found if a.kind in ("install", "upgrade", "downgrade", "build")]
    used = [p.name for p in kernel.packages if p.in_use]
    names = dict.fromkeys(["distributed", *used, *changed])
    return tuple(name for name in names if name in available.versions)[:IMPORTED]
