"""Lists, creates, attaches, changes and stops the clusters of this user on this host and of this server's notebooks."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import msgspec

from ..configuration import Configuration
from ..core.choice import ENDED, choose
from ..core.errors import CoiledError, Conflict, Invalid, NotFound, TooMany
from ..core.launch import Certificates, LaunchSpec, on_this_machine
from ..core.times import now
from ..core.wire import (
    Activity,
    ChangedCluster,
    Cluster,
    ClusterAttach,
    ClusterChange,
    ClusterCreate,
    ClusterRestart,
    ClusterUsage,
    Logs,
    Memory,
    Offers,
    OffersAsk,
    Tasks,
    Usage,
    UsageCores,
)
from ..factories.local import machine_memory, tls_paths
from ..ledger import AsyncLedger, Ledger
from ..paths import cluster_dir, data_dir
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
        self._relaying = asyncio.Lock()
        self._relayed: dict[str, str] = {}
        """By the address of a relay, the cluster that was attached there."""

    # ---- reading ----------------------------------------------------------------------------------------------

    def all(self) -> list[Cluster]:
        """Return all clusters, oldest first; ended ones until they are deleted; CoiledError if the ledger can't be read."""
        found = [self._with_clients(cluster) for cluster in self._following.clusters()]
        self._discovery.look()
        known = [self._with_dashboard(cluster) for cluster in (*found, *self._discovery.clusters())]
        return sorted(known, key=lambda c: (c.created_at, c.id))

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

    def _with_dashboard(self, cluster: Cluster) -> Cluster:
        """Return a cluster with its dashboard where the administrator says that a browser finds it."""
        template = self._configuration.dashboard_template
        if not template or cluster.scheduler is None or cluster.scheduler.dashboard is None:
            return cluster
        found = urlsplit(cluster.scheduler.dashboard)
        if found.path != "/status":
            # It is behind a proxy of its platform, which a browser reaches.
            return cluster
        where = template.format(host=found.hostname, port=found.port)
        return msgspec.structs.replace(cluster, scheduler=msgspec.structs.replace(cluster.scheduler, dashboard=where))

    async def logs(self, cluster_id: str, *, node: str | None = None, after: str | None = None) -> Logs:
        """Return what the processes of a managed cluster printed, also after its end."""
        cluster = await self.fetch(cluster_id)
        if cluster.source != "managed":
            raise Conflict(
                "The logs of this cluster are kept by whoever runs it", "Look where its processes were started"
            )
        return await asyncio.to_thread(logs.read, cluster_id, node, after)

    async def activity(self, cluster_id: str, after: str | None = None) -> Activity:
        """Return what a cluster is doing, and what its threads have done since the answer with the cursor `after`.

        Raises
        ------
        Invalid
            `after` is no cursor.
        NotFound, Conflict, Unavailable, Timeout
            There is no such cluster, it doesn't run, or its scheduler doesn't answer.

        """
        cluster = await self.fetch(cluster_id)
        if cluster.source == "discovered":
            return await self._discovery.activity(cluster_id, after)
        if cluster.status in ENDED or cluster.status == "starting":
            raise Conflict(f"The cluster is {cluster.status}, so it does nothing", "Start it, or wait until it runs")
        client = await SupervisorClient.connect(cluster_id)
        try:
            return await client.activity(after)
        finally:
            await client.close()

    async def contact(self, cluster: Cluster) -> tuple[str, Certificates | None]:
        """Return the address and certificates by which a client reaches a cluster, or raise Conflict."""
        if cluster.source == "discovered":
            raise Conflict(f"A notebook opened {cluster.name} by itself, and has a client", "Use that client")
        if cluster.scheduler is None or cluster.status in (*ENDED, "starting", "stopping"):
            raise Conflict(f"{cluster.name} is {cluster.status}", "Try again when it runs")
        rows = await self._ledger.ask(Ledger.list)
        spec = next((row.spec for row in rows if row.id == cluster.id), None)
        if spec is not None and spec.address is not None:
            return spec.address, spec.tls
        if not cluster.scheduler.address.startswith("tls:"):
            return cluster.scheduler.address, None
        paths = tls_paths(cluster_dir(cluster.id))
        return cluster.scheduler.address, Certificates(**{name: str(path) for name, path in paths.items()})

    def usage(self) -> Usage:
        """Return the core usage of this user on this host, all figures from the last snapshots."""
        live = self.live()
        managed = [c for c in live if c.source == "managed"]
        counted = [c for c in managed if c.counted]
        here = [c.memory.limit for c in managed if on_this_machine(c)]
        elsewhere = [c.memory.limit for c in managed if not on_this_machine(c)]
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
                used=sum(c.memory.used for c in managed),
                # Those of this machine share it, even if their limits differ.
                limit=_both(_total(here, machine_memory()), _total(elsewhere)),
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
                    counted=c.source == "managed" and c.counted,
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

    async def offers(self, factory: str, body: OffersAsk) -> Offers:
        """Return what the platform of a factory declares for new clusters, and which of the user's run there.

        Raises
        ------
        NotFound
            There is no such factory or kernel.
        Conflict, Unavailable, Timeout
            An environment lacks a package, or the platform doesn't answer.

        """
        return await self._requests.offers(factory, body)

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
        return await self._follow(body.name, address, files)

    async def attach_relayed(self, name: str | None, address: str, files: Certificates) -> Cluster:
        """Follow a cluster through the relay of a kernel, once, and return its present state; raises as the ledger does."""
        async with self._relaying:
            with contextlib.suppress(NotFound):
                cluster = self.get(self._relayed.get(address, ""))
                if cluster.status not in ENDED:
                    return cluster
            cluster = await self._follow(name, address, files, relayed=True)
            self._relayed[address] = cluster.id
            return cluster

    async def _follow(
        self, name: str | None, address: str, files: Certificates | None, *, relayed: bool = False
    ) -> Cluster:
        return await self._following.begin(
            LaunchSpec(
                id=secrets.token_hex(4),
                name=name or address.partition("://")[2],
                factory="attached",
                workers=0,
                lease_seconds=self._configuration.paces.unwatched,
                created_at=now(),
                address=address,
                tls=files,
                relayed=relayed,
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

        One that was joined at a platform is detached too. A cluster that a notebook opened by itself raises Conflict.
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
            for folder in (cluster_dir(cluster_id), data_dir("jobs") / cluster_id):
                await asyncio.to_thread(shutil.rmtree, folder, True)
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
        if cluster.source == "attached" or cluster.joined:
            # It goes on.
            await self._following.forget(cluster_id)


def _total(limits: Sequence[int | None], most: int | None = None) -> int | None:
    """Return the sum of limits, at most `most`; None where one is unknown."""
    known = [limit for limit in limits if limit is not None]
    total = sum(known) if len(known) == len(limits) else None
    return total if total is None or most is None else min(total, most)


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
