"""The service: assembles the parts that serve the Jupyter server, the command line and the magics."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from .. import factories, paths
from ..configuration import Configuration
from ..core.errors import CoiledError
from ..core.reading import Reading
from ..core.wire import SCHEMA, About, Change, Limits, Problematic, Sync
from ..ledger import AsyncLedger
from ..rulebook import RuleBook
from ..software.named.store import NamedEnvironments
from .changing import Changing
from .clusters import Clusters
from .comparing import Comparing
from .discovery import Discovery, Kernels, NoKernels
from .following import Following
from .requests import Requests
from .software import SoftwareEnvironments


class Service:
    """Clusters, comparisons, changes and software environments of one user on one host.

    Parameters
    ----------
    configuration
        The administrator's limits and defaults.
    kernels
        The kernels; None without a Jupyter server (a diff then compares this interpreter).
    label
        Returns the name of a kernel's notebook, or None.
    imports
        Returns the modules that the source of a kernel's notebook imports.
    changed
        Called after each change of state.

    Attributes
    ----------
    clusters, comparing, changing, software
        The operations by subject. Nothing is read or created before `start`.

    """

    def __init__(
        self,
        configuration: Configuration | None = None,
        *,
        kernels: Kernels | None = None,
        label: Callable[[str], Awaitable[str | None]] | None = None,
        imports: Callable[[str], Awaitable[frozenset[str]]] | None = None,
        changed: Callable[[Change], None] | None = None,
        ledger: AsyncLedger | None = None,
    ) -> None:
        self.configuration = settings = configuration or Configuration()
        server = kernels is not None
        kernels, label, changed = kernels or NoKernels(), label or _nameless, changed or _unpublished

        async def read(kernel_id: str) -> Reading:
            return (await kernels.read(kernel_id)).reading

        def conda_names() -> Mapping[str, str | None]:
            return rulebook.rules().conda

        def synced(sync: Sync) -> None:
            self.changing.note(sync)

        rulebook = RuleBook(Path(settings.rules_file).expanduser() if settings.rules_file else None)
        store = NamedEnvironments(settings)
        self._ledger = ledger or AsyncLedger(retry_seconds=settings.paces.ledger_retry)
        self._following = Following(settings, self._ledger, server=server, changed=changed, synced=synced)
        self._discovery = Discovery(
            kernels,
            label=label,
            known=self._following.schedulers,
            changed=changed,
            conda_names=conda_names,
            paces=settings.paces,
        )
        requests = Requests(settings, store, read)
        self.clusters = Clusters(settings, self._ledger, self._following, self._discovery, requests)
        self.comparing = Comparing(
            self.clusters,
            kernels,
            self._discovery,
            store,
            rulebook,
            label=label,
            imports=imports or _no_imports,
            changed=lambda kernel_id: changed(Change(kind="kernel", id=kernel_id, revision=0)),
        )
        self.changing = Changing(settings, self._ledger, rulebook, store, self.clusters, self.comparing, changed)
        self.software = SoftwareEnvironments(
            settings, self._ledger, store, self.clusters, read=read, conda_names=conda_names
        )

    async def start(self) -> None:
        """Follow the clusters of the ledger and of the kernels; failed reads are retried."""
        await self._following.start()
        self._discovery.start()

    async def close(self, *, release: bool = True) -> None:
        """Stop following; with `release`, clusters of this session that nobody else uses stop at once."""
        await self._discovery.close()
        await self._following.close(release=release)
        await self._ledger.close()

    def about(self) -> About:
        """Return versions, limits and factories, and any problem that keeps clusters from being read or started."""
        try:
            uv: str | None = importlib.metadata.version("uv")
        except importlib.metadata.PackageNotFoundError:
            uv = None
        settings = self.configuration
        return About(
            version=importlib.metadata.version("coiled-jupyter"),
            schema=SCHEMA,
            uv=uv,
            limits=Limits(cores=settings.core_limit, workers=settings.worker_limit, clusters=settings.cluster_limit),
            factories=tuple(factories.describe()),
            problem=self._problem(),
        )

    def _problem(self) -> Problematic | None:
        if self._following.problem is not None:
            return self._following.problem.to_wire().error
        try:
            paths.data_dir()
        except CoiledError as error:
            return error.to_wire().error
        return None


async def _nameless(kernel_id: str) -> str | None:
    return None


async def _no_imports(kernel_id: str) -> frozenset[str]:
    return frozenset()


def _unpublished(change: Change) -> None:
    """Change notices of a service without a page."""
