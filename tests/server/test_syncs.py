"""Plans and syncs over REST: what is refused, and that nothing is started by what is refused."""

from __future__ import annotations

import psutil
import pytest

from tests.processes import JupyterServer, apart


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # A ledger of its own: a list is empty at first.
    runtime = apart()
    allowed = "--CoiledJupyter.allowed_in_files=vcs"
    server = JupyterServer(tmp_path_factory.mktemp("server"), "server", allowed, env=runtime)
    yield server
    server.close()


BAD = [
    (b"", "body"), (b"{", "body"), (b"[]", "body"), (b"{}", "cluster"), (b'{"cluster": ""}', "cluster"),
    (b'{"cluster": 1}', "cluster"), (b'{"cluster": "x", "actions": [{"kind": "install"}]}', "actions"),
    (b'{"cluster": "x", "direction": "sideways"}', "direction"), (b'{"cluster": "x", "scope": "some"}', "scope"),
    (b'{"cluster": "x", "scope": []}', "scope"), (b'{"cluster": "x", "scope": [1]}', "scope"),
    (b'{"cluster": "x", "drain_seconds": -1}', "drain_seconds"), (b'{"cluster": "x", "confirm": ["all"]}', "confirm"),
    (b'{"cluster": "x", "drain_seconds": 1e999}', "drain_seconds"), (b'{"cluster": "x", "from": "k"}', "from"),
    (b'{"cluster": "x", "from": {"url": "http://e"}}', "from"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), BAD)
def test_a_bad_plan_names_the_field(server, body, field):
    status, answer = server.api("POST", "plans", raw=body)
    assert status == 400, answer
    assert answer["error"]["kind"] == "invalid"
    assert answer["error"]["data"]["field"].partition("[")[0].partition(".")[0] == field
    assert "Traceback" not in str(answer)


HOSTILE = ["--index-url=http://e", "-r x", "x @ https://e/x.whl", "git+https://e", "a\nb", "a\0b", "../x", "x" * 10_000]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_before_anything_starts(server, name):
    before = {process.pid for process in server.descendants()}
    status, answer = server.api("POST", "plans", {"cluster": "x", "scope": [name]})
    assert status in (400, 404), answer
    assert {p.pid for p in server.descendants() if psutil.pid_exists(p.pid)} <= before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "plans", {"cluster": "nonsense"}),
        ("GET", "plans/nonsense", None),
        ("POST", "syncs", {"plan": "nonsense"}),
        ("GET", "syncs/nonsense", None),
        ("DELETE", "syncs/nonsense", None),
        ("POST", "syncs/nonsense/undo", {}),
        ("DELETE", "layers/nonsense", None),
        ("DELETE", "layers/base", None),
        ("DELETE", "layers/..%2f..%2fetc", None),
    ],
)
def test_what_is_not_there_is_404(server, method, path, body):
    status, answer = server.api(method, path, body)
    assert status == 404, answer
    assert answer["error"]["kind"] == "not_found"


def test_the_environment_of_a_kernel_is_no_target_and_what_to_do_instead_is_said(server):
    status, answer = server.api("POST", "plans", {"cluster": "x", "direction": "to_kernel"})
    assert (status, answer["error"]["kind"]) == (422, "impossible")
    assert "%coiled sync --to-kernel" in answer["error"]["hint"]


def test_an_imported_file_may_name_the_kinds_that_the_administrator_allows_and_no_others(server):
    def refused(line: str) -> dict:
        file = {"name": "requirements.txt", "text": line}
        status, answer = server.api("POST", "software", {"name": "a", "file": file})
        assert (status, answer["error"]["data"]["field"]) == (400, "file.text"), answer
        return answer["error"]

    assert "allowed_in_files = ['urls']" in refused("x @ https://e/x.whl")["hint"]
    assert "names no commit" in refused("x @ git+https://e/x@main")["message"]
    built = refused(f"x @ git+https://me:hunter22@e/x@{'a' * 40}")
    assert "has to be built, which runs its code" in built["message"]
    assert "allow_source_builds" in built["hint"]
    assert "hunter22" not in str(built)


def test_lists_are_there_from_the_start(server):
    assert server.api("GET", "syncs") == (200, [])
    assert server.api("GET", "layers") == (200, [])


def test_a_sync_takes_nothing_but_a_plan(server):
    for body, field in ((b'{"plan": 1}', "plan"), (b'{"plan": "x", "actions": []}', "actions"), (b"{}", "plan")):
        status, answer = server.api("POST", "syncs", raw=body)
        assert (status, answer["error"]["data"]["field"]) == (400, field)
