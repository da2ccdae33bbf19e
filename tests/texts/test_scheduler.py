"""What a scheduler's text tells of p2p shuffles, whatever Dask calls them."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from types import SimpleNamespace

import pytest

from coiled_jupyter.texts import scheduler as text


class Scheduler:
    """A scheduler of any generation: it has what its Dask has, and two workers."""

    def __init__(self, **fields) -> None:
        self.id, self.tasks = "Scheduler-1", {}
        self.extensions: dict[str, object] = {}
        self.handlers: dict[str, object] = {}
        for name, value in fields.items():
            setattr(self, name, value)
        self.workers = {
            address: SimpleNamespace(
                name=address,
                nanny=None,
                has_what={},
                metrics={},
                memory_limit=None,
                executing={},
                actors=set(),
                long_running={1} if address == "a" else set(),
            )
            for address in ("a", "b", "c")
        }


@pytest.fixture
def ask(monkeypatch):
    importlib.import_module("distributed.scheduler")

    def ask(scheduler: Scheduler, verb: str, *arguments):
        monkeypatch.setattr(sys.modules["distributed.scheduler"].Scheduler, "_instances", {scheduler})
        return json.loads(text.call(verb, scheduler.id, *arguments))

    return ask


def shuffle(*workers: str) -> SimpleNamespace:
    return SimpleNamespace(participating_workers=set(workers))


class Hostile:
    """A plugin that is none of Dask's."""

    @property
    def active_shuffles(self):
        raise RuntimeError("not here")


BARRED = {"shuffle-barrier-2": SimpleNamespace(state="erred"), "shuffle-barrier-1": SimpleNamespace(state="waiting")}


@pytest.mark.parametrize(
    ("scheduler", "found"),
    [
        (Scheduler(), []),
        (
            Scheduler(
                plugins={"shuffle": SimpleNamespace(active_shuffles={"1": shuffle("a", "b"), "2": shuffle("c")})}
            ),
            [2],
        ),
        (Scheduler(plugins={}, extensions={"shuffle": SimpleNamespace(states={"1": shuffle("a")})}), [1]),
        (Scheduler(extensions={"shuffle": SimpleNamespace(participating_workers={"1": {"a", "c"}})}), [2]),
        (
            Scheduler(
                extensions={
                    "shuffle": SimpleNamespace(
                        states={"1": shuffle("a"), "2": shuffle("a"), "3": shuffle("a")},
                        erred_shuffles={"3": OSError()},
                    )
                },
                tasks=BARRED,
            ),
            [1],
        ),
        (Scheduler(plugins={"shuffle": Hostile()}), []),
        (Scheduler(plugins={"shuffle": SimpleNamespace(active_shuffles=7)}), []),
    ],
    ids=["2022.2", "today", "2023.5", "2022.12", "failed", "raising", "of another shape"],
)
def test_active_shuffles_of_a_worker_are_told_whatever_the_generation(ask, scheduler, found):
    assert ask(scheduler, "shuffles", ["a"]) == {"shuffles": found}
    assert ask(scheduler, "shuffles", []) == {"shuffles": []}
    counted = {worker["address"]: worker for worker in ask(scheduler, "walk")["workers"]}
    assert counted["a"]["shuffles"] == len(found)
    assert [counted[name]["seceded"] for name in "abc"] == [1, 0, 0]


def test_a_shuffle_that_begins_while_workers_leave_waits_until_they_have_left(ask):
    scheduler = Scheduler(plugins={"shuffle": SimpleNamespace(active_shuffles={})})
    seen = []

    def get_or_create(worker: str) -> str:
        seen.append(sorted(scheduler.workers))
        return f"run on {worker}"

    async def go() -> None:
        scheduler.handlers["shuffle_get_or_create"] = get_or_create
        assert ask(scheduler, "hold_shuffles", ["a"], ["b"], 60) == {"shuffles": []}
        begun = asyncio.create_task(scheduler.handlers["shuffle_get_or_create"](worker="c"))
        await asyncio.sleep(0.1)
        assert not begun.done()
        del scheduler.workers["a"]
        assert await begun == "run on c"
        assert seen == [["b", "c"]]
        # Nothing is left in the way.
        assert scheduler.handlers["shuffle_get_or_create"] is get_or_create
        # A worker that doesn't leave holds up no shuffle for ever, and a hold replaces the one before.
        ask(scheduler, "hold_shuffles", ["b"], [], 60)
        ask(scheduler, "hold_shuffles", ["b"], [], 0)
        assert await scheduler.handlers["shuffle_get_or_create"]("b") == "run on b"
        assert scheduler.handlers["shuffle_get_or_create"] is get_or_create

    asyncio.run(go())


def test_nothing_is_held_up_where_a_shuffle_goes_on(ask):
    scheduler = Scheduler(plugins={"shuffle": SimpleNamespace(active_shuffles={"1": shuffle("b")})})
    scheduler.handlers["shuffle_get_or_create"] = len
    assert ask(scheduler, "hold_shuffles", ["a"], ["b"], 60) == {"shuffles": [1]}
    assert scheduler.handlers["shuffle_get_or_create"] is len
