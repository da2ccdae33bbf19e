"""What is being waited for is shown after a silence, the innermost first named, and once each."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time

import pytest

from coiled_jupyter.activity import doing, following


@pytest.fixture
def shown():
    return queue.Queue()


def test_the_innermost_is_shown_and_then_what_it_changes_to(shown):
    with following(shown.put), doing("outer"), doing("inner") as activity:
        assert shown.get(timeout=20) == "inner"
        activity.text = "changed"
        assert shown.get(timeout=20) == "changed"
    assert shown.empty()


def test_who_waits_without_words_is_left_alone(shown):
    with following(shown.put), doing("outer"):
        with doing(""):
            time.sleep(1.5)
        assert shown.get(timeout=20) == "outer"


def test_it_is_followed_into_tasks_and_threads(shown):
    async def work() -> None:
        with doing("in a task"):
            assert await asyncio.to_thread(shown.get, True, 20) == "in a task"
        await asyncio.to_thread(inside, "in a thread of asyncio's")

    def inside(text: str) -> None:
        with doing(text):
            assert shown.get(timeout=20) == text

    with following(shown.put):
        asyncio.run(work())
        thread = threading.Thread(target=contextvars.copy_context().run, args=(inside, "in a thread"))
        thread.start()
        thread.join()


def test_one_follower_is_enough_and_none_is_no_fault(shown):
    with doing("nobody looks"):
        pass
    other = queue.Queue()
    with following(shown.put), following(other.put), doing("once"):
        assert shown.get(timeout=20) == "once"
    assert other.empty()
    assert not [thread for thread in threading.enumerate() if thread.name == "coiled-jupyter activity"]
