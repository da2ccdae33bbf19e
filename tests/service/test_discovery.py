"""Discovery as a task of a server's loop, with a port of kernels that has none until one comes."""

from __future__ import annotations

import asyncio
import time

import pytest

from coiled_jupyter.core.paces import Paces
from coiled_jupyter.service import discovery
from coiled_jupyter.service.discovery import Discovery


class KernelsThatCome:
    """The port `discovery.Kernels`, of kernels that nothing is asked of."""

    def __init__(self) -> None:
        self.present: list[str] = []

    def kernel_ids(self) -> list[str]:
        return self.present


class Clock:
    """The clock, which counts how often it was looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        if self.looks > 1000:
            # What no `except Exception` catches: a loop that never lets go must end.
            pytest.fail("a loop that never waits")
        return time.monotonic()


def test_a_kernel_that_comes_when_nobody_looks_any_more_leaves_the_loop_alone(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(discovery, "time", clock)

    async def go() -> None:
        kernels = KernelsThatCome()
        found = Discovery(
            kernels, label=None, known=list, changed=lambda _: None, conda_names=dict, paces=Paces(look=0.2, tick=0.1)
        )
        found.start()
        found.look()
        await asyncio.sleep(0.5)
        kernels.present = ["one", "other"]
        await asyncio.sleep(1)
        await found.close()

    asyncio.run(go())
    # Two kernels, ten ticks.
    assert clock.looks < 60
