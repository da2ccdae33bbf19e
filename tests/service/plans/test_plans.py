"""Plans: for whom and how long they are held, and what they refuse or ask for before a state comes back."""

from __future__ import annotations

import asyncio
import hashlib
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
from coiled_jupyter.core.wire import Package, Plan, PlanCreate, PlanFrom, PlanLost
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.service.plans import sentences
from coiled_jupyter.service.plans.gather import PlanInputs
from coiled_jupyter.service.plans.held import HELD_PLANS, HeldPlan, HeldPlans, check_usable
from coiled_jupyter.service.plans.make import make
from tests.core.change.samples import environment, place, worker
from tests.index import make_wheel


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


def test_a_plan_says_what_its_sync_waits_for_and_what_happens_if_that_takes_too_long():
    found = inputs({})
    assert made(found, BASE).plan.waits == ()
    workers = (worker(1, shuffles=2), worker(2, shuffles=1, seceded=1))
    busy = replace(found, survey=replace(found.survey, workers=workers))
    first, second = made(busy, BASE, drain_seconds=30).plan.waits
    assert first.startswith("2 workers take part in a shuffle: the sync waits for its end, at most 30 s")
    assert "the sync fails and the old state comes back, unless you agree to lose results" in first
    assert second.startswith("1 task has seceded, as with worker_client")
    assert "begins anew and its tasks run again" in made(busy, BASE, confirm=("lost_results",)).plan.waits[0]
    # Whether it has ended since changes nothing of what a plan does.
    assert made(busy, BASE).plan.digest == made(found, BASE).plan.digest


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


def cut_off(folder: Path, *, fetches: bool | None, tag: str = "py3-none-any", secret: bool = False) -> PlanInputs:
    """Return a cluster whose host may not reach the index, which has one wheel."""
    wheel = make_wheel(folder, "cj_some", tag=tag)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    found = inputs({}, secret=secret)
    (here,) = found.survey.places
    one, two, base = found.states
    (known,) = two.places
    two = replace(two, places=(replace(known, lock=f"cj-some==1.0 --hash=sha256:{digest}\n"),))
    options = (*found.configuration.index_options, "--no-index", "--find-links", str(folder))
    return replace(
        found,
        configuration=Configuration(index_options=options),
        survey=replace(found.survey, places=(replace(here, fetches=fetches),)),
        states=(one, two, base),
    )


def test_a_plan_says_what_is_sent_to_a_host_that_does_not_reach_the_index(tmp_path):
    sure = made(cut_off(tmp_path, fetches=False, secret=True), "two")
    told = "1 wheel (0.1 MB) is sent to h by this computer, since it doesn't reach the package index."
    assert sure.plan.restarts[1:] == (told,)
    # No credentials are needed there.
    assert (sure.plan.how, sure.plan.needs, sure.spec.environ) == ("roll", (), {})
    assert [place.send for place in sure.spec.places] == ["yes"]
    assert sure.spec.index_options[-1] == str(tmp_path)
    unsure = made(cut_off(tmp_path, fetches=None, secret=True), "two")
    (told,) = unsure.plan.restarts[1:]
    assert told.startswith(
        "It could not be told whether h reaches the package index: where that fails, 1 wheel (0.1 MB)"
    )
    assert unsure.plan.needs == ("plain_connection",)
    assert [place.send for place in unsure.spec.places] == ["may"]
    able = made(cut_off(tmp_path, fetches=True), "two")
    assert [place.send for place in able.spec.places] == [""]
    assert len({held.plan.digest for held in (sure, unsure, able)}) == 3
    assert able.plan.restarts == sure.plan.restarts[:1]
    # A layer that is there needs nothing.
    assert made(cut_off(tmp_path, fetches=False), BASE).plan.restarts == able.plan.restarts


def test_a_package_without_a_wheel_for_a_host_that_can_not_build_it_is_refused_by_name(tmp_path):
    plan = made(cut_off(tmp_path, fetches=False, tag="cp38-cp38-win_amd64"), "two").plan
    assert (plan.how, plan.rolls) == ("refused", ())
    with pytest.raises(Impossible, match="cj-some"):
        check_usable(plan)
    # Where it may build it, that is tried.
    assert made(cut_off(tmp_path, fetches=None, tag="cp38-cp38-win_amd64"), "two").plan.how == "roll"


def test_hosts_that_are_sent_the_same_are_told_in_one_sentence():
    assert sentences.sent(("a", "b"), [9_000_000, None, 6_000_000], surely=True) == (
        "3 wheels (at least 15 MB each) are sent to a and b by this computer, since they don't reach the package index."
    )
    assert "whether a and b reach the package index" in sentences.sent(("a", "b"), [1], surely=False)


def test_a_plan_of_what_matters_says_what_it_leaves_and_what_stays_wrong():
    found = inputs({})
    used = Package(name="numpy", version="2.0", use="imported")
    kernel = replace(found.kernel, packages=(used, Package(name="ruff", version="1.0")), python="3.12.1")
    workers = tuple(
        replace(group, packages=(Package(name="numpy", version="2.0"), Package(name="acme", version="1.0")))
        for group in found.readings.environments
    )
    found = replace(
        found,
        kernel=kernel,
        readings=replace(found.readings, environments=workers),
        cluster=replace(found.cluster, source="attached"),
        body=PlanCreate(cluster="c"),
        diff=compare(
            kernel,
            workers,
            cluster_id="c",
            cluster_name="c",
            kernel_id=None,
            kernel_label="",
            at=now(),
            rules=shipped(),
        ),
    )
    assert found.names == {"python", *(row.name for row in found.diff.rows if row.matters)}
    plan = asyncio.run(make(found, "me")).plan
    # All that matters is there but Python, which no roll changes.
    assert (plan.how, {action.name for action in plan.actions}) == ("refused", {"python"})
    assert plan.remaining[0].name == "python"
    assert "owner has to restart" in plan.remaining[0].why
    assert (plan.totals.refuse, plan.totals.extra, plan.totals.outside) == (1, 1, 1)
    # In a shell, or for a software environment, nothing says what matters.
    assert replace(found, notebook=False).names is None
