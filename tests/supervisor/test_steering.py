"""Changing the size, name and lease of running clusters, restarting them, and reading what they print."""

from __future__ import annotations

import asyncio
import contextlib
import time

import psutil
import pytest

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import Conflict, Invalid, NotFound
from coiled_jupyter.core.wire import AdaptiveRequest, ClusterChange, ClusterCreate, ClusterRestart
from coiled_jupyter.ipython.connect import connect
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.service.facade import Service
from coiled_jupyter.supervisor.client import SupervisorClient
from tests.patience import deadline

from .test_process import with_cluster


def workers_of(lab) -> int:
    """Count the processes of workers, not what anybody says of them."""
    supervisor = psutil.Process(Ledger().get(lab.id).pid)
    found = 0
    for process in supervisor.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += "spawn_main" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    return found


async def scaled(lab, workers: int) -> None:
    await lab.until(lambda: len(lab.cluster.workers) == workers and lab.cluster.status in ("idle", "running"))


def test_scaling_keeps_results_and_gives_cores_back():
    async def body(lab):
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            changed = await lab.service.clusters.change(lab.id, ClusterChange(workers=4))
            assert (changed.desired.workers, changed.granted, changed.limit) == (4, None, None)
            assert Ledger().used_cores() == 4
            await scaled(lab, 4)
            assert workers_of(lab) == 4
            futures = await asyncio.to_thread(client.map, pow, range(40), [2] * 40, pure=False)
            await asyncio.to_thread(client.gather, futures)
            changed = await lab.service.clusters.change(lab.id, ClusterChange(workers=1))
            assert changed.desired.workers == 1
            await scaled(lab, 1)
            await lab.until(lambda: Ledger().used_cores() == 1)
            assert workers_of(lab) == 1
            # What the others held was handed over, so nothing is computed again.
            runs = "str(sum(1 for s in list(__import__('distributed').Scheduler._instances)"
            runs += " for t in s.transition_log if t[1] == 'processing' and t[2] == 'memory'))"
            before = await asyncio.to_thread(client.run_on_scheduler, eval, runs)
            assert await asyncio.to_thread(client.gather, futures) == [number**2 for number in range(40)]
            assert await asyncio.to_thread(client.run_on_scheduler, eval, runs) == before
            # Up at once while others leave, and to none and back.
            await lab.service.clusters.change(lab.id, ClusterChange(workers=3))
            await lab.service.clusters.change(lab.id, ClusterChange(workers=0))
            await lab.until(lambda: not lab.cluster.workers and Ledger().used_cores() == 0)
            await lab.service.clusters.change(lab.id, ClusterChange(workers=2))
            await scaled(lab, 2)
        finally:
            await asyncio.to_thread(client.close)

    with_cluster(body)


def test_adaptive_follows_the_work_and_ends_with_a_number():
    async def body(lab):
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            change = ClusterChange(adaptive=AdaptiveRequest(minimum=1, maximum=4))
            changed = await lab.service.clusters.change(lab.id, change)
            assert changed.desired.adaptive.maximum == 4
            await lab.until(lambda: lab.cluster.desired.workers == 1)
            futures = await asyncio.to_thread(client.map, time.sleep, [1.0] * 400, pure=False)
            await lab.until(lambda: len(lab.cluster.workers) == 4, 40)
            changed = await lab.service.clusters.change(lab.id, ClusterChange(workers=2))
            assert changed.desired.adaptive is None
            await lab.until(lambda: len(lab.cluster.workers) == 2, 40)
            # Work is left, and yet it stays.
            await asyncio.sleep(4)
            assert lab.cluster.desired.workers == 2
            await asyncio.to_thread(client.cancel, futures)
        finally:
            await asyncio.to_thread(client.close)

    with_cluster(body)


def test_what_does_not_fit_is_granted_in_part():
    async def body(lab):
        lab.service.configuration = Configuration(core_limit=5)
        # The supervisor holds the limit that it was started with.
        changed = await lab.service.clusters.change(lab.id, ClusterChange(workers=9))
        assert (changed.granted, changed.limit, changed.desired.workers) == (3, 7, 3)
        assert Ledger().used_cores() == 6
        await scaled(lab, 3)
        change = ClusterChange(adaptive=AdaptiveRequest(minimum=1, maximum=50))
        changed = await lab.service.clusters.change(lab.id, change)
        assert (changed.granted, changed.desired.adaptive.maximum) == (3, 3)
        with pytest.raises(Conflict, match="free"):
            await lab.service.clusters.create(ClusterCreate(workers=2))

    with_cluster(body, configuration=Configuration(core_limit=7), threads_per_worker=2)


