"""Builds and removes layers: virtualenvs beside the base environment, made by a nanny on its own host.

What a node can't fetch is sent to it in pieces, one after the other, and what it has is not sent again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from ... import tasks, texts
from ...core.change.survey import IndexQuestion
from ...core.errors import CoiledError, Impossible, Unavailable
from .calls import Count, NannyProcess, NodeCalls, Nothing, Text

SILENT_SECONDS = 20.0
"""Seconds that the building nanny may be silent before the build counts as lost."""
CHUNK = 1024 * 1024
"""Bytes of one piece of a file: each passes through the scheduler."""
PIECES = 2
"""Pieces that are under way to the nodes of a cluster at once."""
PIECE_SECONDS = 30.0
SEND_SECONDS = 60.0
"""Seconds without an answer after which a node that is sent a file counts as lost."""
CHECK_SECONDS = 120.0
"""Seconds that a node may take to look at a whole file."""
FILE_LIMIT = 2 * 1024 * 1024 * 1024
ASKED = "distributed"
"""The package that an index is asked for: every layer has it."""

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
    offline
        Whether everything comes from `wheels`, and no index is asked.

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
    offline: bool = False


class LayerBuild(Struct, frozen=True, kw_only=True):
    """The state of a build; `lines` are those since the previous state.

    Attributes
    ----------
    reason
        Of a failure, as the installer printed it.
    unfetched
        Whether it failed because the installer could not fetch something.
    path, executable, entries, size
        Of a finished layer: its folder, its Python, its own entries of sys.path, its size in bytes.

    """

    state: BuildState
    lines: tuple[Annotated[str, Meta(max_length=4000)], ...] = ()
    next: Count = 0
    reason: str | None = None
    unfetched: bool = False
    path: Text = ""
    executable: Text = ""
    entries: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()
    size: Count = 0


class _Put(Struct, frozen=True):
    have: Count
    path: Text = ""


class _Asked(Struct, frozen=True):
    state: str
    reached: bool | None = None


class _Removed(Struct, frozen=True):
    removed: bool


class Layers:
    """The layers of one cluster's nodes."""

    def __init__(self, calls: NodeCalls) -> None:
        self._calls = calls
        self._pieces = asyncio.Semaphore(PIECES)
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}
        """By host and digest: of workers of one host, the second finds what was sent for the first."""

    async def reaches(
        self, nanny: str, executable: str, uv: str | None, question: IndexQuestion, seconds: float
    ) -> bool | None:
        """Return whether the installer of a node reaches the index; None where that couldn't be told in `seconds`.

        Parameters
        ----------
        executable, uv
            As of a `LayerRequest`.

        """
        body = {
            **msgspec.structs.asdict(question),
            "id": f"asks-{secrets.token_hex(6)}",
            "asks": ASKED,
            "executable": executable,
            "uv": uv,
            "seconds": seconds,
        }
        end = time.monotonic() + seconds
        try:
            await self._calls.one(
                "nanny", nanny, Nothing, "begin", texts.packed("layer"), _packed(body), deadline=seconds
            )
            while (left := end - time.monotonic()) > 0:
                asked = await self._calls.one("nanny", nanny, _Asked, "poll", body["id"], 0, deadline=left)
                if asked.state in ("done", "failed", "cancelled"):
                    return asked.reached
                await asyncio.sleep(0.05)
            await self.cancel_build(nanny, str(body["id"]))
        except CoiledError:
            pass
        return None

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
        # The text is sent first, so that a request with credentials never has to be repeated.
        await self._calls.one("nanny", nanny, NannyProcess, "where")
        begun = asyncio.ensure_future(
            self._calls.one("nanny", nanny, Nothing, "begin", texts.packed("layer"), _packed(body))
        )
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

    async def send(
        self,
        nanny: str,
        name: str,
        content: bytes | Path,
        *,
        host: str = "",
        sha256: str = "",
        sent: Callable[[int], None] = lambda count: None,
    ) -> str:
        """Send a file to a node unless it has it, and return its path there.

        What was sent before a connection broke off is not sent again.

        Parameters
        ----------
        content
            Its bytes, or where they are on this machine.
        host
            Of the node: two that send it the same wait for each other.
        sha256
            The hash that the content has to have there; by default the one that it has here.
        sent
            Called with the number of bytes of each piece that is sent.

        Raises
        ------
        Impossible
            It is too large, arrived damaged twice, or the node refuses it.
        Unavailable
            The node no longer answers.

        """
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > FILE_LIMIT:
            raise Impossible(f"{name} is larger than {FILE_LIMIT >> 20} MiB, so it isn't sent")
        digest = sha256 or await asyncio.to_thread(_sha256, content)
        sending = _Sending(self._calls, self._pieces, nanny, name, digest, size, sent)
        async with self._turns.setdefault((host or nanny, digest), asyncio.Lock()):
            try:
                return await sending.send(content)
            except _Damaged:
                # What was there before this began may be the damaged part.
                try:
                    return await sending.send(content)
                except _Damaged:
                    raise Impossible(f"{name} arrived damaged on {host or nanny}, twice, and is not used") from None

    async def remove(self, nanny: str, layer: str) -> bool:
        """Remove a layer from a node; False if it isn't there, Impossible if it is in use."""
        return (await self._calls.one("nanny", nanny, _Removed, "remove", layer)).removed


