"""What every kind of cluster does, tried on real platforms: local processes, SSH, Slurm, a gateway, and a configured class."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from distributed import Client

from coiled_jupyter import configuration
from coiled_jupyter.core.change.journal import FINAL
from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.core.wire import AdaptiveRequest, Cluster, ClusterChange, ClusterCreate, PlanCreate, Sync
from coiled_jupyter.factories import dask_labextension
from coiled_jupyter.ipython.connect import connect_to
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.service.facade import Service
from tests import platforms
from tests.environments import environment, interpreters
from tests.fakes import InterpreterKernels
from tests.gateway import DaskGateway
from tests.patience import deadline
from tests.processes import words

TODAY = ("distributed==2026.8.0", "dask==2026.8.0", "cloudpickle==3.1.3", "msgpack==1.2.4", "tornado==6.6.1")
KINDS = ("local", "ssh", "slurm", "gateway", "configured")
_CONFIGURED = """
labextension:
  factory:
    module: distributed
    class: LocalCluster
    args: []
    kwargs: {n-workers: 0, threads-per-worker: 1, dashboard-address: null, host: 127.0.0.1, security: true}
  default: {workers: 2, adapt: null}
"""


class Platform:
    """One kind of cluster with what a request for it needs."""

    def __init__(
        self,
        request: dict[str, object],
        factories: dict[str, object],
        slurm: platforms.Slurm | None = None,
        gateway: DaskGateway | None = None,
    ):
        self.request, self.factories, self.slurm, self.gateway = request, factories, slurm, gateway

    def body(self, **more: object) -> ClusterCreate:
        return ClusterCreate(**{**self.request, **more})

    def left(self, address: str) -> list[str]:
        """Return what is left of a cluster: jobs, and processes that were told its scheduler's address."""
        jobs = [job for job in self.slurm.jobs() if "COMPLETING" not in job] if self.slurm else []
        if self.gateway is not None:
            jobs += self.gateway.processes()
        return jobs + [line for line in map(words, psutil.process_iter()) if address and address in line]


