"""Clusters and nodes that refuse, are silent, speak TLS or change under us: each is named with its reason."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import msgspec
import psutil
import pytest
from uv import find_uv_bin

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.core.paces import Paces
from coiled_jupyter.core.wire import ClusterAttach
from coiled_jupyter.ipython.connect import connect
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.links.scheduler import SchedulerLink
from coiled_jupyter.service.facade import Service
from tests.environments import copied, environment, interpreters
from tests.nightly import each_night
from tests.patience import deadline
from tests.processes import words
from tests.remote import RemoteCluster


class Attached:
    """A service with one attached cluster."""

    def __init__(self, service, cluster_id) -> None:
        self.service, self.id = service, cluster_id

    @property
    def cluster(self):
        return self.service.clusters.get(self.id)

    async def until(self, condition, seconds=40):
        """Return the first (diff, environments) for which `condition` holds."""
        end = deadline(seconds)
        while True:
            diff = await self.service.comparing.diff(self.id)
            environments = await self.service.comparing.environments(cluster=self.id)
            if condition(diff, environments):
                return diff, environments
            where = (self.cluster.status, self.cluster.reason, diff.unread, [(e.level, e.nodes) for e in environments])
            assert time.monotonic() < end, where
            await asyncio.sleep(0.1)


def attached(body, address: dict, roots=()):
    """Run ``await body(attached)`` with a cluster attached."""

    async def go():
        service = Service(Configuration(tls_roots=tuple(map(str, roots))))
        await service.start()
        try:
            cluster = await service.clusters.attach(msgspec.convert(address, ClusterAttach))
            try:
                return await body(Attached(service, cluster.id))
            finally:
                await service.clusters.delete(cluster.id)
        finally:
            await service.close()

    return asyncio.run(go())


def today():
    return environment(interpreters()["3.12"], "distributed==2026.8.0")


def read_in_full(nodes, level="all"):
    """Whether so many nodes were read in full, and compared: the two are asked for one after the other."""

    def condition(diff, environments):
        read = sum(len(e.nodes) for e in environments if e.level == level)
        return read == nodes == sum(len(group.nodes) for group in diff.cluster.groups)

    return condition


REFUSE = {
    "DASK_DISTRIBUTED__SCHEDULER__BLOCKED_HANDLERS": '["run_function"]',
    "DASK_DISTRIBUTED__WORKER__BLOCKED_HANDLERS": '["run"]',
}


# Today's is in the tests of what is never equal too.
@pytest.mark.parametrize("dask", each_night(["2026.8.0", "2023.5.0"], ["2023.5.0"]))
def test_where_run_is_refused_dasks_own_versions_are_told(dask, tmp_path):
    python = today() if dask == "2026.8.0" else environment(interpreters()["3.10"], f"distributed=={dask}")

    async def body(lab):
        return await lab.until(lambda d, e: read_in_full(3, "versions")(d, e) and d.level == "versions")

    with RemoteCluster(tmp_path / "r", python, workers=2, extra=REFUSE) as remote:
        diff, environments = attached(body, remote.body())
    assert {e.level for e in environments} == {"versions"}
    assert diff.level == "versions"
    assert diff.verdict in ("unknown", "breaks")
    for found in environments:
        assert {"dask", "distributed", "msgpack", "cloudpickle"} <= {p.name for p in found.packages}
        assert found.python.startswith("3.12" if dask == "2026.8.0" else "3.10")
    rows = {row.name: row for row in diff.rows}
    assert rows["numpy"].status == "unknown"
    assert rows["cloudpickle"].status in ("same", "differs")


def unreachable(body, address, words, roots=()):
    async def wait(lab):
        await body(lab)
        end = deadline(30)
        while not (lab.cluster.status == "unreachable" and words in (lab.cluster.reason or "")):
            assert time.monotonic() < end, (lab.cluster.status, lab.cluster.reason)
            await asyncio.sleep(0.1)
        diff = await lab.service.comparing.diff(lab.id)
        assert diff.verdict == "unknown"
        assert diff.unread
        return diff

    return attached(wait, address, roots)


async def nothing(lab):
    pass


def test_nothing_listens():
    unreachable(nothing, {"address": "tcp://127.0.0.1:9"}, "Connection refused")


def test_tls_is_expected(tmp_path):
    with RemoteCluster(tmp_path / "r", today(), workers=0, tls=True) as remote:
        unreachable(nothing, {"address": remote.address.replace("tls:", "tcp:")}, "expects TLS")


def test_tls_is_not_spoken(tmp_path):
    with RemoteCluster(tmp_path / "a", today(), workers=0, tls=True) as certified:
        files = certified.tls
        with RemoteCluster(tmp_path / "b", today(), workers=0) as remote:
            body = {"address": remote.address.replace("tcp:", "tls:"), "tls": files}
            unreachable(nothing, body, "doesn't use TLS", [tmp_path])


def test_certificates_of_another_authority(tmp_path):
    with (
        RemoteCluster(tmp_path / "a", today(), workers=0, tls=True) as other,
        RemoteCluster(tmp_path / "b", today(), workers=0, tls=True) as remote,
    ):
        body = {"address": remote.address, "tls": other.tls}
        unreachable(nothing, body, "doesn't accept these certificates", [tmp_path])


@pytest.mark.parametrize("tls", each_night([False, True], [True]))
def test_connect_reaches_an_attached_cluster(tls, tmp_path):
    with RemoteCluster(tmp_path / "r", sys.executable, workers=1, tls=tls) as remote:

        async def body(lab):
            await lab.until(read_in_full(2))

            def work():
                with connect(lab.cluster.name) as client:
                    return client.submit(sum, [1, 2]).result(timeout=30)

            return await asyncio.to_thread(work)

        assert attached(body, remote.body(), [tmp_path]) == 3


def test_a_stopped_scheduler_is_told_and_recovers(tmp_path):
    with RemoteCluster(tmp_path / "r", today(), workers=1) as remote:

        async def body(lab):
            await lab.until(read_in_full(2))
            remote.scheduler.send_signal(signal.SIGSTOP)
            begun = time.monotonic()
            while lab.cluster.status != "unreachable":
                assert time.monotonic() - begun < 60
                await asyncio.sleep(0.1)
            reason, diff = lab.cluster.reason, await lab.service.comparing.diff(lab.id)
            remote.scheduler.send_signal(signal.SIGCONT)
            after = await lab.until(lambda d, e: read_in_full(2)(d, e) and not d.unread)
            return reason, diff, after

        reason, diff, _ = attached(body, remote.body())
    assert "sends nothing" in reason or "in time" in reason
    assert diff.verdict != "equal"


def test_a_stopped_worker_is_named_and_the_others_are_read(tmp_path):
    with RemoteCluster(tmp_path / "r", today(), workers=3, nannies=False) as remote:
        victim = remote.processes[1]

        async def body(lab):
            await lab.until(read_in_full(4))
            victim.send_signal(signal.SIGSTOP)
            diff, environments = await lab.until(lambda d, e: d.unread)
            victim.send_signal(signal.SIGCONT)
            await lab.until(lambda d, e: read_in_full(4)(d, e) and not d.unread)
            return diff, environments

        diff, environments = attached(body, remote.body())
    assert len(diff.unread) == 1
    assert "answer" in diff.unread[0].reason
    assert sum(len(e.nodes) for e in environments) == 3


def test_a_worker_that_is_stopped_before_it_was_ever_read(tmp_path):
    with RemoteCluster(tmp_path / "r", today(), workers=3, nannies=False) as remote:
        wait_for_workers(remote, 3)
        remote.processes[1].send_signal(signal.SIGSTOP)

        async def body(lab):
            return await lab.until(lambda d, e: read_in_full(3)(d, e) and d.unread)

        diff, _ = attached(body, remote.body())
        remote.processes[1].send_signal(signal.SIGCONT)
    assert len(diff.unread) == 1


def wait_for_workers(remote, count):
    async def go():
        link = SchedulerLink(remote.address)
        end = deadline(40)
        while len((await link.identity())["workers"]) < count:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)

    asyncio.run(go())


@pytest.fixture
def own_environment(tmp_path):
    """A virtualenv that a test may change, with packages that tell their version and such that don't."""
    requirements = ("distributed==2026.8.0", "six==1.16.0", "iniconfig==2.0.0", "pluggy==1.5.0")
    python = copied(environment(sys.executable, *requirements), tmp_path / "venv")

    def install(*requirements):
        subprocess.run([find_uv_bin(), "pip", "install", "-q", "--python", str(python), *requirements], check=True)

    return python, install


