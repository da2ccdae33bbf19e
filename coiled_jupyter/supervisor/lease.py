"""Decides whether a cluster still has a holder, and when its lease has expired."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone

from ..core.launch import LaunchSpec
from .snapshot import Snapshot

_log = logging.getLogger("coiled_jupyter.supervisor")


class Lease:
    """The lease of one cluster, which runs while no server, kernel, shell or client holds it.

    Parameters
    ----------
    watched
        Whether anybody watches the cluster.
    count_clients
        Updates the snapshot's clients from the scheduler.

    """

    def __init__(
        self,
        spec: LaunchSpec,
        snapshot: Snapshot,
        watched: Callable[[], bool],
        count_clients: Callable[[], Awaitable[None]],
    ) -> None:
        self._spec, self._snapshot, self._watched, self._count_clients = spec, snapshot, watched, count_clients
        self._held_at = time.monotonic()
        self._released = False

    def release(self) -> None:
        """Record that a holder has ended cleanly."""
        self._released = True

    def renew(self) -> None:
        """Restart the lease."""
        self._held_at = time.monotonic()

    async def over(self) -> str | None:
        """Return why the cluster ends now, or None."""
        # A release that arrives from here on is for the next check.
        released, self._released = self._released, False
        if released:
            await self._count_clients()
        if self._held():
            return None
        desired = self._snapshot.cluster.desired
        seconds = self._spec.lease_seconds if desired.lease_seconds is None else desired.lease_seconds
        left = self._held_at + seconds - time.monotonic()
        if left <= 0 or (released and not desired.kept):
            if not released:
                await self._count_clients()
            if self._held():
                return None
            _log.info("this cluster has no holder any more")
            if released:
                return "The last server that held it ended"
            return "No server, kernel or client has held it for as long as its lease"
        if self._spec.address is None and self._snapshot.cluster.lease_until is None:
            end = datetime.now(timezone.utc) + timedelta(seconds=left)
            self._snapshot.set(lease_until=end.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        return None

    def _held(self) -> bool:
        if self._watched() or (self._snapshot.cluster.clients and self._spec.address is None):
            self.renew()
            self._snapshot.set(lease_until=None)
            return True
        return False
