"""Widgets for dashboards of one's own; they need ipywidgets (``pip install coiled-jupyter[widgets]``)."""

from __future__ import annotations

import asyncio
import html
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import traitlets

from . import bringing
from .commands.clusters import workers_of
from .commands.compare import SIGNS
from .commands.run import visit
from .core.compare.verdict import UNKNOWN, headline, holds
from .core.errors import CoiledError, packages_needed
from .core.times import age
from .core.wire import Cluster, Diff
from .links import this_process as here
from .service.facade import Service

with bringing(), packages_needed():
    import ipywidgets
    from IPython import get_ipython

COMPARE_SECONDS = 10.0
STALE_SECONDS = 20.0
"""Two comparisons; what is older claims nothing."""
_COLOURS = {"breaks": "error", "risky": "warn", "compatible": "success", "equal": "success", "unknown": "info"}


class ClusterStatus(ipywidgets.HTML):  # type: ignore[misc]  # ipywidgets has no types
    """A live view of one cluster: its state, cores, memory, and how this kernel's packages compare with its own.

    Its own thread looks at the cluster until `close`.

    Parameters
    ----------
    name
        Name, id or address; without it the only one, whichever that is at the time.
    seconds
        Between two requests for the state; packages are compared every `COMPARE_SECONDS`.

    Attributes
    ----------
    cluster
        The cluster as last seen (`core.wire.Cluster`), None where there is none.
    verdict
        ``breaks``, ``risky``, ``compatible``, ``equal`` or ``unknown``; nothing that is older than `STALE_SECONDS` is told.
    reason
        Why there is nothing to see.

    """

    cluster = traitlets.Any(None, allow_none=True)
    verdict = traitlets.Unicode("unknown")
    reason = traitlets.Unicode("")

    def __init__(self, name: str | None = None, *, seconds: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shell = get_ipython()
        here.begin([shell.user_ns] if shell is not None else [])
        self._coiled_watch = _Watch(name, seconds, self._coiled_show)

    def close(self) -> None:
        """Stop looking, and take the widget away."""
        watch = getattr(self, "_coiled_watch", None)
        if watch is not None:
            watch.ended.set()
        super().close()

    def __repr__(self) -> str:
        if self.cluster is None:
            return f"ClusterStatus: {self.reason or 'nothing was seen yet'}"
        return f"ClusterStatus: {self.cluster.name} is {self.cluster.status}, {self.verdict}"

    def _coiled_show(self, cluster: Cluster | None, verdict: str, line: str, why: str) -> None:
        with self.hold_sync():
            self.cluster, self.verdict, self.reason = cluster, verdict, why
            self.value = _html(cluster, verdict, line, why)


class _Watch:
    """Looks at a cluster from a thread and loop of its own until `ended` is set, and tells what it sees."""

    def __init__(self, name: str | None, seconds: float, show: Callable[[Cluster | None, str, str, str], None]) -> None:
        self._name, self._seconds, self._show = name, seconds, show
        self._compared: Diff | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="coiled-jupyter status")
        self.thread.daemon = True
        self.thread.start()

    async def _live(self) -> None:
        try:
            async with visit() as service:
                comparing = asyncio.create_task(self._compare(service))
                try:
                    while not self.ended.is_set():
                        self._look(service)
                        await self._pause(self._seconds)
                finally:
                    comparing.cancel()
        except CoiledError as error:
            # Such as a configuration that can't be read.
            self._tell(None, error.told())

    async def _pause(self, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.ended.is_set() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(min(0.2, seconds))

    def _look(self, service: Service) -> None:
        try:
            found, why = service.clusters.find(self._name), ""
        except CoiledError as error:
            found, why = None, error.told()
        self._tell(found, why)

    async def _compare(self, service: Service) -> None:
        while True:
            try:
                cluster = service.clusters.find(self._name)
                self._compared = await service.comparing.diff(cluster.id)
            except CoiledError:
                self._compared = None
            # The first answers come before files have been looked at.
            unknown = self._compared is None or self._compared.verdict == "unknown"
            await self._pause(1.0 if unknown else COMPARE_SECONDS)

    def _tell(self, cluster: Cluster | None, why: str) -> None:
        known = self._compared
        verdict, line = "unknown", UNKNOWN
        there = cluster is not None and cluster.status in ("running", "idle", "degraded") and cluster.id
        if known is not None and known.cluster.id == there and holds(age(known.taken_at), STALE_SECONDS):
            verdict, line = known.verdict, headline(known)
        if not self.ended.is_set():
            self._show(cluster, verdict, line, why)


def _html(cluster: Cluster | None, verdict: str, line: str, why: str) -> str:
    # The time of day, since nothing here changes any more once the kernel is held up or gone.
    at = datetime.now().astimezone().strftime("%H:%M:%S")
    if cluster is None:
        return f"<div>{html.escape(why)}<br><small>at {at}</small></div>"
    memory = f"{cluster.memory.used / 1e6:.0f} MB"
    if cluster.memory.limit is not None:
        memory += f" of {cluster.memory.limit / 1e6:.0f} MB"
    lines = [
        f"<b>{html.escape(cluster.name)}</b> {cluster.status}, {workers_of(cluster)}",
        f"Cores: {cluster.cores.busy} busy of {cluster.cores.allocated}. Memory: {memory}",
        f'<span style="color:var(--jp-{_COLOURS[verdict]}-color1)">{SIGNS[verdict]} {html.escape(line)}</span>',
        *([html.escape(cluster.reason)] if cluster.reason else []),
        f"<small>at {at}</small>",
    ]
    return f"<div>{'<br>'.join(lines)}</div>"