class _Damaged(Exception):
    """A file has another hash where it arrived."""


class _Sending:
    """One file on its way to one node."""

    def __init__(
        self,
        calls: NodeCalls,
        pieces: asyncio.Semaphore,
        nanny: str,
        name: str,
        digest: str,
        size: int,
        sent: Callable[[int], None],
    ) -> None:
        self._calls, self._pieces, self._nanny, self._sent = calls, pieces, nanny, sent
        self._name, self._digest, self._size = name, digest, size

    async def send(self, content: bytes | Path) -> str:
        """Send what the node lacks; return the path there, or raise `_Damaged`."""
        known = await self._put(0, None)
        checked = None
        while not known.path:
            if known.have >= self._size:
                checked = checked or time.monotonic()
                if time.monotonic() - checked > CHECK_SECONDS:
                    raise Unavailable(f"{self._name} could not be checked on the node in time")
                await asyncio.sleep(0.02)
                known = await self._put(self._size, None)
                continue
            piece = await asyncio.to_thread(_piece, content, known.have)
            if not piece:
                raise Unavailable(f"{self._name} has changed while it was sent")
            async with self._pieces:
                known = await self._put(known.have, piece)
            self._sent(len(piece))
        return known.path

    async def _put(self, offset: int, piece: bytes | None) -> _Put:
        arguments: tuple[Any, ...] = (self._name, self._digest, offset, piece, self._size, self._name == "uv")
        answered = time.monotonic()
        while True:
            try:
                return await self._calls.one("nanny", self._nanny, _Put, "put", *arguments, deadline=PIECE_SECONDS)
            except Impossible as error:
                if "damaged" in error.message:
                    raise _Damaged from None
                raise
            except CoiledError as error:
                if time.monotonic() - answered > SEND_SECONDS:
                    raise Unavailable(f"{self._name} could not be sent to the node: {error.message}") from None
                await asyncio.sleep(0.5)


def _piece(content: bytes | Path, offset: int) -> bytes:
    if isinstance(content, bytes):
        return content[offset : offset + CHUNK]
    with content.open("rb") as stream:
        stream.seek(offset)
        return stream.read(CHUNK)


def _sha256(content: bytes | Path) -> str:
    seen = hashlib.sha256()
    offset = 0
    while piece := _piece(content, offset):
        seen.update(piece)
        offset += len(piece)
    return seen.hexdigest()


def _packed(body: Mapping[str, Any]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(body, default=dict).encode("utf-8"), 6)).decode("ascii")
