"""A fault in watching, bookkeeping or reporting never ends, blocks or hides a process of the user's: on real clusters."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import CoiledError, Unavailable
from coiled_jupyter.core.launch import LaunchSpec
from coiled_jupyter.core.paces import NORMAL
from coiled_jupyter.core.times import now
from coiled_jupyter.core.wire import AdaptiveRequest, ClusterChange
from coiled_jupyter.ipython.connect import connect
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.paths import data_dir
from coiled_jupyter.service.facade import Service
from coiled_jupyter.supervisor import logs, protocol
from coiled_jupyter.supervisor.client import SupervisorClient
from coiled_jupyter.supervisor.supervisor import Supervisor
from tests.patience import deadline
from tests.processes import of_clusters

from .test_process import with_cluster

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def locked(path):
    """Another process holds the file locked."""
    command = [sys.executable, "-c", LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.stdin.close()


@pytest.fixture
def runtime(monkeypatch):
    """A runtime folder of this test's own, short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="cj-"))
    monkeypatch.setenv("COILED_JUPYTER_RUNTIME_DIR", str(folder / "r"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def seen(cluster_id: str):
    """Return the cluster as its supervisor says that it is."""
    client = await SupervisorClient.connect(cluster_id)
    try:
        async for state in client.watch():
            return state
    finally:
        await client.close()


async def until_seen(cluster_id: str, condition, seconds: float = 60):
    end = deadline(seconds)
    state = None
    while state is None or not condition(state):
        assert time.monotonic() < end, state
        with contextlib.suppress(CoiledError):
            state = await seen(cluster_id)
        await asyncio.sleep(0.1)
    return state


def test_a_locked_ledger_loses_nothing_and_is_written_when_it_can(runtime):
    async def body(lab):
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            await lab.until(lambda: lab.cluster.status == "idle")
            with locked(Ledger().path):
                begun = time.monotonic()
                held = await asyncio.to_thread(client.scatter, 7)
                task = client.submit(time.sleep, 3, pure=False)
                state = await until_seen(lab.id, lambda cluster: cluster.warnings, 14)
                assert any("locked" in warning for warning in state.warnings)
                assert state.status == "running"
                supervisor = await SupervisorClient.connect(lab.id)
                # Cores can't be reserved, so nothing starts; what needs none is done.
                with pytest.raises(CoiledError):
                    await supervisor.change(ClusterChange(workers=4))
                changed = await supervisor.change(ClusterChange(workers=1))
                assert changed.cluster.desired.workers == 1
                await supervisor.close()
                await asyncio.sleep(max(14 - (time.monotonic() - begun), 0))
                assert (await seen(lab.id)).status not in ENDED
            await until_seen(lab.id, lambda cluster: not cluster.warnings)
            assert await asyncio.to_thread(held.result, 20) == 7
            await asyncio.to_thread(task.result, 20)
            await lab.until(lambda: Ledger().get(lab.id).snapshot.desired.workers == 1)
            await lab.until(lambda: Ledger().reserved(lab.id) == 1, 30)
        finally:
            await asyncio.to_thread(client.close)

    with_cluster(body)


def test_a_cluster_that_is_stopped_while_the_ledger_is_locked_ends_and_is_entered_as_ended(runtime):
    async def body(lab):
        with locked(Ledger().path):
            supervisor = await SupervisorClient.connect(lab.id)
            await supervisor.stop()
            await supervisor.close()
            await lab.until(lambda: not any(p.is_running() and p.status() != "zombie" for p in lab.family), 40)
        await lab.until(lambda: Ledger().get(lab.id).ended and Ledger().used_cores() == 0, 40)
        return Ledger().get(lab.id).snapshot.status

    assert with_cluster(body, workers=1) == "stopped"


@pytest.fixture
def small_disk(runtime):
    """The runtime folder on a disk of 60 MB."""
    (runtime / "r").mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m,mode=700", "tmpfs", str(runtime / "r")],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("only root can mount a disk")
    yield runtime / "r"
    subprocess.run(["umount", "-l", str(runtime / "r")], check=True)


def test_a_full_runtime_folder_ends_nothing_and_results_are_spilled_elsewhere(small_disk):
    async def body(lab):
        scratch = data_dir("scratch") / lab.id
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            results = client.map(bytes, [20_000_000 + number for number in range(16)], pure=False)

            def lengths():
                return [future.result(60) for future in client.map(len, results, pure=False)]

            assert await asyncio.to_thread(lengths) == [20_000_000 + number for number in range(16)]
            spilled = [path for path in scratch.rglob("*") if path.is_file() and path.stat().st_size > 10_000_000]
            assert spilled
            assert not [path for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size > 10_000_000]
            with (small_disk / "full").open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(1 << 16)):
                    pass
            # What is ended while nothing can be logged comes back.
            lab.processes("worker")[0].kill()
            future = client.submit(pow, 3, 2, pure=False)
            assert await asyncio.to_thread(future.result, 90) == 9
            assert (await seen(lab.id)).status not in ENDED
            (small_disk / "full").unlink()
            await until_seen(lab.id, lambda cluster: not cluster.warnings)
        finally:
            await asyncio.to_thread(client.close)
        return scratch

    scratch = with_cluster(body, workers=1, memory_limit="500 MiB")
    assert not scratch.exists()


def removed(folder: Path) -> bool:
    try:
        shutil.rmtree(folder)
    except OSError:
        return False
    return True


def test_a_runtime_folder_that_is_removed_is_made_again_and_the_cluster_is_steered(runtime):
    async def body(lab):
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            held = await asyncio.to_thread(client.scatter, 7)
            # A log or a socket may come into a folder that is being emptied.
            while (runtime / "r").exists() and not await asyncio.to_thread(removed, runtime / "r"):
                await asyncio.sleep(0.05)
            await lab.until(lambda: Ledger().get(lab.id) is not None, 30)
            assert await asyncio.to_thread(held.result, 20) == 7
        finally:
            await asyncio.to_thread(client.close)
        # As a command that comes after: found, connected to, scaled and stopped.
        service = Service()
        await service.start()
        try:
            await lab.until(lambda: service.clusters.get(lab.id).status in ("running", "idle"), 30)
            assert Ledger().used_cores() == 1
            await service.clusters.change(lab.id, ClusterChange(workers=2))
            await lab.until(lambda: len(service.clusters.get(lab.id).workers) == 2, 60)

            def use():
                with connect(lab.cluster.name) as other:
                    return other.submit(sum, [1, 2, 3]).result(timeout=20)

            assert await asyncio.to_thread(use) == 6
            await service.clusters.delete(lab.id)
            await lab.until(lambda: service.clusters.get(lab.id).status == "stopped", 40)
        finally:
            await service.close()
        await lab.until(lambda: not of_clusters(lab.id), 20)

    with_cluster(body, workers=1)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are stopped by their state in /proc")
def test_what_was_told_as_failed_is_not_carried_out_later():
    async def body(lab):
        supervisor = psutil.Process(Ledger().get(lab.id).pid)
        clients = [await SupervisorClient.connect(lab.id) for _ in range(4)]
        scheduler = lab.cluster.scheduler.id
        supervisor.send_signal(signal.SIGSTOP)
        calls = (
            clients[0].stop(),
            clients[1].restart("cluster"),
            clients[2].change(ClusterChange(workers=3)),
            clients[3].change(ClusterChange(adaptive=AdaptiveRequest(minimum=0, maximum=1))),
        )
        answers = await asyncio.gather(*calls, return_exceptions=True)
        supervisor.send_signal(signal.SIGCONT)
        assert [answer.kind for answer in answers] == ["timeout"] * 4
        for client in clients:
            await client.close()
        state = await until_seen(lab.id, lambda cluster: cluster.status in ("running", "idle"))
        await asyncio.sleep(2)
        state = await seen(lab.id)
        assert (state.status, state.desired.workers, state.desired.adaptive) == ("idle", 1, None)
        assert state.scheduler.id == scheduler

    with_cluster(body, workers=1)


def test_a_request_whose_asker_has_gone_is_withdrawn(runtime):
    async def body(lab):
        client = await SupervisorClient.connect(lab.id)
        with locked(Ledger().path):
            asking = asyncio.create_task(client.change(ClusterChange(workers=2)))
            await asyncio.sleep(0.5)
            asking.cancel()
            await client.close()
            await asyncio.sleep(0.5)
        await asyncio.sleep(2)
        state = await seen(lab.id)
        assert (state.desired.workers, len(state.workers)) == (1, 1)
        await lab.until(lambda: Ledger().reserved(lab.id) == 1)

    with_cluster(body, workers=1)


def test_a_path_too_long_for_a_socket_and_a_data_folder_that_cannot_be_made_are_sentences(tmp_path, monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_RUNTIME_DIR", str(tmp_path / ("x" * 90)))
    with pytest.raises(Unavailable, match="too long for a socket"):
        Ledger()
    (tmp_path / "file").touch()
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(Unavailable, match="can't be created or used") as caught:
        data_dir()
    assert "COILED_JUPYTER_DATA_DIR" in caught.value.hint


async def until_true(condition, seconds: float = 60):
    end = deadline(seconds)
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def test_a_fault_in_any_part_that_looks_ends_nothing_and_is_said(runtime, monkeypatch):
    spec = LaunchSpec(
        id="looked1", name="looked", interpreter=sys.executable, workers=1, paces=NORMAL.scaled(0.1), created_at=now()
    )
    Ledger().reserve(spec, core_limit=8, cluster_limit=9)

    def fails(*_, **__):
        raise RuntimeError("injected")

    async def go():
        supervisor = Supervisor(spec)
        running = asyncio.create_task(supervisor.run())
        try:
            await until_true(lambda: supervisor.cluster.status == "idle" or running.done())
            parts = (
                (supervisor.watching, "observe"),
                (supervisor.watching, "judge"),
                (supervisor.connection.link, "identity"),
                (supervisor.sizing, "adapt"),
                (supervisor.lease, "over"),
                (supervisor.reading, "follow"),
                (supervisor.processes, "replace"),
                (logs, "trim"),
            )
            for part, name in parts:
                with monkeypatch.context() as patch:
                    patch.setattr(part, name, fails)
                    supervisor.look_again()
                    await until_true(lambda: any("RuntimeError" in text for text in supervisor.cluster.warnings))
                    assert not running.done(), name
                    assert supervisor.cluster.status not in ENDED, name
                supervisor.look_again()
                await until_true(lambda: not supervisor.cluster.warnings)
            await until_true(lambda: supervisor.cluster.status == "idle")
            nodes = of_clusters(spec.id)
            assert len(nodes) >= 3
        finally:
            await supervisor.carry_out(protocol.Stop(), float("inf"))
            await running
        assert supervisor.cluster.status == "stopped"
        assert not of_clusters(spec.id)
        assert Ledger().used_cores() == 0

    asyncio.run(go())
