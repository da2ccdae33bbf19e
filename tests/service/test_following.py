"""Following clusters: whatever fails in a supervisor, the ledger or the follower, what is shown is true within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time

import msgspec
import pytest

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.launch import LaunchSpec
from coiled_jupyter.core.times import now
from coiled_jupyter.core.wire import Change, ClusterChange, ClusterCreate, Sync, SyncLog
from coiled_jupyter.ledger import AsyncLedger, Ledger
from coiled_jupyter.paths import socket_path
from coiled_jupyter.service.facade import Service
from coiled_jupyter.service.following import Following
from coiled_jupyter.supervisor import protocol
from tests.patience import deadline


class Talker:
    """A supervisor's end of the socket that sends a new revision whenever it is told to."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.writers = []

    async def answer(self, reader, writer):
        await reader.readline()
        self.writers.append(writer)
        self.send()

    def send(self):
        revision = self.cluster.revision + 1
        self.cluster = msgspec.structs.replace(self.cluster, revision=revision)
        for writer in self.writers:
            writer.write(msgspec.json.encode(protocol.ClusterState(self.cluster)) + b"\n")


class LedgerWithMoments(AsyncLedger):
    """A ledger that does something some turns of the loop before it answers."""

    async def ask(self, work, deadline=5.0):
        answer = await super().ask(work, deadline)
        await self.before_answering()
        return answer

    async def before_answering(self) -> None:
        """Nothing, until a test says otherwise."""


def following(ledger: AsyncLedger, changes: list[Change], synced=lambda sync: None) -> Following:
    return Following(Configuration(), ledger, server=False, changed=changes.append, synced=synced)


@pytest.mark.parametrize("turns", range(8))
def test_a_cluster_that_is_forgotten_while_it_speaks(turns, tmp_path):
    """Whatever comes together with its end is published to nobody, and breaks nothing."""
    cluster_id = f"talker{turns}"
    faults, changes = [], []

    async def go():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        spec = LaunchSpec(id=cluster_id, name=cluster_id, workers=0, created_at=now())
        talker = Talker(Ledger(tmp_path / "ledger").reserve(spec, core_limit=1, cluster_limit=1))
        server = await asyncio.start_unix_server(talker.answer, str(socket_path(cluster_id)))
        ledger = LedgerWithMoments(tmp_path / "ledger")
        follows = following(ledger, changes)
        await follows.start()

        async def speak():
            talker.send()
            # Up to Python 3.11 a cancellation that comes together with a line is lost, so each moment between is tried.
            for _ in range(turns):
                await asyncio.sleep(0)

        try:
            while not follows.followed(cluster_id):
                await asyncio.sleep(0.01)
            (task,) = [task for task in asyncio.all_tasks() if task.get_name() == f"follow {cluster_id}"]
            ledger.before_answering = speak
            await follows.forget(cluster_id)
            changes.clear()
            talker.send()
            await asyncio.wait([task], timeout=5)
            assert task.done()
            assert task.cancelled() or task.exception() is None
            assert changes == []
        finally:
            await follows.close(release=False)
            await ledger.close()
            for writer in talker.writers:
                writer.close()
            server.close()
            await server.wait_closed()

    asyncio.run(go())
    assert faults == []


OWNER = """
import sys, msgspec
from pathlib import Path
from coiled_jupyter.ledger import Ledger
ledger, cluster_id = Ledger(Path(sys.argv[1])), sys.argv[2]
ledger.claim(cluster_id)
print("claimed", flush=True)
sys.stdin.readline()
cluster = msgspec.structs.replace(ledger.get(cluster_id).snapshot, status="stopped", reason="told to", revision=99)
ledger.snapshot(cluster_id, cluster, ended=True)
"""


