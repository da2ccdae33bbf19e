"""The Jupyter server extension: configuration and wiring, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Enum, Float, Int, List, Unicode

from ..configuration import Configuration
from ..core.wire import Change, Diff
from ..links.kernel import KernelLink
from ..service import Service
from . import events, sources
from .beat import Beat
from .handlers import routes


class CoiledJupyter(ExtensionApp):
    """Compares the libraries of kernels and Dask clusters, and starts clusters whose libraries match."""

    name = "coiled_jupyter"
    extension_url = "/coiled-jupyter"
    load_other_extensions = True

    core_limit = Int(100, min=0, help="Cores that one user's clusters may run at once on this host.").tag(config=True)
    worker_limit = Int(200, min=1, help="Workers that one cluster may have.").tag(config=True)
    cluster_limit = Int(20, min=1, help="Clusters that one user may run at once on this host.").tag(config=True)
    lease_seconds = Float(
        600.0, min=1, help="Seconds that a cluster lives on when no server, kernel or client holds it."
    ).tag(config=True)
    index_options = List(Unicode(), help="Options for uv that choose package indexes.").tag(config=True)
    allow_source_builds = Bool(False, help="Let uv build source distributions, which runs their code.").tag(config=True)
    allowed_in_files = List(
        Enum(["options", "paths", "urls", "vcs"]),
        help="What imported files of requirements may have beside names and versions: options about indexes, paths and "
        "URLs of archives and projects, commits of repositories (vcs).",
    ).tag(config=True)
    allowed_addresses = List(
        Unicode(), help="Hosts that may be attached: names with * or networks; none: all but link-local ones."
    ).tag(config=True)
    tls_roots = List(Unicode(), ["~"], help="Folders below which certificate files may lie.").tag(config=True)
    rules_file = Unicode(
        "", help="A file of rules that come before each user's; see core/rules.toml for its form."
    ).tag(config=True)

    load_magic = Bool(
        False, help="Let kernels that have this package load %coiled by themselves, without %load_ext."
    ).tag(config=True)

    service: Service
    kernel_link: KernelLink
    beat: Beat

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self.handlers.extend(routes())

    def initialize_settings(self) -> None:
        """Build the service that the routes find in the settings."""
        kernels = self._server.kernel_manager
        self.kernel_link = KernelLink(
            kernels, changed=self._kernel_changed, conda_names=self._conda_names, load_magic=self.load_magic
        )
        self.service = Service(
            Configuration(
                core_limit=self.core_limit,
                worker_limit=self.worker_limit,
                cluster_limit=self.cluster_limit,
                lease_seconds=self.lease_seconds,
                index_options=tuple(self.index_options),
                allow_source_builds=self.allow_source_builds,
                allowed_in_files=tuple(self.allowed_in_files),
                allowed_addresses=tuple(self.allowed_addresses),
                tls_roots=tuple(self.tls_roots),
                rules_file=self.rules_file,
            ),
            kernels=self.kernel_link,
            label=self._notebook,
            imports=sources.Imports(self._server).of_kernel,
            changed=self._emit,
        )
        events.register(self._server.event_logger)
        self.beat = Beat(
            self.service,
            self._diff,
            listened=lambda: events.listened(self._server.event_logger),
            emit=self._emit,
        )
        self.settings["coiled_jupyter_service"] = self.service
        self.settings["coiled_jupyter_beat"] = self.beat
        events.listen(self._server.event_logger, self.kernel_link.notice)

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Adopt clusters and meet the kernels once the server's loop runs."""
        await self.service.start()
        self.kernel_link.start()
        self.beat.start()

    async def stop_extension(self) -> None:
        """Let go of kernels and clusters; clusters that nobody else holds stop."""
        await self.beat.close()
        await asyncio.gather(self.kernel_link.close(), self.service.close())

    @property
    def _server(self) -> Any:
        return self.serverapp

    async def _notebook(self, kernel_id: str) -> str | None:
        for session in await self._server.session_manager.list_sessions():
            if (session.get("kernel") or {}).get("id") == kernel_id:
                return str(session.get("name") or session.get("path") or "") or None
        return None

    async def _diff(self, kernel: str, cluster: str) -> Diff:
        return await self.service.diff(cluster, kernel=kernel, label=await self._notebook(kernel))

    def _emit(self, change: Change) -> None:
        events.emit(self._server.event_logger, change)

    def _conda_names(self) -> Mapping[str, str | None]:
        return self.service.conda_names()

    def _kernel_changed(self, kernel_id: str) -> None:
        self._emit(Change(kind="kernel", id=kernel_id, revision=0))
