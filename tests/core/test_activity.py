"""The spans that are kept of a cluster's threads: each is told once, in order, and what is missing is counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.activity import AT_ONCE, KEPT, History, told
from coiled_jupyter.core.errors import CoiledError


def answer(begin: int, count: int, base: float = 5.0, missed: int = 0, **fields) -> dict:
    """Return what a scheduler tells of `count` spans, the first of which is number `begin`, a span in each millisecond."""
    stream = {
        "base": base,
        "next": begin + count,
        "missed": missed,
        "more": False,
        "lanes": [["tcp://w", str(begin % 3)]],
        "prefixes": [f"of-{begin}"],
        "lane": [0] * count,
        "prefix": [0] * count,
        "action": [begin % 6] * count,
        "start": [begin * 10, *[10] * (count - 1)][:count],
        "length": [7] * count,
        **fields,
    }
    counts = dict.fromkeys(("tasks", "queued", "no_worker", "processing"), 0)
    return {"now": 9.0, "stream": stream, "workers": [], "prefixes": [], **counts}


def part(*arguments, **fields):
    return told(json.dumps(answer(*arguments, **fields))).stream


def numbers(stream) -> list[int]:
    """Return the number of each span, which is when it began."""
    at, found = 0, []
    for start in stream.start:
        at += start
        found.append(at // 10)
    return found


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=30))
def test_who_asks_now_and_then_is_told_each_span_once(parts):
    history, count, found, cursor = History(), 0, [], None
    cursor, first = history.after(None)
    assert numbers(first) == []
    for more, asks in parts:
        history.add(part(count, more))
        count += more
        if asks:
            cursor, stream = history.after(cursor)
            assert (stream.missed, stream.more) == (0, False)
            assert [stream.prefixes[n] for n in stream.prefix] == [f"of-{n}" for n in _firsts(parts, numbers(stream))]
            found += numbers(stream)
    _, stream = history.after(cursor)
    assert found + numbers(stream) == list(range(count))


def _firsts(parts, spans) -> list[int]:
    """Return for each span the number of the first of its part."""
    firsts, at = {}, 0
    for more, _ in parts:
        firsts.update(dict.fromkeys(range(at, at + more), at))
        at += more
    return [firsts[span] for span in spans]


def test_one_answer_is_bounded_and_what_is_too_old_is_counted_as_missed():
    history, cursor = History(), 0
    for number in range(0, KEPT + 60_000, 20_000):
        history.add(part(number, 20_000))
    end, stream = history.after(cursor)
    assert (stream.missed, stream.more, len(stream.start)) == (60_000, True, AT_ONCE)
    assert numbers(stream)[0] == 60_000
    found = numbers(stream)
    while stream.more:
        end, stream = history.after(end)
        assert stream.missed == 0
        found += numbers(stream)
    assert found == list(range(60_000, KEPT + 60_000))
    # Who comes without a cursor sees the last ones.
    _, stream = history.after(None)
    assert (numbers(stream)[-1], stream.missed) == (KEPT + 59_999, 0)


def test_what_the_scheduler_has_lost_is_told_to_who_asked_before():
    history = History()
    history.add(part(0, 10))
    cursor, _ = history.after(None)
    history.add(part(30, 5, missed=20))
    assert history.after(cursor)[1].missed == 20
    assert history.after(history.after(cursor)[0])[1].missed == 0


def test_of_another_scheduler_nothing_is_mixed_in():
    history = History()
    history.add(part(0, 10))
    cursor, _ = history.after(None)
    history.add(part(0, 3, base=50.0))
    _, stream = history.after(cursor)
    assert (stream.base, numbers(stream), stream.missed) == (50.0, [0, 1, 2], 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"lane": [0, 0]},
        {"lane": [1]},
        {"lane": [-1]},
        {"prefix": [9]},
        {"action": [6]},
        {"length": ["7"]},
        {"start": [10**15]},
        {"base": -1.0},
        {"base": float("inf")},
        {"lanes": [["w"]]},
        {"missed": -1},
        {"lane": [0] * 30_000},
        {"prefixes": ["x" * 501]},
    ],
)
def test_an_answer_of_another_form_is_not_read(fields):
    with pytest.raises(CoiledError):
        told(json.dumps(answer(0, 1, **fields)))


@given(st.text(max_size=200))
def test_no_text_does_harm(text):
    with pytest.raises(CoiledError):
        told(text)


def test_why_there_is_no_answer_is_told():
    with pytest.raises(CoiledError, match="another scheduler"):
        told('{"error": "It\'s another scheduler by now"}')


def test_text_is_shown_without_what_changes_how_other_text_is_shown():
    found = told(json.dumps(answer(0, 1, lanes=[["a\u202eb", "1"]], prefixes=["x\ny"])))
    history = History()
    history.add(found.stream)
    stream = history.after(None)[1]
    assert (stream.lanes[0].worker, stream.prefixes) == ("ab", ("xy",))
