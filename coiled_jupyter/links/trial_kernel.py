"""Starts a kernel once, reads its environment, and shuts it down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

from ..core.errors import Impossible, Unavailable
from ..core.reading import Reading
from .kernel import KernelLink

START_SECONDS = 120.0
_ID = "fresh"


class _One:
    """A kernel manager of a single kernel."""

    def __init__(self, manager: Any) -> None:
        self.untracked_message_types: list[str] = []
        self._manager = manager

    def list_kernel_ids(self) -> list[str]:
        return [_ID]

    def get_kernel(self, kernel_id: str) -> Any:
        return self._manager


async def read(specification: Path, *, deadline: float = START_SECONDS) -> Reading:
    """Start a kernel from a folder with its ``kernel.json``, return its reading, and shut it down.

    Raises
    ------
    Impossible
        It ended, or didn't answer within `deadline` seconds.

    """
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(kernel_name=specification.name)
    manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[str(specification.parent)])
    link = KernelLink(_One(manager))
    end = time.monotonic() + deadline
    try:
        # It runs in the folder of its specification, so that it imports no other code.
        await manager.start_kernel(cwd=str(specification))
        link.start()
        while True:
            try:
                return (await link.read(_ID)).reading
            except Unavailable as error:
                if time.monotonic() > end or not await manager.is_alive():
                    why = "it ended at once" if time.monotonic() < end else error.message
                    raise Impossible(f"The new kernel doesn't answer: {why}", "Nothing was changed") from None
            await asyncio.sleep(0.1)
    finally:
        await link.close()
        with contextlib.suppress(RuntimeError):
            await manager.shutdown_kernel(now=True)
