"""What a gateway's service is told of workers that are held, with a service that counts as dask-gateway's does."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from coiled_jupyter.texts import gateway as text

TOLD = {"gateway": True}


class Service:
    """The bookkeeping of a gateway in its scheduler: who is here, who is to close, and who has closed."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.count, self.adapt_task = scheduler, 2, None
        self.address_to_worker: dict[str, SimpleNamespace] = {}
        self.active_workers: set[str] = set()
        self.closing_workers: set[str] = set()
        self.closed_workers: set[str] = set()

    def worker_added(self, address: str) -> None:
        worker = self.scheduler.workers[address]
        self.address_to_worker[address] = worker
        self.active_workers.add(worker.name)
        self.closing_workers.discard(worker.name)
        self.closed_workers.discard(worker.name)

    def worker_removed(self, address: str) -> None:
        worker = self.address_to_worker.pop(address)
        self.active_workers.discard(worker.name)
        self.closing_workers.discard(worker.name)
        self.closed_workers.add(worker.name)

    async def _scale(self, count: int) -> None:
        self.count = count


class Scheduler:
    """A scheduler with two workers of a gateway, whose clock the test moves."""

    def __init__(self, monkeypatch) -> None:
        self.now, self.timers = 0.0, []
        monkeypatch.setattr(text.time, "monotonic", lambda: self.now)
        self.workers: dict[str, SimpleNamespace] = {}
        self.loop = SimpleNamespace(call_later=lambda seconds, call: self.timers.append((self.now + seconds, call)))
        self.service = Service(self)
        self.services: dict[str, object] = {"gateway": self.service}
        self.join("tls://1", "a")
        self.join("tls://2", "b")

    def join(self, address: str, name: str) -> None:
        self.workers[address] = SimpleNamespace(name=name)
        self.service.worker_added(address)

    def leave(self, address: str) -> None:
        del self.workers[address]
        self.service.worker_removed(address)

    def scale(self, count: int) -> None:
        asyncio.run(self.service._scale(count))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = [call for at, call in self.timers if at <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for call in due:
            call()

    @property
    def untouched(self) -> bool:
        return not {"worker_added", "worker_removed", "_scale", text.KEY} & set(vars(self.service))


@pytest.fixture
def scheduler(monkeypatch):
    return Scheduler(monkeypatch)


def test_a_held_worker_that_leaves_is_counted_until_it_is_back_and_then_held_no_longer(scheduler):
    service = scheduler.service
    assert text.hold(scheduler, ["a"], 60) == TOLD
    scheduler.leave("tls://1")
    assert (service.active_workers, service.closed_workers) == ({"a", "b"}, set())
    scheduler.join("tls://3", "a")
    assert scheduler.untouched
    assert set(service.address_to_worker) == {"tls://2", "tls://3"}
    scheduler.leave("tls://3")
    assert service.closed_workers == {"a"}
    scheduler.wait(100)
    assert service.active_workers == {"b"}


def test_a_worker_that_comes_back_at_its_address_is_held_no_longer(scheduler):
    text.hold(scheduler, ["a"], 60)
    scheduler.leave("tls://1")
    scheduler.join("tls://1", "a")
    assert scheduler.untouched
    assert set(scheduler.service.address_to_worker) == {"tls://1", "tls://2"}


def test_another_worker_that_leaves_meanwhile_is_told(scheduler):
    text.hold(scheduler, ["a"], 60)
    scheduler.leave("tls://2")
    assert scheduler.service.closed_workers == {"b"}
    assert not scheduler.untouched


def test_one_that_the_gateway_itself_closes_is_told_and_held_no_longer(scheduler):
    text.hold(scheduler, ["a"], 60)
    scheduler.service.closing_workers.add("a")
    scheduler.leave("tls://1")
    assert scheduler.service.closed_workers == {"a"}
    assert scheduler.untouched


def test_when_its_time_is_over_one_that_is_away_is_told_as_gone_and_nothing_is_left(scheduler):
    text.hold(scheduler, ["a", "b"], 60)
    scheduler.leave("tls://1")
    scheduler.wait(59)
    assert scheduler.service.closed_workers == set()
    scheduler.wait(1)
    assert (scheduler.service.active_workers, scheduler.service.closed_workers) == ({"b"}, {"a"})
    assert scheduler.untouched
    assert set(scheduler.service.address_to_worker) == {"tls://2"}


def test_a_second_hold_begins_its_time_anew(scheduler):
    text.hold(scheduler, ["a"], 60)
    scheduler.wait(50)
    text.hold(scheduler, ["a"], 60)
    scheduler.leave("tls://1")
    scheduler.wait(20)
    assert scheduler.service.closed_workers == set()
    scheduler.wait(40)
    assert scheduler.service.closed_workers == {"a"}
    assert scheduler.untouched


def test_released_is_one_that_is_there_and_only_on_request_one_that_is_away(scheduler):
    text.hold(scheduler, ["a", "b"], 60)
    scheduler.leave("tls://1")
    assert text.release(scheduler, ["a", "b"], False) == TOLD
    scheduler.leave("tls://2")
    assert scheduler.service.closed_workers == {"b"}
    assert text.release(scheduler, ["a", "b"], True) == TOLD
    assert scheduler.service.closed_workers == {"a", "b"}
    assert scheduler.untouched
    assert text.release(scheduler, ["a"], True) == TOLD


def test_adaptive_scaling_makes_the_cluster_no_smaller_meanwhile_and_a_user_does(scheduler):
    service = scheduler.service
    text.hold(scheduler, ["a"], 60)
    service.adapt_task = object()
    scheduler.scale(1)
    assert service.count == 2
    scheduler.scale(3)
    assert service.count == 3
    service.adapt_task = None
    scheduler.scale(1)
    assert service.count == 1
    text.release(scheduler, ["a"], False)
    service.adapt_task = object()
    scheduler.scale(0)
    assert service.count == 0


def test_what_another_has_put_in_its_place_stays(scheduler):
    service, seen = scheduler.service, []
    own = service.worker_added

    def before(address: str) -> None:
        seen.append(address)
        own(address)

    service.worker_added = before
    text.hold(scheduler, ["a"], 60)
    scheduler.leave("tls://1")
    scheduler.join("tls://3", "a")
    assert (vars(service)["worker_added"], seen) == (before, ["tls://3"])
    text.hold(scheduler, ["a"], 60)
    held = service.worker_removed
    service.worker_removed = lambda address: held(address)
    text.release(scheduler, ["a"], False)
    scheduler.leave("tls://3")
    assert service.closed_workers == {"a"}


def test_a_cluster_of_no_gateway_and_names_that_it_doesnt_have_are_left_alone(scheduler):
    assert text.hold(scheduler, ["nobody"], 60) == TOLD
    assert scheduler.untouched
    assert text.hold(SimpleNamespace(services={}), ["a"], 60) == {"gateway": False}
    assert text.hold(SimpleNamespace(), ["a"], 60) == {"gateway": False}
    assert text.release(SimpleNamespace(), ["a"], True) == {"gateway": False}


def test_a_gateway_that_counts_otherwise_is_refused(scheduler):
    del scheduler.service.closing_workers
    assert "it has no closing_workers" in text.hold(scheduler, ["a"], 60)["error"]
    assert scheduler.untouched
