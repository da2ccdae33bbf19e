"""Makes nannies start their workers in layers, by a NannyPlugin, and lets the scheduler import from a layer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ... import texts
from ...core.change.state import StatePlace
from ...core.errors import CoiledError, Timeout
from .calls import CALL_SECONDS, NodeCalls, Nothing

NAME = "coiled-jupyter-layer"
"""The name of the NannyPlugin at the scheduler; the texts of nanny and scheduler repeat it."""
REGISTER_SECONDS = 20.0


class _Entries(Struct, frozen=True):
    entries: tuple[str, ...]


class LayerPlugin:
    """The layer plugin of one cluster."""

    def __init__(self, calls: NodeCalls) -> None:
        self._calls = calls
        self.reasons: dict[str, str] = {}
        """By nanny, why it uses no layer, by its last answer."""

    async def register(self, places: Iterable[StatePlace]) -> dict[str, str | None]:
        """Have every nanny use the layer of its place; return by nanny which layer it uses now.

        None is the base environment: its place has no layer, or the nanny can't use one, or didn't answer. Workers
        change when they restart; those of new nannies start in the layer.
        """
        layers = {
            place.key: {"id": place.layer, "executable": place.executable, "entries": place.entries}
            for place in places
            if place.layer is not None
        }
        about = await self._calls.about()
        before = await self._calls.all_nannies()
        names = texts.layer_plugin_names(json.dumps(layers))
        # Registered before single nannies are asked, because one of those may be silent.
        with contextlib.suppress(Timeout):
            await self._calls.link.register(
                "nanny", NAME, texts.LAYER_PLUGIN, names, REGISTER_SECONDS, idempotent=about.idempotent
            )
        used = await self._used()
        # Registration at the scheduler doesn't reach nannies without a worker.
        wanted = {layer["id"] for layer in layers.values()}
        missed = [nanny for nanny in before if used.get(nanny) not in wanted]
        if missed:
            await self._calls.link.plug_nannies(missed, NAME, texts.LAYER_PLUGIN, names, CALL_SECONDS)
            used = await self._used()
        return used

    async def unregister(self) -> dict[str, str | None]:
        """Have every nanny use its own environment; return by nanny the layer that it still uses."""
        await self._calls.all_nannies()
        # A scheduler logs a traceback for a plugin that isn't registered.
        if (await self._calls.about()).registered:
            with contextlib.suppress(Timeout):
                await self._calls.link.unregister("nanny", NAME, REGISTER_SECONDS)
        used = await self._used()
        missed = [nanny for nanny, layer in used.items() if layer is not None]
        if missed:
            await self._calls.link.plug_nannies(missed, NAME, None, {}, CALL_SECONDS)
            used = await self._used()
        return used

    async def _used(self) -> dict[str, str | None]:
        present = {worker.nanny for worker in (await self._calls.present()).values()}
        found: dict[str, str | None] = {}
        self.reasons = {}
        for nanny, process in (await self._calls.nanny_processes(await self._calls.all_nannies())).items():
            if not isinstance(process, CoiledError):
                found[nanny], self.reasons[nanny] = process.layer, process.why
            elif nanny in present:
                found[nanny], self.reasons[nanny] = None, process.message
            else:
                # It has ended since.
                self._calls.forget(nanny)
        return found

    async def extend_scheduler(self, entries: Sequence[str]) -> bool:
        """Let the scheduler import packages that it lacks from a layer; False if that has another Python or isn't there."""
        return bool((await self._calls.scheduler(_Entries, "extend", list(entries))).entries)

    async def restore_scheduler(self) -> None:
        """Undo `extend_scheduler`."""
        await self._calls.scheduler(Nothing, "restore")
