"""Readings of a kernel while its cell does nothing, sleeps or loops."""

from __future__ import annotations

import asyncio
import time

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from coiled_jupyter.core.errors import Unavailable
from coiled_jupyter.links.kernel import KernelLink

from .table import Figure, median

_CELLS = {
    "sleeps": "import time; time.sleep(4)",
    "loops": "import time\nend = time.time() + 4\nwhile time.time() < end: pass",
}


async def _measure(rounds: int) -> dict[str, list[float]]:
    manager = AsyncMappingKernelManager()
    link = KernelLink(manager)
    link.start()
    kernel_id = await manager.start_kernel(kernel_name="python3")
    client = manager.get_kernel(kernel_id).client()
    client.start_channels()
    found: dict[str, list[float]] = {"is idle": [], **{key: [] for key in _CELLS}}

    async def timed(key: str) -> None:
        start = time.perf_counter()
        await link.read(kernel_id)
        found[key].append(time.perf_counter() - start)

    try:
        await client.wait_for_ready(timeout=60)
        end = time.monotonic() + 30
        while True:
            try:
                if (await link.read(kernel_id)).content_age is not None:
                    break
            except Unavailable:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(0.1)
        for _ in range(4 * rounds):
            await timed("is idle")
        for key, code in _CELLS.items():
            message = client.execute(code)
            await asyncio.sleep(0.5)
            for _ in range(2 * rounds):
                await timed(key)
                await asyncio.sleep(0.02)
            while (await client.get_shell_msg(timeout=30))["parent_header"].get("msg_id") != message:
                pass
    finally:
        client.stop_channels()
        await link.close()
        await manager.shutdown_kernel(kernel_id, now=True)
    return found


def measure(rounds: int) -> list[Figure]:
    """Return the seconds of a reading of a kernel, nothing having changed."""
    found = asyncio.run(_measure(rounds))
    return [
        Figure(
            f"Reading of a kernel whose cell {key}" if key != "is idle" else "Reading of an idle kernel",
            median(times),
            limit=0.1,
        )
        for key, times in found.items()
    ]
