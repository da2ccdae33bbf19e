"""Clusters whose processes are killed or stopped, and clusters in use, seen through the service."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import distributed
import psutil
import pytest

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.core.paces import Paces
from coiled_jupyter.core.wire import ClusterCreate
from coiled_jupyter.factories import local
from coiled_jupyter.ipython.connect import connect
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.links.scheduler import SchedulerLink, TLSFiles
from coiled_jupyter.paths import cluster_dir
from coiled_jupyter.service.facade import Service
from tests.environments import interpreters
from tests.nightly import each_night
from tests.patience import deadline
from tests.processes import of_clusters, words


class Lab:
    """A service, and one cluster of it."""

    def __init__(self, service, cluster_id) -> None:
        self.service, self.id = service, cluster_id
        self.family = psutil.Process(Ledger().get(cluster_id).pid).children(recursive=True)

    @property
    def cluster(self):
        return self.service.clusters.get(self.id)

    def processes(self, role: str) -> list[psutil.Process]:
        """Return the processes with a role: launcher, guard, scheduler, nanny or worker."""
        (launcher,) = psutil.Process(Ledger().get(self.id).pid).children()
        scheduler = int(self.cluster.scheduler.address.rpartition(":")[2])
        found = {"launcher": [launcher], "guard": [], "scheduler": [], "nanny": [], "worker": []}
        for process in launcher.children():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                ports = {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
                workers = [kin for kin in process.children() if "spawn_main" in words(kin)]
                # The guard is in the launcher's group, nodes are in groups of their own.
                guard = os.getpgid(process.pid) == launcher.pid
                found["guard" if guard else "scheduler" if scheduler in ports else "nanny"].append(process)
                found["worker"] += workers
        return found[role]

    async def until(self, condition, seconds: float = 30):
        end = deadline(seconds)
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s: {self.cluster.status} {self.cluster.reason}"
            await asyncio.sleep(0.05)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def with_cluster(body, configuration=None, **fields):
    """Run ``await body(lab)`` beside a running cluster, stop it, and see that nothing is left."""

    async def go():
        service = Service(configuration)
        await service.start()
        try:
            cluster = await service.clusters.create(ClusterCreate(**{"workers": 2, **fields}))
            lab = None
            end = deadline(60)
            while service.clusters.get(cluster.id).status == "starting":
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            assert service.clusters.get(cluster.id).status in ("running", "idle"), service.clusters.get(cluster.id)
            lab = Lab(service, cluster.id)
            result = await body(lab)
            if lab.cluster.status not in ENDED:
                await service.clusters.delete(cluster.id)
                await lab.until(lambda: lab.cluster.status in ENDED, 20)
            # Those that came later and those that have lost their parent too.
            await lab.until(lambda: not of_clusters(cluster.id) and not any(map(lives, lab.family)), 5)
            await lab.until(lambda: Ledger().used_cores() == 0, 10)
            return result
        finally:
            await service.close(release=True)

    return asyncio.run(go())


def test_a_client_computes_and_a_stop_while_tasks_run_is_quick():
    async def body(lab):
        def use():
            with connect(lab.cluster.name) as client:
                total = client.submit(sum, [1, 2, 3]).result(timeout=20)
                # Held by the client while the cluster stops.
                lab.future = client.submit(time.sleep, 60)
                time.sleep(1.5)
                return total

        assert await asyncio.to_thread(use) == 6
        await lab.service.clusters.delete(lab.id)
        # Long before what runs would have ended.
        await lab.until(lambda: lab.cluster.status == "stopped", 40)

    with_cluster(body, workers=1)


def test_its_clients_are_told_with_their_versions():
    async def body(lab):
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            await lab.until(lambda: lab.cluster.other_clients)
            (told,) = lab.cluster.other_clients
            assert (told.id, told.host, told.own) == (client.id, "127.0.0.1", False)
            assert told.versions["distributed"] == distributed.__version__
            assert lab.cluster.clients == 1
            held = await asyncio.to_thread(client.scatter, [1, 2, 3])
            await lab.until(lambda: lab.cluster.tasks.in_memory == len(held))
            before = [lab.cluster]

            def only_times_are_new():
                last, before[0] = before[0], lab.cluster if lab.cluster.revision != before[0].revision else before[0]
                return (
                    last.revision == lab.cluster.revision
                    and last.other_clients[0].last_seen != lab.cluster.other_clients[0].last_seen
                )

            await lab.until(only_times_are_new, 30)
        finally:
            await asyncio.to_thread(client.close)
        await lab.until(lambda: not lab.cluster.other_clients)

    with_cluster(body, workers=1)


def test_connect_says_which_clusters_there_are():
    async def body(lab):
        with pytest.raises(CoiledError) as caught:
            await asyncio.to_thread(connect, "another")
        return caught.value, lab.cluster.name

    error, name = with_cluster(body, workers=1)
    assert error.kind == "not_found"
    assert name in error.hint
    with pytest.raises(CoiledError, match="No cluster is running"):
        connect()


@pytest.mark.parametrize("dask", each_night(["2022.2.0", "2024.5.0"], ["2022.2.0"]))
@pytest.mark.skipif("3.10" not in interpreters(), reason="these versions of Dask need Python 3.10 or older")
def test_clusters_of_older_dask_are_run_and_read(dask):
    async def body(lab):
        diff, end = await lab.service.comparing.diff(lab.id), deadline(20)
        # A node that has no time to answer is read again.
        while diff.unread and time.monotonic() < end:
            diff = await lab.service.comparing.diff(lab.id)
        rows = {row.name: row for row in diff.rows}
        nodes = sum(len(group.nodes) for group in diff.cluster.groups)
        return diff.verdict, diff.unread, rows["distributed"].groups[0].version, rows["python"].severity, nodes

    wish = {"python": "3.10", "requirements": (f"dask=={dask}", f"distributed=={dask}")}
    # More than the five workers that a newer scheduler tells of by itself.
    assert with_cluster(body, workers=6, **wish) == ("breaks", (), dask, "breaks", 7)


# The other two are killed in tests of their own: below, and with their guard.
@pytest.mark.parametrize("victim", each_night(["launcher", "supervisor", "scheduler"], ["supervisor"]))
@pytest.mark.parametrize("stopped", each_night([False, True], [True]))
def test_nothing_is_left_whoever_is_killed(victim, stopped):
    async def body(lab):
        if stopped:
            # A stopped worker can't see that anybody has gone.
            lab.processes("worker")[0].send_signal(signal.SIGSTOP)
        process = psutil.Process(Ledger().get(lab.id).pid) if victim == "supervisor" else lab.processes(victim)[0]
        process.send_signal(signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, lab.family, 12)
        await lab.until(lambda: lab.cluster.status in ENDED, 20)
        return alive, lab.cluster.status

    assert with_cluster(body) == ([], "lost" if victim == "supervisor" else "failed")


@pytest.mark.parametrize("victim", each_night(["worker", "nanny"], ["nanny"]))
@pytest.mark.parametrize("stopped", each_night([False, True], [True]))
def test_a_killed_worker_comes_back_and_is_counted(victim, stopped):
    async def body(lab):
        process = lab.processes(victim)[0]
        if stopped:
            for child in [process, *process.children(recursive=True)][victim == "nanny" :]:
                child.send_signal(signal.SIGSTOP)
        before = {worker.id for worker in lab.cluster.workers}
        process.send_signal(signal.SIGKILL)
        await lab.until(lambda: {worker.id for worker in lab.cluster.workers} != before, 40)
        await lab.until(lambda: len(lab.cluster.workers) == 2 and lab.cluster.status in ("running", "idle"), 40)
        seen = []
        while not seen or seen[-1][1]:
            readings = await lab.service.comparing.readings(lab.cluster)
            read = {n for e in readings.environments if e.role == "worker" for n in e.nodes}
            seen.append((len(read), readings.unread))
            # At any time every worker wanted is either read or missed aloud.
            assert len(read) == 2 or readings.unread
            assert len(seen) < 100
            await asyncio.sleep(0.1)
        return seen[-1][0], sorted(worker.restarts for worker in lab.cluster.workers)

    assert with_cluster(body) == (2, [0, 1])


@pytest.mark.nightly
def test_killed_workers_and_nannies_come_back_on_a_loaded_machine():
    async def again(lab, victim):
        before = {worker.id for worker in lab.cluster.workers}
        for process in lab.processes(victim):
            process.kill()
        await lab.until(lambda: len({worker.id for worker in lab.cluster.workers} - before) == 2, 60)

    async def body(lab):
        for victim in ("nanny", "worker", "worker", "nanny"):
            await again(lab, victim)
        return sorted(worker.restarts for worker in lab.cluster.workers)

    command = [sys.executable, "-c", "while True: pass"]
    load = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 2))]
    try:
        assert with_cluster(body) == [4, 4]
    finally:
        for process in load:
            process.kill()
            process.wait()


@pytest.mark.nightly
def test_one_that_keeps_ending_comes_back_ever_later():
    async def body(lab):
        waits = []
        for _ in range(3):
            (nanny,) = lab.processes("nanny")
            assert nanny.children()
            before = lab.cluster.workers[0].id
            begun = time.monotonic()
            nanny.kill()
            await lab.until(lambda gone=nanny: [n for n in lab.processes("nanny") if n != gone])
            waits.append(time.monotonic() - begun)
            await lab.until(lambda old=before: [w for w in lab.cluster.workers if w.id != old])
            await lab.until(lambda: lab.cluster.status in ("running", "idle"))
        assert lab.cluster.workers[0].restarts == 3
        return waits

    _, second, third = with_cluster(body, Configuration(paces=Paces()), workers=1)
    # At least 2 and 6 seconds of everyday use, and whatever the machine needs.
    assert second >= 2
    assert third >= 6


@pytest.mark.nightly
def test_a_worker_that_its_stopped_nanny_does_not_bring_back_is_replaced():
    async def body(lab):
        (nanny,), (worker,) = lab.processes("nanny"), lab.processes("worker")
        before = lab.cluster.workers[0].id
        nanny.send_signal(signal.SIGSTOP)
        worker.kill()
        await lab.until(lambda: lab.cluster.status == "degraded", 40)
        assert "missing" in lab.cluster.reason
        await lab.until(lambda: [w for w in lab.cluster.workers if w.id != before], Configuration().paces.missed + 30)
        assert not lives(nanny)
        await lab.until(lambda: lab.cluster.status in ("running", "idle"))
        return lab.cluster.workers[0].restarts

    assert with_cluster(body, workers=1) == 1


@pytest.mark.parametrize("stopped", each_night([False, True], [True]))
def test_a_killed_guard_is_replaced_and_guards(stopped):
    async def body(lab):
        (guard,) = lab.processes("guard")
        if stopped:
            lab.processes("worker")[0].send_signal(signal.SIGSTOP)
        guard.kill()
        await lab.until(lambda: [g for g in lab.processes("guard") if g != guard], 5)
        # Nodes come and go as before, and when the launcher is killed nothing is left.
        lab.processes("nanny")[1].kill()
        before = {worker.id for worker in lab.cluster.workers}
        await lab.until(lambda: {worker.id for worker in lab.cluster.workers} - before, 40)
        assert lab.cluster.status not in ENDED
        lab.processes("worker")[-1].send_signal(signal.SIGSTOP)
        lab.processes("launcher")[0].kill()
        await lab.until(lambda: lab.cluster.status in ENDED, 20)
        await lab.until(lambda: not of_clusters(lab.id), 12)
        return lab.cluster.status

    assert with_cluster(body) == "failed"


def test_a_killed_scheduler_is_a_failure_with_a_reason():
    async def body(lab):
        lab.processes("scheduler")[0].send_signal(signal.SIGKILL)
        await lab.until(lambda: lab.cluster.status == "failed", 20)
        return lab.cluster

    cluster = with_cluster(body, workers=1)
    assert "scheduler ended" in cluster.reason
    assert cluster.workers == ()


@pytest.mark.skipif(sys.platform != "linux", reason="stopped processes are Linux's own test of the guard")
def test_a_stopped_worker_is_named_and_still_ends():
    async def body(lab):
        lab.processes("worker")[0].send_signal(signal.SIGSTOP)
        return await lab.service.comparing.diff(lab.id)

    diff = with_cluster(body, workers=1)
    assert diff.verdict in ("unknown", "breaks")
    assert any(unread.node.startswith("tls://") for unread in diff.unread)


@pytest.mark.parametrize("dashboard", each_night([True, False], [True]))
def test_no_page_of_dask_is_open_to_other_users_of_the_machine(dashboard):
    """There is no bokeh here: where the dashboard would be, Dask says that, and nothing of the cluster."""

    def look(ports):
        answers = {}
        for port in ports:
            for path in ("/status", "/info/main/workers.html", "/json/identity.json", "/health", "/metrics", "/"):
                # Refused, or TLS.
                url = f"http://127.0.0.1:{port}{path}"
                with (
                    contextlib.suppress(OSError, http.client.HTTPException),
                    urllib.request.urlopen(url, timeout=2) as answer,
                ):
                    answers[path] = "needs bokeh" if b"Dask needs bokeh" in answer.read() else answer.status
        return len(ports), answers

    async def body(lab):
        connections = [c for process in lab.family if process.is_running() for c in process.net_connections("tcp")]
        return await asyncio.to_thread(look, {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN})

    ports, answers = with_cluster(body, workers=1, options={"dashboard": dashboard})
    assert ports >= 3
    assert answers == (dict.fromkeys(("/status", "/"), "needs bokeh") if dashboard else {})


@pytest.mark.skipif(sys.platform != "linux", reason="variables of processes are read from /proc")
def test_secrets_stay_in_the_workers(monkeypatch):
    for name in ("JUPYTER_TOKEN", "JPY_API_TOKEN", "JUPYTERHUB_API_TOKEN"):
        monkeypatch.setenv(name, "hush-token")

    async def body(lab):
        def ask():
            with connect(lab.id) as client:
                return client.run(os.getenv, "TOKEN")

        values = set((await asyncio.to_thread(ask)).values())
        everybody = of_clusters(lab.id)
        assert len(everybody) == 6  # supervisor, launcher, guard, scheduler, nanny, worker
        variables = [Path(f"/proc/{p.pid}/environ").read_text() for p in everybody if p not in lab.processes("worker")]
        assert [text for text in variables if "hush-hush" in text] == []
        variables += [Path(f"/proc/{p.pid}/environ").read_text() for p in lab.processes("worker")]
        assert "hush-hush" in variables[-1]
        assert [text for text in variables if "hush-token" in text] == []
        texts = [words(p) for p in everybody]
        texts += [path.read_text(errors="replace") for path in cluster_dir(lab.id).glob("logs/*")]
        assert len(texts) > len(lab.family)
        texts.append(Ledger().path.read_bytes().decode("latin-1"))
        texts += [str(lab.cluster), str(lab.service.clusters.usage()), str(await lab.service.clusters.logs(lab.id))]
        texts += [str(await lab.service.comparing.environments(cluster=lab.id))]
        return values, [text for text in texts if "hush-" in text]

    assert with_cluster(body, workers=1, environ={"TOKEN": "hush-hush"}) == ({"hush-hush"}, [])


@pytest.mark.parametrize("dashboard", each_night([False, True], [True]))
def test_all_listen_on_loopback_only(dashboard):
    """Whether the dashboard is asked for or not; there is no link to one, since this environment has no bokeh."""

    async def body(lab):
        client = await asyncio.to_thread(connect, lab.cluster.name)
        try:
            await asyncio.to_thread(client.submit(pow, 2, 3).result)
            await lab.service.comparing.diff(lab.id)
            found = [(c, p) for p in of_clusters(lab.id) for c in p.net_connections("inet")]
        finally:
            await asyncio.to_thread(client.close)
        return lab.cluster.scheduler.dashboard, found

    page, found = with_cluster(body, workers=2, options={"dashboard": dashboard})
    assert page is None
    listening = {(c.laddr.ip, p.pid) for c, p in found if c.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)}
    # Of the scheduler, two nannies and two workers.
    assert len({pid for _, pid in listening}) == 5
    assert {ip for ip, _ in listening} == {"127.0.0.1"}


def test_what_lies_on_disk_and_listens_is_this_users_alone():
    def modes(folder):
        return {
            str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
            for path in [folder, *folder.rglob("*")]
            if "scratch/" not in str(path.relative_to(folder))
        }

    async def body(lab):
        return modes(cluster_dir(lab.id)), [lab.processes(role) for role in ("scheduler", "nanny", "worker")]

    before = os.umask(0)
    try:
        found, _ = with_cluster(body, workers=1)
    finally:
        os.umask(before)
    assert {"key.pem", "cert.pem", "ca.pem", "s", "alive", "logs", "logs/scheduler.log"} <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


def test_a_cluster_that_nobody_holds_ends_with_its_lease():
    async def go():
        service = Service(Configuration(lease_seconds=2))
        await service.start()
        cluster = await service.clusters.create(ClusterCreate(workers=1))
        while service.clusters.get(cluster.id).status == "starting":
            await asyncio.sleep(0.05)
        family = psutil.Process(Ledger().get(cluster.id).pid).children(recursive=True)
        other = Service()
        await other.start()
        while not other.clusters.followed(cluster.id):
            await asyncio.sleep(0.05)
        # A clean end of one holder, and the other still holds it.
        await service.close(release=True)
        await asyncio.sleep(4)
        assert other.clusters.get(cluster.id).status in ("running", "idle")
        # As if killed: no word of release.
        await other.close(release=False)
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, 20)
        assert alive == []
        service = Service()
        await service.start()
        try:
            ended = service.clusters.get(cluster.id)
            assert (ended.status, len(ended.workers), Ledger().used_cores()) == ("stopped", 0, 0)
            assert "as long as its lease" in ended.reason
        finally:
            await service.close()

    asyncio.run(go())


def test_a_client_alone_holds_a_cluster_beyond_its_lease():
    assert Configuration().lease_seconds == 600

    async def go():
        service = Service(Configuration(lease_seconds=2))
        await service.start()
        cluster = await service.clusters.create(ClusterCreate(workers=1))
        while service.clusters.get(cluster.id).status == "starting":
            await asyncio.sleep(0.05)
        family = psutil.Process(Ledger().get(cluster.id).pid).children(recursive=True)
        client = await asyncio.to_thread(connect, cluster.name)
        await service.close(release=False)
        # Longer than the lease and than the supervisor's knowledge of clients is old.
        await asyncio.sleep(9)
        assert await asyncio.to_thread(lambda: client.submit(pow, 2, 3).result(timeout=10)) == 8
        await asyncio.to_thread(client.close)
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, 25)
        assert alive == []

    asyncio.run(go())


@pytest.mark.parametrize("step", each_night(["Start scheduler", "Start workers"], ["Start workers"]))
def test_a_start_can_be_cancelled_at_each_step(step):
    async def go():
        service = Service()
        await service.start()
        try:
            cluster = await service.clusters.create(ClusterCreate(workers=2))
            assert [(s.name, s.state) for s in cluster.steps] == [
                ("Start scheduler", "waiting"),
                ("Start workers", "waiting"),
            ]

            def state():
                return next(s.state for s in service.clusters.get(cluster.id).steps if s.name == step)

            while state() != "running":
                await asyncio.sleep(0.005)
            await service.clusters.delete(cluster.id)
            begun = time.monotonic()
            while service.clusters.get(cluster.id).status not in ENDED:
                assert time.monotonic() - begun < 60
                await asyncio.sleep(0.05)
            ended = service.clusters.get(cluster.id)
            assert (ended.status, ended.reason) == ("stopped", "It was stopped on request")
            assert state() in ("cancelled", "done")
            assert Ledger().used_cores() == 0
            while of_clusters(cluster.id):
                assert time.monotonic() - begun < 60
                await asyncio.sleep(0.05)
        finally:
            await service.close()

    asyncio.run(go())


def test_a_clean_end_right_after_its_last_client_ends_it_at_once():
    async def go():
        service = Service()
        await service.start()
        cluster = await service.clusters.create(ClusterCreate(workers=1))
        while service.clusters.get(cluster.id).status == "starting":
            await asyncio.sleep(0.05)
        family = psutil.Process(Ledger().get(cluster.id).pid).children(recursive=True)
        client = await asyncio.to_thread(connect, cluster.name)
        while not service.clusters.get(cluster.id).clients:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(client.close)
        await service.close(release=True)
        # Its lease is ten minutes.
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, 60)
        assert alive == []

    asyncio.run(go())


def test_a_start_can_be_cancelled():
    async def go():
        service = Service()
        await service.start()
        try:
            cluster = await service.clusters.create(
                ClusterCreate(requirements=("jupyterlab", "pandas", "pyarrow"), workers=1)
            )
            assert [step.name for step in cluster.steps][:2] == ["Resolve packages", "Build environment"]
            while service.clusters.get(cluster.id).steps[0].state == "waiting":
                await asyncio.sleep(0.01)
            begun = time.monotonic()
            await service.clusters.delete(cluster.id)
            while service.clusters.get(cluster.id).status not in ENDED:
                assert time.monotonic() - begun < 60
                await asyncio.sleep(0.05)
            ended = service.clusters.get(cluster.id)
            assert ended.status == "stopped"
            assert "cancelled" in {step.state for step in ended.steps}
            assert Ledger().used_cores() == 0
        finally:
            await service.close()

    asyncio.run(go())


def test_nobody_without_its_certificates_gets_in(tmp_path):
    async def body(lab):
        local.write_tls(tmp_path)
        paths = {name: str(path) for name, path in local.tls_paths(tmp_path).items()}
        address = lab.cluster.scheduler.address
        workers = [worker.id for worker in lab.cluster.workers]
        refused = []
        for place in (address, *workers):
            for link in (SchedulerLink(place, TLSFiles(**paths)), SchedulerLink(place.replace("tls:", "tcp:"))):
                with pytest.raises(CoiledError):
                    await link.identity(5.0)
                refused.append(place)
        ours = {name: str(path) for name, path in local.tls_paths(cluster_dir(lab.id)).items()}
        link = SchedulerLink(address, TLSFiles(**ours))
        identity = await link.identity(5.0)
        link.close()
        return len(refused), len(identity["workers"])

    assert with_cluster(body, workers=1) == (4, 1)
