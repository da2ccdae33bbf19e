"""The connection to the scheduler; Dask is imported when it is needed, at the same time as the launcher imports it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import Unavailable

if TYPE_CHECKING:
    from ..links.nodes.link import NodeLink
    from ..links.reader import Reader
    from ..links.scheduler import SchedulerLink


class Connection:
    """The links to the scheduler of one cluster, once its address is known.

    Parameters
    ----------
    sweep_seconds
        Seconds after which a reader asks all nodes.

    """

    def __init__(self, sweep_seconds: float) -> None:
        self._sweep_seconds = sweep_seconds
        self.relayed = False
        """Whether the scheduler is reached at a relay, and not at its own address."""
        self.dashboard: str | None = None
        """Where the platform says that a browser finds the pages of such a scheduler."""
        self._link: SchedulerLink | None = None
        self._node_link: NodeLink | None = None

    @property
    def link(self) -> SchedulerLink:
        """The link; Unavailable before there is one."""
        if self._link is None:
            raise Unavailable("The cluster's scheduler isn't there yet")
        return self._link

    @property
    def node_link(self) -> NodeLink:
        """The link to the nannies and workers; Unavailable before there is a scheduler."""
        from ..links.nodes.link import NodeLink

        if self._node_link is None or self._node_link.scheduler is not self.link:
            self._node_link = NodeLink(self.link)
        return self._node_link

    async def prepare(self) -> None:
        """Import Dask and the links, in a thread."""
        await asyncio.to_thread(_import)

    def temporary_directory(self) -> str | None:
        """Return Dask's configured folder for spilled data, or None."""
        import dask.config

        found = dask.config.get("temporary-directory", None)
        return found if isinstance(found, str) and found else None

    def open(
        self, address: str, tls: Mapping[str, str] | None, *, relayed: bool = False, dashboard: str | None = None
    ) -> None:
        """Use the scheduler at this address from now on."""
        self._link, self.relayed, self.dashboard = self.to(address, tls), relayed, dashboard

    def to(self, address: str, tls: Mapping[str, str] | None) -> SchedulerLink:
        """Return a link to a scheduler; `tls` are the paths of certificates."""
        from ..links.scheduler import SchedulerLink, TLSFiles

        return SchedulerLink(address, TLSFiles(**tls) if tls else None)

    def reader(self) -> Reader:
        """Return a reader without earlier readings."""
        from ..links.reader import Reader
        from ..rulebook import RuleBook

        book = RuleBook()
        return Reader(self.link, sweep_seconds=self._sweep_seconds, conda_names=lambda: book.rules().conda)

    def close(self) -> None:
        """Close the connections."""
        if self._link is not None:
            self._link.close()


def tls(paths: Mapping[str, Path]) -> dict[str, str]:
    """Return paths of certificates as texts."""
    return {name: str(path) for name, path in paths.items()}


def _import() -> None:
    from .. import rulebook  # noqa: F401
    from ..links import reader, scheduler  # noqa: F401