def test_an_install_under_live_workers_is_in_the_next_reading(own_environment, tmp_path):
    python, install = own_environment
    with RemoteCluster(tmp_path / "r", python, workers=2) as remote:

        async def body(lab):
            _, before = await lab.until(lambda d, e: read_in_full(3)(d, e) and all(x.content_at for x in e))
            workers = sorted(node for e in before for node in e.nodes if e.role == "worker")
            link = SchedulerLink(remote.address)
            text = "str([__import__(name) for name in ('six', 'iniconfig')])"
            answers = await link.evaluate_on_workers(workers[:1], text, {})
            assert all(isinstance(answer, str) for answer in answers.values())
            await asyncio.to_thread(install, "six==1.17.0", "iniconfig==2.1.0", "pluggy==1.6.0", "tabulate==0.9.0")
            # The very next reading, not one of the last half second.
            await asyncio.sleep(0.6)
            after = await lab.service.comparing.environments(cluster=lab.id)
            return workers, after, await lab.service.comparing.diff(lab.id)

        workers, after, diff = attached(body, remote.body())
    (found,) = [e for e in after if e.role == "worker"]
    packages = {package.name: package for package in found.packages}
    assert {name: packages[name].version for name in ("six", "iniconfig", "pluggy", "tabulate")} == {
        "six": "1.17.0",
        "iniconfig": "2.1.0",
        "pluggy": "1.6.0",
        "tabulate": "0.9.0",
    }
    assert [(x.version, x.nodes) for x in packages["six"].loaded] == [("1.16.0", (workers[0],))]
    assert [(x.version, x.nodes) for x in packages["iniconfig"].loaded] == [("2.0.0", (workers[0],))]
    assert packages["pluggy"].loaded == ()
    assert {row.name: row.status for row in diff.rows}["six"] in ("restart_needed", "differs", "only_cluster")


