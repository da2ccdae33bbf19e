"""Makes a plan for a cluster: chooses between a roll, a replacement and the way back, and completes it."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence

import msgspec

from ...core.change import actions as deciding
from ...core.change import moves
from ...core.change.afterwards import ordered
from ...core.change.durations import expected_seconds
from ...core.change.state import BASE, SyncSpec
from ...core.change.survey import installs
from ...core.errors import Impossible
from ...core.wire import Confirmation, Environment, Plan, PlanAction, PlanLost, PlanOther
from . import sentences
from .back import back
from .draft import Draft, movable
from .gather import PlanInputs
from .held import HELD_SECONDS, HeldPlan, lifetime
from .left import counted, left
from .replace import replacement
from .roll import roll
from .sent import sending


async def make(inputs: PlanInputs, user: str, *, undo_of: str | None = None) -> HeldPlan:
    """Return a plan for these inputs; it isn't held yet, and nothing is changed.

    Raises
    ------
    Impossible
        None of it can be done; the message has the resolver's reason.
    Invalid, NotFound
        The request names something that doesn't exist.

    """
    unread = inputs.readings.unread
    if unread and not inputs.workers:
        raise Impossible(
            f"No worker of the cluster could be read: {unread[0].reason}", "Look at what could not be read"
        )
    if not inputs.workers:
        raise Impossible("The cluster has no workers to sync", "Add a worker first")
    layer = inputs.body.source.layer if inputs.body.source else None
    if layer is not None:
        draft = back(inputs, layer, movable(inputs))
    else:
        draft = await _to_kernel(inputs)
    return _held(inputs, await sending(inputs, draft), user, undo_of)


async def _to_kernel(inputs: PlanInputs) -> Draft:
    """Return the draft of a roll, or of a replacement if only that can change Python or the scheduler."""
    names = inputs.names
    same_python = not any(deciding.python_refused(inputs.kernel, group) for group in inputs.workers)
    if same_python or not inputs.managed:
        draft = await roll(inputs, names, movable(inputs))
        scheduler = inputs.scheduler.id if inputs.scheduler else None
        if not inputs.managed or all(action.group != scheduler for action in (*draft.actions, *draft.refused)):
            return draft
    return await replacement(inputs, names)


def digest(*parts: object) -> str:
    """Return the digest of a plan's inputs and actions."""
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=12).hexdigest()


def _held(inputs: PlanInputs, draft: Draft, user: str, undo_of: str | None) -> HeldPlan:
    body, index, how = inputs.body, inputs.index, draft.how
    listed = (*draft.blocked, *ordered((*draft.actions, *draft.refused), inputs.diff.rows))
    back_to = body.source is not None and body.source.layer is not None
    seals = bool(draft.sealed) and draft.layer != inputs.state
    changes = any(action.kind != "refuse" for action in listed)
    if not changes and not seals and not (back_to and draft.layer != inputs.state):
        how = "refused" if listed else "nothing"
    elif how == "roll" and not draft.rolls and (changes or not seals):
        how = "refused"
    does = how in ("roll", "replace")
    built = {layer for place in inputs.survey.places for layer in place.layers}
    unbuilt = [place for place in draft.places if place.layer and place.layer not in built]
    missing = bool(unbuilt)
    installs_there = any(place.send != "yes" for place in unbuilt)
    agreed = "plain_connection" in body.confirm or not index.secrets or inputs.survey.encrypted
    needs: list[Confirmation] = []
    if does and moves.loses_results(draft.lost) and "lost_results" not in body.confirm:
        needs.append("lost_results")
    # An existing layer needs no index, nor does one of which everything is sent.
    if how == "roll" and installs_there and not agreed:
        needs.append("plain_connection")
    numbers = sorted({roll.batch for roll in draft.rolls})
    sizes = [sum(len(roll.workers) for roll in draft.rolls if roll.batch == number) for number in numbers]
    builds = missing or draft.build is not None
    seconds = expected_seconds(how, inputs.durations, build=builds, batch_sizes=sizes or [len(inputs.survey.workers)])
    environments = inputs.readings.environments
    created_at, expires_at = lifetime()
    plan = Plan(
        id=secrets.token_hex(8),
        digest=digest(
            inputs.cluster.id,
            inputs.state,
            how,
            draft.layer,
            () if back_to else _versions(inputs.kernel),
            sorted({(e.role, e.host, e.prefix, _versions(e)) for e in environments}),
            _changes(listed, environments),
            needs,
            draft.lock,
            [place.lock for place in draft.places],
            draft.sealed,
            sorted((place.key, place.send) for place in draft.places if place.send),
        ),
        cluster=inputs.cluster.id,
        direction="to_cluster",
        how=how,  # type: ignore[arg-type]  # one of the four by the assignments above
        actions=listed,
        rolls=tuple(draft.rolls) if how == "roll" else (),
        restarts=(
            *sentences.restarts(how, sizes, alone=draft.alone),
            *(draft.sent if how == "roll" else ()),
            *filter(None, [installs(inputs.survey.installers) if how == "roll" else ""]),
        ),
        lost=draft.lost if does else PlanLost(),
        others=tuple(
            PlanOther(client=client.id, host=client.host, opened_by=client.opened_by)
            for client in inputs.cluster.other_clients
            if not client.own
        ),
        seconds=seconds if does else 0.0,
        needs=tuple(needs),
        layer=None if draft.layer == BASE else draft.layer,
        created_at=created_at,
        expires_at=expires_at,
        temporary=draft.alone and how == "roll",
        scheduler=draft.scheduler if does else (),
        waits=draft.waits if how == "roll" else (),
        remaining=() if back_to else left(inputs, draft, does=does),
        totals=counted(inputs, listed),
    )
    spec = SyncSpec(
        id=secrets.token_hex(6),
        plan=plan.id,
        cluster=inputs.cluster.id,
        how=how,
        layer=draft.layer,
        layer_before=inputs.state,
        places=tuple(draft.places),
        rolls=plan.rolls,
        alone=draft.alone,
        drain_seconds=body.drain_seconds,
        lost_ok="lost_results" in body.confirm,
        lost=plan.lost,
        environ={**index.uv, **index.pip} if agreed else {},
        options=index.options,
        index_options=inputs.configuration.index_options,
        only_binary=not inputs.configuration.allow_source_builds,
        build=draft.build,
        lock=draft.lock,
        interpreter=draft.interpreter,
        changes=deciding.changes(listed),
        undo_of=undo_of,
        sealed=draft.sealed,
        builds=builds,
    )
    return HeldPlan(plan=plan, body=body, spec=spec, user=user, until=time.monotonic() + HELD_SECONDS)


def _versions(environment: Environment) -> tuple[tuple[str, str], ...]:
    """Return the versions on which a plan is based; whether files were read yet is no change of the environment."""
    return tuple((package.name, package.version) for package in environment.packages)


def _changes(actions: Sequence[PlanAction], groups: Sequence[Environment]) -> list[tuple[str, ...]]:
    """Return a plan's actions by place, as groups change with file contents and loaded packages."""
    where = {group.id: (group.role, group.host, group.prefix) for group in groups}
    return sorted(
        {
            (action.kind, action.name, action.before or "", action.after or "", *where.get(action.group, ()))
            for action in actions
            if action.kind == "refuse" or action.before != action.after
        }
    )
