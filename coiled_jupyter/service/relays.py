"""Opens the relays of kernels to clusters that only a client of theirs reaches, and opens them again where they have closed.

A relay listens on loopback and asks for a certificate that this user's processes have; the cluster's own certificates stay in
the kernel. Its port and certificates are the same for one scheduler as long as this user is logged in, so a cluster that is
attached through one is reached again when another kernel, or the same after its restart, has a client of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

from ..core import relaying
from ..core.clients import KernelClient, cluster_id
from ..core.errors import CoiledError, Impossible
from ..core.launch import Certificates
from ..factories.local import tls_paths, write_tls
from ..paths import relay_dir, write, writing
from ..tasks import Background

AGAIN_SECONDS = 5.0
"""Seconds between two attempts to open a relay again."""
_log = logging.getLogger(__name__)


class Kernels(Protocol):
    """What is needed of ``links.kernel.KernelLink``."""

    async def relay(self, kernel_id: str, **request: Any) -> str:
        """Send a request to ``texts/relay.py`` in a kernel and return its answer."""


class Relays:
    """The relays of this server's kernels."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._tried: dict[str, float] = {}
        self._opened: dict[str, tuple[str, str]] = {}
        """By scheduler, the kernel and the client through which its relay goes."""
        self._background = Background(_log)

    async def close(self) -> None:
        """End what goes on in the background; relays last as long as their kernels' clients."""
        await self._background.close()

    async def open(self, kernel_id: str, client: KernelClient) -> tuple[str, Certificates]:
        """Return the address of a relay to a client's scheduler and the certificates for it; Impossible with the reason."""
        folder = await asyncio.to_thread(_folder, client.scheduler or "")
        asked = {"scheduler": client.scheduler, "folder": str(folder), "port": _port(folder)}
        relay = relaying.answer(await self._kernels.relay(kernel_id, **asked))
        if relay.port is None:
            raise Impossible(
                f"The packages of this cluster can't be changed from here: {relaying.refused(relay)}", relaying.LATER
            )
        if relay.port != asked["port"]:
            await asyncio.to_thread(write, folder / "port", str(relay.port).encode())
        self._opened[client.scheduler or ""] = (kernel_id, client.id)
        paths = {name: str(path) for name, path in tls_paths(folder).items()}
        return f"tls://127.0.0.1:{relay.port}", Certificates(**paths)

    def met(self, kernel_id: str, client: KernelClient) -> None:
        """Open the relay again, in the background, to a cluster that is followed and was reached through one."""
        scheduler, moment = client.scheduler or "", time.monotonic()
        if not relaying.needed(client) or self._opened.get(scheduler) == (kernel_id, client.id):
            return
        if moment - self._tried.get(scheduler, float("-inf")) >= AGAIN_SECONDS:
            self._tried[scheduler] = moment
            self._background.begin(self._again(kernel_id, client))

    async def _again(self, kernel_id: str, client: KernelClient) -> None:
        with contextlib.suppress(CoiledError):
            port = await asyncio.to_thread(lambda: _port(relay_dir(cluster_id(client.scheduler or ""))))
            # That of another kernel may be open still.
            if port and not await _listens(port):
                await self.open(kernel_id, client)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _port(folder: Path) -> int:
    """Return the port of a scheduler's relay before; 0 if there was none."""
    try:
        return int((folder / "port").read_text()[:5])
    except (OSError, ValueError):
        return 0


def _folder(scheduler: str) -> Path:
    """Return the folder of a scheduler's relay with its certificates, made if they aren't there."""
    folder = relay_dir(cluster_id(scheduler))
    with writing(folder):
        if not tls_paths(folder)["key"].exists():
            staging = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
            try:
                write_tls(staging)
                with contextlib.suppress(OSError):
                    # Of two that make them at once, one finds the folder filled.
                    staging.rename(folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return folder
