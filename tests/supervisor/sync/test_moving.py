"""When workers are retired and restarted, with nodes that tell of shuffles and tasks as each test says."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from coiled_jupyter.core.change.state import SyncSpec
from coiled_jupyter.core.change.survey import SurveyWorker
from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.core.wire import PlanRoll
from coiled_jupyter.links.nodes.restarts import Blocked
from coiled_jupyter.supervisor.sync.moving import RESTARTED_AT_ONCE, Moving

SHUFFLE, NONE = (2,), ()


class Nodes:
    """The nodes of a cluster: `restarts` and `surveyor`, whose answers are given and whose requests are kept.

    Parameters
    ----------
    shuffles
        The answers about shuffles in turn; the last one stays.
    gateway
        Whether it is a gateway's.
    late
        The names of workers that don't come back.

    """

    def __init__(
        self, workers, shuffles=(NONE,), executing=0, blocked=None, gone=(), *, gateway=False, late=()
    ) -> None:
        self.workers, self.asked = list(workers), []
        self._gateway, self._late = gateway, set(late)
        self._shuffles, self._executing = list(shuffles), executing
        self._blocked, self._gone = blocked or Blocked(), gone
        self.restarts = self.surveyor = self

    async def check_nannies(self, workers) -> None:
        pass

    async def shuffles(self, workers):
        return self._shuffles.pop(0) if len(self._shuffles) > 1 else self._shuffles[0]

    async def hold_shuffles(self, leaving, others=()):
        return await self.shuffles([*leaving, *others])

    async def worker_loads(self):
        return tuple(SurveyWorker(address=worker, name=worker, nanny=f"n{worker}") for worker in self.workers)

    async def retire(self, workers, deadline):
        self.asked.append(("retire", *workers))
        return set(workers)

    async def cancel_retirement(self, workers) -> None:
        self.asked.append(("cancel", *workers))

    async def executing(self, workers):
        return dict.fromkeys(workers, self._executing)

    async def blocked(self, workers):
        return dict.fromkeys(workers, self._blocked)

    async def registered(self, workers):
        return [worker for worker in workers if worker not in self._gone]

    async def restart(self, workers, deadline):
        self.asked.append(("restart", *workers))
        return set(workers)

    async def wait_for_workers(self, names, old, seconds):
        return self._late & set(names)

    async def hold_workers(self, names):
        if self._gateway:
            self.asked.append(("hold", *names))
        return self._gateway

    async def release_workers(self, names, *, away):
        self.asked.append(("release", *names, "away" if away else "there"))

    @property
    def order(self) -> list[tuple[str, ...]]:
        """Return what was asked, without repetitions."""
        return [one for n, one in enumerate(self.asked) if not n or one != self.asked[n - 1]]


class Host:
    """A supervisor of these nodes, which can lend a worker."""

    def __init__(self, nodes: Nodes) -> None:
        self.node_link = nodes

    @property
    def cluster(self):
        return SimpleNamespace(workers=[SimpleNamespace(id=worker, name=worker) for worker in self.node_link.workers])

    async def observe(self) -> None:
        pass

    async def lend(self, seconds):
        self.node_link.workers.append("lent")
        return "lent"

    async def take_back(self, name) -> None:
        self.node_link.asked.append(("end", name))


class Progress:
    """What a sync tells of itself."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def finish(self, name: str, state: str = "done", text: str = "") -> None:
        pass


def moving(nodes: Nodes, **fields) -> tuple[Moving, Progress]:
    rolls = (PlanRoll(group="g", workers=tuple(nodes.workers), batch=1),)
    progress = Progress()
    return Moving(Host(nodes), SyncSpec(id="s", plan="p", cluster="c", rolls=rolls, **fields), progress), progress


def test_a_shuffle_is_waited_for_before_workers_are_retired():
    nodes = Nodes("ab", [SHUFFLE, SHUFFLE, NONE])
    move, progress = moving(nodes)
    asyncio.run(move.move("Move the workers"))
    assert nodes.order == [("retire", "a", "b"), ("restart", "a", "b")]
    assert progress.lines[0] == "Waiting: a shuffle on 2 workers has to end first"


# It begins when they have been retired, while tasks end, while results are handed over, or just before the restart.
@pytest.mark.parametrize("when", [1, 2, 3])
def test_workers_that_a_shuffle_counts_in_after_they_were_retired_take_tasks_again_until_it_ends(when):
    nodes = Nodes("ab", [*[NONE] * when, SHUFFLE, SHUFFLE, NONE])
    move, _ = moving(nodes)
    asyncio.run(move.move("Move the workers"))
    assert nodes.order == [("retire", "a", "b"), ("cancel", "a", "b"), ("retire", "a", "b"), ("restart", "a", "b")]


