"""Plans: for whom and how long they are held, and what they refuse or ask for before a state comes back."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.change.state import BASE, State, StatePlace, SyncSpec
from coiled_jupyter.core.change.survey import Survey, SurveyProcess
from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.errors import Impossible, NotFound
from coiled_jupyter.core.groups import Readings
from coiled_jupyter.core.launch import LaunchSpec
from coiled_jupyter.core.rules import shipped
from coiled_jupyter.core.times import now
from coiled_jupyter.core.wire import Plan, PlanCreate, PlanFrom, PlanLost
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.service.plans.gather import PlanInputs
from coiled_jupyter.service.plans.held import HELD_PLANS, HeldPlan, HeldPlans, check_usable
from coiled_jupyter.service.plans.make import make
from tests.core.change.samples import environment, place, worker


def held(name: str, *, user: str = "me", seconds: float = 60) -> HeldPlan:
    plan = Plan(
        id=name,
        digest="",
        cluster="c",
        direction="to_cluster",
        how="roll",
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
    return HeldPlan(plan=plan, body=PlanCreate(cluster="c"), spec=spec, user=user, until=time.monotonic() + seconds)


def test_a_plan_is_its_users_is_used_once_and_ends():
    plans = HeldPlans()
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
    plans = HeldPlans()
    for number in range(HELD_PLANS + 3):
        plans.hold(held(str(number)))
    for number in range(HELD_PLANS + 3):
        if number < 3:
            with pytest.raises(NotFound):
                plans.get(str(number), "me")
        else:
            assert plans.get(str(number), "me").plan.id == str(number)


def inputs(needs: dict[str, tuple[str, ...]], secret: bool = False) -> PlanInputs:
    """Return a cluster in a layer that has numpy, on a server whose index may have a password."""
    base = {"distributed": "1.0"}
    layered = {**base, "numpy": "2.0"}
    here = place(layer="l1", layers={"l1": 1})
    groups = tuple(
        environment("worker", layered, prefix="/l1", nodes=(f"tcp://{n}",), id=f"worker-{n}") for n in (1, 2)
    )
    kernel = environment("kernel", layered)
    survey = Survey(
        scheduler=SurveyProcess(host="h", pid=1),
        workers=(worker(1, alone=10, futures=1), worker(2, alone=10, futures=1)),
        places=(here,),
        encrypted=False,
        needs=needs,
    )

    def state(name: str, layer: str | None, has: dict[str, str]) -> State:
        known = StatePlace(
            key=here.key, host="h", prefix="/p", layer=layer, path=f"/{layer}", executable="", expected=has, lock="lock"
        )
        return State(id=name, cluster="c", how="roll", packages=len(has), places=(known,))

    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder, "ledger"))
        spec = LaunchSpec(id="c", name="c", factory="attached", workers=0, created_at=now(), address="tcp://h:1")
        cluster = ledger.reserve(spec, core_limit=1, cluster_limit=1)
    cluster = replace(cluster, status="running", environment=replace(cluster.environment, layer="one"))
    options = ("--index-url", "https://me:hunter22@example.org/simple") if secret else ()
    return PlanInputs(
        configuration=Configuration(index_options=options),
        body=PlanCreate(cluster="c"),
        cluster=cluster,
        kernel=kernel,
        executable="",
        readings=Readings(environments=groups, taken_at=now()),
        survey=survey,
        diff=compare(
            kernel, groups, cluster_id="c", cluster_name="c", kernel_id=None, kernel_label="", at=now(), rules=shipped()
        ),
        states=(state("one", "l1", layered), state("two", "l2", layered), state(BASE, None, base)),
        rules=shipped(),
    )


def made(found: PlanInputs, to: str, **fields) -> HeldPlan:
    body = PlanCreate(cluster="c", source=PlanFrom(layer=to), **fields)
    return asyncio.run(make(replace(found, body=body), "me"))


def test_what_values_need_stays_or_nothing_is_done_whatever_is_agreed_to():
    plan = made(inputs({"tcp://1": ("distributed",)}), BASE).plan
    assert (plan.how, plan.needs, plan.layer) == ("roll", (), None)
    assert [action.name for action in plan.actions if action.kind == "remove"] == ["numpy", "numpy"]
    plan = made(inputs({"tcp://1": ("numpy",)}), BASE, confirm=("lost_results",)).plan
    assert (plan.how, plan.rolls, plan.needs) == ("refused", (), ())
    with pytest.raises(Impossible, match="Values on worker 1 need numpy, which the new environment doesn't have"):
        check_usable(plan)


def test_workers_in_a_layer_that_nobody_here_knows_are_left_alone():
    found = inputs({})
    plan = made(replace(found, states=found.states[1:]), BASE).plan
    assert (plan.how, plan.rolls) == ("refused", ())
    assert "isn't known here" in plan.actions[0].why


def test_credentials_cross_in_the_open_only_where_something_is_installed_and_that_was_agreed():
    back = made(inputs({}, secret=True), BASE)
    assert (back.plan.how, back.plan.needs, back.spec.environ) == ("roll", (), {})
    forth = made(inputs({}, secret=True), "two")
    assert (forth.plan.how, forth.plan.needs, forth.spec.environ) == ("roll", ("plain_connection",), {})
    agreed = made(inputs({}, secret=True), "two", confirm=("plain_connection",))
    assert agreed.plan.needs == ()
    assert "hunter22" in agreed.spec.environ["UV_DEFAULT_INDEX"]
    found = inputs({}, secret=True)
    assert "UV_DEFAULT_INDEX" in made(replace(found, survey=replace(found.survey, encrypted=True)), "two").spec.environ
