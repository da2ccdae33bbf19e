"""Ends asyncio tasks so that they have ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Any


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
