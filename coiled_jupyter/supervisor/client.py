"""Starts supervisors and talks to them over their sockets; the Jupyter server imports this, so no Dask here.

The protocol: one JSON object a line. ``{"id", "method", …}`` is answered by ``{"id", "result"}`` or ``{"id", "error"}``;
after ``watch`` the supervisor sends ``{"cluster": …}`` at each new revision until the connection ends.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import msgspec

from ..core.cluster import LaunchSpec, Readings
from ..core.errors import Timeout, Unavailable, from_wire
from ..core.survey import Survey
from ..core.sync import SyncSpec
from ..core.wire import Cluster, ClusterChange, ErrorBody, Problematic, Sync
from ..paths import cluster_dir, socket_path
from .logs import log_path

LINE_LIMIT = 16 * 1024 * 1024
_CREDENTIALS = ("JUPYTER_TOKEN", "JUPYTERHUB_", "JPY_")
"""Variables of the server that open it; nothing that runs for a cluster has a use for them."""
Process = subprocess.Popen


class Answer(msgspec.Struct):
    """One line of a supervisor."""

    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Problematic | None = None
    cluster: Cluster | None = None
    sync: Sync | None = None


class Changed(msgspec.Struct, frozen=True):
    """The cluster after a change, with the workers granted and the limit where less than asked for was."""

    cluster: Cluster
    granted: int | None = None
    limit: int | None = None


def start(spec: LaunchSpec) -> Process[bytes]:
    """Start the supervisor of a cluster; the spec, which may hold secrets, goes by its stdin."""
    log = os.open(log_path(spec.id, "supervisor"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
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
    finally:
        os.close(log)
    if process.stdin is None:
        raise OSError("no pipe to the supervisor")
    with process.stdin as pipe:
        pipe.write(msgspec.json.encode(spec) + b"\n")
    return process


class SupervisorClient:
    """One connection to one supervisor; every method has a deadline and raises CoiledError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._next = 0

    @classmethod
    async def connect(cls, cluster_id: str, timeout: float = 2.0) -> SupervisorClient:
        """Connect to the supervisor of a cluster, or raise Unavailable."""
        try:
            opened = asyncio.open_unix_connection(str(socket_path(cluster_id)), limit=LINE_LIMIT)
            return cls(*await asyncio.wait_for(opened, timeout))
        except (OSError, asyncio.TimeoutError):
            raise Unavailable("The cluster's supervisor doesn't answer", "It may be starting or have ended") from None

    def _ask(self, method: str, **parameters: object) -> None:
        self._next += 1
        request = {"id": self._next, "method": method, **parameters}
        self._writer.write(msgspec.json.encode(request) + b"\n")

    async def _call(self, method: str, deadline: float = 5.0, **parameters: object) -> msgspec.Raw:
        self._ask(method, **parameters)
        try:
            while True:
                answer = await asyncio.wait_for(self._line(), deadline)
                if answer.id == self._next:
                    break
        except asyncio.TimeoutError:
            raise Timeout("The cluster's supervisor didn't answer in time", "Try again") from None
        if answer.error is not None:
            raise from_wire(ErrorBody(error=answer.error))
        return answer.result

    async def _line(self) -> Answer:
        try:
            line = await self._reader.readline()
            if line:
                return msgspec.json.decode(line, type=Answer)
        except (OSError, ValueError, msgspec.DecodeError):
            pass
        raise Unavailable("The connection to the cluster's supervisor ended")

    async def environments(self, wanted: tuple[str, ...] = ()) -> Readings:
        """Return the readings of all nodes, at most some seconds old where the nodes answer.

        `wanted` are import names of code beside the notebook, which is looked for on the nodes.
        """
        return msgspec.json.decode(await self._call("environments", 8.0, wanted=wanted), type=Readings)

    async def survey(self) -> Survey:
        """Return what a plan has to know of the processes."""
        return msgspec.json.decode(await self._call("survey", 30.0), type=Survey)

    async def sync(self, spec: SyncSpec) -> Sync:
        """Begin a sync; Conflict where one runs or the cluster has another state than planned."""
        return msgspec.json.decode(await self._call("sync", 10.0, sync=spec), type=Sync)

    async def remove_layer(self, layer_id: str) -> None:
        """Remove the folders of a state's layers; Conflict where it's in use."""
        await self._call("remove_layer", 120.0, what=layer_id)

    async def cancel(self, sync_id: str) -> Sync:
        """Cancel the sync that runs; NotFound where it's another or none."""
        return msgspec.json.decode(await self._call("cancel", 5.0, what=sync_id), type=Sync)

    async def watch(self) -> AsyncIterator[Cluster | Sync]:
        """Yield the cluster now and at each change, and its sync while one runs; holds the cluster's lease meanwhile."""
        self._ask("watch")
        deadline = 5.0
        while True:
            try:
                answer = await asyncio.wait_for(self._line(), deadline)
            except asyncio.TimeoutError:
                raise Unavailable("The cluster's supervisor is silent") from None
            if answer.cluster is not None:
                deadline = 30.0
                yield answer.cluster
            if answer.sync is not None:
                yield answer.sync

    async def change(self, change: ClusterChange) -> Changed:
        """Change size, name or lease; the answer comes when the change is begun, not when it is done."""
        return msgspec.json.decode(await self._call("change", 10.0, change=change), type=Changed)

    async def restart(self, what: str) -> None:
        """Begin to restart the workers, or the whole cluster."""
        await self._call("restart", 5.0, what=what)

    async def stop(self) -> None:
        """Begin to stop the cluster."""
        await self._call("stop")

    async def release(self) -> None:
        """Say that this holder ends cleanly: a cluster that nobody else holds stops at once."""
        await self._call("release")

    async def close(self) -> None:
        """End the connection."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), 1)
        except (OSError, asyncio.TimeoutError):
            return
