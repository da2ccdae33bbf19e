"""Runs asynchronous work for who can't wait for it asynchronously: a kernel's own loop may run in the calling thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

INTERRUPT_SECONDS = 15.0
"""How long interrupted work may take to undo what it has begun."""
PAUSE = 0.2
_T = TypeVar("_T")


def finished(work: Callable[[], Coroutine[Any, Any, _T]], meanwhile: Callable[[], None] = lambda: None) -> _T:
    """Return what `work` gives, run in a thread and loop of its own; an interrupt cancels it.

    Parameters
    ----------
    meanwhile
        Called in the calling thread, again and again, until it is done.

    """
    ended: Future[_T] = Future()
    started = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def main() -> _T:
        task = asyncio.current_task()
        if task is not None:
            running.append((asyncio.get_running_loop(), task))
        started.set()
        return await work()

    def run() -> None:
        try:
            ended.set_result(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            ended.set_exception(error)

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(run,), name="coiled-jupyter work", daemon=True
    )
    thread.start()
    try:
        while True:
            try:
                # In pieces, so that an interrupt is heard.
                return ended.result(PAUSE)
            except FutureTimeout:
                if ended.done():
                    raise
                meanwhile()
    except KeyboardInterrupt:
        started.wait(1)
        for loop, task in running:
            loop.call_soon_threadsafe(task.cancel)
        thread.join(INTERRUPT_SECONDS)
        raise
