"""The port through which a cluster is read; raw Dask requests and a kernel's own client both implement it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..core.errors import CoiledError


class NodeLink(Protocol):
    """A way to a scheduler and, through it, to its workers.

    Every method has a deadline in seconds. A method about one place raises Unavailable with the reason; one about many
    returns a value or an error for each of them, and never lets one silent worker delay the others.
    """

    address: str

    async def identity(self, deadline: float = 5.0) -> dict[str, Any]:
        """Return the scheduler's identity (plain data, hostile)."""

    async def evaluate_on_scheduler(self, expression: str, names: dict[str, Any], deadline: float = 5.0) -> str:
        """Evaluate a text in the scheduler's process and return its answer."""

    async def evaluate_on_workers(
        self,
        workers: Sequence[str],
        expression: str,
        names: dict[str, Any],
        deadline: float = 5.0,
        *,
        nanny: bool = False,
    ) -> dict[str, str | CoiledError]:
        """Evaluate a text in the process of each worker (or of its nanny), and return each answer by address."""

    async def versions(self, workers: Sequence[str], deadline: float = 5.0) -> dict[str, Any]:
        """Return the answers of Dask's own versions handler, by address and for ``scheduler``; an error for a silent place."""
