"""What goes wrong around clusters: limits under a race, damaged ledgers, taken ports, lost environments, stopped nodes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import sys
import threading
import time

import psutil
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import CoiledError, Conflict, Unavailable
from coiled_jupyter.core.wire import AdaptiveRequest, ClusterChange, ClusterCreate, ClusterRestart
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.service.facade import Service
from tests.patience import deadline
from tests.processes import of_clusters

from .test_process import Lab, with_cluster

THREADS = "CJ_TEST_THREADS"
"""A variable of the workers, by which their processes tell how many threads they have."""


def processes() -> int:
    """Count the threads of all workers that run, whatever anybody says of them, also of those that lost their parent."""
    found = 0
    for process in of_clusters():
        with contextlib.suppress(psutil.Error, OSError):
            if "spawn_main" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found += int(process.environ().get(THREADS, 1))
    return found


class Sampler(threading.Thread):
    """Compares the processes with the limit and with the ledger all the time; `wrong` holds what was too much."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.wrong, self.looks = limit, [], 0
        self._end = threading.Event()

    def run(self) -> None:
        while not (self.looks and self._end.wait(0.1)):
            self.looks += 1
            # Twice: one that was just killed may be there for a moment after its end was told.
            if self._excess() and (excess := self._excess()):
                self.wrong.append(excess)

    def _excess(self) -> tuple[int, int] | None:
        before = Ledger().used_cores()
        threads = processes()
        reserved = max(before, Ledger().used_cores())
        return (threads, reserved) if threads > min(reserved, self.limit) else None

    def close(self) -> None:
        self._end.set()
        self.join()


async def until(condition, seconds: float = 40, what: str = "the condition"):
    end = deadline(seconds)
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.05)


async def ready(service, cluster_id, workers):
    def settled():
        cluster = service.clusters.get(cluster_id)
        assert cluster.status not in ENDED, cluster.reason
        return len(cluster.workers) == workers and cluster.status in ("running", "idle")

    await until(settled, 60, f"{workers} workers")


def test_two_creations_of_one_name_at_once():
    async def go():
        services = [Service(), Service()]
        for service in services:
            await service.start()
        try:
            body = ClusterCreate(name="twin", workers=0)
            done = await asyncio.gather(*(s.clusters.create(body) for s in services), return_exceptions=True)
            assert sorted(type(one).__name__ for one in done) == ["Cluster", "Conflict"]
            (cluster,) = [one for one in done if not isinstance(one, Exception)]

            def status():
                # The other service may have created it, and learns of it from the ledger.
                return next((one.status for one in services[0].clusters.all() if one.id == cluster.id), None)

            await until(lambda: status() in ("running", "idle"))
            await services[0].clusters.delete(cluster.id)
            await until(lambda: status() == "stopped")
            # A name is free again when its cluster has ended.
            again = await services[1].clusters.create(body)
            await services[1].clusters.delete(again.id)
            await until(lambda: services[1].clusters.get(again.id).status == "stopped")
        finally:
            for service in services:
                await service.close()

    asyncio.run(go())


