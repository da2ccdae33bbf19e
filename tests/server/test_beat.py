"""What a page is told without asking, on a real server with a real cluster and a real listener."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
import websocket

from coiled_jupyter.core.cluster import now
from coiled_jupyter.core.errors import NotFound
from coiled_jupyter.core.wire import Change, Cluster, Diff, Usage
from coiled_jupyter.server.beat import CURRENT_SECONDS, LOOKS, Beat
from tests.processes import JupyterServer, of_clusters, wait_for

WIRE = Path(__file__).resolve().parents[1] / "wire"
CALM = msgspec.json.decode((WIRE / "cluster-idle.json").read_bytes(), type=Cluster)
EQUAL = msgspec.json.decode((WIRE / "diff-equal.json").read_bytes(), type=Diff)
USAGE = msgspec.json.decode((WIRE / "usage.json").read_bytes(), type=Usage)
CHANGE = "https://events.coiled-jupyter.org/change/v1"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = JupyterServer(tmp_path_factory.mktemp("beat"))
    yield server
    for cluster in server.api("GET", "clusters")[1]:
        server.api("DELETE", f"clusters/{cluster['id']}")
    server.close()


@pytest.fixture(scope="module")
def pair(server):
    """A kernel and a cluster of one worker that is equal to it."""
    kernel = server.ask("POST", "/api/kernels", {"name": "python3"})[1]["id"]
    wait_for(lambda: server.api("GET", f"environments?kernel={kernel}")[0] == 200, what="a kernel that answers")
    status, made = server.api("POST", "clusters", {"name": "calm", "workers": 1, "interpreter": {"kernel": kernel}})
    assert status == 202, made
    cluster = made["id"]

    def equal():
        return server.api("GET", f"diff?kernel={kernel}&cluster={cluster}")[1]["verdict"] == "equal"

    wait_for(equal, what="an equal cluster", seconds=90)
    return kernel, cluster


@contextlib.contextmanager
def listening(server):
    """Yield a function that returns the next of our events, or None after so many seconds."""
    header = [f"Authorization: token {server.token}"]
    bus = websocket.create_connection(f"ws://127.0.0.1:{server.port}/api/events/subscribe", header=header, timeout=1)

    def event(seconds: float):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(websocket.WebSocketTimeoutException):
                told = json.loads(bus.recv())
                if told["schema_id"] == CHANGE:
                    return told
        return None

    try:
        yield event
    finally:
        bus.close()


def routes(pair):
    return ["clusters", "usage", f"diff?kernel={pair[0]}&cluster={pair[1]}"]


def confirmed(server, event, pair):
    """Return a beat that confirms what the server answers, and the tags of that."""
    for _ in range(20):
        # What nobody has asked for since somebody listens isn't read.
        tags = [server.head(route)[1].strip('"') for route in routes(pair)]
        told = event(15)
        assert told is not None, "no beat"
        if told["kind"] == "beat" and set(tags) <= set(told["id"].split()):
            return told, tags
    raise AssertionError("what is read does not come to rest")


def test_what_holds_is_told_and_need_not_be_sent(server, pair):
    with listening(server) as event:
        beat, tags = confirmed(server, event, pair)
        assert 0 <= beat["revision"] <= 5000
        # A calm cluster changes nothing but times: beats, and nothing else that a page would ask for. Just started, it
        # may take more memory for a while.
        for _ in range(5):
            told = [event(15) for _ in range(4)]
            if {it["kind"] for it in told} == {"beat"}:
                break
        assert [it["kind"] for it in told] == ["beat"] * 4
        tags = confirmed(server, event, pair)[1]
        assert {it["id"] for it in told} == {beat["id"]}
        for route, tag in zip(routes(pair), tags, strict=True):
            assert server.head(route, f'"{tag}"')[0] == 304


def test_what_is_not_read_is_not_confirmed(server, pair):
    with listening(server) as event:
        _, (clusters, usage, diff) = confirmed(server, event, pair)
        (supervisor,) = [p for p in of_clusters(pair[1]) if "coiled_jupyter.supervisor" in " ".join(p.cmdline())]
        supervisor.suspend()
        try:
            stopped = time.monotonic()
            later = []
            while time.monotonic() - stopped < 24:
                told = event(1)
                # What was read before is confirmed for some seconds yet.
                if told and told["kind"] == "beat" and time.monotonic() - stopped > 10:
                    later.append(told["id"].split())
            assert not any({clusters, usage, diff} & set(tags) for tags in later), later
            # Asked for, it is sent with its times.
            assert server.head("clusters", f'"{clusters}"')[0] == 200
        finally:
            supervisor.resume()
        assert confirmed(server, event, pair)


def test_the_end_of_the_cluster_is_told(server, pair):
    with listening(server) as event:
        confirmed(server, event, pair)
        server.api("DELETE", f"clusters/{pair[1]}")
        wait_for(lambda: (event(15) or {}).get("kind") == "cluster", what="the end of the cluster", seconds=30)


class Answers:
    """A service with answers at hand, that counts what is compared."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []
        self.hangs: set[str] = set()
        self.fails: set[str] = set()
        self.seen_at = now()
        self.heard: list[Change] = []
        self.listened = True
        self.beat = Beat(self, self.diff, listened=lambda: self.listened, emit=self.heard.append)  # type: ignore[arg-type] # a part

    def clusters(self) -> list[Cluster]:
        return [msgspec.structs.replace(CALM, seen_at=self.seen_at)]

    def usage(self) -> Usage:
        return msgspec.structs.replace(USAGE, clusters=())

    async def diff(self, kernel: str, cluster: str) -> Diff:
        self.read.append((kernel, cluster))
        if kernel in self.fails:
            raise NotFound("no such kernel")
        if kernel in self.hangs:
            await asyncio.sleep(3600)
        return msgspec.structs.replace(EQUAL, taken_at=now())


