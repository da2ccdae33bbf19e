"""Readings from hostile nodes are refused or cleaned, never believed and never a fault."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import CoiledError, Invalid, TooLarge
from coiled_jupyter.core.groups import digest, group
from coiled_jupyter.core.reading import PACKAGE_LIMIT, SIZE_LIMIT, Answer, decode_answer
from tests.readings import decode_reading

GOOD = {
    "python": "3.11.7", "implementation": "cpython", "platform": "linux-x86_64", "prefix": "/p", "base_prefix": "/p",
    "executable": "/p/bin/python", "base_executable": "/p/bin/python", "host": "a", "pid": 1, "packages": [], "problems": [],
}  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=20), children, max_size=5),
    max_leaves=20,
)


def encoded(**changes) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@given(st.binary(max_size=500))
def test_any_bytes_are_an_answer_or_refused(data):
    try:
        assert isinstance(decode_answer(data), Answer)
    except CoiledError:
        return


@given(st.sampled_from(sorted(GOOD)), values)
def test_any_value_anywhere_is_a_reading_or_refused(key, value):
    try:
        reading = decode_reading(json.dumps({**GOOD, key: value}))
    except CoiledError:
        return
    # What was accepted goes on through grouping and back through JSON.
    made = group({"n": reading}, "worker", taken_at="2026-01-01T00:00:00.000Z")
    assert msgspec.json.decode(msgspec.json.encode(made), type=tuple[type(made[0]), ...]) == made


@pytest.mark.parametrize(
    "data",
    ["", "[]", "{}", '{"error": "MemoryError"}', "[" * 100_000, encoded(packages=[{}]), encoded(pid="1")],
)
def test_what_is_no_reading(data):
    with pytest.raises(Invalid) as caught:
        decode_reading(data)
    assert caught.value.data["field"] == "reading"


def test_limits():
    with pytest.raises(TooLarge):
        decode_reading(b" " * (SIZE_LIMIT + 1))
    many = [{"name": f"p{i}", "version": "1"} for i in range(PACKAGE_LIMIT + 1)]
    with pytest.raises(TooLarge):
        decode_reading(encoded(packages=many))
    with pytest.raises(Invalid):
        decode_reading(encoded(host="x" * 3000))


def test_texts_that_would_change_how_others_are_shown_are_cleaned():
    package = {"name": "Evil_Name", "version": "1.0\u202e\x1b[31m"}
    reading = decode_reading(encoded(host="a\u202eb\x00", packages=[package]))
    assert reading.host == "ab"
    assert [(p.name, p.version) for p in reading.packages] == [("evil-name", "1.0[31m")]


@pytest.mark.parametrize("name", ["", "-", "<img>", "a b", "x" * 300, "../etc", "numpy\n"])
def test_names_that_are_none_become_problems(name):
    reading = decode_reading(encoded(packages=[{"name": name, "version": "1"}]))
    assert reading.packages == ()
    assert [problem.kind for problem in reading.problems] == ["unreadable"]


def test_one_name_twice_is_a_problem_not_a_choice():
    packages = [{"name": "a.b", "version": "1"}, {"name": "A-B", "version": "2"}]
    reading = decode_reading(encoded(packages=packages))
    assert len(reading.packages) == 1
    assert [problem.kind for problem in reading.problems] == ["duplicate"]


def test_the_digest_tells_content_from_circumstance():
    base = decode_reading(encoded(packages=[{"name": "a", "version": "1"}]))
    elsewhere = decode_reading(
        encoded(host="b", pid=2, prefix="/q", packages=[{"name": "a", "version": "1", "loaded": "0"}])
    )
    assert digest(base) == digest(elsewhere)
    source = {"url": "file:///x", "kind": "editable"}
    assert digest(base) != digest(decode_reading(encoded(packages=[{"name": "a", "version": "1", "source": source}])))
    assert digest(base) != digest(decode_reading(encoded(packages=[{"name": "a", "version": "2"}])))


def test_nodes_are_grouped_by_host_prefix_and_content():
    one, other = decode_reading(encoded()), decode_reading(encoded(host="b"))
    groups = group({"n1": one, "n2": other, "n3": one}, "worker", taken_at="2026-01-01T00:00:00.000Z")
    assert [(g.host, g.nodes) for g in groups] == [("a", ("n1", "n3")), ("b", ("n2",))]
