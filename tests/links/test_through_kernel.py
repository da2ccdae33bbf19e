"""Clusters that only a kernel's own Dask client can reach, with real kernels, schedulers and workers."""

from __future__ import annotations

import asyncio

import pytest

from coiled_jupyter.core.errors import CoiledError, Timeout, Unavailable
from coiled_jupyter.core.identity import decode_identity, decode_state
from coiled_jupyter.links.reader import Reader
from coiled_jupyter.links.through_kernel import ThroughKernelLink
from tests.environments import environment, interpreters
from tests.kernelspecs import kernel_spec
from tests.links.test_kernel import readable, with_kernel


async def read_nodes(link, workers, deadline=4.0):
    return await Reader(link, deadline=deadline).read(dict.fromkeys(workers, 0.0))


TODAY = ("distributed==2026.8.0", "dask==2026.8.0", "cryptography", "ipykernel>=7,<8")
OLDER = ("distributed==2023.5.0", "dask==2023.5.0", "cryptography", "ipykernel>=6.29,<7")
TLS = """
from distributed import Client, LocalCluster
from distributed.security import Security
cluster = LocalCluster(n_workers=2, threads_per_worker=1, protocol="tls://", security=Security.temporary(),
                       dashboard_address=":0")
client = Client(cluster)
"""
PLAIN = """
from distributed import Client, LocalCluster
cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
client = Client(cluster, set_as_default=False)
"""
INPROC = "from distributed import Client; client = Client(processes=False, n_workers=1, dashboard_address=':0')"
ASYNCHRONOUS = """
from distributed import Client
client = await Client(processes=True, n_workers=1, dashboard_address=":0", asynchronous=True)
"""


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """A folder of kernel specs: today's Dask, and an older one on an older Python."""
    folder = tmp_path_factory.mktemp("specs")
    kernels = {"today": environment(interpreters()["3.11"], *TODAY)}
    if "3.10" in interpreters():
        kernels["older"] = environment(interpreters()["3.10"], *OLDER)
    for name, python in kernels.items():
        kernel_spec(folder, name, python)
    return folder


async def opened(session, link, code):
    """Run a cell that opens a cluster and return its only client and the way through it."""
    await readable(link, session.id)
    content = await session.run(code)
    assert content["status"] == "ok", content
    (client,) = await link.clients(session.id)
    return client, ThroughKernelLink(link, session.id, client.id, client.address)


async def evaluated(session, expression: str):
    content = await session.run("0", value=expression)
    return content["user_expressions"]["value"]["data"]["text/plain"]


@pytest.mark.parametrize("spec", ["today", "older"])
def test_in_memory_tls_is_read_through_the_kernel(spec, specs, monkeypatch):
    if not (specs / "kernels" / spec).exists():
        pytest.skip("There is no Python 3.10 here: an older Dask in the kernel was left out")

    async def body(session, link):
        assert await _no_clients(session, link) == ()
        names = await evaluated(session, "sorted(dir())")
        client, through = await opened(session, link, TLS)
        identity = decode_identity(await through.identity())
        readings = await read_nodes(through, list(identity.nodes))
        versions = await through.versions(list(identity.nodes))
        state = decode_state(await through.scheduler_state(client.scheduler), own={client.id: "n"})
        scheduler = await evaluated(session, "client.scheduler_info()['id']")
        await session.run("client.close(); cluster.close()")
        new = set(eval(await evaluated(session, "sorted(dir())"))) - set(eval(names))
        return client, identity, readings, versions, state.clients, scheduler, await link.clients(session.id), new

    client, identity, readings, versions, clients, scheduler, after, new = with_kernel(spec, body, specs, monkeypatch)
    assert (client.status, client.inproc, client.in_memory_tls) == ("running", False, True)
    assert client.address.startswith("tls://")
    assert client.scheduler == identity.id == eval(scheduler)
    assert client.cluster_class == "LocalCluster"
    assert readings.unread == ()
    assert {(e.role, len(e.nodes)) for e in readings.environments} == {("worker", 2), ("scheduler", 1)}
    expected = "2026.8.0" if spec == "today" else "2023.5.0"
    for found in readings.environments:
        assert {p.version for p in found.packages if p.name == "distributed"} == {expected}
    assert set(versions) == {"scheduler", *identity.nodes}
    assert {v["packages"]["distributed"] for v in versions.values()} == {expected}
    (info,) = clients
    assert (info.id, info.own, info.host) == (client.id, True, "127.0.0.1")
    assert info.versions["distributed"] == expected
    assert after == ()  # closed
    mine = {"Client", "LocalCluster", "Security", "client", "cluster"}
    assert {name for name in new if not name.startswith("_")} == mine