def test_nothing_is_read_where_no_page_listens():
    there = Answers()
    there.beat.look("k", "c")
    there.listened = False
    asyncio.run(there.beat.beat())
    there.listened = True
    # Who listens later has to ask first.
    asyncio.run(there.beat.beat())
    assert (there.read, there.heard) == ([], [])


def test_only_what_was_asked_for_last_is_read():
    there = Answers()
    for number in range(LOOKS + 3):
        there.beat.look(f"k{number}", "c")
    there.beat.look("k3", "c")
    asyncio.run(there.beat.beat())
    assert sorted(kernel for kernel, _ in there.read) == ["k3", "k4", "k5", "k6"]


def test_a_kernel_that_has_gone_is_read_no_more():
    there = Answers()
    there.fails.add("gone")
    there.beat.look("gone", "c")
    there.beat.look("k", "c")
    for _ in range(2):
        asyncio.run(there.beat.beat())
    assert [kernel for kernel, _ in there.read].count("gone") == 1
    assert [len(beat.id.split()) for beat in there.heard] == [3, 3]


def test_a_kernel_that_is_silent_holds_no_beat_up(monkeypatch):
    monkeypatch.setattr("coiled_jupyter.server.beat.BEAT_SECONDS", 0.05)
    there = Answers()
    there.hangs.add("silent")
    there.beat.look("silent", "c")
    asyncio.run(there.beat.beat())
    assert [len(beat.id.split()) for beat in there.heard] == [2]


def test_what_was_seen_long_ago_is_left_out_and_the_age_is_that_of_the_oldest():
    there = Answers()
    there.beat.look("k", "c")
    there.seen_at = before(3)
    asyncio.run(there.beat.beat())
    there.seen_at = before(CURRENT_SECONDS + 1)
    asyncio.run(there.beat.beat())
    fresh, old = there.heard
    assert len(fresh.id.split()) == 3
    assert 3000 <= fresh.revision <= 1000 * CURRENT_SECONDS
    assert len(old.id.split()) == 2
    assert old.revision < 3000


def before(seconds: float) -> str:
    # In milliseconds, as times on the wire are: the rest would make it younger than that by a fraction of one.
    moment = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
