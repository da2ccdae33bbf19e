"""Plans changes of clusters' packages, has supervisors carry them out, and keeps track of syncs and earlier states."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ..configuration import Configuration
from ..core.change import journal
from ..core.change.durations import learned
from ..core.change.in_place import NO_UNDO
from ..core.change.state import BASE, State
from ..core.choice import ENDED
from ..core.errors import CoiledError, Conflict, Impossible, NotFound, Unavailable
from ..core.groups import Readings, modules
from ..core.launch import Certificates
from ..core.times import age
from ..core.wire import (
    Change,
    Cluster,
    ClusterAttach,
    Layer,
    LayerPlace,
    Plan,
    PlanCreate,
    PlanFrom,
    SoftwareInstalled,
    Sync,
)
from ..ledger import AsyncLedger, Ledger
from ..links import this_process, trial_kernel
from ..rulebook import RuleBook
from ..software import build as software_builds
from ..software.named import kernels, locking
from ..software.named.store import NamedEnvironments, environment
from ..supervisor.client import SupervisorClient
from ..tasks import Background
from .in_place import InPlace
from .plans import kernel
from .plans.gather import Source, compared, gather
from .plans.held import HeldPlan, HeldPlans, check_usable
from .plans.make import make
from .relays import Relays
from .self_attach import attach_found

READ_SECONDS = 2.0
SETTLING_SECONDS = 1.0
"""Seconds after the end of a sync within which its supervisor sends the cluster's new state."""
_log = logging.getLogger(__name__)


class Clusters(Protocol):
    """The clusters that this process follows."""

    def all(self) -> list[Cluster]:
        """Return all clusters."""

    def get(self, cluster_id: str) -> Cluster:
        """Return one cluster or raise NotFound."""

    def connected(self, cluster_id: str) -> bool:
        """Whether its supervisor sends changes to this process now."""

    async def client(self, cluster: Cluster) -> SupervisorClient:
        """Return a connection to a cluster's supervisor, or raise Unavailable."""

    async def attach(self, body: ClusterAttach) -> Cluster:
        """Follow a cluster that somebody else runs."""

    async def attach_relayed(self, name: str | None, address: str, files: Certificates) -> Cluster:
        """Follow a cluster through the relay of a kernel."""

    async def delete(self, cluster_id: str) -> None:
        """Stop or detach a cluster."""


class Environments(Protocol):
    """The environments that this process can read."""

    async def source(self, kernel_id: str | None) -> Source:
        """Return the environment of a kernel (None: this process) and its Python; NotFound or Unavailable otherwise."""

    async def readings(self, cluster: Cluster, wanted: tuple[str, ...] = ()) -> Readings:
        """Return the environments of a cluster's nodes; what can't be read is in `unread`."""

    async def seal_clients(self, kernel_id: str | None, scheduler: str, *, seal: bool) -> None:
        """Have the clients of a kernel (None: of this process, if it is a notebook's) seal, or end that."""

    async def end_seals(self, scheduler: str) -> None:
        """Have no client that can be reached from here send sealed graphs to a scheduler any more."""


class _Seal(msgspec.Struct, frozen=True):
    """Whether the clients of a scheduler have to seal what they send after a sync, and before it."""

    scheduler: str
    after: bool
    before: bool


