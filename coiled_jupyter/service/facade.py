"""The service: assembles the parts that serve the Jupyter server, the command line and the magics."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from .. import paths
from ..configuration import Configuration
from ..core.errors import CoiledError, Timeout, Unavailable
from ..core.joining import client_code
from ..core.reading import Reading
from ..core.wire import SCHEMA, About, Change, ClientCode, Limits, Problematic, Sync
from ..factories import dask_labextension
from ..factories.table import Table, missing
from ..ledger import AsyncLedger
from ..rulebook import RuleBook
from ..software.named.store import NamedEnvironments
from .changing import Changing
from .clusters import Clusters
from .comparing import Comparing
from .discovery import Discovery, Kernels, NoKernels
from .following import Following
from .in_place import InPlace
from .relays import Relays
from .requests import Requests
from .software import SoftwareEnvironments

_log = logging.getLogger(__name__)


class Service:
    """Clusters, comparisons, changes and software environments of one user on one host.

    Parameters
    ----------
    configuration
        The administrator's limits and defaults.
    kernels
        The kernels; None where there are none (a diff then compares this interpreter).
    server
        Whether this is a Jupyter server, as who has kernels is, or the kernel itself.
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
        server: bool | None = None,
        label: Callable[[str], Awaitable[str | None]] | None = None,
        imports: Callable[[str], Awaitable[frozenset[str]]] | None = None,
        changed: Callable[[Change], None] | None = None,
        ledger: AsyncLedger | None = None,
    ) -> None:
        self.configuration = settings = configuration or Configuration()
        server = kernels is not None if server is None else server
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
        self._relays = Relays(kernels)
        self._discovery = Discovery(
            kernels,
            label=label,
            known=self._following.schedulers,
            met=self._relays.met,
            changed=changed,
            conda_names=conda_names,
            paces=settings.paces,
        )
        self._table = Table(settings.factories)
        requests = Requests(settings, store, self._table, read)
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
        self._in_place = InPlace(kernels, self._discovery, self.comparing, rulebook.rules, changed)
        self.changing = Changing(
            settings,
            self._ledger,
            rulebook,
            store,
            self.clusters,
            self.comparing,
            self._in_place,
            self._relays,
            changed,
        )
        self.software = SoftwareEnvironments(
            settings, self._ledger, store, self.clusters, read=read, conda_names=conda_names
        )

    async def client_code(self, cluster_id: str, kernel: str | None) -> ClientCode:
        """Return code that connects a kernel to a cluster; NotFound or Conflict where it can't be."""
        cluster = await self.clusters.fetch(cluster_id)
        address, certificates = await self.clusters.contact(cluster)
        installed = None
        # A kernel that is busy or starting may have all that is needed.
        with contextlib.suppress(Timeout, Unavailable):
            if kernel is not None:
                (environment,) = await self.comparing.environments(kernel=kernel)
                if environment.level == "all":
                    installed = {package.name for package in environment.packages}
        return client_code(cluster.name, address, certificates, installed)

    async def start(self) -> None:
        """Follow the clusters of the ledger and of the kernels; failed reads are retried."""
        await self._following.start()
        self._discovery.start()

    async def start_initial(self) -> None:
        """Start the clusters that dask-labextension would start with the server, by the user's Dask configuration.

        Where it is installed itself it does so.
        """
        if missing(["dask-labextension"]):
            for body in dask_labextension.initial(await asyncio.to_thread(dask_labextension.configuration)):
                try:
                    await self.clusters.create(body)
                except CoiledError as error:
                    # One of that name may live since the last server.
                    _log.warning("the cluster %s of labextension.initial isn't started: %s", body.name, error.message)

    async def close(self, *, release: bool = True) -> None:
        """Stop following; with `release`, clusters of this session that nobody else uses stop at once."""
        await self.changing.close()
        await self._in_place.close()
        await self._discovery.close()
        await self._relays.close()
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
            factories=self._table.describe(),
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