def test_nodes_that_differ_are_groups_of_their_own(tmp_path):
    one = environment(interpreters()["3.12"], "distributed==2026.8.0", "six==1.16.0")
    two = environment(interpreters()["3.12"], "distributed==2026.8.0", "six==1.17.0")
    with RemoteCluster(tmp_path / "r", one, workers=2) as remote:
        remote.add_worker("other", two)

        async def body(lab):
            return await lab.until(read_in_full(4))

        diff, environments = attached(body, remote.body())
    sizes = {}
    for found in environments:
        version = {p.name: p.version for p in found.packages}["six"]
        sizes[found.role, version] = len(found.nodes)
    assert sizes == {("worker", "1.16.0"): 2, ("worker", "1.17.0"): 1, ("scheduler", "1.16.0"): 1}
    assert {row.name: row.status for row in diff.rows}["six"] == "split"


@pytest.mark.nightly
def test_newcomers_and_replaced_workers_are_read(tmp_path):
    other = environment(interpreters()["3.12"], "distributed==2026.8.0", "six==1.17.0")
    with RemoteCluster(tmp_path / "r", today(), workers=1) as remote:

        async def body(lab):
            await lab.until(read_in_full(2))
            remote.add_worker("late", other)
            _, late = await lab.until(read_in_full(3))
            nanny = psutil.Process(remote.processes[1].pid)
            worker = next(p for p in nanny.children(recursive=True) if "spawn_main" in words(p))
            before = {node for e in late for node in e.nodes}
            worker.kill()
            _, replaced = await lab.until(
                lambda d, e: read_in_full(3)(d, e) and {n for x in e for n in x.nodes} != before
            )
            return late, replaced

        late, replaced = attached(body, remote.body())
    assert sorted(len(e.nodes) for e in late if e.role == "worker") == [1, 1]
    assert sorted(len(e.nodes) for e in replaced if e.role == "worker") == [1, 1]


