"""Goes back to the state before a sync, however far the sync got."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ...core import relaying
from ...core.change.state import StatePlace, SyncSpec, place_of
from ...core.errors import CoiledError
from ...core.wire import SyncGroup, SyncState
from .building import Building
from .host import Host
from .moving import Moving
from .progress import Progress
from .verify import AS_IT_WAS, Verifying

DRAIN_SECONDS = 600.0
PAUSES = (1.0, 5.0)
"""Seconds between attempts to go back, while the cluster exists."""
GONE_SECONDS = 2.0
NOBODY = "Nothing listens at the scheduler's address any more."
UNTOUCHED = "Nothing was changed: all workers are as they were."
STEP = "Go back"
_log = logging.getLogger("coiled_jupyter.supervisor")


class Back:
    """The way back of one sync.

    Parameters
    ----------
    prior
        The layers of the state to go back to, by place.
    sealed
        Whether clients sent sealed graphs in that state.

    """

    def __init__(
        self,
        host: Host,
        spec: SyncSpec,
        progress: Progress,
        building: Building,
        moving: Moving,
        verifying: Verifying,
        prior: dict[str, StatePlace],
        sealed: bool,
    ) -> None:
        self._host, self._spec, self._progress, self._prior = host, spec, progress, prior
        self._sealed = sealed
        self._building, self._moving, self._verifying = building, moving, verifying
        self.touched = False
        """Whether anything was changed that has to be undone."""
        self.prefix: str | None = None
        """The environment of the cluster before all of it was restarted."""

    async def go(self, state: SyncState, why: str) -> None:
        """Go back to the old state if anything was changed; the sync ends as `lost` if the cluster is gone."""
        progress = self._progress
        # An error's message has no full stop, and a sentence follows.
        why = why if why.endswith((".", "?", "!")) else f"{why}."
        progress.stop("cancelled" if state == "cancelled" else "failed", why)
        if not self.touched:
            progress.end(state, f"{why} {UNTOUCHED}")
            return
        progress.enter("rolling_back")
        progress.begin(STEP)
        groups: Sequence[SyncGroup] = ()
        fault = ""
        for pause in (*PAUSES, None):
            if self._spec.how == "roll" and await gone(self._host.link.address):
                fault = nobody(self._host)
                break
            try:
                groups, fault = await (self._restart() if self._spec.how == "replace" else self._roll()), ""
                break
            except CoiledError as error:
                fault = error.message
            except Exception:  # noqa: BLE001 - outermost edge of a run, which has to end in any case
                _log.exception("a sync could not go back because of a bug")
                fault = "A bug in coiled-jupyter prevented that; the cluster's log has its details."
            if pause is not None:
                progress.log(f"Going back is retried: {fault}")
                await asyncio.sleep(pause)
        if fault:
            progress.finish(STEP, "failed", fault)
            detail = "." if fault == why else f": {fault}"
            progress.end(
                "lost",
                f"{why} Not every worker could be brought back, so nothing is claimed of the cluster{detail}",
                self._verifying.groups,
            )
        else:
            progress.finish(STEP)
            progress.end(state, f"{why} The old state is back, as read from every worker.", groups)

    async def _roll(self) -> Sequence[SyncGroup]:
        nodes = self._host.node_link
        survey = await nodes.surveyor.survey()
        # Workers that were retired but not restarted return to normal operation.
        await nodes.restarts.cancel_retirement([worker.address for worker in survey.workers])
        there = {place.key: place.layers for place in survey.places}
        # A layer that was removed meanwhile is rebuilt.
        gone = [p for p in self._prior.values() if p.layer and p.key in there and p.layer not in there[p.key]]
        made = await self._building.build(gone, survey)
        target = {**{place.key: place_of(place) for place in self._spec.places}, **self._prior, **made}
        await self._building.use(target, survey, sealed=self._sealed)
        groups = await self._verifying.workers(target, DRAIN_SECONDS, AS_IT_WAS, sealed=self._sealed)
        try:
            await self._moving.end_lent(DRAIN_SECONDS)
        except CoiledError as error:
            # All workers are back, so what it executes runs again on them.
            self._progress.log(f"The temporary worker is ended: {error.message}")
            await self._moving.take_back()
        return groups

    async def _restart(self) -> Sequence[SyncGroup]:
        """Restart the whole cluster in its old environment."""
        if self.prefix is None:
            return ()
        await self._host.start_on(str(Path(self.prefix) / "bin" / "python"))
        base = StatePlace(key="", host="", prefix=self.prefix, layer=None, path=self.prefix)
        # Workers return to their layers; a scheduler never runs in one.
        layers = {place.path: place for place in self._prior.values() if place.layer is not None}
        return await self._verifying.brought_back(base, layers)


def nobody(host: Host) -> str:
    """Say that the cluster can't be reached any more."""
    return relaying.CLOSED if host.spec.relayed else NOBODY


async def gone(address: str) -> bool:
    """Return whether nothing listens at a scheduler's address any more; a silent scheduler isn't gone."""
    parts = urlsplit(address)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, parts.port), GONE_SECONDS)
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError, asyncio.TimeoutError):
        return False
    writer.close()
    return False
