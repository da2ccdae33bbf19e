"""Has workers seal what the clients of their tasks send, by a WorkerPlugin that newcomers get too."""

from __future__ import annotations

import contextlib

from ... import texts
from ...core.errors import Timeout
from .calls import NodeCalls

NAME = "coiled-jupyter-seal"
"""The name of the WorkerPlugin at the scheduler; the texts of seal and scheduler repeat it."""
REGISTER_SECONDS = 20.0


class SealPlugin:
    """The seal plugin of one cluster."""

    def __init__(self, calls: NodeCalls) -> None:
        self._calls = calls

    async def registered(self) -> bool:
        """Whether it is registered at the scheduler, by anybody."""
        return (await self._calls.about()).sealing

    async def register(self) -> None:
        """Have all workers of now and later seal; a reading of each tells whether it does."""
        about = await self._calls.about()
        # A silent worker doesn't keep the others, and those that start anew, from getting it.
        with contextlib.suppress(Timeout):
            await self._calls.link.register(
                "worker",
                NAME,
                texts.SEAL_PLUGIN,
                texts.seal_plugin_names(),
                REGISTER_SECONDS,
                idempotent=about.idempotent_worker,
            )

    async def unregister(self) -> None:
        """End that."""
        # A scheduler logs a traceback for a plugin that isn't registered.
        if await self.registered():
            with contextlib.suppress(Timeout):
                await self._calls.link.unregister("worker", NAME, REGISTER_SECONDS)
