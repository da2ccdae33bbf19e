"""What the reader of a cluster needs of a way to its nodes; raw Dask requests and a kernel's own client both give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..core.errors import CoiledError


class NodeLink(Protocol):
    """A way to a scheduler and, through it, to its workers.

    Every method has a deadline in seconds. A method about one place raises Unavailable with a reason in plain words; one
    about many answers for each of them, by a value or by the error, and never lets one silent worker hold the others.
    """

    address: str

    async def identity(self, deadline: float = 5.0) -> dict[str, Any]:
        """Return what the scheduler tells of itself and its workers (plain data, hostile)."""

    async def evaluate_on_scheduler(self, expression: str, names: dict[str, Any], deadline: float = 5.0) -> str:
        """Evaluate a text in the scheduler's process and return the text that it gives."""

    async def evaluate_on_workers(
        self,
        workers: Sequence[str],
        expression: str,
        names: dict[str, Any],
        deadline: float = 5.0,
        *,
        nanny: bool = False,
    ) -> dict[str, str | CoiledError]:
        """Evaluate a text in the process of each worker (or of its nanny), and return by address what each gave."""

    async def versions(self, workers: Sequence[str], deadline: float = 5.0) -> dict[str, Any]:
        """Return what Dask's own versions handler tells, by address and for ``scheduler``; an error for who is silent."""
