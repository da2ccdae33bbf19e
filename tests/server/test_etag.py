"""What a page that polls is sent: nothing while nothing changes, and the age of what it has; on a real server and cluster."""

from __future__ import annotations

import gzip
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from coiled_jupyter.core.wire import Cluster, Diff
from coiled_jupyter.server import etag
from tests.processes import JupyterServer, apart, wait_for, words

WIRE = Path(__file__).resolve().parents[1] / "wire"
CLUSTER = msgspec.json.decode((WIRE / "cluster-idle.json").read_bytes(), type=Cluster)
DIFF = msgspec.json.decode((WIRE / "diff-equal.json").read_bytes(), type=Diff)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # With a ledger of its own: what other tests leave is read too, and has an age.
    server = JupyterServer(tmp_path_factory.mktemp("etag"), env=apart())
    yield server
    for cluster in server.api("GET", "clusters")[1]:
        server.api("DELETE", f"clusters/{cluster['id']}")
    server.close()


@pytest.fixture(scope="module")
def routes(server):
    """What a page polls, of a kernel and a cluster of one worker that is equal to it."""
    kernel = server.ask("POST", "/api/kernels", {"name": "python3"})[1]["id"]
    wait_for(lambda: server.api("GET", f"environments?kernel={kernel}")[0] == 200, what="a kernel that answers")
    status, made = server.api("POST", "clusters", {"name": "calm", "workers": 1, "interpreter": {"kernel": kernel}})
    assert status == 202, made
    diff = f"diff?kernel={kernel}&cluster={made['id']}"
    wait_for(lambda: server.api("GET", diff)[1]["verdict"] == "equal", what="an equal cluster", seconds=90)
    return ["clusters", "usage", "syncs", diff]


def poll(server: JupyterServer, route: str, tag: str | None = None) -> tuple[int, str, float | None]:
    """Return (status, ETag, seconds since the oldest current reading)."""
    headers = {"Authorization": f"token {server.token}"} | ({"If-None-Match": tag} if tag else {})
    request = urllib.request.Request(f"{server.url}/coiled-jupyter/api/{route}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            status, got = answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            status, got = error.code, error.headers
    age = got["Coiled-Jupyter-Age"]
    return status, got["ETag"], None if age is None else int(age) / 1000


def test_a_page_that_polls_is_sent_nothing_while_nothing_changes_and_told_the_age(server, routes):
    tags: dict[str, str] = {}

    polled = {}

    def calm() -> bool:
        # Just started, a worker may take more memory for a while.
        tags.update({route: poll(server, route)[1] for route in routes})
        # Readings are made again and again meanwhile.
        time.sleep(5)
        polled.update({route: poll(server, route, tags[route]) for route in routes})
        return [status for status, _, _ in polled.values()] == [304] * 4

    wait_for(calm, seconds=90, what="answers that stay for 5 s")
    ages = [age for route, (_, _, age) in polled.items() if route != "syncs"]
    assert all(age is not None and 0 <= age < etag.CURRENT_SECONDS for age in ages), ages


def test_what_is_large_is_sent_compressed_with_the_tag_of_its_content(server, routes):
    path = next(path for path in routes if path.startswith("diff?"))
    headers = {"Authorization": f"token {server.token}"}

    def asked(**more: str):
        request = urllib.request.Request(f"{server.url}/coiled-jupyter/api/{path}", headers={**headers, **more})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.headers, answer.read()

    told, plain = asked()
    packed_told, packed = asked(**{"Accept-Encoding": "gzip, br"})
    assert told["Content-Encoding"] is None
    assert packed_told["Content-Encoding"] == "gzip"
    assert 5 * len(packed) < len(plain)
    assert (
        msgspec.json.decode(gzip.decompress(packed), type=Diff).cluster == msgspec.json.decode(plain, type=Diff).cluster
    )
    assert packed_told["ETag"] == told["ETag"]


def test_what_is_no_longer_read_is_sent_once_with_its_time(server, routes):
    _, tag, _ = poll(server, "clusters")
    (supervisor,) = [p for p in server.descendants() if "coiled_jupyter.supervisor" in words(p).split()]
    supervisor.suspend()
    try:
        wait_for(lambda: poll(server, "clusters", tag)[0] == 200, seconds=40, what="an answer with its time")

        def still() -> bool:
            status, now, age = poll(server, "clusters", poll(server, "clusters")[1])
            # Nothing in it is current, so that nothing but its own time tells its age.
            return (status, age) == (304, None) and now != tag

        wait_for(still, seconds=40, what="an answer that stays")
    finally:
        supervisor.resume()
    wait_for(lambda: poll(server, "clusters")[2] is not None, what="a reading that is current again")


def at(seconds: float) -> str:
    """Return the time so many seconds ago, as the wire has it."""
    moment = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seen(seconds: float, **fields: object) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(CLUSTER, seen_at=at(seconds), workers=(), **fields))


def test_the_tag_covers_content_and_old_times_and_no_current_ones():
    tag, age = etag.of(seen(1))
    assert etag.of(seen(4))[0] == tag
    assert age is not None
    assert 1 <= age < 4
    assert etag.of(seen(1, name="other"))[0] != tag
    assert etag.of(seen(1, status="stopped"))[0] != tag
    old, none = etag.of(seen(20))
    assert none is None
    assert old != tag
    assert etag.of(seen(30))[0] != old


def test_the_age_is_that_of_the_oldest_current_reading():
    clusters = b"[%s,%s,%s]" % (seen(2), seen(6), seen(3600))
    age = etag.of(clusters)[1]
    assert age is not None
    assert 6 <= age < 9


def test_a_text_that_looks_like_a_time_is_content():
    """A name comes from another process and may be anything."""
    made = [etag.of(msgspec.json.encode({"name": f'","seen_at":"{at(s)}","x":"', "reason": at(s)})) for s in (1, 2)]
    assert made[0][0] != made[1][0]
    assert made[0][1] is None


def test_whether_files_were_looked_at_is_content_and_when_is_not():
    def tag(content_at: str | None) -> str:
        return etag.of(msgspec.json.encode({"content_at": content_at}))[0]

    assert tag(at(1)) == tag(at(60)) != tag(None)


def test_a_diff_read_again_has_the_same_tag():
    first, second = (etag.of(msgspec.json.encode(msgspec.structs.replace(DIFF, taken_at=at(s)))) for s in (0, 3))
    assert first[0] == second[0]
