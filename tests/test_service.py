"""Following clusters: what a supervisor says while its cluster is forgotten."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from coiled_jupyter.core.cluster import LaunchSpec, now
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.paths import socket_path
from coiled_jupyter.service import Service


class Talker:
    """A supervisor's end of the socket that sends a new revision whenever it is told to."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.writers = []

    async def answer(self, reader, writer):
        await reader.readline()
        self.writers.append(writer)
        self.say()

    def say(self):
        revision = self.cluster.revision + 1
        self.cluster = msgspec.structs.replace(self.cluster, revision=revision)
        for writer in self.writers:
            writer.write(msgspec.json.encode({"cluster": self.cluster}) + b"\n")


@pytest.mark.parametrize("turns", range(8))
def test_a_cluster_that_is_forgotten_while_it_speaks(turns, tmp_path):
    """Whatever comes together with its end is told to nobody, and breaks nothing."""
    cluster_id = f"talker{turns}"
    faults = []

    async def go():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        ledger = Ledger(tmp_path / "ledger")
        spec = LaunchSpec(id=cluster_id, name=cluster_id, workers=0, created_at=now())
        talker = Talker(ledger.reserve(spec, core_limit=1, cluster_limit=1))
        server = await asyncio.start_unix_server(talker.answer, str(socket_path(cluster_id)))
        told = []
        service = Service(ledger=ledger, changed=told.append)
        await service.start()
        try:
            while not service.followed(cluster_id):
                await asyncio.sleep(0.01)
            (following,) = [task for task in asyncio.all_tasks() if task.get_name() == f"follow {cluster_id}"]
            talker.say()
            # Up to Python 3.11 a cancellation that comes together with a line is lost, so each moment between is tried.
            for _ in range(turns):
                await asyncio.sleep(0)
            ledger.delete(cluster_id)
            service._forget(cluster_id)
            told.clear()
            talker.say()
            await asyncio.wait([following], timeout=5)
            assert following.done()
            assert following.cancelled() or following.exception() is None
            assert told == []
        finally:
            await service.close(release=False)
            for writer in talker.writers:
                writer.close()
            server.close()
            await server.wait_closed()

    asyncio.run(go())
    assert faults == []
