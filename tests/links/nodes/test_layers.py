"""Files on their way to nodes: in pieces, of which none is sent twice, and used only as a whole that is right."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace
from uv import find_uv_bin

from coiled_jupyter import texts
from coiled_jupyter.core.change.survey import IndexQuestion
from coiled_jupyter.core.errors import Impossible
from coiled_jupyter.links.nodes.layers import CHUNK, LayerRequest
from coiled_jupyter.links.nodes.link import NodeLink
from coiled_jupyter.links.scheduler import SchedulerLink
from coiled_jupyter.software.index import Index
from coiled_jupyter.software.resolve import target_of
from coiled_jupyter.software.wheels import fetch, find
from tests.environments import environment, interpreters
from tests.remote import RemoteCluster
from tests.supervisor.test_sync import TODAY

WHEEL = "cj_big-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    extra = {"XDG_CACHE_HOME": str(folder / "cache"), "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}
    with RemoteCluster(folder / "remote", environment(interpreters()["3.11"], *TODAY), workers=2, extra=extra) as found:
        yield found, folder / "cache" / "coiled-jupyter" / "layers"


def on(cluster: RemoteCluster, body) -> None:
    async def go() -> None:
        link = SchedulerLink(cluster.address)
        try:
            while len((await link.identity())["workers"]) < 2:
                await asyncio.sleep(0.05)
            await body(NodeLink(link), link)
        finally:
            link.close()

    asyncio.run(go())


def random_file(folder: Path, size: int, seed: int) -> Path:
    path = folder / WHEEL
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def test_after_a_break_only_the_rest_is_sent_and_other_workers_of_the_host_have_it(cluster, tmp_path):
    running, home = cluster
    content = random_file(tmp_path, 9 * CHUNK + 77, 1)
    digest = hashlib.sha256(content.read_bytes()).hexdigest()

    async def body(nodes: NodeLink, link: SchedulerLink) -> None:
        survey = await nodes.surveyor.survey()
        first, second = (worker.nanny for worker in survey.workers)
        crossed: list[int] = []
        broken = asyncio.Event()

        def count(number: int) -> None:
            crossed.append(number)
            if len(crossed) == 3:
                broken.set()

        sending = asyncio.create_task(nodes.layers.send(first, WHEEL, content, sent=count))
        await broken.wait()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        # The piece that was under way may have arrived.
        part = home / ".files" / digest / f"{WHEEL}.part"
        assert 3 * CHUNK <= part.stat().st_size <= 4 * CHUNK
        assert not part.with_suffix("").exists()
        have = part.stat().st_size
        # Another process sends the rest, through the other nanny.
        rest: list[int] = []
        path = Path(await NodeLink(link).layers.send(second, WHEEL, content, sent=rest.append))
        assert sum(rest) == content.stat().st_size - have
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (content.read_bytes(), 0o600)
        assert await nodes.layers.send(first, WHEEL, content, sent=rest.append) == str(path)
        assert sum(rest) == content.stat().st_size - have
        # Where two nannies of a host need it at once, one of them is sent it.
        other = random_file(tmp_path, 2 * CHUNK, 4)
        both: list[int] = []
        paths = await asyncio.gather(
            *(nodes.layers.send(nanny, WHEEL, other, host="h", sent=both.append) for nanny in (first, second))
        )
        assert len(set(paths)) == 1
        assert sum(both) == 2 * CHUNK

    on(running, body)


def test_what_arrives_damaged_is_sent_anew_and_never_used(cluster, tmp_path):
    running, home = cluster
    content = random_file(tmp_path, 4 * CHUNK, 2)
    digest = hashlib.sha256(content.read_bytes()).hexdigest()

    async def body(nodes: NodeLink, link: SchedulerLink) -> None:
        (place,) = (await nodes.surveyor.survey()).places
        # A piece that was changed on its way, as the last thing before a connection broke off.
        altered = bytearray(content.read_bytes()[:CHUNK])
        altered[100] ^= 1
        names = texts.short_names("nanny", "put", WHEEL, digest, 0, bytes(altered), 4 * CHUNK, False)
        assert await link.evaluate_on_workers([place.speaker], texts.SHORT, names, 10) == {
            place.speaker: f'{{"have": {CHUNK}}}'
        }
        crossed: list[int] = []
        path = Path(await nodes.layers.send(place.speaker, WHEEL, content, sent=crossed.append))
        assert path.read_bytes() == content.read_bytes()
        assert sum(crossed) == 3 * CHUNK + 4 * CHUNK
        # Whatever is sent, it isn't what was asked for.
        other = hashlib.sha256(b"other").hexdigest()
        with pytest.raises(Impossible, match=f"{WHEEL} arrived damaged on h, twice, and is not used"):
            await nodes.layers.send(place.speaker, WHEEL, content, host="h", sha256=other)
        assert list((home / ".files" / other).iterdir()) == []

    on(running, body)


def test_a_node_says_whether_its_installer_reaches_the_index(cluster):
    running, _ = cluster

    async def body(nodes: NodeLink, link: SchedulerLink) -> None:
        (place,) = (await nodes.surveyor.survey()).places
        uv = find_uv_bin()
        ask = lambda **fields: nodes.layers.reaches(  # noqa: E731
            place.speaker, place.executable, uv, IndexQuestion(**fields), 20
        )
        assert await ask() is False
        # What the administrator says counts more than the node's own settings.
        assert await ask(environ={"UV_DEFAULT_INDEX": "https://pypi.org/simple"}) is True
        assert await ask(options=("--no-index",), environ={"UV_FIND_LINKS": "/nowhere"}) is False
        assert await nodes.layers.reaches(place.speaker, "/nowhere/python", uv, IndexQuestion(), 20) is None
        assert await nodes.layers.reaches(place.speaker, place.executable, uv, IndexQuestion(), 0.001) is None

    on(running, body)


@pytest.mark.nightly
def test_an_index_that_never_answers_is_one_that_is_not_reached(cluster):
    running, _ = cluster

    async def body(nodes: NodeLink, link: SchedulerLink) -> None:
        (place,) = (await nodes.surveyor.survey()).places
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(5)
            question = IndexQuestion(environ={"UV_DEFAULT_INDEX": f"http://127.0.0.1:{server.getsockname()[1]}/simple"})
            reached = await nodes.layers.reaches(place.speaker, place.executable, find_uv_bin(), question, 20)
        assert reached is False

    on(running, body)


@pytest.mark.nightly
def test_a_node_with_nothing_but_pip_is_asked_and_built_the_same_way(tmp_path):
    python = environment(interpreters()["3.11"], *TODAY, "pip==25.0")
    wanted, made = tmp_path / "wanted.in", tmp_path / "locked.txt"
    wanted.write_text("\n".join((*TODAY, "numpy==2.4.6")))
    options = ("-q", "--generate-hashes", "--no-header", "--no-annotate", "--only-binary", ":all:")
    command = [find_uv_bin(), "pip", "compile", *options, "--python", python, "-o", made, wanted]
    subprocess.run(command, check=True, capture_output=True)
    lock = made.read_text()

    async def body(nodes: NodeLink, link: SchedulerLink) -> None:
        (place,) = (await nodes.surveyor.survey()).places
        speaker, executable = place.speaker, place.executable
        assert await nodes.layers.reaches(speaker, executable, None, IndexQuestion(), 20) is False
        public = IndexQuestion(environ={"PIP_INDEX_URL": "https://pypi.org/simple"})
        assert await nodes.layers.reaches(speaker, executable, None, public, 20) is True
        expected = dict(line.split(" ")[0].split("==") for line in lock.splitlines() if "==" in line and line[0] != " ")
        request = LayerRequest(id="by-pip", executable=executable, lock=lock, expected=expected, imports=("numpy",))
        failed = [state async for state in nodes.layers.build(speaker, request, 120)][-1]
        assert (failed.state, failed.unfetched) == ("failed", True), failed
        sent = []
        for remote in await find(target_of(place), lock, index=Index()):
            path, digest = await fetch(remote, index=Index())
            sent.append(await nodes.layers.send(speaker, remote.file, path, sha256=digest))
        whole = replace(request, wheels=tuple(sent), offline=True)
        done = [state async for state in nodes.layers.build(speaker, whole, 120)][-1]
        assert done.state == "done", done
        # One that is missing isn't looked for elsewhere.
        fewer = replace(whole, id="fewer", wheels=tuple(sent[1:]))
        failed = [state async for state in nodes.layers.build(speaker, fewer, 120)][-1]
        assert failed.state == "failed", failed

    extra = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    extra |= {"PIP_CACHE_DIR": str(tmp_path / "pip"), "PIP_FIND_LINKS": ""}
    with RemoteCluster(tmp_path / "remote", python, workers=2, extra=extra) as running:
        on(running, body)
