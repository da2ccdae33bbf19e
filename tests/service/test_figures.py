"""What a scheduler holds back is counted as queued: of 40 tasks on two threads, 38 wait, for every kind of cluster."""

from __future__ import annotations

import asyncio
import subprocess
import time

import msgspec
import pytest

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.wire import ClusterAttach
from coiled_jupyter.ipython.connect import connect
from coiled_jupyter.service.facade import Service
from tests.matrix.test_compatibility import dask_environment
from tests.nightly import each_night
from tests.patience import deadline
from tests.remote import RemoteCluster
from tests.supervisor.test_process import with_cluster

WORK = """
import sys, time
from distributed import Client
client = Client(sys.argv[1])
futures = client.map(time.sleep, [600] * 40, pure=False)
print("sent", flush=True)
sys.stdin.read()
client.cancel(futures)
client.close()
"""


def figures(cluster) -> tuple[int, int] | None:
    return cluster.tasks and (cluster.tasks.running, cluster.tasks.queued)


def test_of_a_cluster_of_ours():
    async def body(lab):
        with connect(lab.cluster.name) as client:
            futures = client.map(time.sleep, [15] * 40, pure=False)
            await lab.until(lambda: figures(lab.cluster) == (2, 38))
            await asyncio.to_thread(client.cancel, futures)
            # Once nothing runs, what was seen some seconds ago isn't shown any more.
            await lab.until(lambda: lab.cluster.status == "idle")
            assert figures(lab.cluster) == (0, 0)

    with_cluster(body, threads_per_worker=1)


ATTACHED = [("2022.2.0", "3.8"), ("2023.5.0", "3.10"), ("2026.8.0", "3.12")]


@pytest.mark.parametrize(("dask", "python"), each_night(ATTACHED, ATTACHED[:1]))
def test_of_an_attached_cluster(dask, python, tmp_path):
    async def go(remote: RemoteCluster) -> None:
        service = Service(Configuration())
        await service.start()
        cluster = await service.clusters.attach(msgspec.convert(remote.body(), ClusterAttach))
        try:
            end = deadline(60)
            while figures(found := service.clusters.get(cluster.id)) != (2, 38):
                assert time.monotonic() < end, (found.tasks, found.status, found.reason, remote.log())
                await asyncio.sleep(0.1)
        finally:
            await service.clusters.delete(cluster.id)
            await service.close()

    environment = dask_environment(dask, python)
    with (
        RemoteCluster(tmp_path / "remote", environment, workers=2) as remote,
        subprocess.Popen(
            [environment, "-c", WORK, remote.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as work,
    ):
        assert work.stdout.readline() == "sent\n"
        asyncio.run(go(remote))
        work.stdin.close()
