"""Serves the supervisor's socket: carries out calls within their deadlines and sends states to watchers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from .. import tasks
from ..core.errors import CoiledError, Timeout, Unavailable
from ..core.wire import Cluster
from ..paths import socket_path
from .protocol import Answer, AnyCall, AnyMessage, ClusterState, Message, Refusal, Request, Watch

REQUEST_BYTES = 4 * 1024 * 1024
UNSENT_BYTES = 1 << 20
"""Unread bytes after which a watcher misses states; the last state comes with the next beat."""
_log = logging.getLogger("coiled_jupyter.supervisor")


class Server:
    """Listens on the socket of one cluster.

    Parameters
    ----------
    cluster_id
        The cluster whose socket this is.
    carry_out
        Carries out a call, beginning nothing after a time of `time.monotonic`, and returns the result, sent as JSON.
    current
        Returns the cluster as it is now.
    beat
        Seconds after which a watcher gets the state again, even if nothing has changed.

    """

    def __init__(
        self,
        cluster_id: str,
        carry_out: Callable[[AnyCall, float], Awaitable[object]],
        current: Callable[[], Cluster],
        beat: float,
    ) -> None:
        self._id, self._carry_out, self._current, self._beat_seconds = cluster_id, carry_out, current, beat
        self._server: asyncio.AbstractServer | None = None
        self._watchers: set[asyncio.StreamWriter] = set()

    @property
    def watched(self) -> bool:
        """Whether there is a watcher."""
        return bool(self._watchers)

    async def open(self) -> None:
        """Listen, or listen again if the socket's file is gone."""
        path = socket_path(self._id)
        path.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.start_unix_server(self._serve, str(path), limit=REQUEST_BYTES)
        path.chmod(0o600)

    def close(self) -> None:
        """Stop listening, and close the connections of watchers."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._watchers):
            writer.close()

    def publish(self, message: AnyMessage) -> None:
        """Send a state to all watchers."""
        line = _line(message)
        for writer in list(self._watchers):
            if writer.transport.get_write_buffer_size() < UNSENT_BYTES:
                writer.write(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beat: asyncio.Task[None] | None = None
        reading = asyncio.create_task(reader.readline())
        work: asyncio.Task[Message] | None = None
        try:
            while line := await reading:
                request = msgspec.json.decode(line, type=Request)
                reading = asyncio.create_task(reader.readline())
                work = asyncio.create_task(self._answer(request))
                await asyncio.wait({work, reading}, return_when=asyncio.FIRST_COMPLETED)
                if request.until is not None and not work.done() and reading.done() and not reading.result():
                    # The client has gone, which withdraws its request.
                    return
                writer.write(_line(await work))
                if isinstance(request.call, Watch):
                    self._watchers.add(writer)
                    writer.write(_line(ClusterState(self._current())))
                    beat = beat or asyncio.create_task(self._beat(writer))
                await writer.drain()
        except (OSError, ValueError, msgspec.DecodeError):
            _log.debug("a connection ended", exc_info=True)
        except asyncio.CancelledError:
            # Cancelled by the end of this process; before 3.12, asyncio logs a traceback if a handler re-raises that.
            pass
        finally:
            self._watchers.discard(writer)
            writer.close()
            with contextlib.suppress(asyncio.CancelledError):
                await tasks.end([beat, reading, work])

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        """Send a watcher the state regularly: it shows that the supervisor lives, and the age of its figures."""
        while True:
            await asyncio.sleep(self._beat_seconds)
            writer.write(_line(ClusterState(self._current())))

    async def _answer(self, request: Request) -> Message:
        try:
            until = float("inf") if request.until is None else request.until
            left = until - time.monotonic()
            if left <= 0:
                raise Timeout("The request came too late and was dropped", "Try again")
            try:
                result = await asyncio.wait_for(
                    self._carry_out(request.call, until), None if request.until is None else left
                )
            except asyncio.TimeoutError:
                raise Timeout(
                    "The cluster's supervisor couldn't do this in time, and did nothing", "Try again"
                ) from None
            return Answer(request.id, msgspec.Raw(msgspec.json.encode(result)))
        except CoiledError as error:
            return Refusal(request.id, error.to_wire().error)
        except Exception as error:  # noqa: BLE001 - the edge of a request: the supervisor goes on
            _log.exception("a request failed")
            fault = Unavailable(f"The cluster's supervisor failed at this: {type(error).__name__}", "See its log")
            return Refusal(request.id, fault.to_wire().error)


def _line(message: Message) -> bytes:
    return msgspec.json.encode(message) + b"\n"
