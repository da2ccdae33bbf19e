"""The reader against nodes that answer anything: what isn't a reading is named, nothing raises, nothing is invented."""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coiled_jupyter import texts
from coiled_jupyter.core.errors import CoiledError, Timeout, Unavailable
from coiled_jupyter.core.reading import SIZE_LIMIT
from coiled_jupyter.links.reader import Reader
from coiled_jupyter.links.scheduler import Refused
from tests.core.test_reading import GOOD

WORKERS = ("tcp://a:1", "tcp://a:2", "tcp://a:3")


class Nodes:
    """A `NodeLink` whose nodes answer by a function ``answer(node, verb, arguments)``, which gives text or an error."""

    address = "tcp://s:0"

    def __init__(self, answer, versions=None) -> None:
        self._answer, self._versions = answer, versions or {}
        self.asked: list[tuple[str, str]] = []

    def _one(self, node, names):
        verb, _, *rest = names["A"]
        self.asked.append((node, verb))
        try:
            return self._answer(node, verb, rest)
        except CoiledError as error:
            return error

    async def identity(self, deadline=5.0):
        return {"workers": {}}

    async def evaluate_on_scheduler(self, expression, names, deadline=5.0):
        found = self._one("scheduler", names)
        if isinstance(found, CoiledError):
            raise found
        return found

    async def evaluate_on_workers(self, workers, expression, names, deadline=5.0, *, nanny=False):
        return {worker: self._one(worker, names) for worker in workers}

    async def versions(self, workers, deadline=5.0):
        missing = Unavailable("no")
        return {node: self._versions.get(node, missing) for node in (*workers, "scheduler")}


def pack(value) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.b64encode(zlib.compress(text.encode())).decode()


def healthy(node, verb, rest):
    if verb in ("keys", "anew"):
        return "disk0 loaded0"
    if verb == "soon":
        return "done"
    if verb == "loaded":
        return pack({"numpy": ["2.4.6", True]})
    known = rest[0] if rest else ""
    told = {"keys": "disk0 loaded0 c0", "content_age": 1.0}
    if known != told["keys"]:
        told |= {"reading": GOOD, "content": {"packages": {}, "modules": []}}
    return pack(told)


def read(nodes, workers=WORKERS, times=1, **options):
    async def go():
        reader = Reader(nodes)
        found = None
        for _ in range(times):
            found = await reader.read(dict.fromkeys(workers, 0.0), **options)
        return found, reader

    return asyncio.run(go())


def named(readings):
    return {node for e in readings.environments for node in e.nodes} | {u.node for u in readings.unread}


def test_one_of_a_kind_is_read_and_asked_again():
    nodes = Nodes(healthy)
    readings, _ = read(nodes, times=3)
    assert not readings.unread
    assert sorted(len(e.nodes) for e in readings.environments) == [1, 3]
    assert [node for node, verb in nodes.asked if verb == "keys"] == [*WORKERS[1:], "scheduler"]
    # Once for each reading, of one node; the scheduler, which is elsewhere, at the first.
    assert [node for node, verb in nodes.asked if verb == "read"] == [WORKERS[0], "scheduler", *WORKERS[:1] * 2]


def test_a_changed_disk_asks_all_of_its_nodes_again():
    disk = ["disk0"]

    def answer(node, verb, rest):
        text = healthy(node, verb, ["" for _ in rest])
        if verb == "soon":
            return text
        if verb in ("keys", "anew"):
            return f"{disk[0]} loaded0"
        return pack(json.loads(zlib.decompress(base64.b64decode(text))) | {"keys": f"{disk[0]} loaded0 c0"})

    async def go():
        nodes = Nodes(answer)
        reader = Reader(nodes)
        await reader.read(dict.fromkeys(WORKERS, 0.0))
        nodes.asked.clear()
        disk[0] = "disk1"
        readings = await reader.read(dict.fromkeys(WORKERS, 0.0))
        return nodes.asked, readings

    asked, readings = asyncio.run(go())
    # The one that has told of the change is known already.
    assert {node for node, verb in asked if verb == "anew"} == {*WORKERS[1:], "scheduler"}
    assert not readings.unread


def test_a_node_that_no_longer_answers_is_not_vouched_for_by_what_it_said():
    silent = set()

    def answer(node, verb, rest):
        if node in silent:
            raise Timeout("No answer in time")
        return healthy(node, verb, rest)

    async def go():
        reader = Reader(Nodes(answer))
        await reader.read(dict.fromkeys(WORKERS, 0.0))
        silent.update((*WORKERS, "scheduler"))
        return await reader.read(dict.fromkeys(WORKERS, 0.0))

    readings = asyncio.run(go())
    assert readings.environments == ()
    assert {u.node for u in readings.unread} == {*WORKERS, "scheduler"}