def test_an_unwatched_supervisor_of_an_attached_cluster_ends_and_comes_back(tmp_path):
    with RemoteCluster(tmp_path / "r", today(), workers=1) as remote:

        async def first():
            service = Service(Configuration(paces=Paces(unwatched=1.0)))
            await service.start()
            try:
                cluster = await service.clusters.attach(msgspec.convert(remote.body(), ClusterAttach))
                while not service.clusters.get(cluster.id).workers:
                    await asyncio.sleep(0.1)
                return cluster.id, [Ledger().get(cluster.id).pid]
            finally:
                await service.close()

        async def second(cluster_id):
            service = Service()
            await service.start()
            try:
                end = deadline(20)
                while not service.clusters.followed(cluster_id):
                    assert time.monotonic() < end
                    await asyncio.sleep(0.1)
                status = service.clusters.get(cluster_id).status
                await service.clusters.delete(cluster_id)
                return status
            finally:
                await service.close()

        cluster_id, pids = asyncio.run(first())
        end = deadline(15)
        while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert asyncio.run(second(cluster_id)) in ("idle", "running", "starting")
        assert all(process.poll() is None for process in remote.processes)


BAD = [
    ("http://127.0.0.1:80", "address"),
    ("tcp://127.0.0.1", "address"),
    ("tcp://me:secret@127.0.0.1:8786", "address"),
    ("tcp://secret@127.0.0.1:8786", "address"),
    ("tcp://127.0.0.1:8786/path", "address"),
    ("file:///etc/passwd", "address"),
    ("tcp://169.254.169.254:80", "address"),
    ("tcp://[fe80::1]:8786", "address"),
    ("inproc://127.0.0.1/1/2", "address"),
    ("tcp://127.0.0.1:99999", "address"),
    ("tls://127.0.0.1:8786", "tls"),
]


@pytest.mark.parametrize(("address", "field"), BAD)
def test_addresses_that_may_not_be_attached(address, field):
    with pytest.raises(Invalid) as caught:
        attached(nothing, {"address": address})
    assert caught.value.field == field
    assert "secret" not in caught.value.message


def test_certificate_files_must_be_the_users_own(tmp_path):
    real = tmp_path / "real.pem"
    real.write_text("x")
    link = tmp_path / "link.pem"
    link.symlink_to(real)
    good = {"ca_file": str(real), "cert_file": str(real), "key_file": str(real)}
    messages = set()
    (tmp_path / "out").symlink_to("/etc")
    wrong = [link, tmp_path / "missing.pem", tmp_path, "/etc/hostname", "relative.pem", tmp_path / "out" / "hostname"]
    if os.getuid() == 0:
        (tmp_path / "theirs.pem").write_text("x")
        os.chown(tmp_path / "theirs.pem", 65534, 65534)
        wrong.append(tmp_path / "theirs.pem")
    for path in wrong:
        body = {"address": "tls://127.0.0.1:9", "tls": {**good, "key_file": str(path)}}
        with pytest.raises(Invalid) as caught:
            attached(nothing, body, [tmp_path])
        assert caught.value.field == "tls.key_file"
        messages.add(caught.value.message)
    assert len(messages) == 1


def test_the_administrator_says_which_hosts():
    async def go():
        service = Service(Configuration(allowed_addresses=("*.example.org", "10.0.0.0/8")))
        with pytest.raises(Invalid) as caught:
            await service.clusters.attach(ClusterAttach(address="tcp://127.0.0.1:9"))
        return caught.value

    assert asyncio.run(go()).field == "address"
