"""Makes the plan of a rolling restart in place, of a cluster that a notebook opened in its own environment."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from msgspec import Struct

from ...core.change import in_place as deciding
from ...core.change.actions import changes
from ...core.change.durations import ROUGH, expected_seconds
from ...core.change.goals import refusal, scope_names
from ...core.change.moves import loses_results
from ...core.change.state import SyncSpec
from ...core.change.survey import SurveyWorker
from ...core.errors import Impossible
from ...core.groups import Readings
from ...core.local_roll import Look
from ...core.wire import Cluster, Confirmation, Diff, Environment, Plan, PlanAction, PlanCreate, PlanLost, PlanOther
from .held import HELD_SECONDS, HeldPlan, lifetime
from .make import digest


class Inputs(Struct, frozen=True, kw_only=True):
    """What a plan is based on, just read.

    Attributes
    ----------
    opener, wanted
        The environments of the notebook that opened the cluster, and of the one that it is to match.

    """

    body: PlanCreate
    cluster: Cluster
    look: Look
    opener: Environment
    wanted: Environment
    readings: Readings
    loads: Sequence[SurveyWorker]
    diff: Diff


def make(inputs: Inputs, user: str) -> HeldPlan:
    """Return the plan, not held yet; raises Impossible where no worker could be read, Invalid for an unknown scope."""
    if inputs.look.kind == "threads":
        return _held(inputs, user, deciding.InPlace(blocked=(_whole(inputs, deciding.THREADS),)))
    workers = [group for group in inputs.readings.environments if group.role == "worker" and group.level == "all"]
    unread = inputs.readings.unread
    if not workers:
        if unread:
            raise Impossible(
                f"No worker of the cluster could be read: {unread[0].reason}", "Look at what could not be read"
            )
        raise Impossible("The cluster has no workers to restart", "Add a worker first")
    if (inputs.wanted.host, inputs.wanted.prefix) != (inputs.opener.host, inputs.opener.prefix):
        return _held(inputs, user, deciding.InPlace(blocked=(_whole(inputs, deciding.ANOTHER),)))
    names = scope_names(inputs.body.scope, inputs.diff.rows)
    return _held(
        inputs,
        user,
        deciding.decide(inputs.opener, workers, frozenset(inputs.look.workers), inputs.loads, names, inputs.diff.rows),
    )


def _whole(inputs: Inputs, why: str) -> PlanAction:
    groups = [group.id for group in inputs.readings.environments if group.role == "worker"]
    return refusal("workers", groups[0] if groups else "", why)


def _held(inputs: Inputs, user: str, decided: deciding.InPlace) -> HeldPlan:
    body, cluster = inputs.body, inputs.cluster
    unread = [
        refusal("workers", inputs.opener.id, f"{entry.node} was not read: {entry.reason}")
        for entry in inputs.readings.unread
    ]
    listed = (*decided.blocked, *decided.actions, *decided.refused, *unread)
    does = bool(decided.workers) and not decided.blocked
    how = "in_place" if does else "refused" if listed else "nothing"
    needs: list[Confirmation] = []
    if does and loses_results(decided.lost) and "lost_results" not in body.confirm:
        needs.append("lost_results")
    created_at, expires_at = lifetime()
    plan = Plan(
        id=secrets.token_hex(8),
        digest=digest(
            cluster.id,
            how,
            decided.workers,
            sorted({(a.kind, a.name, a.before or "", a.after or "", a.why) for a in listed}),
            needs,
        ),
        cluster=cluster.id,
        direction="to_cluster",
        how=how,  # type: ignore[arg-type]  # one of three
        actions=listed,
        rolls=decided.rolls if does else (),
        restarts=deciding.restarts(len(decided.workers), temporary=decided.temporary) if does else (),
        lost=decided.lost if does else PlanLost(),
        others=tuple(
            PlanOther(client=client.id, host=client.host, opened_by=client.opened_by)
            for client in cluster.other_clients
            if not client.own
        ),
        seconds=expected_seconds("roll", ROUGH, build=False, batch_sizes=[1] * len(decided.workers)) if does else 0.0,
        needs=tuple(needs),
        layer=None,
        created_at=created_at,
        expires_at=expires_at,
        temporary=decided.temporary and does,
    )
    spec = SyncSpec(
        id=secrets.token_hex(6),
        plan=plan.id,
        cluster=cluster.id,
        how="in_place",
        rolls=plan.rolls,
        alone=plan.temporary,
        drain_seconds=body.drain_seconds,
        lost_ok="lost_results" in body.confirm,
        lost=plan.lost,
        changes=changes(listed),
    )
    return HeldPlan(plan=plan, body=body, spec=spec, user=user, until=time.monotonic() + HELD_SECONDS)
