"""Plans a replacement: the whole cluster restarts in a new environment like the kernel's, and results are lost."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from ...core.change import actions as deciding
from ...core.change.goals import Available, cluster_goal, removable
from ...core.change.moves import loss_of_all
from ...core.change.state import SyncPlace, layer_id
from ...core.errors import Impossible
from ...core.launch import BuildSpec
from ...software.resolve import resolve, target_of
from . import sentences
from .draft import Draft
from .gather import PlanInputs

NEEDED = ("dask", "distributed")


async def replacement(inputs: PlanInputs, names: frozenset[str] | None) -> Draft:
    """Return the draft of a replacement; `names` is the scope, None for all packages."""
    kernel, workers, settings = inputs.kernel, inputs.workers, inputs.configuration
    place = next(iter(inputs.survey.places), None)
    if place is None:
        raise Impossible("No nanny of the cluster answers", "Look at its logs")
    if not set(NEEDED) <= {package.name for package in kernel.packages}:
        raise Impossible(
            "The notebook's environment has no Dask, which every cluster needs", "Install `distributed` there"
        )
    goal = cluster_goal(kernel, workers[0], None, inputs.diff.rows, names, inputs.rules, removable(inputs.body))
    resolution = await resolve(
        replace(target_of(place), python=kernel.python),
        NEEDED,
        goal.preferred,
        index=inputs.index,
        instead=goal.instead,
        hints=goal.hints,
        allow_source_builds=settings.allow_source_builds,
    )
    refused = {**resolution.refused, **dict.fromkeys(goal.local, sentences.NOT_FROM_AN_INDEX)}
    available = Available(versions=resolution.versions, refused=refused)
    every = [*workers, *([inputs.scheduler] if inputs.scheduler else [])]
    found = deciding.actions(kernel, every, goal, available, inputs.diff.rows)
    if kernel.python != workers[0].python and (names is None or "python" in names):
        here = workers[0]
        found += (deciding.python_action(here.python, kernel.python, here.id, sentences.NEW_PYTHON, "python"),)
    executable = inputs.executable or sys.executable
    layer = layer_id({"all": f"{executable}\0{resolution.lock}"})
    return Draft(
        how="replace",
        layer=layer,
        actions=found,
        places=(SyncPlace(key="", host=place.host, prefix="", layer=layer, expected=resolution.versions),),
        lost=loss_of_all(inputs.survey.workers, sentences.ALL_RESTART),
        lock=resolution.lock,
        build=BuildSpec(
            requirements=tuple(f"{name}=={version}" for name, version in sorted(resolution.versions.items())),
            python=executable,
            index_options=settings.index_options,
            allow_source_builds=settings.allow_source_builds,
        ),
    )
