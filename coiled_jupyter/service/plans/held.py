"""Holds plans for the user who requested them, until they are used (once) or ten minutes old."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from msgspec import Struct

from ...core.change.state import SyncSpec
from ...core.errors import Conflict, Impossible, NotFound
from ...core.wire import Plan, PlanCreate
from . import sentences

HELD_SECONDS = 600.0
HELD_PLANS = 50


class HeldPlan(Struct, frozen=True, kw_only=True):
    """A plan, its request, and what a supervisor needs to carry it out."""

    plan: Plan
    body: PlanCreate
    spec: SyncSpec
    user: str
    until: float


class HeldPlans:
    """The usable plans of one server."""

    def __init__(self) -> None:
        self._held: dict[str, HeldPlan] = {}

    def hold(self, held: HeldPlan) -> Plan:
        """Hold a plan; if there are too many, drop the oldest."""
        moment = time.monotonic()
        self._held = {key: value for key, value in self._held.items() if value.until > moment}
        while len(self._held) >= HELD_PLANS:
            del self._held[next(iter(self._held))]
        self._held[held.plan.id] = held
        return held.plan

    def get(self, plan_id: str, user: str) -> HeldPlan:
        """Return a usable plan of this user, or raise NotFound."""
        held = self._held.get(plan_id)
        if held is None or held.user != user or held.until < time.monotonic():
            raise NotFound(
                "There is no such plan any more", "Plans expire after ten minutes and are used once: make a new one"
            )
        return held

    def of(self, user: str) -> tuple[Plan, ...]:
        """Return the usable plans of this user, newest last."""
        return tuple(h.plan for h in self._held.values() if h.user == user and h.until >= time.monotonic())

    def take(self, plan_id: str, user: str) -> HeldPlan:
        """Remove and return a plan; Conflict or Impossible if it can't be carried out as it is."""
        held = self.get(plan_id, user)
        check_usable(held.plan)
        del self._held[plan_id]
        return held


def check_usable(plan: Plan) -> None:
    """Raise Conflict or Impossible if a plan can't be carried out as it is."""
    if plan.how == "refused":
        why = next((action.why for action in plan.actions if action.kind == "refuse"), "None of it can be done")
        raise Impossible(f"None of this plan can be done: {why}", "See the plan's refused actions")
    if plan.how == "nothing":
        raise Conflict("There is nothing to do: the cluster has these packages already")
    if plan.needs:
        raise Conflict(
            sentences.agreement(plan.needs), "Make the plan again with `confirm`", needs=", ".join(plan.needs)
        )


def lifetime() -> tuple[str, str]:
    """Return when a plan made now was created and when it expires, as on the wire."""
    moment = datetime.now(timezone.utc)
    return _iso(moment), _iso(moment + timedelta(seconds=HELD_SECONDS))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