class Changing:
    """The plans of one server, and the syncs and earlier states of this user's clusters on this host.

    Parameters
    ----------
    in_place
        The clusters that live in kernels.
    relays
        The ways to clusters that only a kernel's client reaches.
    changed
        Called after each change of a sync.

    """

    def __init__(
        self,
        configuration: Configuration,
        ledger: AsyncLedger,
        rulebook: RuleBook,
        software: NamedEnvironments,
        clusters: Clusters,
        environments: Environments,
        in_place: InPlace,
        relays: Relays,
        changed: Callable[[Change], None],
    ) -> None:
        self._configuration, self._ledger, self._rulebook = configuration, ledger, rulebook
        self._software, self._clusters, self._environments = software, clusters, environments
        self._in_place, self._relays, self._changed = in_place, relays, changed
        self._held = HeldPlans()
        self._sent: dict[str, Sync] = {}
        """By id, syncs as supervisors sent them, while they run or the ledger lacks their end."""
        self._stored: list[Sync] = []
        self._seals: dict[str, _Seal] = {}
        """By sync."""
        self._background = Background(_log)

    async def close(self) -> None:
        """End what goes on in the background."""
        await self._background.close()

    # ---- plans ------------------------------------------------------------------------------------------------

    async def plan(self, body: PlanCreate, user: str = "") -> Plan:
        """Return what a sync would do, and hold it for this user; nothing is touched.

        Raises
        ------
        NotFound, Invalid
            The request names something that doesn't exist.
        Conflict
            The cluster can't be synced in its present state, or at all.
        Impossible
            None of it can be done; the message has the resolver's reason.

        """
        if body.direction == "to_kernel":
            raise Impossible(
                "The packages of a running kernel are never changed from here",
                "Run `%coiled sync --to-kernel` in the notebook: it makes a kernel with the workers' packages",
            )
        return self._held.hold(await self._make(body, user, await self._undone_by(body)))

    def held_plan(self, plan_id: str, user: str = "") -> Plan:
        """Return a plan that is held for this user, or raise NotFound."""
        return self._held.get(plan_id, user).plan

    def held_plans(self, user: str = "") -> tuple[Plan, ...]:
        """Return all plans that are held for this user."""
        return self._held.of(user)

    async def _make(self, body: PlanCreate, user: str, undo_of: str | None) -> HeldPlan:
        cluster = self._clusters.get(body.cluster)
        look = None
        _check_runs(cluster)
        if cluster.source == "discovered":
            kernel_id, through, look = await self._in_place.look(cluster)
            if look.kind == "elsewhere":
                cluster = await attach_found(self._clusters, self._relays, cluster, kernel_id, through)
                body = msgspec.structs.replace(body, cluster=cluster.id)
            _check_runs(cluster)
        syncs = await self.syncs()
        running = next((s for s in syncs if s.cluster == cluster.id and s.state not in journal.FINAL), None)
        if running is not None:
            # A plan can't be based on a reading during which workers restart.
            raise Conflict("A sync of this cluster is running", "Wait for it, or cancel it", sync=running.id)
        if look is not None and look.kind != "elsewhere":
            return await self._in_place.plan(body, cluster, look, user)
        wanted = body.source or PlanFrom()
        source = (
            self._software_source(wanted.software)
            if wanted.software
            else self._environments.source(wanted.kernel or body.kernel)
        )
        states, durations = await self._ledger.ask(
            lambda held: (held.journal.states(cluster.id), learned(held.journal.syncs()))
        )
        async with self._supervisor(cluster.id) as client:
            rules = self._rulebook.rules()
            inputs = await gather(self._configuration, body, cluster, client, source, states, rules, durations)
        # Its present state: reading everything took a while.
        inputs = msgspec.structs.replace(inputs, cluster=self._clusters.get(cluster.id))
        return await make(inputs, user, undo_of=undo_of)

    async def _software_source(self, name: str) -> Source:
        stored = self._software.get(name)
        interpreter = self._software.build_spec(stored).python or sys.executable
        path = interpreter if os.sep in interpreter else software_builds.python_path(interpreter)
        return Source(environment(stored), path, notebook=False)

    async def _undone_by(self, body: PlanCreate) -> str | None:
        """Return the sync that a plan back to an earlier state undoes: the last one, if it began in that state."""
        if body.source is None or body.source.layer is None:
            return None
        last = next((s for s in await self.syncs() if s.cluster == body.cluster and s.state == "done"), None)
        if last is None or last.undone_by is not None or (last.layer_before or BASE) != body.source.layer:
            return None
        return last.id if self._clusters.get(body.cluster).environment.layer == last.layer else None

    # ---- kernels with the workers' packages -------------------------------------------------------------------

    async def plan_kernel(self, body: PlanCreate) -> kernel.KernelPlan:
        """Return the plan of a new kernel with the packages of a cluster's workers; nothing is changed.

        Raises
        ------
        Impossible, Invalid, NotFound
            As `plan`.

        """
        cluster = self._clusters.get(body.cluster)
        own = (await self._environments.source(None)).environment
        readings = await self._environments.readings(cluster, modules(own))
        rules = self._rulebook.rules()
        return await kernel.make(
            self._configuration,
            cluster,
            own,
            readings,
            compared(cluster, own, readings, rules),
            rules,
            body,
            needed=await asyncio.to_thread(this_process.closure, "ipykernel"),
            taken=await asyncio.to_thread(self._sources),
        )

    def _sources(self) -> list[tuple[str, str]]:
        """Return the name and the source of each software environment."""
        found = []
        for name in self._software.names():
            with contextlib.suppress(NotFound, Unavailable):
                found.append((name, self._software.get(name).source))
        return found

    async def make_kernel(self, planned: kernel.KernelPlan) -> SoftwareInstalled:
        """Build the planned environment, start a kernel in it once, and register it if it has exactly the planned packages.

        Raises
        ------
        Impossible
            It can't be installed, doesn't start, or has other packages; nothing was changed.

        """

        async def check(folder: Path) -> None:
            wrong = kernel.differing(planned, await trial_kernel.read(folder))
            if wrong:
                raise Impossible(f"The new kernel isn't as planned: {wrong}", "Nothing was changed")

        stored = await locking.lock(self._software, planned.name, planned.request, replace=True)
        name, prefix = await kernels.install(self._software, stored, check)
        self._software.keep(stored, replace=True)
        return SoftwareInstalled(kernel=name, prefix=str(prefix))

    # ---- syncs ------------------------------------------------------------------------------------------------

    async def sync(self, plan_id: str, user: str = "") -> Sync:
        """Carry out a plan that is held for this user, and return its sync.

        Raises
        ------
        NotFound
            The plan doesn't exist, has expired, or was used.
        Conflict
            Something has changed since; `data` names the new plan. Or a sync of the cluster runs.

        """
        held = self._held.take(plan_id, user)
        fresh = await self._make(held.body, user, held.spec.undo_of)
        if fresh.plan.digest != held.plan.digest:
            self._held.hold(fresh)
            raise Conflict("Something has changed since this plan was made", "Look at the new plan", plan=fresh.plan.id)
        return await self._begin(fresh, plan_id)

    async def undo(self, sync_id: str, user: str = "") -> Sync:
        """Bring back the state before a sync that is done, as a sync of its own.

        Raises
        ------
        Conflict
            It isn't the last sync that was done; or going back needs confirmation, and `data` names the plan.

        """
        sync = await self.find_sync(sync_id)
        if not sync.undoable:
            raise Conflict("This sync restarted workers and installed nothing, so there is nothing to undo", NO_UNDO)
        if sync.state != "done" or sync.undone_by is not None:
            raise Conflict("Only a sync that is done can be undone, and once")
        if self._clusters.get(sync.cluster).environment.layer != sync.layer:
            raise Conflict("The cluster has been synced again since", "Choose an earlier state instead, see GET layers")
        body = PlanCreate(cluster=sync.cluster, source=PlanFrom(layer=sync.layer_before or BASE))
        held = await self._make(body, user, sync_id)
        if held.plan.needs:
            self._held.hold(held)
            what = "lose results" if "lost_results" in held.plan.needs else "send credentials of an index without TLS"
            raise Conflict(f"Going back would {what}", "Look at the plan and agree to it", plan=held.plan.id)
        check_usable(held.plan)
        return await self._begin(held, held.plan.id)

    async def _begin(self, held: HeldPlan, plan_id: str) -> Sync:
        if held.plan.how == "in_place":
            return await self._in_place.begin(held, plan_id)
        cluster, body, spec = self._clusters.get(held.plan.cluster), held.body, held.spec
        scheduler = cluster.scheduler.id if cluster.scheduler else None
        kernel_id = (body.source.kernel if body.source else None) or body.kernel
        if spec.sealed and scheduler is not None and (kernel_id is not None or body.source is None):
            # First, since a client that can't do it is a reason not to begin; the cluster takes sealed graphs already.
            await self._environments.seal_clients(kernel_id, scheduler, seal=True)
        async with self._supervisor(held.plan.cluster) as client:
            sync = await client.sync(msgspec.structs.replace(spec, plan=plan_id))
        if scheduler is not None:
            self._seals[sync.id] = _Seal(scheduler, bool(spec.sealed), cluster.environment.sealed)
        self.note(sync)
        return sync

    async def cancel(self, sync_id: str) -> Sync:
        """Cancel a sync that runs, which goes back to the old state; Conflict if it has ended."""
        sync = await self.find_sync(sync_id)
        if sync.state in journal.FINAL:
            raise Conflict(f"This sync is {sync.state} already")
        if self._in_place.has(sync_id):
            return await self._in_place.cancel(sync_id)
        async with self._supervisor(sync.cluster) as client:
            return await client.cancel(sync_id)

    def note(self, sync: Sync) -> None:
        """Record a sync as its supervisor sent it."""
        known = self._sent.get(sync.id)
        if known is None or sync.revision > known.revision:
            self._sent[sync.id] = sync
            seal = self._seals.pop(sync.id, None) if sync.state in journal.FINAL else None
            if seal is not None and not (seal.after if sync.state == "done" else seal.before):
                # Until then, or where it fails, graphs that are still sealed do no harm.
                self._background.begin(self._environments.end_seals(seal.scheduler))
            self._changed(Change(kind="sync", id=sync.id, revision=sync.revision))

    async def syncs(self) -> list[Sync]:
        """Return the last syncs of this user's clusters on this host, newest first.

        Syncs that the ledger lacks, because it can't be written, are known from their supervisors.
        """

        def read(ledger: Ledger) -> tuple[list[Sync], set[str]]:
            # A supervisor that ends writes how its sync has ended before it is gone. An attached cluster whose supervisor
            # has ended gets a new one, which takes the sync over.
            live = {
                row.id
                for row in ledger.list()
                if ledger.owner_alive(row) or not (row.ended or row.spec is None or row.spec.address is None)
            }
            return [sync for sync, _ in ledger.journal.syncs()], live

        present = {cluster.id for cluster in self._clusters.all()}
        try:
            self._stored, live = await self._ledger.ask(read, READ_SECONDS)
        except CoiledError as error:
            # Without the ledger, it is unknown which clusters live.
            _log.warning("syncs are shown as they were last read: %s", error.message)
            live = present
        revisions = {sync.id: sync.revision for sync in self._stored}
        self._sent = {
            sync.id: sync
            for sync in self._sent.values()
            if sync.cluster in present
            and (sync.state not in journal.FINAL or revisions.get(sync.id, -1) < sync.revision)
        }
        unsaved = [sync for sync in self._sent.values() if sync.id not in revisions]
        own = self._in_place.syncs()
        known = [*reversed(unsaved), *(self._present(sync, live) for sync in self._stored)]
        return sorted([*own, *known], key=lambda sync: sync.started_at, reverse=True) if own else known

    def _present(self, stored: Sync, live: set[str]) -> Sync:
        sent = self._sent.get(stored.id)
        if sent is not None and (sent.revision > stored.revision or self._settling(stored)):
            stored = sent
        if stored.state in journal.FINAL or stored.cluster in live:
            return stored
        return journal.lost(stored, "The cluster ended during the sync, so its state is unknown.")

    def _settling(self, stored: Sync) -> bool:
        """Return whether a sync has ended, but its cluster's new state hasn't arrived here."""
        if stored.state not in journal.FINAL or not self._clusters.connected(stored.cluster):
            return False
        seconds = age(stored.ended_at)
        return seconds is not None and seconds < SETTLING_SECONDS

    async def find_sync(self, sync_id: str) -> Sync:
        """Return one sync, or raise NotFound."""
        for sync in await self.syncs():
            if sync.id == sync_id:
                return sync
        raise NotFound("There is no sync with this id", "See GET syncs")

    # ---- earlier states ---------------------------------------------------------------------------------------

    async def layers(self) -> list[Layer]:
        """Return the states that clusters had, most recently used first, with the clusters that are in them now."""
        live = {c.id: c.environment.layer or BASE for c in self._clusters.all() if c.status not in ENDED}
        found: dict[str, list[State]] = {}
        for state in await self._ledger.ask(lambda held: held.journal.states()):
            found.setdefault(state.id, []).append(state)
        return [
            Layer(
                id=key,
                packages=states[0].packages,
                places=tuple(
                    LayerPlace(host=place.host, prefix=place.prefix, path=place.path, size=place.size)
                    for place in states[0].places
                ),
                clusters=tuple(c for c, layer in live.items() if layer == key),
                known_by=tuple(state.cluster for state in states if state.cluster in live),
                created_at=states[0].created_at,
                used_at=states[0].used_at,
            )
            for key, states in found.items()
        ]

    async def delete_layer(self, layer_id: str) -> None:
        """Remove a layer from its hosts; Conflict if a cluster runs in it."""
        layer = next((layer for layer in await self.layers() if layer.id == layer_id), None)
        if layer is None or layer_id == BASE:
            raise NotFound("There is no such layer", "See GET layers")
        if layer.clusters:
            names = ", ".join(self._clusters.get(cluster).name for cluster in layer.clusters)
            raise Conflict(f"The layer is in use by {names}", "Go back to another state first")
        for cluster_id in layer.known_by:
            async with self._supervisor(cluster_id) as client:
                await client.remove_layer(layer_id)
        if not layer.known_by:
            raise Impossible(
                "The clusters that had this layer have gone, so no process can be asked to remove it",
                f"Remove the folder yourself: {', '.join(place.path for place in layer.places)}",
            )
        await self._ledger.ask(lambda held: held.journal.forget_state(layer_id))

    @contextlib.asynccontextmanager
    async def _supervisor(self, cluster_id: str) -> AsyncIterator[SupervisorClient]:
        client = await self._clusters.client(self._clusters.get(cluster_id))
        try:
            yield client
        finally:
            await client.close()


def _check_runs(cluster: Cluster) -> None:
    if cluster.status not in ("running", "idle", "degraded"):
        raise Conflict(f"The cluster is {cluster.status}", "Try again when it runs")
