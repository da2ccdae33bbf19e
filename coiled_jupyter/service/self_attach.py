"""Attaches, without being told to, a cluster that a notebook opened, by its address or through the notebook's own client.

Certificates that are only in a kernel's memory never leave it, and a gateway's proxy is reached by the notebook's client
alone: these clusters are reached through a relay in the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol

from ..core import relaying
from ..core.choice import ENDED
from ..core.clients import KernelClient, show
from ..core.errors import CoiledError, Impossible, Invalid, NotFound
from ..core.launch import Certificates
from ..core.relaying import LATER
from ..core.wire import Cluster, ClusterAttach, TLSFiles

REACH_SECONDS = 15.0
"""Seconds that reaching the scheduler may take."""


class Clusters(Protocol):
    """The clusters that this process follows."""

    async def attach(self, body: ClusterAttach) -> Cluster:
        """Follow a cluster that somebody else runs."""

    async def attach_relayed(self, name: str | None, address: str, files: Certificates) -> Cluster:
        """Follow a cluster through the relay of a kernel."""

    def get(self, cluster_id: str) -> Cluster:
        """Return one cluster or raise NotFound."""

    async def delete(self, cluster_id: str) -> None:
        """Detach one."""


class Relays(Protocol):
    """The relays of kernels."""

    async def open(self, kernel_id: str, client: KernelClient) -> tuple[str, Certificates]:
        """Return the address of a relay to a client's scheduler, and the certificates for it; Impossible otherwise."""


async def attach_found(
    clusters: Clusters, relays: Relays, found: Cluster, kernel_id: str, client: KernelClient
) -> Cluster:
    """Return a notebook's cluster as one that is attached, once its scheduler has answered; Impossible if it can't be."""
    name = found.name[:80] or None
    if relaying.needed(client):
        attached = await clusters.attach_relayed(name, *await relays.open(kernel_id, client))
    else:
        attached = await _attached(clusters, name, client)
    why = await _reached(clusters, attached.id, client.scheduler)
    if not why:
        return clusters.get(attached.id)
    with contextlib.suppress(CoiledError):
        await clusters.delete(attached.id)
    raise Impossible(
        f"The packages of this cluster can't be changed from here: {why}",
        "Start it at an address that this server can reach, or " + LATER[0].lower() + LATER[1:],
    )


async def _attached(clusters: Clusters, name: str | None, client: KernelClient) -> Cluster:
    """Attach a cluster by the address at which its client reaches it."""
    scheme = client.address.partition("://")[0]
    if scheme not in ("tcp", "tls"):
        raise Impossible(
            f"The packages of this cluster can't be changed from here: it is at {show(scheme)}://, which only the "
            "notebook's own client can reach",
            LATER,
        )
    files = dict(zip(("ca_file", "cert_file", "key_file"), client.tls_files, strict=False))
    tls = TLSFiles(**files) if scheme == "tls" and len(files) == 3 else None
    try:
        return await clusters.attach(ClusterAttach(address=client.address, name=name, tls=tls))
    except Invalid as error:
        raise Impossible(f"The packages of this cluster can't be changed from here: {error.message}", LATER) from None


async def _reached(clusters: Clusters, cluster_id: str, scheduler: str | None) -> str:
    """Return why a cluster that was attached isn't the one that was meant, or isn't reached in time; empty if it is."""
    deadline = time.monotonic() + REACH_SECONDS
    while True:
        try:
            cluster = clusters.get(cluster_id)
        except NotFound:
            return "it could not be attached"
        if cluster.status in ENDED or time.monotonic() > deadline:
            return show(cluster.reason or "its scheduler doesn't answer this server", 300)
        if cluster.status not in ("starting", "unreachable") and cluster.scheduler and cluster.scheduler.id:
            if cluster.scheduler.id == scheduler:
                return ""
            # An address such as 127.0.0.1 means something else to a kernel of another machine.
            return "another scheduler answers this server at that address"
        await asyncio.sleep(0.05)
