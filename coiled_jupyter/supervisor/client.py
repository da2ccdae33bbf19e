"""Starts supervisors and sends them requests; the Jupyter server imports this, so no Dask here."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec

from ..activity import doing
from ..core.change.state import SyncSpec
from ..core.change.survey import IndexQuestion, Survey
from ..core.errors import Timeout, Unavailable, from_wire
from ..core.groups import Readings
from ..core.launch import LaunchSpec
from ..core.wire import Activity, Cluster, ClusterChange, ErrorBody, Sync
from ..paths import cluster_dir, socket_path
from . import protocol
from .logs import open_log
from .protocol import Changed

LINE_LIMIT = 16 * 1024 * 1024
GRACE_SECONDS = 1.0
"""Seconds beyond its deadline that an answer is awaited: it may say that the call was dropped."""
_CREDENTIALS = ("JUPYTER_TOKEN", "JUPYTERHUB_", "JPY_")
"""Variables with the server's credentials, which no process of a cluster needs."""
WAITING = "Waiting for the cluster's supervisor"
Process = subprocess.Popen
T = TypeVar("T")


def start(spec: LaunchSpec) -> Process[bytes]:
    """Start the supervisor of a cluster; the spec, which may hold secrets, is passed by stdin.

    Raises
    ------
    Unavailable
        Its folder or socket can't be created, or the process can't be started.

    """
    socket_path(spec.id)
    log = open_log(spec.id, "supervisor")
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "coiled_jupyter.supervisor"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=cluster_dir(spec.id),
            env={name: value for name, value in os.environ.items() if not name.startswith(_CREDENTIALS)},
        )
        if process.stdin is None:
            raise OSError("no pipe to the supervisor")
        with process.stdin as pipe:
            pipe.write(msgspec.json.encode(spec) + b"\n")
    except OSError as error:
        raise Unavailable(
            f"The cluster's process could not be started: {error.strerror or error}", "See the server's log"
        ) from None
    finally:
        os.close(log)
    return process


class SupervisorClient:
    """One connection to one supervisor; every method has a deadline and raises CoiledError.

    A call that timed out isn't carried out later.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._last = 0

    @classmethod
    async def connect(cls, cluster_id: str, timeout: float = 2.0) -> SupervisorClient:
        """Connect to the supervisor of a cluster, or raise Unavailable."""
        try:
            opened = asyncio.open_unix_connection(str(socket_path(cluster_id)), limit=LINE_LIMIT)
            with doing(WAITING):
                return cls(*await asyncio.wait_for(opened, timeout))
        except (OSError, asyncio.TimeoutError):
            raise Unavailable("The cluster's supervisor doesn't answer", "It may be starting or have ended") from None

    def _send(self, call: protocol.AnyCall, until: float | None) -> None:
        self._last += 1
        request = protocol.Request(self._last, until, call)
        self._writer.write(msgspec.json.encode(request) + b"\n")

    async def _call(self, call: protocol.AnyCall, result: type[T], deadline: float = 5.0) -> T:
        until = time.monotonic() + deadline
        self._send(call, until)
        return await self._answer(result, until + GRACE_SECONDS)

    async def _answer(self, result: type[T], end: float) -> T:
        try:
            with doing(WAITING):
                while True:
                    message = await asyncio.wait_for(self._message(), end - time.monotonic())
                    if isinstance(message, (protocol.Answer, protocol.Refusal)) and message.id == self._last:
                        break
        except asyncio.TimeoutError:
            raise Timeout("The cluster's supervisor didn't answer in time, so this isn't done", "Try again") from None
        if isinstance(message, protocol.Refusal):
            raise from_wire(ErrorBody(error=message.error))
        return msgspec.json.decode(message.result, type=result)

    async def _message(self) -> protocol.AnyMessage:
        try:
            line = await self._reader.readline()
            if line:
                # Before msgspec 0.23 a union decodes to Any, and since then to itself.
                return msgspec.json.decode(line, type=protocol.AnyMessage)  # type: ignore[no-any-return, unused-ignore]
        except (OSError, ValueError, msgspec.DecodeError):
            pass
        raise Unavailable("The connection to the cluster's supervisor ended")

    async def environments(self, wanted: tuple[str, ...] = (), within: float = 0.0) -> Readings:
        """Return the readings of all nodes; those of nodes that answer were begun now, or `within` seconds before.

        `wanted` are import names of code beside the notebook, to look for on the nodes.
        """
        return await self._call(protocol.ReadNodes(wanted, within), Readings, 8.0)

    async def activity(self, after: str | None) -> Activity:
        """Return what has happened since an earlier answer with the cursor `after`."""
        return await self._call(protocol.ReadActivity(after), Activity, 8.0)

    async def survey(self, question: IndexQuestion | None = None) -> Survey:
        """Return the survey of the cluster's processes; with a question, each place is asked whether it reaches the index."""
        return await self._call(protocol.Survey(question), Survey, 30.0)

    async def sync(self, spec: SyncSpec) -> Sync:
        """Begin a sync; Conflict if one runs or the cluster's state isn't the planned one."""
        return await self._call(protocol.BeginSync(spec), Sync, 10.0)

    async def remove_layer(self, layer_id: str) -> None:
        """Remove the folders of a state's layers; Conflict if it is in use."""
        await self._call(protocol.RemoveLayer(layer_id), object, 120.0)

    async def cancel(self, sync_id: str) -> Sync:
        """Cancel the running sync; NotFound if it isn't this one."""
        return await self._call(protocol.CancelSync(sync_id), Sync)

    async def watch(self) -> AsyncIterator[Cluster | Sync]:
        """Yield the cluster now and at each change, and its sync while one runs; holds the cluster."""
        deadline = 5.0
        self._send(protocol.Watch(), time.monotonic() + deadline)
        while True:
            try:
                message = await asyncio.wait_for(self._message(), deadline)
            except asyncio.TimeoutError:
                raise Unavailable("The cluster's supervisor is silent") from None
            if isinstance(message, protocol.ClusterState):
                deadline = 30.0
                yield message.cluster
            elif isinstance(message, protocol.SyncState):
                yield message.sync

    async def change(self, change: ClusterChange) -> Changed:
        """Begin to change size, name or lease."""
        return await self._call(protocol.Change(change), Changed, 10.0)

    async def restart(self, what: str) -> None:
        """Begin to restart the ``workers`` or the whole ``cluster``."""
        await self._call(protocol.Restart(what), object)

    async def stop(self) -> None:
        """Begin to stop the cluster."""
        await self._call(protocol.Stop(), object)

    async def release(self) -> None:
        """Announce that this holder ends: a cluster without another holder stops at once."""
        self._send(protocol.Release(), None)
        await self._answer(object, time.monotonic() + 5.0)

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), 1)
        except (OSError, asyncio.TimeoutError):
            return