# Each run: the flood of creations in tests/server/test_rest.py, and the machine below.
@pytest.mark.nightly
def test_sixty_four_calls_of_two_services_never_pass_the_limit():
    limit = 6

    async def go():
        services = [Service(Configuration(core_limit=limit)) for _ in range(2)]
        for service in services:
            await service.start()
        seen = []

        async def watch():
            while True:
                seen.append(await asyncio.to_thread(processes))
                # A worker that is started lives for far longer.
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        try:
            clusters = [await s.clusters.create(ClusterCreate(workers=1)) for s in services]
            for cluster in clusters:
                await ready(services[0], cluster.id, 1)
            calls = [
                services[number % 2].clusters.change(
                    clusters[number // 2 % 2].id, ClusterChange(workers=1 + number % 5)
                )
                for number in range(62)
            ]
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert not [one for one in done if isinstance(one, BaseException) and not isinstance(one, CoiledError)]
            # Enough for both wishes only in part: as many as fit, no more and no fewer.
            await services[1].clusters.change(clusters[1].id, ClusterChange(workers=1))
            await until(lambda: Ledger().reserved(clusters[1].id) == 1)
            changed = await services[0].clusters.change(clusters[0].id, ClusterChange(workers=4))
            assert changed.granted is None
            await ready(services[0], clusters[0].id, 4)
            await until(lambda: Ledger().used_cores() == 5)
            changed = await services[1].clusters.change(clusters[1].id, ClusterChange(workers=5))
            assert (changed.granted, changed.limit) == (2, limit)
            await ready(services[0], clusters[1].id, 2)
            await until(lambda: processes() == limit, what="as many workers as fit")
        finally:
            watching.cancel()
            for service in services:
                for cluster in service.clusters.all():
                    with contextlib.suppress(CoiledError):
                        await service.clusters.delete(cluster.id)
            await until(lambda: all(c.status in ENDED for c in services[0].clusters.all()))
            for service in services:
                await service.close()
        assert max(seen) == limit

    asyncio.run(go())


def test_a_ledger_that_is_damaged_or_lost_is_made_anew_with_the_clusters_that_live(tmp_path):
    async def body(lab):
        path = Ledger().path
        for damage in (lambda: path.write_bytes(b"no database" * 500), path.unlink):
            await asyncio.to_thread(damage)
            # Its supervisor enters it again, and it stops as any other.
            await lab.until(lambda: Ledger().used_cores() == 1, 20)
            assert lab.service.clusters.get(lab.id).status in ("running", "idle")
        assert list(path.parent.glob("ledger.sqlite.corrupt-*"))
        (row,) = [row for row in Ledger().list() if row.id == lab.id]
        assert Ledger().owner_alive(row)

    with_cluster(body, workers=1)
    for left in Ledger().path.parent.glob("ledger.sqlite.corrupt-*"):
        left.unlink()


def test_cores_are_held_until_the_last_process_has_gone():
    async def body(lab):
        guard = lab.processes("guard")[0]
        guard.send_signal(signal.SIGSTOP)
        psutil.Process(Ledger().get(lab.id).pid).kill()
        # The guard, which sees to the end of all others, hasn't ended.
        await lab.until(lambda: lab.cluster.status == "lost", 20)
        await asyncio.sleep(4)
        held = Ledger().used_cores()
        with pytest.raises(Conflict, match="still ending"):
            await lab.service.clusters.delete(lab.id)
        guard.send_signal(signal.SIGCONT)
        assert held == 1

    with_cluster(body, workers=1)


def test_a_port_that_was_taken_meanwhile_is_no_end():
    async def body(lab):
        port = int(lab.cluster.scheduler.address.rpartition(":")[2])
        lab.processes("scheduler")[0].send_signal(signal.SIGSTOP)
        await lab.service.clusters.restart(lab.id, ClusterRestart(what="cluster"))
        taken = None
        end = deadline(30)
        while taken is None:
            assert time.monotonic() < end
            with contextlib.suppress(OSError):
                taken = socket.create_server(("127.0.0.1", port))
            await asyncio.sleep(0)
        with taken:
            await lab.until(lambda: lab.cluster.status in ("running", "idle"), 60)
            assert int(lab.cluster.scheduler.address.rpartition(":")[2]) != port
        await ready(lab.service, lab.id, 1)

    with_cluster(body, workers=1)


def test_an_environment_that_vanished_is_a_failure_with_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path))

    async def go():
        service = Service()
        await service.start()
        try:
            body = ClusterCreate(workers=1, requirements=("distributed==2026.8.0",), python="3.11")
            cluster = await service.clusters.create(body)
            await until(lambda: service.clusters.get(cluster.id).environment.prefix, 120, "the environment")
            await ready(service, cluster.id, 1)
            await asyncio.to_thread(shutil.rmtree, service.clusters.get(cluster.id).environment.prefix)
            await service.clusters.restart(cluster.id, ClusterRestart(what="cluster"))
            await until(lambda: service.clusters.get(cluster.id).status in ENDED)
            assert service.clusters.get(cluster.id).status == "failed"
            assert "There is no Python at" in service.clusters.get(cluster.id).reason
            assert Ledger().used_cores() == 0
        finally:
            await service.close()

    asyncio.run(go())


@pytest.mark.skipif(sys.platform != "linux", reason="processes are stopped by their state in /proc")
def test_stopped_nodes_are_named_and_recover_by_themselves():
    async def body(lab):
        worker = lab.processes("worker")[0]
        worker.send_signal(signal.SIGSTOP)
        await lab.until(lambda: lab.cluster.status == "degraded" and "No heartbeat" in lab.cluster.reason, 40)
        worker.send_signal(signal.SIGCONT)
        await lab.until(lambda: lab.cluster.status in ("running", "idle"), 20)
        scheduler = lab.processes("scheduler")[0]
        scheduler.send_signal(signal.SIGSTOP)
        await lab.until(lambda: lab.cluster.status == "unreachable", 40)
        # Steering one that doesn't answer ends in time, one way or the other.
        with contextlib.suppress(CoiledError):
            await asyncio.wait_for(lab.service.clusters.change(lab.id, ClusterChange(workers=2)), 15)
        scheduler.send_signal(signal.SIGCONT)
        await lab.until(lambda: lab.cluster.status in ("running", "idle"), 40)

    with_cluster(body)


