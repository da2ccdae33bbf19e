"""Builds the layers of a sync in every place, and has nannies and the scheduler use them.

A node that can't fetch packages is sent them: where the plan says so, and where it says that this may be needed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from packaging.version import InvalidVersion, Version

from ... import tasks
from ...core.change.state import StatePlace, SyncPlace, SyncSpec, place_of
from ...core.change.survey import Survey, SurveyPlace
from ...core.errors import Impossible, Unavailable
from ...links.nodes.layers import LayerBuild, LayerRequest
from ...software import uv
from .host import Host
from .progress import Progress
from .reaching import Reaching, installer_there
from .sending import Sending

BUILD_SECONDS = 1200.0


class Building:
    """Builds the layers of one sync."""

    def __init__(self, host: Host, spec: SyncSpec, progress: Progress, reaching: Reaching) -> None:
        self._host, self._spec, self._progress, self._reaching = host, spec, progress, reaching
        self._sending = Sending(host, spec, progress)

    async def build(self, places: Iterable[SyncPlace], survey: Survey) -> dict[str, StatePlace]:
        """Build all missing layers at once, and return what each place is to use, by its key."""
        made = await _all([self._one(place, survey) for place in places])
        return {place.key: place for place in made}

    async def _one(self, place: SyncPlace, survey: Survey) -> StatePlace:
        known = next((one for one in survey.places if one.key == place.key), None)
        if known is None:
            raise Unavailable(f"No nanny on {place.host} answers any more", "Look at its log")
        if place.layer is None:
            return place_of(place)
        request = LayerRequest(
            id=place.layer,
            executable=known.executable,
            lock=place.lock,
            uv=await self._installer(known, survey),
            expected=dict(place.expected),
            imports=place.imports,
            environ=dict(self._spec.environ),
            options=self._spec.options,
            only_binary=self._spec.only_binary,
            wheels=tuple(
                [await self._send(known, path) for wheel in place.wheels if (path := Path(wheel.path)).exists()]
            ),
        )
        send = place.send == "yes" and place.layer not in known.layers
        last = await self._build(place, known, request, send=send)
        if last.unfetched and place.send and not send:
            self._progress.log(f"{place.host} can't fetch the packages, so this computer sends them")
            last = await self._build(place, known, request, send=True)
        elif last.unfetched and not place.send:
            self._reaching.failed(place.key)
            raise Impossible(
                f"The environment could not be built on {place.host}, which could not fetch the packages: {last.reason}. "
                "Make a new plan: if this computer reaches the index, it sends them"
            )
        if last.state != "done":
            raise Impossible(f"The environment could not be built on {place.host}: {last.reason or ''}")
        planned = {name: getattr(place, name) for name in ("layer", "lock", "expected", "imports", "wheels", "send")}
        built = {name: getattr(last, name) for name in ("path", "executable", "entries", "size")}
        return place_of(place, **planned, **built)

    async def _build(self, place: SyncPlace, known: SurveyPlace, request: LayerRequest, *, send: bool) -> LayerBuild:
        """Return how the build of a layer ended; with `send` all that it needs is sent there first."""
        if send:
            sent = await self._sending.wheels(place, known, BUILD_SECONDS)
            request = msgspec.structs.replace(request, offline=True, environ={}, wheels=(*request.wheels, *sent))
        last = LayerBuild(state="failed", reason="it was not begun")
        async for last in self._host.node_link.layers.build(known.speaker, request, BUILD_SECONDS):
            for line in last.lines:
                self._progress.log(f"{place.host}: {line}" if len(self._spec.places) > 1 else line)
        return last

    async def _installer(self, place: SurveyPlace, survey: Survey) -> str | None:
        """Return the path of uv on a node: its own, ours if it is this host, or a copy sent there; None means pip."""
        there = installer_there(place)
        if there is not None:
            return there
        own = uv.binary()
        alike = (place.platform, place.machine) == (sys.platform, os.uname().machine)
        if not (survey.encrypted and alike and _runs_there(place.libc)):
            return None
        self._progress.log(f"Sending uv to {place.host}")
        return await self._send(place, Path(own), "uv")

    async def _send(self, place: SurveyPlace, path: Path, name: str = "") -> str:
        return await self._host.node_link.layers.send(place.speaker, name or path.name, path, host=place.host)

    async def cancel(self) -> None:
        """Cancel the builds of this sync, also those begun by an earlier supervisor."""
        nodes = self._host.node_link
        speakers = {place.key: place.speaker for place in (await nodes.surveyor.survey()).places}
        for place in self._spec.places:
            if place.layer is not None and place.key in speakers:
                await nodes.layers.cancel_build(speakers[place.key], place.layer)

    async def use(self, target: Mapping[str, StatePlace], survey: Survey, *, sealed: bool) -> None:
        """Have nannies start their next workers in the layers of `target`; Unavailable names one that doesn't.

        `sealed` is whether clients of their tasks are to send sealed graphs.
        """
        plugin, seal = self._host.node_link.plugin, self._host.node_link.seal
        await (seal.register() if sealed else seal.unregister())
        if any(place.layer is not None for place in target.values()):
            used = await plugin.register(target.values())
            wanted = {
                w.nanny: target[w.place].layer for w in survey.workers if w.nanny and w.place and w.place in target
            }
            missed = sorted(nanny for nanny, layer in wanted.items() if used.get(nanny, layer) != layer)
            if missed:
                why = plugin.reasons.get(missed[0], "") or "it gave no reason"
                raise Unavailable(f"The nanny {missed[0]} could not be moved to the new environment: {why}")
        else:
            kept = sorted(nanny for nanny, layer in (await plugin.unregister()).items() if layer is not None)
            if kept:
                raise Unavailable(f"The nanny {kept[0]} could not be brought back to the base environment")
        # The scheduler can import packages that it lacks from a layer, without a restart.
        near = [p for p in target.values() if survey.scheduler and p.layer and p.host == survey.scheduler.host]
        if near:
            await plugin.extend_scheduler(near[0].entries)
        else:
            await plugin.restore_scheduler()


def _runs_there(libc: str) -> bool:
    """Return whether a node's C library is new enough for a program of this host."""
    own = uv.libc()
    if not own or not libc.startswith("glibc "):
        return False
    try:
        return Version(libc.partition(" ")[2]) >= Version(own.partition(" ")[2])
    except InvalidVersion:
        return False


async def _all(work: Sequence[Awaitable[StatePlace]]) -> list[StatePlace]:
    """Wait for all; the first failure cancels the others, so that no build continues unwatched."""
    pending = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*pending)
    finally:
        await tasks.end([task for task in pending if isinstance(task, asyncio.Task)])
