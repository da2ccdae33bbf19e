"""Clusters of a real dask-gateway: what it declares, what it refuses, and clusters that run there already."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from dask_gateway import Gateway

from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import CoiledError, Conflict, Invalid, NotFound
from coiled_jupyter.core.launch import ClusterClass
from coiled_jupyter.core.wire import ClusterChange, ClusterRestart, OffersAsk, Option
from coiled_jupyter.factories.contract import Wanted
from coiled_jupyter.factories.gateway import ENTRY
from coiled_jupyter.ledger import Ledger
from tests.factories.test_contract import Lab, Platform, served
from tests.gateway import DaskGateway
from tests.patience import deadline
from tests.processes import words


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskGateway]:
    with DaskGateway(tmp_path_factory.mktemp("gateway"), nodes=Path(sys.executable), most=2) as made:
        made.ready()
        yield made


@pytest.fixture
def gateway(server: DaskGateway, monkeypatch: pytest.MonkeyPatch) -> DaskGateway:
    for name, value in server.variables().items():
        monkeypatch.setenv(name, value)
    return server


def act_on(gateway: DaskGateway, act, **factories: dict[str, object]) -> None:
    asyncio.run(served(Platform({"factory": "gateway"}, factories, gateway=gateway), act))


def test_what_a_gateway_declares_is_offered_and_checked(gateway):
    async def act(lab: Lab) -> None:
        clusters = lab.service.clusters
        found = await clusters.offers("gateway", OffersAsk())
        assert (found.clusters, list(found.options)) == ((), ["worker_cores", "worker_memory", "profile", "note"])
        cores, memory, profile, note = found.options.values()
        assert (cores.type, cores.default, cores.minimum, cores.maximum) == ("integer", 1, 1, 2)
        assert (memory.type, memory.maximum, profile.choices) == ("number", 2, ("small", "large"))
        # Text of another's; the page shows it as such.
        assert note.description == "<b>Note</b>"
        # What an administrator decides is no option any more.
        assert "profile" not in (await clusters.offers("large", OffersAsk())).options
        for name, value, said in (
            ("address", "http://evil.example", "no option address"),
            ("shutdown_on_close", False, "no option shutdown_on_close"),
            ("environment", "x", "no option environment"),
            ("worker_cores", 3, "worker_cores must be at least 1 and at most 2"),
            ("worker_cores", "2", "worker_cores must be an integer"),
            ("profile", "huge", "profile must be one of small, large"),
            ("note", "a\nb", "note has characters"),
            ("join", "a b", "join has characters"),
        ):
            with pytest.raises(Invalid, match=said) as caught:
                await lab.create(options={name: value})
            assert caught.value.field == f"options.{name}"
        with pytest.raises(Invalid, match="has the size that it has") as caught:
            await lab.create(options={"join": "a"}, workers=2)
        assert caught.value.field == "workers"
        with pytest.raises(Invalid, match="has its options already"):
            await lab.create(options={"join": "a", "worker_cores": 2})
        with pytest.raises(Invalid, match="can't be asked for its options before"):
            await lab.create(options={"worker_cores": 2}, requirements=["dask-gateway"])
        assert not gateway.processes()

    act_on(gateway, act, large={"like": "gateway", "kwargs": {"profile": "large"}})


def test_a_cluster_that_runs_there_is_joined_scaled_and_left_running(gateway, tmp_path, monkeypatch):
    # Whoever makes a file there, even for a moment, changes the time of the folder.
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    before = temporary.stat().st_mtime_ns

    async def act(lab: Lab) -> None:
        async with _elsewhere(gateway, 1, worker_cores=2) as name:
            monkeypatch.setenv("TMPDIR", str(temporary))
            found = await lab.service.clusters.offers("gateway", OffersAsk())
            assert [(one.name, one.status) for one in found.clusters] == [(name, "running")]
            await lab.create(options={"join": name})
            cluster = await lab.runs(1)
            assert (cluster.joined, cluster.desired.workers, cluster.workers[0].threads) == (True, 1, 2)
            assert cluster.scheduler.address.startswith("tls://127.0.0.1:")
            assert cluster.scheduler.dashboard.endswith(f"/clusters/{name}/status")
            await lab.until(lambda _: Ledger().used_cores() == 2)
            joined = lab.id
            await lab.create(options={"join": name}, name="again")
            cluster = await ended(lab)
            assert cluster.reason.startswith("This cluster is followed already, as cluster-")
            lab.id = joined
            assert lab.cluster.status in ("idle", "running")
            await lab.service.clusters.change(lab.id, ClusterChange(workers=3))
            cluster = await lab.until(lambda c: len(c.workers) == 2 and c.status == "degraded")
            assert cluster.reason.startswith("1 of 3 workers isn't there yet: Scale request of 3 workers would exceed")
            assert cluster.reason.endswith("Ask for fewer workers, or the gateway's administrator for more")
            with pytest.raises(Conflict, match="was joined, and goes on where it runs"):
                await lab.service.clusters.restart(lab.id, ClusterRestart(what="cluster"))
            await lab.service.clusters.delete(joined)
            lab.id = ""
            with pytest.raises(NotFound):
                lab.service.clusters.get(joined)
            end = deadline(20)
            while Ledger().used_cores():
                assert time.monotonic() < end
                await asyncio.sleep(0.1)
            found = await lab.service.clusters.offers("gateway", OffersAsk())
            assert [(one.name, one.status) for one in found.clusters] == [(name, "running")]
            assert sum(" worker" in line for line in gateway.processes()) >= 2

    act_on(gateway, act)
    assert temporary.stat().st_mtime_ns == before


def _gateway(gateway: DaskGateway) -> Gateway:
    # This process has read its configuration already.
    return Gateway(**gateway.arguments(), asynchronous=True)


@contextlib.asynccontextmanager
async def _elsewhere(gateway: DaskGateway, workers: int, **options: object):
    """Open a cluster as a notebook does, and end it."""
    async with _gateway(gateway) as there:
        cluster = await there.new_cluster(**options)
    try:
        await cluster.scale(workers)
        end = deadline(40)
        while len(cluster.scheduler_info.get("workers", ())) < workers:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
        yield cluster.name
    finally:
        await cluster.close()


@pytest.mark.parametrize(
    ("variables", "said", "step"),
    [
        ({"DASK_GATEWAY__AUTH__KWARGS": "{'username': 'somebody', 'password': 'wrong'}"}, "401", "gateway.auth"),
        # Of a gateway beside a hub: the token gets there, and isn't one of this gateway.
        ({"DASK_GATEWAY__AUTH__TYPE": "jupyterhub", "DASK_GATEWAY__AUTH__KWARGS": "{}", "JUPYTERHUB_API_TOKEN": "t"}, "401", "gateway.auth"),
        ({"DASK_GATEWAY__ADDRESS": "http://127.0.0.1:1"}, "Connect call failed", "Check that something listens"),
        ({"DASK_GATEWAY__ADDRESS": "None"}, "No dask-gateway address", "Set gateway.address in Dask's configuration"),
    ],
)  # fmt: skip
def test_a_gateway_that_refuses_is_told_in_its_words(gateway, monkeypatch, variables, said, step):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    async def act(lab: Lab) -> None:
        with pytest.raises(CoiledError) as caught:
            await lab.service.clusters.offers("gateway", OffersAsk())
        assert said in caught.value.message
        assert step in caught.value.hint
        await lab.create()
        cluster = await ended(lab)
        assert cluster.status == "failed"
        assert said in cluster.reason
        assert step in cluster.reason

    act_on(gateway, act)


@pytest.mark.nightly
def test_a_cluster_that_ends_there_is_told_and_what_it_refuses_is_the_state(gateway):
    async def act(lab: Lab) -> None:
        async with _elsewhere(gateway, 1) as name:
            await lab.create(options={"join": name})
            await lab.runs(1)
        cluster = await ended(lab)
        assert "The gateway says that the cluster is stopped" in cluster.reason
        await lab.create(options={"join": name})
        cluster = await ended(lab)
        assert "is already stopped" in cluster.reason
        await lab.create(options={"join": "nobody"})
        cluster = await ended(lab)
        assert "Cluster nobody not found" in cluster.reason
        await lab.create(workers=1)
        await lab.runs(1)
        (host,) = [
            one
            for one in psutil.Process(Ledger().get(lab.id).pid).children(recursive=True)
            if "distributed.deploy.Cluster" in words(one)
        ]
        host.kill()
        cluster = await ended(lab)
        assert cluster.reason.startswith("Its class ended")
        (left,) = (await lab.service.clusters.offers("gateway", OffersAsk())).clusters
        async with _gateway(gateway) as there:
            await there.stop_cluster(left.name)

    act_on(gateway, act)


async def ended(lab: Lab):
    end = deadline(60)
    while lab.cluster.status not in ENDED:
        assert time.monotonic() < end, lab.told()
        await asyncio.sleep(0.1)
    return lab.cluster


@pytest.mark.parametrize("name", ["address", "auth", "proxy_address", "loop", "cluster_options"])
def test_no_request_says_where_a_gateway_is_even_if_one_declares_that(name):
    with pytest.raises(Invalid, match=f"no option {name}"):
        ENTRY.checked({name: "x"}, {name: Option(type="string", description="")})


def test_an_administrators_options_are_not_those_of_a_cluster_that_is_joined():
    entry = msgspec.structs.replace(ENTRY, given={"address": "http://gateway", "image": "lab"})
    made = [entry.cluster_class(Wanted(id="a", workers=1, threads_per_worker=None, memory_limit=None, options=options))
            for options in ({"join": None}, {"join": "x"})]  # fmt: skip
    assert all(isinstance(one, ClusterClass) for one in made)
    assert made[0].kwargs == {"address": "http://gateway", "image": "lab"}
    assert (made[1].name, made[1].args, made[1].kwargs) == (
        "GatewayCluster.from_name",
        ("x",),
        {"address": "http://gateway"},
    )