def test_a_refusing_node_is_read_by_dasks_own_versions():
    def answer(node, verb, rest):
        if node == WORKERS[1]:
            raise Refused("refused")
        return healthy(node, verb, rest)

    versions = {WORKERS[1]: {"host": {"python": "3.12.1.final.0"}, "packages": {"dask": "2026.8.0", "lz4": None}}}
    readings, _ = read(Nodes(answer, versions))
    (partly,) = [e for e in readings.environments if e.level == "versions"]
    assert partly.nodes == (WORKERS[1],)
    assert partly.python == "3.12.1"
    assert [(p.name, p.version) for p in partly.packages] == [("dask", "2026.8.0")]


BOMB = base64.b64encode(zlib.compress(b" " * (SIZE_LIMIT * 16))).decode()
HOSTILE = [
    "",
    " ",
    "error Boom",
    "x" * 5000,
    "disk0",
    BOMB,
    pack("null"),
    pack("[]"),
    pack("{"),
    pack({"keys": "disk0 loaded0 c0"}),
    pack({"keys": "disk0 loaded0 c0", "content_age": 1e300, "reading": {}}),
    pack('{"keys": "disk0 loaded0", "content_age": NaN}'),
    pack({"keys": "disk0 loaded0", "reading": {**GOOD, "packages": [{"name": "a", "version": "1"}] * 20001}}),
    pack({"keys": "disk0 loaded0", "reading": {**GOOD, "conda": [{"name": "a", "version": "1"}] * 20001}}),
    pack({"keys": "disk0 loaded0", "reading": {**GOOD, "host": "x" * 3000}}),
    "\ud800",
]


@pytest.mark.parametrize("verb", ["keys", "read", "loaded"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_leave_their_node_unread(verb, text):
    # The first of a host is asked for everything at once.
    victim = WORKERS[0 if verb == "read" else 1]
    was_asked = []

    def answer(node, asked, rest):
        if node == victim:
            if asked == verb:
                was_asked.append(node)
                return text
            if asked == "keys":
                return "disk0 loaded9"
        return healthy(node, asked, rest)

    readings, _ = read(Nodes(answer))
    assert named(readings) == {*WORKERS, "scheduler"}
    assert was_asked
    assert victim in {u.node for u in readings.unread}
    assert {node for e in readings.environments for node in e.nodes} >= {*WORKERS[1:], "scheduler"} - {victim}


def test_a_scheduler_that_is_never_done_looking_is_read_all_the_same(monkeypatch):
    monkeypatch.setattr("coiled_jupyter.links.reader.LOOK_SECONDS", 0.0)
    nodes = Nodes(lambda node, verb, rest: "working" if verb == "soon" else healthy(node, verb, rest))
    readings, _ = read(nodes)
    assert not readings.unread
    assert nodes.asked.count(("scheduler", "soon")) == 200


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from([*WORKERS, "scheduler"]), st.lists(st.text(max_size=60), min_size=3, max_size=3))
)
def test_any_text_is_survived(given_texts):
    def answer(node, verb, rest):
        if node in given_texts:
            return given_texts[node][("keys", "read", "loaded", "anew", "soon").index(verb) % 3]
        return healthy(node, verb, rest)

    readings, _ = read(Nodes(answer), times=2)
    assert named(readings) == {*WORKERS, "scheduler"}


def test_names_that_would_change_what_is_shown_are_made_plain():
    evil = "<img src=x onerror=alert(1)>\u202e\u200b"

    def answer(node, verb, rest):
        if verb == "read":
            reading = {
                **GOOD,
                "host": evil,
                "packages": [{"name": evil, "version": "1"}, {"name": "six", "version": evil}],
            }
            content = {"modules": [{"name": evil, "path": evil, "content": evil}]}
            return pack({"keys": "disk0 loaded0 c0", "content_age": 1, "reading": reading, "content": content})
        return healthy(node, verb, rest)

    readings, _ = read(Nodes(answer))
    for environment in readings.environments:
        assert "\u202e" not in str(environment)
        assert "\u200b" not in str(environment)


def test_the_texts_that_are_sent_stay_small():
    """What every node gets at its first meeting."""
    assert len(texts.packed("node")) + len(texts.packed("fingerprint")) < 6000


@pytest.mark.parametrize(
    "name",
    ["node", "fingerprint", "edits", "probe", "content", "nanny", "layer_plugin", "scheduler", "worker", "layer"],
)
def test_what_is_sent_is_the_text_without_what_is_for_its_readers(name):
    def code(text):
        tree = ast.parse(text)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and len(body) > 1:
                node.body = [x for x in body if not (isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant))]
        return ast.dump(tree)

    sent = zlib.decompress(base64.b64decode(texts.packed(name))).decode()
    assert code(sent) == code(texts.source(name))
    assert len(sent) < len(texts.source(name))