@contextlib.contextmanager
def platform(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    if kind == "local":
        yield Platform({"threads_per_worker": 1}, {})
    elif kind == "ssh":
        with platforms.ssh(folder / "ssh") as server:
            options = {"hosts": "127.0.0.1, 127.0.0.1", "encrypted": True}
            yield Platform({"factory": "machines", "options": options}, {"machines": server.factory()})
    elif kind == "slurm":
        with platforms.slurm() as slurm:
            monkeypatch.setenv("SLURM_CONF", slurm.environ["SLURM_CONF"])
            request = {"factory": "queue", "threads_per_worker": 1, "memory_limit": "500 MB"}
            yield Platform(request, {"queue": slurm.factory()}, slurm)
    elif kind == "gateway":
        with DaskGateway(folder / "gateway", nodes=Path(sys.executable)) as server:
            server.ready()
            for name, value in server.variables().items():
                monkeypatch.setenv(name, value)
            yield Platform({"factory": "gateway"}, {}, gateway=server)
    else:
        path = folder / "dask" / "labextension.yaml"
        path.parent.mkdir()
        path.write_text(_CONFIGURED)
        monkeypatch.setenv("DASK_CONFIG", str(path.parent))
        yield Platform({"factory": dask_labextension.NAME}, {})


class Lab:
    """A service, and at most one cluster of it."""

    def __init__(self, service: Service, platform: Platform) -> None:
        self.service, self.platform = service, platform
        self.id = ""

    async def create(self, **more: object) -> None:
        self.id = (await self.service.clusters.create(self.platform.body(**more))).id

    @property
    def cluster(self) -> Cluster:
        return self.service.clusters.get(self.id)

    async def until(self, condition, seconds: float = 40) -> Cluster:
        end = deadline(seconds)
        while not condition(self.cluster):
            assert time.monotonic() < end, self.told()
            assert self.cluster.status not in ENDED, self.told()
            await asyncio.sleep(0.05)
        return self.cluster

    def told(self) -> str:
        return f"{self.cluster.status}: {self.cluster.reason} {self.cluster.warnings}"

    async def runs(self, workers: int) -> Cluster:
        return await self.until(lambda c: len(c.workers) == workers and c.status in ("idle", "running"))

    async def stop(self) -> Cluster:
        address = self.cluster.scheduler.address if self.cluster.scheduler else ""
        await self.service.clusters.delete(self.id)
        end = deadline(60)
        while self.cluster.status not in ENDED:
            assert time.monotonic() < end, self.told()
            await asyncio.sleep(0.05)
        while left := self.platform.left(address):
            assert time.monotonic() < end, left
            await asyncio.sleep(0.2)
        return self.cluster


def on(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, act, kernels=None, **settings: object) -> None:
    """Run ``await act(lab)`` with a platform, and see that nothing of a cluster is left there."""
    with platform(kind, folder, monkeypatch) as place:
        asyncio.run(served(place, act, kernels, **settings))


async def served(place: Platform, act, kernels=None, **settings: object) -> None:
    """Run ``await act(lab)`` with a service; all cores are free after it."""
    service = Service(configuration.made({"factories": place.factories, **settings}), kernels=kernels)
    await service.start()
    lab = Lab(service, place)
    try:
        await act(lab)
    finally:
        if lab.id and lab.cluster.status not in ENDED:
            await lab.stop()
        # Of a cluster whose supervisor was killed they come back when its last process has ended.
        end = deadline(20)
        while cores := Ledger().used_cores():
            assert time.monotonic() < end, cores
            await asyncio.sleep(0.1)
        await service.close()


def kinds(*marks: object):
    return pytest.mark.parametrize("kind", [pytest.param(kind, marks=marks) for kind in KINDS])


@kinds()
def test_a_cluster_starts_is_read_grows_shrinks_and_leaves_nothing(kind, tmp_path, monkeypatch):
    async def act(lab: Lab) -> None:
        await lab.create(workers=1)
        cluster = await lab.runs(1)
        assert cluster.scheduler.address.startswith("tls:")
        assert cluster.cores.requested == cluster.cores.allocated == 1
        assert Ledger().used_cores() == 1
        roles = [e.role for e in await lab.service.comparing.environments(cluster=lab.id) if e.level == "all"]
        assert sorted(roles) == ["scheduler", "worker"]
        changed = await lab.service.clusters.change(lab.id, ClusterChange(workers=2))
        assert (changed.granted, changed.desired.workers) == (None, 2)
        await lab.runs(2)
        # Threads of a client, which block.
        assert await asyncio.to_thread(_computed, lab.cluster, 2) == list(range(20))
        await lab.service.clusters.change(lab.id, ClusterChange(workers=1))
        await lab.runs(1)
        assert (await lab.service.clusters.logs(lab.id)).lines
        await lab.stop()
        assert lab.cluster.reason == "It was stopped on request"

    on(kind, tmp_path, monkeypatch, act)


def _computed(cluster: Cluster, workers: int) -> list[int]:
    with connect_to(cluster) as client:
        assert isinstance(client, Client)
        client.wait_for_workers(workers, timeout=60)
        return client.gather(client.map(abs, range(20)))


@kinds(pytest.mark.nightly)
def test_adaptive_scaling_follows_the_work_and_the_limit_counts(kind, tmp_path, monkeypatch):
    async def act(lab: Lab) -> None:
        await lab.create(workers=1)
        await lab.runs(1)
        bounds = ClusterChange(adaptive=AdaptiveRequest(minimum=1, maximum=5))
        changed = await lab.service.clusters.change(lab.id, bounds)
        assert (changed.granted, changed.limit) == (3, 3)
        client = await asyncio.to_thread(connect_to, lab.cluster)
        futures = client.map(time.sleep, [1.5 + i / 1000 for i in range(12)])
        await lab.until(lambda c: len(c.workers) == 3, 60)
        await asyncio.to_thread(client.gather, futures)
        del futures
        await lab.until(lambda c: len(c.workers) == 1, 60)
        await asyncio.to_thread(client.close)

    on(kind, tmp_path, monkeypatch, act, core_limit=3)


@kinds(pytest.mark.nightly)
@pytest.mark.parametrize("seconds", [0.5, 2.0, 4.0])
def test_a_start_that_is_cancelled_leaves_nothing(kind, seconds, tmp_path, monkeypatch):
    async def act(lab: Lab) -> None:
        await lab.create(workers=2)
        await asyncio.sleep(seconds)
        before = _dask_processes()
        await lab.stop()
        end = deadline(70)
        while left := before & _dask_processes():
            assert time.monotonic() < end, left
            await asyncio.sleep(0.2)

    on(kind, tmp_path, monkeypatch, act)


def _dask_processes() -> set[int]:
    """Return the processes of this test's own Python that a platform has started."""
    marks = ("distributed.cli", "dask_worker", "dask_spec")
    return {p.pid for p in psutil.process_iter() if sys.prefix in (line := words(p)) and any(m in line for m in marks)}


@kinds(pytest.mark.nightly)
def test_a_supervisor_that_is_killed_leaves_nothing(kind, tmp_path, monkeypatch):
    async def act(lab: Lab) -> None:
        await lab.create(workers=2)
        cluster = await lab.runs(2)
        os.kill(Ledger().get(lab.id).pid, signal.SIGKILL)
        end = deadline(70)
        while left := lab.platform.left(cluster.scheduler.address):
            assert time.monotonic() < end, left
            await asyncio.sleep(0.3)
        while lab.cluster.status != "lost":
            assert time.monotonic() < end, lab.told()
            await asyncio.sleep(0.1)

    on(kind, tmp_path, monkeypatch, act)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "configured"])
