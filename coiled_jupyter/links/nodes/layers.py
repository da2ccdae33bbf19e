"""Builds and removes layers: virtualenvs beside the base environment, made by a nanny on its own host."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from ... import tasks, texts
from ...core.errors import CoiledError, Impossible, Unavailable
from .calls import Count, NannyProcess, NodeCalls, Nothing, Text

SILENT_SECONDS = 20.0
"""Seconds that the building nanny may be silent before the build counts as lost."""
CHUNK = 3 * 512 * 1024
FILE_LIMIT = 256 * 1024 * 1024

BuildState: TypeAlias = Literal["waiting", "creating", "installing", "checking", "done", "failed", "cancelled"]


class LayerRequest(Struct, frozen=True, kw_only=True):
    """What a layer is made from.

    Attributes
    ----------
    id
        Its name on the node.
    executable
        The base environment's Python, on the node.
    lock
        Requirements with hashes; empty if the layer must exist already.
    uv
        The path of uv on the node; None uses the base environment's pip.
    expected
        Every distribution and its version; empty if unknown.
    imports
        Distributions, or modules, that must be importable.
    environ
        Additional environment variables of the installer, such as an index with its credentials; nothing else sees them.
    options
        Additional arguments of the installer, without secrets.
    wheels
        Paths on the node, as returned by `Layers.send`.

    """

    id: str
    executable: str
    lock: str
    uv: str | None = None
    expected: Mapping[str, str] = {}
    imports: tuple[str, ...] = ()
    environ: Mapping[str, str] = {}
    options: tuple[str, ...] = ()
    only_binary: bool = True
    wheels: tuple[str, ...] = ()


class LayerBuild(Struct, frozen=True, kw_only=True):
    """The state of a build; `lines` are those since the previous state.

    Attributes
    ----------
    reason
        Of a failure, as the installer printed it.
    path, executable, entries, size
        Of a finished layer: its folder, its Python, its own entries of sys.path, its size in bytes.

    """

    state: BuildState
    lines: tuple[Annotated[str, Meta(max_length=4000)], ...] = ()
    next: Count = 0
    reason: str | None = None
    path: Text = ""
    executable: Text = ""
    entries: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()
    size: Count = 0


class _Put(Struct, frozen=True):
    have: Count
    path: Text = ""


class _Removed(Struct, frozen=True):
    removed: bool


class Layers:
    """The layers of one cluster's nodes."""

    def __init__(self, calls: NodeCalls) -> None:
        self._calls = calls

    async def build(self, nanny: str, request: LayerRequest, seconds: float) -> AsyncIterator[LayerBuild]:
        """Build a layer, or check one that exists; the last state is ``done``, ``failed`` or ``cancelled``.

        Closing the iterator cancels the build. Unavailable is raised if the node was lost: the outcome is then unknown,
        but an incomplete layer is never used.
        """
        about = await self._calls.about()
        body = {
            **msgspec.structs.asdict(request),
            "distributed": about.distributed,
            "seconds": seconds,
            "check": texts.source("check"),
        }
        packed = base64.b64encode(zlib.compress(json.dumps(body, default=dict).encode("utf-8"), 6)).decode("ascii")
        # The text is sent first, so that a request with credentials never has to be repeated.
        await self._calls.one("nanny", nanny, NannyProcess, "where")
        begun = asyncio.ensure_future(self._calls.one("nanny", nanny, Nothing, "begin", texts.packed("layer"), packed))
        after, last = 0, ""
        ended = False
        try:
            await asyncio.shield(begun)
            began = answered = time.monotonic()
            while not ended:
                try:
                    build = await self._calls.one("nanny", nanny, LayerBuild, "poll", request.id, after)
                except Impossible:
                    raise Unavailable("The nanny that built the environment was restarted") from None
                except CoiledError as error:
                    if time.monotonic() - answered > SILENT_SECONDS:
                        raise Unavailable(f"The building node no longer answers: {error.message}") from None
                    await asyncio.sleep(0.5)
                    continue
                answered = time.monotonic()
                ended = build.state in ("done", "failed", "cancelled")
                if build.lines or build.state != last:
                    last, after = build.state, build.next
                    yield build
                if not ended:
                    # Pauses grow with the build, so that they are a small part of it.
                    await asyncio.sleep(min(max((time.monotonic() - began) / 20, 0.02), 0.3))
        finally:
            if not ended:
                await tasks.finish(self._abandon(begun, nanny, request.id))

    async def _abandon(self, begun: asyncio.Future[Nothing], nanny: str, layer: str) -> None:
        # A cancellation that arrives before the build begins would have no effect.
        await asyncio.gather(begun, return_exceptions=True)
        await self.cancel_build(nanny, layer)

    async def cancel_build(self, nanny: str, layer: str) -> None:
        """Cancel the build of a layer if one runs."""
        await self._calls.each("nanny", [nanny], Nothing, "cancel", layer)

    async def send(self, nanny: str, name: str, data: bytes) -> str:
        """Send a file to a node unless it has it, and return its path there."""
        if len(data) > FILE_LIMIT:
            raise Impossible(f"{name} is larger than {FILE_LIMIT >> 20} MiB, so it isn't sent")
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        runs = name == "uv"
        known = await self._calls.one("nanny", nanny, _Put, "put", name, digest, 0, None, len(data), runs)
        for offset in range(0, len(data), CHUNK):
            if known.path:
                break
            piece = data[offset : offset + CHUNK]
            known = await self._calls.one(
                "nanny", nanny, _Put, "put", name, digest, offset, piece, len(data), runs, deadline=60.0
            )
        if not known.path:
            raise Unavailable(f"{name} could not be sent to the node")
        return known.path

    async def remove(self, nanny: str, layer: str) -> bool:
        """Remove a layer from a node; False if it isn't there, Impossible if it is in use."""
        return (await self._calls.one("nanny", nanny, _Removed, "remove", layer)).removed
