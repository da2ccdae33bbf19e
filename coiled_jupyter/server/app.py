"""The Jupyter server extension: configuration and wiring, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from msgspec import inspect
from traitlets import Bool, Dict, Enum, Float, Int, List, TraitType, Unicode

from .. import configuration, tasks
from ..core.wire import Change
from ..links.kernel import KernelLink
from ..service.facade import Service
from . import events
from .handlers import handlers
from .notebooks import Notebooks

STOP_SECONDS = 20.0
"""How long the server waits for clusters that end with it."""


def _trait(setting: configuration.Setting) -> TraitType[Any, Any]:
    """Return a setting as a trait for Jupyter's configuration files and command line."""
    made: TraitType[Any, Any]
    match setting.kind:
        case inspect.IntType(ge=least):
            made = Int(setting.default, min=least, help=setting.help)
        case inspect.FloatType(ge=least):
            made = Float(setting.default, min=least, help=setting.help)
        case inspect.BoolType():
            made = Bool(setting.default, help=setting.help)
        case inspect.VarTupleType(item_type=inspect.LiteralType(values=values)):
            made = List(Enum(list(values)), list(setting.default), help=setting.help)
        case inspect.DictType():
            made = Dict(dict(setting.default), help=setting.help)
        case inspect.VarTupleType():
            made = List(Unicode(), list(setting.default), help=setting.help)
        case _:
            made = Unicode(setting.default, help=setting.help)
    return made.tag(config=True)


class CoiledJupyter(ExtensionApp):
    """Compares the libraries of kernels and Dask clusters, and starts clusters whose libraries match."""

    name = "coiled_jupyter"
    extension_url = "/coiled-jupyter"
    load_other_extensions = True

    vars().update({name: _trait(setting) for name, setting in configuration.settings().items()})

    service: Service | None = None
    kernel_link: KernelLink | None = None
    _initial: asyncio.Task[None] | None = None

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self.handlers.extend(handlers())

    def initialize_settings(self) -> None:
        """Build the service that the routes find in the settings; it does nothing before it is started."""
        kernels, notebooks = self._server.kernel_manager, Notebooks(self._server)
        settings = configuration.made({name: getattr(self, name) for name in configuration.settings()})
        self.kernel_link = KernelLink(
            kernels, changed=self._kernel_changed, conda_names=self._conda_names, load_magic=settings.load_magic
        )
        self.service = self.settings["coiled_jupyter_service"] = Service(
            settings,
            kernels=self.kernel_link,
            label=notebooks.name,
            imports=notebooks.imports,
            changed=self._emit,
        )
        events.register(self._server.event_logger)
        events.listen(self._server.event_logger, self.kernel_link.notice)

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Follow clusters and kernels once the server's event loop runs; jupyter_server calls this hook from 2.16 on."""
        if self.service is not None and self.kernel_link is not None:
            await self.service.start()
            self.kernel_link.start()
            self._initial = asyncio.create_task(self.service.start_initial())

    async def stop_extension(self) -> None:
        """Release kernels and clusters in bounded time: a fault here would keep the server from stopping."""
        await tasks.end([self._initial])
        parts = [part.close() for part in (self.kernel_link, self.service) if part is not None]
        try:
            ended = await asyncio.wait_for(asyncio.gather(*parts, return_exceptions=True), STOP_SECONDS)
        except asyncio.TimeoutError:
            self.log.warning("Clusters were not released within %.0f s; they end with their leases", STOP_SECONDS)
        else:
            for fault in ended:
                if isinstance(fault, BaseException):
                    self.log.error("Stopping the extension failed", exc_info=fault)

    @property
    def _server(self) -> Any:
        return self.serverapp

    def _emit(self, change: Change) -> None:
        events.emit(self._server.event_logger, change)

    def _conda_names(self) -> Mapping[str, str | None]:
        return self.service.comparing.conda_names() if self.service is not None else {}

    def _kernel_changed(self, kernel_id: str) -> None:
        self._emit(Change(kind="kernel", id=kernel_id, revision=0))