class Machine(RuleBasedStateMachine):
    """Creations, sizes, faults and restarts in any order.

    The threads of the workers that run are never more than the limit nor than the ledger has reserved, and all processes
    end with their cluster.
    """

    LIMIT = 4

    @initialize(workers=st.integers(1, 2), threads=st.integers(1, 2))
    def begin(self, workers, threads) -> None:
        self.loop = asyncio.new_event_loop()
        self.service = Service(Configuration(core_limit=self.LIMIT, lease_seconds=600))
        self.run(self.service.start())
        self.sampler = Sampler(self.LIMIT)
        self.sampler.start()
        self.create(workers, threads)
        self.run(ready(self.service, self.live()[0].id, workers))

    def run(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    def live(self):
        return [c for c in self.service.clusters.all() if c.status not in ENDED and c.status != "stopping"]

    def one(self, which):
        live = self.live()
        return live[which % len(live)]

    @rule(workers=st.integers(0, 3), threads=st.integers(1, 2))
    def create(self, workers, threads) -> None:
        body = ClusterCreate(workers=workers, threads_per_worker=threads, environ={THREADS: str(threads)})
        with contextlib.suppress(Conflict):
            self.run(self.service.clusters.create(body))

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 9), workers=st.integers(0, 6))
    def scale(self, which, workers) -> None:
        cluster = self.one(which)
        with contextlib.suppress(Conflict, Unavailable):
            changed = self.run(self.service.clusters.change(cluster.id, ClusterChange(workers=workers)))
            assert changed.desired.workers == (workers if changed.granted is None else changed.granted)

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 9), minimum=st.integers(0, 2), more=st.integers(1, 3))
    def adapt(self, which, minimum, more) -> None:
        cluster = self.one(which)
        bounds = AdaptiveRequest(minimum=minimum, maximum=minimum + more)
        with contextlib.suppress(Conflict, Unavailable):
            self.run(self.service.clusters.change(cluster.id, ClusterChange(adaptive=bounds)))

    @precondition(lambda self: self.live())
    @rule(
        which=st.integers(0, 9),
        kind=st.sampled_from(["worker", "nanny", "scheduler", "launcher", "guard", "supervisor"]),
        number=st.sampled_from([signal.SIGKILL, signal.SIGSTOP]),
    )
    def harm(self, which, kind, number) -> None:
        cluster = self.one(which)
        # One that is only just starting has none of them yet.
        with contextlib.suppress(psutil.Error, TypeError, IndexError, ValueError, AttributeError):
            if kind == "supervisor":
                psutil.Process(Ledger().get(cluster.id).pid).kill()
            elif kind in ("worker", "nanny", "scheduler") or number == signal.SIGKILL:
                Lab(self.service, cluster.id).processes(kind)[0].send_signal(number)

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 9), what=st.sampled_from(["workers", "cluster"]))
    def restart(self, which, what) -> None:
        with contextlib.suppress(Unavailable, Conflict):
            self.run(self.service.clusters.restart(self.one(which).id, ClusterRestart(what=what)))

    @rule()
    def another_server(self) -> None:
        """The server is killed, and the next one adopts."""
        self.run(self.service.close(release=False))
        self.service = Service(Configuration(core_limit=self.LIMIT))
        self.run(self.service.start())

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 9))
    def stop(self, which) -> None:
        with contextlib.suppress(Unavailable, Conflict):
            self.run(self.service.clusters.delete(self.one(which).id))

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0]))
    def wait(self, seconds) -> None:
        self.run(asyncio.sleep(seconds))

    @invariant()
    def within_the_limit(self) -> None:
        if hasattr(self, "sampler"):
            # What was begun goes on for a moment before the next.
            self.run(asyncio.sleep(0.4))
            assert self.sampler.wrong == []
            assert Ledger().used_cores() <= self.LIMIT

    def teardown(self) -> None:
        if not hasattr(self, "sampler"):
            return

        async def end():
            for cluster in self.service.clusters.all():
                with contextlib.suppress(CoiledError):
                    await self.service.clusters.delete(cluster.id)
            await until(lambda: all(c.status in ENDED for c in self.service.clusters.all()), 40, "all to end")
            await until(lambda: Ledger().used_cores() == 0, 20, "the cores to be given back")
            await until(lambda: not of_clusters(), 20, "the processes to end")
            for cluster in self.service.clusters.all():
                with contextlib.suppress(CoiledError):
                    await self.service.clusters.delete(cluster.id)
            await self.service.close()

        try:
            self.run(end())
        finally:
            self.sampler.close()
            self.loop.close()
        assert self.sampler.wrong == []
        assert self.sampler.looks


def test_whatever_is_done_in_any_order_no_limit_is_passed_and_all_processes_end(nightly):
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20 if nightly else 1,
            stateful_step_count=30 if nightly else 8,
            # Each example takes half a minute: none is spent on an empty one, on an old one or on making one smaller.
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