def test_it_is_synced_keeps_its_results_grows_in_the_layer_and_goes_back(kind, tmp_path, monkeypatch):
    kernel = environment(interpreters()["3.11"], *TODAY, "six==1.16.0")

    async def act(lab: Lab) -> None:
        await lab.create(workers=2)
        await lab.runs(2)
        client = await asyncio.to_thread(connect_to, lab.cluster)
        futures = client.map(pow, range(40), [2] * 40)
        await asyncio.to_thread(client.gather, futures)

        def versions() -> set[str]:
            return set(client.run(eval, "__import__('importlib.metadata').metadata.version('six')").values())

        assert await asyncio.to_thread(versions) == {version("six")}
        service = lab.service
        plan = await service.changing.plan(PlanCreate(cluster=lab.id, kernel="k", scope=["six"]))
        assert plan.how == "roll"
        done = await _ended(service, await service.changing.sync(plan.id))
        assert done.state == "done", done
        assert await asyncio.to_thread(versions) == {"1.16.0"}
        await service.clusters.change(lab.id, ClusterChange(workers=3))
        await lab.runs(3)
        assert await asyncio.to_thread(versions) == {"1.16.0"}
        undone = await _ended(service, await service.changing.undo(done.id))
        assert undone.state == "done", undone
        assert await asyncio.to_thread(versions) == {version("six")}
        assert await asyncio.to_thread(client.gather, futures) == [n**2 for n in range(40)]
        await asyncio.to_thread(client.close)

    on(kind, tmp_path, monkeypatch, act, kernels=InterpreterKernels({"k": (kernel, ("six",))}))


async def _ended(service: Service, sync: Sync) -> Sync:
    end = deadline(120)
    while (found := await service.changing.find_sync(sync.id)).state not in FINAL:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)
    return found


@pytest.mark.nightly
def test_a_configured_local_cluster_is_compared_and_says_why_it_is_not_synced(tmp_path, monkeypatch):
    kernel = environment(interpreters()["3.11"], *TODAY, "six==1.16.0")

    async def act(lab: Lab) -> None:
        await lab.create(workers=1)
        await lab.runs(1)
        plan = await lab.service.changing.plan(PlanCreate(cluster=lab.id, kernel="k", scope=["six"]))
        assert plan.how == "refused"
        assert any("shares a process with the scheduler" in action.why for action in plan.actions)

    on("configured", tmp_path, monkeypatch, act, kernels=InterpreterKernels({"k": (kernel, ("six",))}))


