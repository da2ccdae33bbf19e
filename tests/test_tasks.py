"""Tasks end, also those that lose a cancellation."""

from __future__ import annotations

import asyncio

from coiled_jupyter import tasks


def test_a_task_that_swallows_cancellations_ends_too():
    async def stubborn(counts):
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                counts.append(1)
                if len(counts) == 3:
                    raise

    async def failing():
        raise ValueError

    async def go():
        counts = []
        made = [asyncio.create_task(stubborn(counts)), asyncio.create_task(failing()), None]
        await asyncio.sleep(0)
        await tasks.end(made)
        return counts, made[0].cancelled(), made[1].done()

    assert asyncio.run(go()) == ([1, 1, 1], True, True)
