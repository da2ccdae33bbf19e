"""Ends asyncio tasks so that they have ended, and keeps those that go on in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def end(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancel tasks until each is done; what they raise is dropped.

    Once isn't enough: up to Python 3.11 `asyncio.wait_for` loses a cancellation that comes together with its result.
    """
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=0.2)
        for task in done:
            if not task.cancelled():
                task.exception()


async def finish(work: Coroutine[Any, Any, object]) -> None:
    """Do something to its end, also where who waits for it is cancelled meanwhile, once or again."""
    task = asyncio.create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    task.result()


class Background:
    """Tasks that nobody waits for; what goes wrong in one is logged, since nobody else would learn of it."""

    def __init__(self, logger: logging.Logger) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._logger = logger

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task, and return it for who wants to wait for it all the same."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.warning("a task in the background failed: %s", error, exc_info=error)

    async def close(self) -> None:
        """End all tasks."""
        await end(list(self._tasks))