def test_a_cluster_that_ends_while_its_row_is_read_is_stopped_and_never_lost(tmp_path):
    changes: list[Change] = []
    spec = LaunchSpec(id="ending", name="ending", workers=0, created_at=now())
    Ledger(tmp_path / "ledger").reserve(spec, core_limit=1, cluster_limit=1)

    async def go(owner):
        ledger = LedgerWithMoments(tmp_path / "ledger")
        follows = following(ledger, changes)
        await follows.start()
        seen = []

        def status() -> str:
            seen.extend(cluster.status for cluster in follows.clusters())
            return seen[-1]

        async def end_it():
            if owner.poll() is None:
                # The row that is about to be returned says that it runs.
                await asyncio.to_thread(owner.communicate, b"\n")

        try:
            end = deadline(20)
            while not follows.clusters():
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
            ledger.before_answering = end_it
            while status() != "stopped":
                assert time.monotonic() < end, seen
                await asyncio.sleep(0)
            assert owner.returncode == 0
            assert "lost" not in seen
        finally:
            await follows.close(release=False)
            await ledger.close()

    command = [sys.executable, "-c", OWNER, str(tmp_path / "ledger"), spec.id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        try:
            assert owner.stdout.readline().strip() == b"claimed"
            asyncio.run(go(owner))
        finally:
            owner.kill()


async def running(service: Service) -> str:
    """Start a cluster of one worker and return its id once it runs."""
    cluster = await service.clusters.create(ClusterCreate(workers=1))
    await shown(service, cluster.id, ("running", "idle"), 60)
    return cluster.id


async def shown(service: Service, cluster_id: str, statuses: tuple[str, ...], seconds: float = 10) -> None:
    end = deadline(seconds)
    while (found := service.clusters.get(cluster_id)).status not in statuses:
        assert time.monotonic() < end, f"{found.status}: {found.reason}"
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def locked(path):
    """Hold a ledger as another process does that doesn't let go."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


def with_service(body, **arguments):
    async def go():
        service = Service(**arguments)
        await service.start()
        try:
            await body(service)
        finally:
            await service.close()

    asyncio.run(go())


def supervisor(cluster_id: str) -> int:
    """Return the pid of a cluster's supervisor; its nodes end with it."""
    return Ledger().get(cluster_id).pid


@pytest.mark.parametrize("what", ["nothing", "locked", "damaged", "removed"])
def test_a_dead_cluster_is_noticed_within_ten_seconds_whatever_is_with_the_ledger(what):
    async def body(service):
        cluster_id = await running(service)
        path, pid = Ledger().path, supervisor(cluster_id)
        # What the ledger had of it was seen.
        await asyncio.sleep(3)
        with locked(path) if what == "locked" else contextlib.nullcontext():
            os.kill(pid, signal.SIGKILL)
            if what == "damaged":
                path.write_bytes(b"\0" * 5000)
            elif what == "removed":
                path.unlink()
            if what in ("nothing", "locked"):
                await shown(service, cluster_id, ("lost", "failed"))
            else:
                # A new ledger knows nothing of it, so that it goes from the list.
                end = deadline(10)
                while any(c.id == cluster_id and c.status not in ("lost", "failed") for c in service.clusters.all()):
                    assert time.monotonic() < end
                    await asyncio.sleep(0.05)
        if what == "locked":
            end = deadline(15)
            while not Ledger().get(cluster_id).ended:
                assert time.monotonic() < end, "what could not be written is written later"
                await asyncio.sleep(0.1)

    with_service(body)


def test_a_fault_in_the_follower_itself_hides_no_end(caplog):
    """Whatever it raises is logged, and it goes on."""

    async def body(service):
        cluster_id = await running(service)
        end = deadline(30)
        while not [record for record in caplog.records if "following cluster" in record.message]:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        os.kill(supervisor(cluster_id), signal.SIGKILL)
        await shown(service, cluster_id, ("lost", "failed"))

    faults = iter(range(1))

    def changed(change: Change) -> None:
        # A listener that fails, where what follows a cluster calls it; others do too.
        task = asyncio.current_task()
        if (
            task is not None
            and task.get_name().startswith("follow ")
            and change.revision > 1
            and next(faults, None) is not None
        ):
            raise RuntimeError("a listener that fails")

    with caplog.at_level(logging.ERROR):
        with_service(body, changed=changed)


def test_a_follower_that_has_died_starts_again():
    async def body(service):
        cluster_id = await running(service)
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == f"follow {cluster_id}"]
        task.cancel()
        await asyncio.wait([task])
        os.kill(supervisor(cluster_id), signal.SIGKILL)
        await shown(service, cluster_id, ("lost", "failed"))

    with_service(body)


async def _there(path) -> None:
    while not path.exists():
        await asyncio.sleep(0.05)


def test_a_socket_that_is_gone_is_no_end():
    """A cluster whose supervisor lives isn't called dead, and a supervisor that dies then is noticed."""

    async def body(service):
        cluster_id = await running(service)
        socket_path(cluster_id).unlink()
        other = Service()
        await other.start()
        try:
            for _ in range(2):
                # One that was not there before may show what the ledger has, in which it still starts.
                for shows in (service, other):
                    assert shows.clusters.get(cluster_id).status in ("starting", "running", "idle")
                await asyncio.sleep(3)
            # It isn't only alive: its supervisor has made what is gone again, and answers.
            await asyncio.wait_for(_there(socket_path(cluster_id)), 30)
            await other.clusters.change(cluster_id, ClusterChange(name="still-here"))
            os.kill(supervisor(cluster_id), signal.SIGKILL)
            for shows in (service, other):
                await shown(shows, cluster_id, ("lost", "failed"))
        finally:
            await other.close(release=False)

    with_service(body)


def test_a_cluster_of_a_shell_lives_on_when_a_server_that_listed_it_ends():
    made = subprocess.run(
        [sys.executable, "-m", "coiled_jupyter.cli", "cluster", "create", "--workers", "1", "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    cluster_id = json.loads(made.stdout)["id"]

    async def followed(service):
        end = deadline(10)
        while not service.clusters.followed(cluster_id):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)

    with_service(followed)
    time.sleep(3)
    assert Ledger().get(cluster_id).owner_alive()

    async def stop(service):
        await service.clusters.delete(cluster_id)
        await shown(service, cluster_id, ("stopped",), 30)

    with_service(stop)


def test_states_of_syncs_go_where_they_belong(tmp_path):
    cluster_id = "syncer"
    synced: list[Sync] = []
    sync = Sync(
        id="s1", plan="p1", cluster=cluster_id, direction="to_cluster", state="rolling", steps=(), log=SyncLog(next=0),
        result=None, undo_of=None, undone_by=None, started_at=now(), ended_at=None,
    )  # fmt: skip

    async def go():
        spec = LaunchSpec(id=cluster_id, name=cluster_id, workers=0, created_at=now())
        Ledger(tmp_path / "ledger").reserve(spec, core_limit=1, cluster_limit=1)

        async def answer(reader, writer):
            await reader.readline()
            writer.write(msgspec.json.encode(protocol.SyncState(sync)) + b"\n")
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(answer, str(socket_path(cluster_id)))
        ledger = AsyncLedger(tmp_path / "ledger")
        follows = following(ledger, [], synced.append)
        await follows.start()
        while not synced:
            await asyncio.sleep(0.01)
        await follows.close(release=False)
        await ledger.close()
        server.close()
        await server.wait_closed()

    asyncio.run(go())
    assert synced[0].id == "s1"
