"""Lists, creates, attaches, changes and stops the clusters of this user on this host and of this server's notebooks."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator

import msgspec

from ..configuration import Configuration
from ..core.choice import ENDED, choose
from ..core.errors import CoiledError, Conflict, Invalid, NotFound, TooMany
from ..core.launch import LaunchSpec
from ..core.times import now
from ..core.wire import (
    ChangedCluster,
    Cluster,
    ClusterAttach,
    ClusterChange,
    ClusterCreate,
    ClusterRestart,
    ClusterUsage,
    Logs,
    Memory,
    Tasks,
    Usage,
    UsageCores,
)
from ..factories.local import machine_memory
from ..ledger import AsyncLedger
from ..paths import cluster_dir
from ..supervisor import logs
from ..supervisor.client import SupervisorClient
from . import attach
from .discovery import Discovery, marked
from .following import Following
from .requests import Requests, check_name

ATTACHMENTS_A_MINUTE = 20


class Clusters:
    """The operations on clusters; each is carried out by the cluster's supervisor."""

    def __init__(
        self,
        configuration: Configuration,
        ledger: AsyncLedger,
        following: Following,
        discovery: Discovery,
        requests: Requests,
    ) -> None:
        self._configuration, self._ledger, self._requests = configuration, ledger, requests
        self._following, self._discovery = following, discovery
        self._attached: list[float] = []

    # ---- reading ----------------------------------------------------------------------------------------------

    def all(self) -> list[Cluster]:
        """Return all clusters, oldest first; ended ones until they are deleted; CoiledError if the ledger can't be read."""
        found = [self._with_clients(cluster) for cluster in self._following.clusters()]
        self._discovery.look()
        return sorted((*found, *self._discovery.clusters()), key=lambda c: (c.created_at, c.id))

    def live(self) -> list[Cluster]:
        """Return the clusters that haven't ended."""
        return [cluster for cluster in self.all() if cluster.status not in ENDED]

    def get(self, cluster_id: str) -> Cluster:
        """Return one cluster as it is known here, or raise NotFound."""
        for cluster in self.all():
            if cluster.id == cluster_id:
                return cluster
        raise NotFound("There is no cluster with this id", "It may have been stopped; look at the list of clusters")

    async def fetch(self, cluster_id: str) -> Cluster:
        """Return one cluster, even if another server or shell made it a moment ago, or raise NotFound."""
        with contextlib.suppress(NotFound):
            return self.get(cluster_id)
        await self._following.look()
        return self.get(cluster_id)

    def find(self, name: str | None) -> Cluster:
        """Return the cluster with this id, name or address, or the only live one; NotFound or Conflict otherwise."""
        return choose(name, self.all())

    def followed(self, cluster_id: str) -> bool:
        """Whether this cluster's supervisor has answered to this process."""
        return self._following.followed(cluster_id)

    def connected(self, cluster_id: str) -> bool:
        """Whether this cluster's supervisor sends changes to this process now."""
        return self._following.connected(cluster_id)

    async def client(self, cluster: Cluster) -> SupervisorClient:
        """Return a connection to a cluster's supervisor, waiting for one that has just been started, or raise Unavailable."""
        return await self._following.client(cluster.id)

    def _with_clients(self, cluster: Cluster) -> Cluster:
        """Return a cluster with the clients of this server's notebooks marked."""
        if cluster.scheduler is None or cluster.scheduler.id is None:
            return cluster
        scheduler = cluster.scheduler.id
        return msgspec.structs.replace(
            cluster,
            other_clients=marked(cluster.other_clients, self._discovery.notebooks(scheduler)),
            kernels=self._discovery.kernels(scheduler),
        )

    async def logs(self, cluster_id: str, *, node: str | None = None, after: str | None = None) -> Logs:
        """Return what the processes of a managed cluster printed, also after its end."""
        cluster = await self.fetch(cluster_id)
        if cluster.source != "managed":
            raise Conflict(
                "The logs of this cluster are kept by whoever runs it", "Look where its processes were started"
            )
        return await asyncio.to_thread(logs.read, cluster_id, node, after)

    def usage(self) -> Usage:
        """Return the core usage of this user on this host, all figures from the last snapshots."""
        live = self.live()
        counted = [c for c in live if c.source == "managed"]
        limits = [c.memory.limit for c in counted]
        tasks = [c.tasks for c in live if c.tasks]
        rates = [t.done_per_second for t in tasks if t.done_per_second is not None]
        held = [t.in_memory for t in tasks]
        return Usage(
            cores=UsageCores(
                busy=sum(c.cores.busy for c in counted),
                allocated=sum(c.cores.allocated for c in counted),
                requested=sum(c.cores.requested for c in counted),
                limit=self._following.core_limit(),
            ),
            memory=Memory(
                used=sum(c.memory.used for c in counted),
                # They share one machine, even if their limits differ.
                limit=min(sum(x for x in limits if x is not None), machine_memory()) if None not in limits else None,
            ),
            tasks=Tasks(
                running=sum(t.running for t in tasks),
                queued=sum(t.queued for t in tasks),
                done_per_second=sum(rates) if rates else None,
                in_memory=None if None in held else sum(n for n in held if n is not None),
            ),
            clusters=tuple(
                ClusterUsage(
                    id=c.id,
                    name=c.name,
                    counted=c.source == "managed",
                    cores=c.cores,
                    memory=c.memory,
                    seen_at=c.seen_at,
                )
                for c in live
            ),
            taken_at=now(),
        )

    # ---- changing ---------------------------------------------------------------------------------------------

    async def create(self, body: ClusterCreate) -> Cluster:
        """Reserve the cores, start the supervisor and return the starting cluster.

        Raises
        ------
        Invalid
            A field of the request is wrong; nothing was started.
        NotFound, Unavailable
            The kernel that it names doesn't exist or can't be read.
        Conflict
            Over the limit, with the figures.

        """
        return await self._following.begin(await self._requests.launch_spec(body))

    async def attach(self, body: ClusterAttach) -> Cluster:
        """Follow a cluster that somebody else runs, and return its present state.

        Raises
        ------
        Invalid
            The address or a certificate file isn't allowed.
        Conflict
            It is attached already.
        TooMany
            More than `ATTACHMENTS_A_MINUTE` were requested.

        """
        moment = time.monotonic()
        self._attached = [at for at in self._attached if moment - at < 60]
        if len(self._attached) >= ATTACHMENTS_A_MINUTE:
            raise TooMany("Too many clusters were attached within a minute", "Wait a minute and try again")
        self._attached.append(moment)
        settings = self._configuration
        check_name(body.name)
        address = await attach.address(body.address, settings.allowed_addresses)
        encrypted = address.startswith("tls:")
        if encrypted and body.tls is None:
            raise Invalid("tls", "A tls:// address needs certificate files", "Give ca_file, cert_file and key_file")
        if body.tls is not None and not encrypted:
            raise Invalid("tls", "Certificate files go with a tls:// address only")
        files = attach.certificates(body.tls, settings.tls_roots) if body.tls is not None else None
        for cluster in self.all():
            if cluster.source == "attached" and cluster.scheduler and cluster.scheduler.address == address:
                raise Conflict(f"This cluster is attached already, as {cluster.name}")
        return await self._following.begin(
            LaunchSpec(
                id=secrets.token_hex(4),
                name=body.name or address.partition("://")[2],
                factory="attached",
                workers=0,
                lease_seconds=settings.paces.unwatched,
                created_at=now(),
                address=address,
                tls=files,
            )
        )

    async def change(self, cluster_id: str, body: ClusterChange) -> ChangedCluster:
        """Change a cluster's size, name or lease, and return it with what was granted.

        Raises
        ------
        Invalid
            Not exactly one of these is given, or it is out of bounds; nothing was changed.
        Conflict
            The cluster isn't managed, isn't running, or another one has the name.

        """
        self._requests.check_change(body)
        async with self._steer(cluster_id) as client:
            changed = await client.change(body)
        self._following.update(changed.cluster)
        fields = {name: getattr(changed.cluster, name) for name in changed.cluster.__struct_fields__}
        return ChangedCluster(**fields, granted=changed.granted, limit=changed.limit)

    async def restart(self, cluster_id: str, body: ClusterRestart) -> Cluster:
        """Restart a cluster's workers or the whole cluster; Conflict if it isn't managed or isn't running."""
        async with self._steer(cluster_id) as client:
            await client.restart(body.what)
        return self.get(cluster_id)

    @contextlib.asynccontextmanager
    async def _steer(self, cluster_id: str) -> AsyncIterator[SupervisorClient]:
        """Connect to the supervisor of a cluster that can be changed from here; Conflict otherwise."""
        cluster = await self.fetch(cluster_id)
        if cluster.source == "discovered":
            raise Conflict(f"This cluster belongs to {cluster.opened_by}, which opened it", "Change it there")
        if cluster.status in ENDED:
            raise Conflict(f"The cluster is {cluster.status}", "Start a new one")
        async with contextlib.AsyncExitStack() as stack:
            client = await self.client(cluster)
            stack.push_async_callback(client.close)
            yield client

    async def delete(self, cluster_id: str) -> None:
        """Stop a cluster that runs, remove one that has ended from the list, detach one that isn't managed.

        A cluster that a notebook opened by itself raises Conflict.
        """
        cluster = await self.fetch(cluster_id)
        if cluster.source == "discovered":
            raise Conflict(
                f"This cluster belongs to {cluster.opened_by}, which opened it",
                "Close it there, with `client.close()` or `cluster.close()`",
            )
        if cluster.status in ENDED and cluster.source == "managed":
            if await self._ledger.ask(lambda held: held.reserved(cluster_id)):
                raise Conflict("Processes of this cluster are still ending", "Try again in a few seconds")
            await self._following.forget(cluster_id)
            await asyncio.to_thread(shutil.rmtree, cluster_dir(cluster_id), True)
            return
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = await self.client(cluster)
                stack.push_async_callback(client.close)
                await client.stop()
        except Conflict:
            raise
        except CoiledError:
            if cluster.source == "managed":
                row = await self._ledger.ask(lambda held: held.get(cluster_id))
                if row is not None and not row.ended:
                    raise
            # It has ended meanwhile, as requested.
        if cluster.source == "attached":
            await self._following.forget(cluster_id)
