"""Says of a plan what will still be wrong after it, and how many packages it changes."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.change import afterwards
from ...core.change.goals import extra_packages
from ...core.sealing import as_sealed
from ...core.times import now
from ...core.wire import Environment, PlanAction, PlanRemaining, PlanTotals
from .draft import Draft
from .gather import PlanInputs


def left(inputs: PlanInputs, draft: Draft, *, does: bool) -> tuple[PlanRemaining, ...]:
    """Return what of the cluster still breaks or is risky for the notebook after a draft, the worst first."""
    if not does:
        groups: Sequence[Environment] = inputs.readings.environments
    elif draft.how == "replace":
        groups = _replaced(inputs, draft)
    else:
        groups = _rolled(inputs, draft)
    kernel, info = inputs.kernel, inputs.cluster.scheduler
    scheduler = info.id if info else None
    if does and draft.sealed and scheduler is not None:
        kernel, groups = as_sealed(kernel, groups, scheduler)
    refused = (*draft.blocked, *draft.refused)
    return afterwards.remaining(kernel, groups, inputs.rules, now(), refused, scheduler)


def _rolled(inputs: PlanInputs, draft: Draft) -> list[Environment]:
    places = {worker.address: worker.place for worker in inputs.survey.workers}
    expected = {place.key: place.expected for place in draft.places}
    moving = {worker for roll in draft.rolls for worker in roll.workers}
    found: list[Environment] = []
    for group in inputs.readings.environments:
        if group.role == "scheduler":
            found.append(
                afterwards.extended(group, next((p.expected for p in draft.places if p.host == group.host), {}))
            )
            continue
        key = next((place for node in group.nodes if (place := places.get(node)) in expected), None)
        found += [group] if key is None else afterwards.moved(inputs.kernel, group, moving, expected[key])
    return found


def _replaced(inputs: PlanInputs, draft: Draft) -> list[Environment]:
    versions = next((place.expected for place in draft.places if not place.key), {})
    found: list[Environment] = []
    for group in inputs.readings.environments:
        found += afterwards.moved(inputs.kernel, group, group.nodes, versions, inputs.kernel.python)
    return found


def counted(inputs: PlanInputs, listed: Sequence[PlanAction]) -> PlanTotals:
    """Return a plan's totals; one that goes back to an earlier state has no scope and no extra packages."""
    if inputs.body.source is not None and inputs.body.source.layer is not None:
        return afterwards.totals(listed)
    extra = extra_packages(inputs.kernel, inputs.workers, inputs.rules)
    if isinstance(inputs.body.scope, tuple):
        extra -= frozenset(inputs.body.scope)
    return afterwards.totals(listed, extra=extra, outside=afterwards.outside(inputs.diff.rows, inputs.names))
