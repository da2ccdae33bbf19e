"""The port through which a sync uses the supervisor that carries it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...core.groups import Readings
from ...core.launch import LaunchSpec
from ...core.wire import Cluster, Sync
from ...ledger import AsyncLedger

if TYPE_CHECKING:
    # Dask is imported when a sync needs it, so that supervisors start fast.
    from ...links.nodes.link import NodeLink
    from ...links.scheduler import SchedulerLink


class Host(Protocol):
    """The supervisor of a cluster, as syncs use it."""

    @property
    def spec(self) -> LaunchSpec:
        """What the cluster was started from."""

    @property
    def folder(self) -> Path:
        """The cluster's runtime folder."""

    @property
    def ledger(self) -> AsyncLedger:
        """The ledger; records are written as soon as possible."""

    @property
    def cluster(self) -> Cluster:
        """The cluster as last observed."""

    @property
    def readings(self) -> Readings:
        """The environments of its nodes as last read."""

    @property
    def interpreter(self) -> str:
        """The Python of a managed cluster; empty for others."""

    @property
    def link(self) -> SchedulerLink:
        """The link to the scheduler; Unavailable before there is one."""

    @property
    def node_link(self) -> NodeLink:
        """The link to the nannies and workers."""

    @property
    def alive(self) -> int:
        """The descriptor of the lock that every process of the cluster holds."""

    def new_link(self, address: str) -> SchedulerLink:
        """Return a link to another scheduler, with this cluster's certificates."""

    async def observe(self) -> None:
        """Observe the scheduler now."""

    async def read_anew(self) -> Readings:
        """Read every node with a new reader."""

    def look_again(self) -> None:
        """Read all nodes at the next check."""

    async def lend(self, seconds: float) -> str | None:
        """Start a temporary worker and return its name, or None if that is impossible."""

    async def take_back(self, name: str) -> None:
        """Retire and end a temporary worker."""

    async def start_on(self, interpreter: str) -> None:
        """Restart the whole cluster on a Python, at the same address; raise Unavailable if that fails."""

    def set_layer(self, layer: str | None, *, sealed: bool) -> None:
        """Show which layer the cluster is in, and whether its clients have to send sealed graphs."""

    def push_sync(self, sync: Sync) -> None:
        """Send a change of a sync to the cluster's watchers."""
