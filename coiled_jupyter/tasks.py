"""Ends asyncio tasks so that they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
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
