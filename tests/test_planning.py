"""Plans: for whom and how long they are held, and what they refuse or ask for before a state comes back."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.cluster import LaunchSpec, Readings, now
from coiled_jupyter.core.diff import compare
from coiled_jupyter.core.errors import Impossible, NotFound
from coiled_jupyter.core.rules import shipped
from coiled_jupyter.core.survey import Survey, SurveyProcess
from coiled_jupyter.core.sync import BASE, State, StatePlace, SyncSpec
from coiled_jupyter.core.wire import Plan, PlanCreate, PlanFrom, PlanLost
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.planning import HELD_PLANS, Basis, Held, Plans, check_usable
from tests.core.test_plan import environment, place, worker


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


def basis(needs: dict[str, tuple[str, ...]], secret: bool = False) -> tuple[Plans, Basis]:
    """Return a cluster in a layer that has numpy, and plans of a server whose index may have a password."""
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
    return Plans(Configuration(index_options=options)), Basis(
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


def made(plans: Plans, found: Basis, to: str, **fields) -> Held:
    body = PlanCreate(cluster="c", source=PlanFrom(layer=to), **fields)
    return asyncio.run(plans.make(found, body, "me"))


def test_what_values_need_stays_or_nothing_is_done_whatever_is_agreed_to():
    plan = made(*basis({"tcp://1": ("distributed",)}), BASE).plan
    assert (plan.how, plan.needs, plan.layer) == ("roll", (), None)
    assert [action.name for action in plan.actions if action.kind == "remove"] == ["numpy", "numpy"]
    plan = made(*basis({"tcp://1": ("numpy",)}), BASE, confirm=("lost_results",)).plan
    assert (plan.how, plan.rolls, plan.needs) == ("refused", (), ())
    with pytest.raises(Impossible, match="Values on worker 1 need numpy, which the new environment doesn't have"):
        check_usable(plan)


def test_workers_in_a_layer_that_nobody_here_knows_are_left_alone():
    plans, found = basis({})
    plan = made(plans, replace(found, states=found.states[1:]), BASE).plan
    assert (plan.how, plan.rolls) == ("refused", ())
    assert "isn't known here" in plan.actions[0].why


def test_credentials_cross_in_the_open_only_where_something_is_installed_and_that_was_agreed():
    back = made(*basis({}, secret=True), BASE)
    assert (back.plan.how, back.plan.needs, back.spec.environ) == ("roll", (), {})
    forth = made(*basis({}, secret=True), "two")
    assert (forth.plan.how, forth.plan.needs, forth.spec.environ) == ("roll", ("plain_connection",), {})
    agreed = made(*basis({}, secret=True), "two", confirm=("plain_connection",))
    assert agreed.plan.needs == ()
    assert "hunter22" in agreed.spec.environ["UV_DEFAULT_INDEX"]
    plans, found = basis({}, secret=True)
    assert (
        "UV_DEFAULT_INDEX"
        in made(plans, replace(found, survey=replace(found.survey, encrypted=True)), "two").spec.environ
    )