def test_a_job_that_waits_is_shown_as_waiting_and_is_gone_after_a_stop(tmp_path, monkeypatch):
    async def act(lab: Lab) -> None:
        # The node has four cores.
        await lab.create(workers=3, threads_per_worker=2, memory_limit="300 MB")
        cluster = await lab.until(lambda c: len(c.workers) == 2 and "waits in the queue" in (c.reason or ""))
        assert cluster.reason == "1 of 3 workers isn't there yet: 1 job waits in the queue (Resources)"
        assert (cluster.status, cluster.cores.requested, cluster.cores.allocated) == ("idle", 6, 4)
        await lab.stop()

    on("slurm", tmp_path, monkeypatch, act)


@pytest.mark.parametrize(
    ("kind", "factory", "more", "said", "step"),
    [
        ("slurm", {"kwargs": {"queue": "nowhere", "interface": "lo"}}, {}, "invalid partition specified: nowhere", "Choose a queue"),
        ("slurm", {}, {"memory_limit": None}, "You must specify how much cores and memory", "Give memory"),
        ("slurm", {}, {"memory_limit": "900 GB"}, "Requested node configuration is not available", "Ask for less"),
        ("ssh", {"kwargs": {"connect_options": {"client_keys": []}}}, {}, "Permission denied", "start ssh-agent"),
        ("ssh", {"kwargs": {"connect_options": {"known_hosts": "/dev/null"}}}, {}, "Host key is not trusted", "Log in once"),
        ("ssh", {"kwargs": {"connect_options": {"port": 1}}}, {}, "refused", "Check that something listens"),
        ("ssh", {"kwargs": {"remote_python": "/nowhere/python"}}, {}, "/nowhere/python: not found", "at the same path"),
    ],
)  # fmt: skip
def test_a_refusal_is_the_state_in_the_platforms_words(kind, factory, more, said, step, tmp_path, monkeypatch):
    async def act(lab: Lab) -> None:
        (configured,) = lab.platform.factories.values()
        _merge(configured, factory)
        lab.service = Service(configuration.made({"factories": lab.platform.factories}))
        await lab.service.start()
        try:
            await lab.create(**more)
            end = deadline(40)
            while lab.cluster.status not in ENDED:
                assert time.monotonic() < end, lab.told()
                await asyncio.sleep(0.05)
            assert lab.cluster.status == "failed"
            assert said.lower() in lab.cluster.reason.lower()
            assert step in lab.cluster.reason
            assert not lab.platform.left("distributed.cli.dask_spec tcp://")
        finally:
            await lab.service.close()
            lab.id = ""

    on(kind, tmp_path, monkeypatch, act)


def _merge(below: dict, above: dict) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


def test_a_class_that_isnt_installed_is_named(tmp_path, monkeypatch):
    factory = {"class": "no_such_package.deploy:Cluster", "requires": ["no-such-package"]}

    async def act(lab: Lab) -> None:
        with pytest.raises(CoiledError, match=r"no-such-package isn't in the Jupyter server's environment"):
            await lab.service.clusters.create(ClusterCreate(factory="other"))
        await lab.create()
        end = deadline(40)
        while lab.cluster.status != "failed":
            assert time.monotonic() < end, lab.told()
            await asyncio.sleep(0.05)
        assert lab.cluster.reason.startswith(f"no_such_package isn't in {Path(sys.executable).parent.parent}")

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules[__name__], "platform", _missing_platform(factory))
        on("local", tmp_path, monkeypatch, act)


def _missing_platform(factory: dict[str, object]):
    @contextlib.contextmanager
    def made(kind, folder, monkeypatch):
        undeclared = {key: value for key, value in factory.items() if key != "requires"}
        yield Platform({"factory": "undeclared"}, {"other": factory, "undeclared": undeclared})

    return made
