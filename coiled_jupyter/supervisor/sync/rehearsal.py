"""Test start: checks beside the running cluster that a scheduler and a worker start in a new environment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ...core.errors import CoiledError, Unavailable
from ...core.identity import decode_identity
from ...factories import local
from .. import logs
from ..nodes import Node, Nodes
from .host import Host

SECONDS = 60.0


async def rehearse(host: Host, interpreter: str) -> None:
    """Start a scheduler and a nanny with its worker on a Python beside the cluster, and end them again.

    If they don't start, Unavailable is raised with their last log line.
    """
    folder = host.folder / "rehearsal"
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(host.folder / name)
    started = folder / "scheduler.json"
    started.unlink(missing_ok=True)
    spec = msgspec.structs.replace(host.spec, workers=1, threads_per_worker=1)
    nodes = Nodes(spec.id, "rehearsal-")
    deadline = time.monotonic() + SECONDS

    async def until(node: Node, what: str, sources: Sequence[str], ready: Callable[[], Awaitable[bool]]) -> None:
        while not await ready():
            if node.ended or time.monotonic() > deadline:
                words = logs.last_words(spec.id, [f"rehearsal-{name}" for name in sources])
                raise Unavailable(f"A {what} doesn't start in the new environment: {words}")
            await asyncio.sleep(0.05)

    async def has_address() -> bool:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return bool(_address(started.read_bytes()))
        return False

    try:
        await nodes.open(
            local.argv(interpreter), local.environ(spec, interpreter, host.folder, scratch), scratch, host.alive
        )
        scheduler = nodes.start("scheduler", local.scheduler_arguments(spec, folder), {})
        await until(scheduler, "scheduler", ["scheduler", "launcher"], has_address)
        address = _address(started.read_bytes())
        link = host.new_link(address)

        async def has_worker() -> bool:
            with contextlib.suppress(CoiledError):
                return bool(decode_identity(await link.identity()).nodes)
            return False

        try:
            nanny = nodes.start("worker", local.nanny_arguments(spec, address, "rehearsal", scratch), {})
            await until(nanny, "worker", ["worker"], has_worker)
        finally:
            link.close()
    finally:
        await nodes.close(3.0)


def _address(text: bytes) -> str:
    return str(msgspec.json.decode(text)["address"])
