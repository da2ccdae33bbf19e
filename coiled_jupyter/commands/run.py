"""Carries out one command on a service of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from ..activity import doing, following
from ..configuration import read as read_configuration
from ..core.choice import ENDED
from ..service.discovery import Kernels
from ..service.facade import Service
from . import clusters, compare, report, software, sync
from .base import Output

SETTLE_SECONDS = 1.5
"""How long the first snapshots of live clusters are waited for."""
_COMMANDS = {
    "status": compare.status,
    "diff": compare.diff,
    "explain": compare.explain,
    "sync": sync.sync,
    "undo": sync.undo,
    "cluster": clusters.run,
    "software": software.run,
    "doctor": report.doctor,
}


async def run(arguments: argparse.Namespace, out: Output, kernel: Kernels | None = None) -> int:
    """Run a command of `parser`; return how it ended (see `base`).

    `kernel` is the kernel in which this runs, if there is one: a sync reaches the clusters that its notebook opened.
    """
    command = arguments.command or "status"
    with following(out.waiting), doing(f"Working on `{command}`"):
        async with visit(kernel if command == "sync" else None) as service:
            await _settle(service)
            return await _COMMANDS[command](service, arguments, out)


@contextlib.asynccontextmanager
async def visit(kernel: Kernels | None = None) -> AsyncIterator[Service]:
    """Give a service that only visits: clusters live on by their leases."""
    service = Service(read_configuration(), kernels=kernel, server=False)
    with doing("Looking for clusters"):
        await service.start()
    try:
        yield service
    finally:
        with doing("Letting go of the clusters"):
            await service.close(release=False)


async def _settle(service: Service) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    with doing("Waiting for the supervisors of the clusters"):
        while time.monotonic() < deadline:
            live = [c for c in service.clusters.all() if c.status not in ENDED]
            if all(service.clusters.followed(c.id) for c in live):
                return
            await asyncio.sleep(0.02)