@pytest.mark.parametrize(
    ("found", "said"),
    [((1,), "A shuffle on 1 worker ran"), ((2,), "A shuffle on 2 workers"), ((2, 3), "2 shuffles on 3 workers")],
)
def test_a_shuffle_that_takes_too_long_is_named_and_nothing_restarts(found, said):
    nodes = Nodes("ab", [found])
    move, _ = moving(nodes, drain_seconds=0.0)
    with pytest.raises(CoiledError, match=said):
        asyncio.run(move.move("Move the workers"))
    assert nodes.order == [("cancel", "a", "b")]


def test_a_shuffle_that_takes_too_long_is_restarted_if_the_user_has_agreed_to_losses():
    nodes = Nodes("ab", [SHUFFLE])
    move, progress = moving(nodes, drain_seconds=0.0, lost_ok=True)
    asyncio.run(move.move("Move the workers"))
    assert nodes.order == [("retire", "a", "b"), ("restart", "a", "b")]
    assert progress.lines[0] == "A shuffle on 2 workers ran longer than 0 s, and is restarted"


@pytest.mark.parametrize(
    ("blocked", "said"),
    [
        (Blocked(waits=("Event",)), "(it waits for an Event), so"),
        (Blocked(seceded=1, waits=("Lock",)), "(it waits for a Lock; it has seceded from the worker's threads"),
        (Blocked(), "longer than 0 s, so"),
    ],
)
def test_a_task_that_takes_too_long_is_named_with_what_it_waits_for(blocked, said):
    nodes = Nodes("ab", executing=1, blocked=blocked)
    move, _ = moving(nodes, drain_seconds=0.0)
    with pytest.raises(CoiledError) as error:
        asyncio.run(move.move("Move the workers"))
    assert said in error.value.message
    assert nodes.order == [("retire", "a", "b"), ("cancel", "a", "b")]


def test_a_shuffle_that_begins_while_some_of_a_large_batch_restart_is_waited_for_by_the_others():
    workers = [f"w{number}" for number in range(RESTARTED_AT_ONCE + 2)]
    # Before, in draining, in emptying and at last; then before the others restart, and once they are waited for.
    nodes = Nodes(workers, [NONE, NONE, NONE, NONE, SHUFFLE, SHUFFLE, NONE])
    move, _ = moving(nodes)
    asyncio.run(move.move("Move the workers"))
    first, rest = workers[:RESTARTED_AT_ONCE], workers[RESTARTED_AT_ONCE:]
    assert nodes.order == [
        ("retire", *workers),
        ("restart", *first),
        ("cancel", *rest),
        ("retire", *rest),
        ("restart", *rest),
    ]


def test_a_worker_that_its_owner_ends_meanwhile_is_not_waited_for():
    nodes = Nodes("ab", gone="b")
    move, _ = moving(nodes)
    asyncio.run(move.move("Move the workers"))
    assert nodes.order[-1] == ("restart", "a")


def test_the_temporary_worker_is_ended_when_it_executes_and_shuffles_nothing():
    nodes = Nodes("a", [*[NONE] * 4, SHUFFLE, NONE])
    move, progress = moving(nodes, alone=True)
    asyncio.run(move.move("Move the workers"))
    assert nodes.order == [("retire", "a"), ("restart", "a"), ("retire", "lent"), ("end", "lent")]
    assert "Waiting: a shuffle on 2 workers has to end first" in progress.lines


@pytest.mark.parametrize("late", ["", "b"])
def test_a_gateway_learns_of_workers_that_restart_only_if_they_were_waited_for_in_vain(late):
    nodes = Nodes("ab", gateway=True, late=late)
    move, _ = moving(nodes)
    with pytest.raises(CoiledError, match="Worker b didn't come back") if late else contextlib.nullcontext():
        asyncio.run(move.move("Move the workers"))
    assert nodes.order[1:] == [("hold", "a", "b"), ("restart", "a", "b"), ("release", "a", "b", "away")]


def test_a_gateway_is_not_told_of_workers_that_still_restart_when_the_sync_ends():
    class Slow(Nodes):
        async def wait_for_workers(self, names, old, seconds):
            await asyncio.sleep(3600)

    nodes = Slow("ab", gateway=True)
    move, _ = moving(nodes)

    async def go() -> None:
        task = asyncio.create_task(move.move("Move the workers"))
        while ("restart", "a", "b") not in nodes.asked:
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert nodes.order[-1] == ("release", "a", "b", "there")
