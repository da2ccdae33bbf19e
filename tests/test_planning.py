"""Plans that are held: for one user, once, for a while, and not without end."""

from __future__ import annotations

import time

import pytest

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.errors import NotFound
from coiled_jupyter.core.sync import SyncSpec
from coiled_jupyter.core.wire import Plan, PlanCreate, PlanLost
from coiled_jupyter.planning import HELD_PLANS, Held, Plans


def held(name: str, *, user: str = "me", seconds: float = 60) -> Held:
    plan = Plan(
        id=name,
        digest="",
        cluster="c",
        direction="to_cluster",
        how="nothing",
        actions=(),
        rolls=(),
        restarts=(),
        lost=PlanLost(),
        others=(),
        seconds=0.0,
        needs=(),
        layer=None,
        created_at="",
        expires_at="",
    )
    spec = SyncSpec(id=name, plan=name, cluster="c")
    return Held(plan=plan, body=PlanCreate(cluster="c"), spec=spec, user=user, until=time.monotonic() + seconds)


def test_a_plan_is_its_users_is_used_once_and_ends():
    plans = Plans(Configuration())
    for entry in (held("mine"), held("old", seconds=-0.001)):
        plans.hold(entry)
    for name, user in (("mine", "somebody else"), ("mine", ""), ("old", "me"), ("nonsense", "me")):
        with pytest.raises(NotFound):
            plans.get(name, user)
        with pytest.raises(NotFound):
            plans.take(name, user)
    assert plans.take("mine", "me").plan.id == "mine"
    with pytest.raises(NotFound):
        plans.take("mine", "me")


def test_no_more_plans_are_held_than_anybody_looks_at():
    plans = Plans(Configuration())
    for number in range(HELD_PLANS + 3):
        plans.hold(held(str(number)))
    for number in range(HELD_PLANS + 3):
        if number < 3:
            with pytest.raises(NotFound):
                plans.get(str(number), "me")
        else:
            assert plans.get(str(number), "me").plan.id == str(number)