def test_workers_start_anew_and_the_scheduler_stays():
    async def body(lab):
        scheduler = lab.cluster.scheduler.id
        before = {worker.id for worker in lab.cluster.workers}
        await lab.service.clusters.restart(lab.id, ClusterRestart(what="workers"))
        await lab.until(lambda: len({w.id for w in lab.cluster.workers} - before) == 2)
        await scaled(lab, 2)
        assert lab.cluster.scheduler.id == scheduler
        assert [worker.restarts for worker in lab.cluster.workers] == [1, 1]

    with_cluster(body)


def test_a_cluster_that_starts_anew_keeps_its_address_and_its_clients():
    async def body(lab):
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            scheduler, address = lab.cluster.scheduler.id, lab.cluster.scheduler.address
            cluster = await lab.service.clusters.restart(lab.id, ClusterRestart(what="cluster"))
            await lab.until(lambda: lab.cluster.status == "starting")
            with pytest.raises(Conflict):
                await lab.service.clusters.change(cluster.id, ClusterChange(workers=3))
            await scaled(lab, 2)
            assert lab.cluster.scheduler.address == address
            assert lab.cluster.scheduler.id != scheduler
            assert [step.state for step in lab.cluster.steps] == ["done", "done"]
            end = deadline(20)
            while client.status != "running":
                assert time.monotonic() < end
                await asyncio.sleep(0.1)
            assert await asyncio.to_thread(lambda: client.submit(pow, 3, 2).result(timeout=20)) == 9
            assert Ledger().used_cores() == 2
        finally:
            await asyncio.to_thread(client.close)

    with_cluster(body)


def test_names_and_leases():
    async def body(lab):
        service = lab.service
        changed = await service.clusters.change(lab.id, ClusterChange(name="other name"))
        assert changed.name == "other name"
        assert service.clusters.find("other name").id == lab.id
        with pytest.raises(Conflict, match="called other name"):
            await service.clusters.create(ClusterCreate(name="other name", workers=1))
        changed = await service.clusters.change(lab.id, ClusterChange(lease_seconds=3600))
        assert (changed.desired.lease_seconds, changed.desired.kept) == (3600, True)
        with pytest.raises(Invalid):
            await service.clusters.change(lab.id, ClusterChange(lease_seconds=3600, name="x"))
        with pytest.raises(Invalid):
            await service.clusters.change(lab.id, ClusterChange())
        with pytest.raises(NotFound):
            await service.clusters.change("nobody", ClusterChange(workers=1))
        # Kept: a clean end of the last holder doesn't stop it.
        client = await SupervisorClient.connect(lab.id, timeout=5)
        await client.release()
        await client.close()
        await asyncio.sleep(2)
        assert service.clusters.get(lab.id).status not in ENDED

    with_cluster(body, workers=1)


def test_logs_are_read_on_from_where_one_was():
    async def body(lab):
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            first = await lab.service.clusters.logs(lab.id)
            assert {"scheduler", "0", "1", "supervisor"} <= set(first.nodes)
            assert any("Scheduler at" in line.text for line in first.lines if line.node == "scheduler")
            times = [line.at for line in first.lines if line.at]
            assert times == sorted(times)
            said = "said \x1b[31mby a task\u202e to http://user:secret@host/"
            await asyncio.to_thread(client.run, print, said)

            async def after(node=None):
                end = deadline(10)
                while True:
                    found = await lab.service.clusters.logs(lab.id, node=node, after=first.next)
                    lines = [line for line in found.lines if "by a task" in line.text]
                    if len(lines) == (1 if node else 2):
                        return found, lines
                    assert time.monotonic() < end
                    await asyncio.sleep(0.1)

            found, lines = await after()
            assert {line.text for line in lines} == {"said [31mby a task to http://***@host/"}
            assert {line.node for line in lines} == {"0", "1"}
            again = await lab.service.clusters.logs(lab.id, after=found.next)
            assert not [line for line in again.lines if "by a task" in line.text]
            _, (line,) = await after("1")
            assert line.node == "1"
            for node in ("../../ledger", "nobody", "alive"):
                with pytest.raises(NotFound):
                    await lab.service.clusters.logs(lab.id, node=node)
            with pytest.raises(Invalid):
                await lab.service.clusters.logs(lab.id, after="scheduler:x")
        finally:
            await asyncio.to_thread(client.close)

    with_cluster(body)
    # Still there when the cluster has ended, until it is taken off the list.


def test_logs_of_an_ended_cluster_go_with_it():
    async def go():
        service = Service()
        await service.start()
        try:
            cluster = await service.clusters.create(
                ClusterCreate(requirements=("no-such-package-at-all==1.0",), workers=1)
            )
            end = deadline(60)
            while service.clusters.get(cluster.id).status not in ENDED:
                assert time.monotonic() < end
                await asyncio.sleep(0.1)
            assert service.clusters.get(cluster.id).status == "failed"
            assert (await service.clusters.logs(cluster.id)).lines
            await service.clusters.delete(cluster.id)
            with pytest.raises(NotFound):
                await service.clusters.logs(cluster.id)
        finally:
            await service.close()

    asyncio.run(go())
