"""How a plan is told in a shell and in a cell: what stays wrong first, and what it leaves as it is last."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from coiled_jupyter.commands import sync as commands
from coiled_jupyter.commands.base import present
from coiled_jupyter.commands.parser import parser
from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.core.times import ago, now
from coiled_jupyter.core.wire import Plan, PlanAction, PlanCreate, PlanLost, PlanRemaining, PlanTotals, Step, SyncStep

LEFT = PlanRemaining(
    name="python",
    severity="breaks",
    here="3.11.7",
    there=("3.10.13",),
    where="cluster",
    why="Its owner has to restart it.",
)
ACTION = PlanAction(
    kind="upgrade", name="numpy", before="1.26.4", after="2.4.6", group="g", why="Arrays don't load.", severity="breaks"
)
REFUSED = PlanAction(
    kind="refuse", name="python", before="3.10.13", after="3.11.7", group="g", why="Its owner has to restart it."
)
PLAN = Plan(
    id="p", digest="", cluster="c", direction="to_cluster", how="roll", actions=(ACTION, REFUSED), rolls=(),
    restarts=("2 workers restart at once.",), lost=PlanLost(), others=(), seconds=20.0, needs=(), layer="l",
    created_at="", expires_at="", remaining=(LEFT,),
    totals=PlanTotals(change=2, install=7, remove=1, refuse=1, extra=6, outside=95),
)  # fmt: skip


class Said:
    """An output that keeps its lines and values."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.values: list[object] = []

    def line(self, text: str = "") -> None:
        self.lines.append(text)

    def value(self, value: object) -> None:
        self.values.append(value)


class Planner:
    """A service that has one cluster and answers each request with one plan."""

    def __init__(self, plan: Plan) -> None:
        self.asked: list[PlanCreate] = []
        self.clusters = SimpleNamespace(find=lambda name: SimpleNamespace(id="c"), all=list)
        self.changing, self._plan = self, plan

    async def plan(self, body: PlanCreate) -> Plan:
        self.asked.append(body)
        return self._plan


def told(*words: str, plan: Plan = PLAN) -> tuple[list[str], PlanCreate]:
    service, said = Planner(plan), Said()
    arguments = parser().parse_args(["sync", *words, "--dry-run"])
    asyncio.run(commands.sync(service, arguments, said))
    return said.lines, service.asked[0]


def test_a_plan_is_told_in_the_order_in_which_it_matters():
    lines, _ = told()
    assert lines == [
        "Your notebook will still break:",
        "  ✕ Python 3.10.13 on the cluster, 3.11.7 here. Its owner has to restart it.",
        "Packages: 2 change, 7 install, 1 remove, 1 can't be done",
        "Nothing is lost.",
        "2 workers restart at once.",
        "About 20 s",
        "↑ numpy  1.26.4 → 2.4.6 [breaks]  upgraded. Arrays don't load.",
        "95 other packages differ and stay as they are; --all has them too",
        "6 extra packages stay on the cluster; --remove-extra removes them",
    ]


def test_where_nothing_is_to_do_it_says_what_it_leaves():
    lines, _ = told(plan=replace(PLAN, how="nothing", actions=(), remaining=(), totals=PlanTotals(outside=1)))
    assert lines == [
        "There is nothing to do: the cluster has these packages already",
        "1 other package differs and stays as it is; --all has them too",
    ]


def test_the_resolvers_words_are_not_printed():
    action = replace(ACTION, details="Because numpy==2.4.6 …")
    lines, _ = told(
        plan=replace(PLAN, actions=(action,), remaining=tuple(replace(LEFT, name=str(n)) for n in range(9)))
    )
    assert not [line for line in lines if "Because" in line]
    assert "  and 4 more" in lines
    assert "The resolver's own words are in the answer of --json" in lines


def test_what_is_asked_for():
    assert (told()[1].scope, told()[1].remove_extra) == ("notebook", False)
    assert told("--all", "--remove-extra")[1].remove_extra
    assert [told(*words)[1].scope for words in (["--all"], ["--rated"], ["numpy"])] == ["all", "rated", ("numpy",)]
    for words in (["--all", "--rated"], ["numpy", "--all"]):
        with pytest.raises(Invalid):
            told(*words)


def test_the_step_that_runs_is_named_with_its_growing_time():
    moment = now()
    done = SyncStep(name="Build the environment", state="done", seconds=3.0)
    runs = SyncStep(name="Move the workers", state="running", text="batch 1 of 2", started_at=ago(moment, 3600.2))
    assert present([done, runs]).startswith("Move the workers (batch 1 of 2), 36")
    assert present([done]) == ""
    assert present([Step(name="Start workers", state="running", seconds=0.25, text="")]) == "Start workers, 0 s"
