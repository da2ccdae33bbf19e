"""Names what is being waited for, so that a person sees it when that takes long; without a follower nothing happens."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

LONG_SECONDS = 1.0
"""Silence after which something is shown. A command has started within another second, so it is within two."""
AGAIN_SECONDS = 30.0
_PASSING_SECONDS = 0.3
"""What ends sooner, such as one of many polls, is not what is being waited for."""


class Activity:
    """One thing that is being waited for; `text` may change meanwhile."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.since = time.monotonic()

    def now(self, text: str) -> None:
        """Go on to something else, whose time is counted from now; empty changes nothing."""
        if text and text != self.text:
            self.text, self.since = text, time.monotonic()


class _Follower(threading.Thread):
    """Shows the innermost activity of one command after each silence, from a thread: loops and calls may be held up."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(name="coiled-jupyter activity", daemon=True)
        self.open: list[Activity] = []
        self.ended = threading.Event()
        self._show = show
        self._shown: dict[str, float] = {}
        self._last = time.monotonic()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            moment = time.monotonic()
            lasting = [activity for activity in list(self.open) if moment - activity.since > _PASSING_SECONDS]
            if not lasting or moment - self._last < LONG_SECONDS:
                continue
            text, seconds = lasting[-1].text, moment - lasting[-1].since
            before = self._shown.get(text)
            if text and (before is None or moment - before > AGAIN_SECONDS):
                self._shown[text] = self._last = moment
                self._show(text if before is None else f"{text} ({seconds:.0f} s)")


_follower: ContextVar[_Follower | None] = ContextVar("_follower", default=None)


@contextlib.contextmanager
def doing(text: str) -> Iterator[Activity]:
    """Name what the block waits for, such as ``Asking the package index``; empty for what needs no words."""
    activity, follower = Activity(text), _follower.get()
    if follower is not None:
        follower.open.append(activity)
    try:
        yield activity
    finally:
        if follower is not None:
            follower.open.remove(activity)


@contextlib.contextmanager
def following(show: Callable[[str], None]) -> Iterator[None]:
    """Call `show`, from another thread, with what is being waited for in the block; what is followed already stays so."""
    if _follower.get() is not None:
        yield
        return
    follower = _Follower(show)
    token = _follower.set(follower)
    follower.start()
    try:
        yield
    finally:
        follower.ended.set()
        follower.join()
        _follower.reset(token)