async def _no_clients(session, link):
    await readable(link, session.id)
    return await link.clients(session.id)


def test_while_cells_run_and_a_worker_is_silent(specs, monkeypatch):
    """Also a client that is nobody's default, a cell that waits for a result, and the user's own work afterwards."""

    async def body(session, link):
        _client, through = await opened(session, link, PLAIN)
        workers = list(decode_identity(await through.identity()).nodes)
        found = []
        for code in ("import time; time.sleep(3)", "client.submit(time.sleep, 3).result()"):
            message = session.client.execute(code)
            await asyncio.sleep(0.8)
            await link.clients(session.id)
            found.append(await read_nodes(through, workers))
            assert (await session.reply(message))["status"] == "ok"
        name = decode_identity(await through.identity()).nodes[workers[0]].name
        stop = "import os, signal; p = [n.pid for n in cluster.workers.values() if str(n.name) == %r][0]; os.kill(p, signal.%s)"
        assert (await session.run(stop % (name, "SIGSTOP")))["status"] == "ok"
        silent = await read_nodes(through, workers, 1.5)
        await session.run(stop % (name, "SIGCONT"))
        again = await read_nodes(through, workers)
        works = await evaluated(session, "client.submit(sum, [1, 2]).result()")
        with pytest.raises(CoiledError):
            raise (await through.evaluate_on_workers(["tcp://127.0.0.1:1"], "'x'", {}))["tcp://127.0.0.1:1"]
        with pytest.raises(Unavailable, match="refused"):
            await through.evaluate_on_scheduler("1 / 0", {})
        with pytest.raises(Unavailable, match="4 MiB"):
            await through.evaluate_on_scheduler("'x' * 5_000_000", {})
        big = await through.evaluate_on_workers(workers, "'x' * 3_000_000", {})
        await session.run("client.close()")
        with pytest.raises(Unavailable, match="closed"):
            await through.identity()
        await session.run("cluster.close()")
        return workers, found, silent, again, works, big

    workers, found, silent, again, works, big = with_kernel("today", body, specs, monkeypatch)
    assert all(not readings.unread for readings in found)
    assert [(u.node, u.reason) for u in silent.unread] == [(workers[0], "No answer in time")]
    assert {node for e in silent.environments for node in e.nodes} == {"scheduler", workers[1]}
    assert again.unread == ()
    assert works == "3"
    assert [len(text) for text in big.values()] == [3_000_000] * 2


def test_inproc_is_the_kernel_itself(specs, monkeypatch):
    async def body(session, link):
        client, through = await opened(session, link, INPROC)
        workers = list(decode_identity(await through.identity()).nodes)
        pids = await through.evaluate_on_workers(workers, "str(__import__('os').getpid())", {})
        pid = await through.evaluate_on_scheduler("str(__import__('os').getpid())", {})
        reading = (await link.read(session.id)).reading
        await session.run("client.close()")
        return client, {*pids.values(), pid}, reading

    client, pids, reading = with_kernel("today", body, specs, monkeypatch)
    assert client.inproc
    assert client.address.startswith("inproc://")
    assert pids == {str(reading.pid)}


def test_an_asynchronous_client_is_busy_while_a_cell_holds_its_loop(specs, monkeypatch):
    async def body(session, link):
        client, through = await opened(session, link, ASYNCHRONOUS)
        idle = await through.identity()
        message = session.client.execute("import time; time.sleep(3)")
        await asyncio.sleep(0.8)
        with pytest.raises(Timeout, match="held up") as caught:
            await through.identity()
        await session.reply(message)
        message = session.client.execute("import asyncio; await asyncio.sleep(2)")
        await asyncio.sleep(0.5)
        awaiting = await through.identity()
        await session.reply(message)
        await session.run("await client.close()")
        return client, idle, awaiting, caught.value.data

    client, idle, awaiting, data = with_kernel("today", body, specs, monkeypatch)
    assert client.asynchronous
    assert idle["id"] == awaiting["id"] == client.scheduler
    assert data == {"why": "busy"}


def test_after_a_restart_there_are_none(specs, monkeypatch):
    async def body(session, link):
        _, through = await opened(session, link, INPROC)
        await session.manager.restart_kernel(session.id)
        link.notice(session.id, "restart")
        with pytest.raises(Unavailable):
            await through.identity()
        return await _no_clients(session, link)

    assert with_kernel("today", body, specs, monkeypatch) == ()
