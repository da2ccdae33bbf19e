"""The only orchestrator: clusters, environments and their comparison, for the server, the command line and the magic.

It plans and asks; what happens to a cluster happens in that cluster's supervisor. State first, then signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.metadata
import logging
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from . import attach, factories, mirror, planning, tasks
from .configuration import Configuration
from .core import plan as core
from .core.choice import ENDED, choose
from .core.cluster import BuildSpec, LaunchSpec, Readings, age, now, settled, timeless
from .core.diff import compare
from .core.environment import Reading, kernel_environment, modules
from .core.errors import CoiledError, Conflict, Impossible, Invalid, NotFound, TooMany, Unavailable
from .core.explain import explain
from .core.notebook import with_imports
from .core.rules import RuleSet
from .core.sync import BASE, FINAL, State
from .core.wire import (
    SCHEMA,
    About,
    Adaptive,
    AdaptiveRequest,
    Change,
    ChangedCluster,
    Cluster,
    ClusterAttach,
    ClusterChange,
    ClusterCreate,
    ClusterRestart,
    ClusterUsage,
    Diff,
    Environment,
    ExplainRequest,
    Explanation,
    Layer,
    LayerPlace,
    LeftOut,
    Limits,
    Logs,
    Memory,
    Plan,
    PlanCreate,
    PlanFrom,
    Rules,
    RulesChange,
    Software,
    SoftwareCreate,
    SoftwareExport,
    SoftwareFreed,
    SoftwareInstalled,
    Sync,
    SyncResult,
    Tasks,
    Unread,
    Usage,
    UsageCores,
)
from .discovery import Discovery, Kernels, marked
from .factories.local import machine_memory
from .ledger import Ledger
from .links import fresh, here
from .links.kernel import KernelReading
from .paths import alive_path, cluster_dir
from .rulebook import RuleBook
from .software import build as software_builds
from .software import files, named
from .software import requirements as requirement_lines
from .supervisor import client as supervisors
from .supervisor import logs

ATTACHMENTS_A_MINUTE = 20
CONTENT_SECONDS = 10.0
"""How long a plan waits for the look at files that decides whether local code is the same."""
TELLING_SECONDS = 1.0
"""How long after its end a sync's supervisor may take to tell what the cluster is since then."""
UNWATCHED_SECONDS = 60.0
_ENVIRON_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENVIRON_REFUSED = re.compile(r"(LD_|DYLD_|PYTHON|DASK_|UV_|PIP_).*|PATH", re.IGNORECASE)
_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b?|b)?\s*", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


_OUTLIVING: list[supervisors.Process[bytes]] = []
"""Supervisors that go on without the service that started them; who forgets a running child is warned by Python."""


class _Watch:
    """One cluster as this process follows it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.client: supervisors.SupervisorClient | None = None
        self.task: asyncio.Task[None] | None = None
        self.answered = False


class Service:
    """What a front door can ask for.

    Parameters
    ----------
    configuration
        The admin's limits and defaults.
    kernels
        The kernels; None where there is no Jupyter server (then a diff compares this interpreter).
    label
        Returns the name of a kernel's notebook, or None.
    imports
        Returns the modules that the source of a kernel's notebook imports.
    changed
        Called after a change of state with what changed.

    """

    def __init__(
        self,
        configuration: Configuration | None = None,
        *,
        kernels: Kernels | None = None,
        label: Callable[[str], Awaitable[str | None]] | None = None,
        imports: Callable[[str], Awaitable[frozenset[str]]] | None = None,
        changed: Callable[[Change], None] | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.configuration = configuration or Configuration()
        self._kernels = kernels
        self._changed = changed or (lambda change: None)
        self._ledger = ledger or Ledger()
        rules_file = self.configuration.rules_file
        self._rulebook = RuleBook(Path(rules_file).expanduser() if rules_file else None)
        self._plans = planning.Plans(self.configuration)
        self._software = named.NamedEnvironments(self.configuration)
        self._syncs: dict[str, Sync] = {}
        self._watches: dict[str, _Watch] = {}
        self._children: dict[str, supervisors.Process[bytes]] = {}
        self._task: asyncio.Task[None] | None = None
        self._attached: list[float] = []
        self._label = label or _nameless
        self._imports = imports or _no_imports
        self._discovery: Discovery | None = None
        if kernels is not None:
            self._discovery = Discovery(
                kernels, label=self._label, known=self._schedulers, changed=self._changed, conda_names=self.conda_names
            )
        self._log = logging.getLogger(__name__)

    # ---- life -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Adopt the clusters of the ledger and go on looking for those that others make."""
        try:
            self._adopt()
        except CoiledError as error:
            # The routes say so too, until a later look finds it mended.
            self._log.error("%s; %s", error.message, error.hint)
        self._task = asyncio.create_task(self._look(), name="coiled-jupyter clusters")
        if self._discovery is not None:
            self._discovery.start()

    async def close(self, *, release: bool = True) -> None:
        """Let go of all clusters; with `release`, those that nobody else holds stop at once."""
        watches = list(self._watches.values())
        if self._discovery is not None:
            await self._discovery.close()
        await tasks.end([self._task, *(watch.task for watch in watches)])
        if release:
            await asyncio.gather(*(self._release(w.cluster) for w in watches if w.cluster.status not in ENDED))
        for child in self._children.values():
            with contextlib.suppress(Exception):
                await asyncio.to_thread(child.wait, 10 if release else 0.1)
            if child.poll() is None:
                _OUTLIVING.append(child)

    async def _release(self, cluster: Cluster) -> None:
        try:
            client = await supervisors.SupervisorClient.connect(cluster.id, timeout=2)
        except CoiledError:
            return
        try:
            await client.release()
        except CoiledError:
            self._log.warning("cluster %s could not be released", cluster.id)
        finally:
            await client.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(2)
            try:
                self._adopt()
            except CoiledError as error:
                self._log.debug("%s", error.message)
            except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
                self._log.exception("looking for clusters failed")

    def _adopt(self) -> None:
        rows = {row.id: row for row in self._ledger.list()}
        for cluster_id in [key for key in self._watches if key not in rows]:
            self._forget(cluster_id)
        for row in rows.values():
            watch = self._watches.get(row.id)
            if watch is None and row.snapshot is not None:
                watch = self._watches[row.id] = _Watch(row.snapshot)
                self._signal(row.id)
            if watch is not None and watch.task is None and watch.cluster.status not in ENDED:
                watch.task = asyncio.create_task(self._follow(watch), name=f"follow {row.id}")
        for row in rows.values():
            # Cores of a cluster without a supervisor are given back when none of its processes is left.
            if row.ended and row.cores and not _alive(row.id):
                self._ledger.release(row.id)
        for cluster_id, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[cluster_id]

    async def _follow(self, watch: _Watch) -> None:
        """Keep `watch.cluster` at what its supervisor says until the cluster has ended."""
        cluster_id = watch.cluster.id
        misses = 0
        # Cancelling isn't enough: up to Python 3.11 `asyncio.wait_for` loses what comes together with its result.
        while watch.cluster.status not in ENDED and self._follows(watch):
            try:
                watch.client = await supervisors.SupervisorClient.connect(cluster_id, timeout=5)
                async for told in watch.client.watch():
                    if not self._follows(watch):
                        return
                    misses = 0
                    watch.answered = True
                    if isinstance(told, Sync):
                        self._note(told)
                    else:
                        self._update(watch, told)
            except CoiledError as error:
                self._log.debug("cluster %s: %s", cluster_id, error.message)
            finally:
                if watch.client is not None:
                    await watch.client.close()
                    watch.client = None
            if not self._follows(watch):
                return
            misses += 1
            row = self._ledger.get(cluster_id)
            if row is None:
                self._forget(cluster_id)
                return
            if row.ended and row.snapshot is not None:
                self._update(watch, row.snapshot)
            elif not self._starting(cluster_id) and not self._ledger.owner_alive(row):
                if row.spec is not None and row.spec.address is not None:
                    self._resume(row.spec)
                else:
                    self._update(watch, self._lose(watch.cluster))
            else:
                await asyncio.sleep(min(0.05 * 2**misses, 2.0))

    def _resume(self, spec: LaunchSpec) -> None:
        """Start a new supervisor of an attached cluster; the last one ended when nobody looked."""
        if self._ledger.take(spec.id):
            with contextlib.suppress(OSError):
                self._children[spec.id] = supervisors.start(spec)

    def _starting(self, cluster_id: str) -> bool:
        child = self._children.get(cluster_id)
        return child is not None and child.poll() is None

    def _lose(self, cluster: Cluster) -> Cluster:
        lost = msgspec.structs.replace(
            cluster,
            status="lost",
            since=now(),
            reason="The process that looked after this cluster is gone, and its workers with it",
            workers=(),
            revision=cluster.revision + 1,
        )
        self._ledger.snapshot(cluster.id, lost, ended=True)
        return lost

    def _follows(self, watch: _Watch) -> bool:
        """Whether this cluster is still on the list, as this watch."""
        return self._watches.get(watch.cluster.id) is watch

    def _update(self, watch: _Watch, cluster: Cluster) -> None:
        # One that was let go of is told of no more.
        if cluster == watch.cluster or self._watches.get(cluster.id) is not watch:
            return
        before, watch.cluster = watch.cluster, settled(watch.cluster, cluster)
        # That it was seen again is no news.
        if timeless(before) != timeless(watch.cluster):
            self._signal(cluster.id)

    def _forget(self, cluster_id: str) -> None:
        watch = self._watches.pop(cluster_id, None)
        if watch is not None:
            if watch.task and watch.task is not asyncio.current_task():
                watch.task.cancel()
            self._changed(Change(kind="cluster", id=cluster_id, revision=watch.cluster.revision + 1))

    def _signal(self, cluster_id: str) -> None:
        self._changed(Change(kind="cluster", id=cluster_id, revision=self._watches[cluster_id].cluster.revision))

    # ---- clusters ---------------------------------------------------------------------------------------------

    def about(self) -> About:
        """Return versions, limits and factories."""
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
        )

    def clusters(self) -> list[Cluster]:
        """Return all clusters, oldest first; ended ones until they are deleted.

        They are this user's on this host, and those that notebooks of this server opened by themselves.
        """
        found = [self._with_clients(watch.cluster) for watch in self._watches.values()]
        if self._discovery is not None:
            self._discovery.look()
            found += self._discovery.clusters()
        return sorted(found, key=lambda c: (c.created_at, c.id))

    def cluster(self, cluster_id: str) -> Cluster:
        """Return one cluster or raise NotFound."""
        found = {cluster.id: cluster for cluster in self.clusters()}
        if cluster_id not in found and self._ledger.get(cluster_id) is not None:
            # Made a moment ago by another server or a shell.
            self._adopt()
            found = {cluster.id: cluster for cluster in self.clusters()}
        if cluster_id in found:
            return found[cluster_id]
        raise NotFound("There is no cluster with this id", "It may have been stopped; look at the list of clusters")

    def _with_clients(self, cluster: Cluster) -> Cluster:
        """Return a cluster with the clients marked that notebooks of this server have at it."""
        scheduler = cluster.scheduler.id if cluster.scheduler else None
        if self._discovery is None or scheduler is None:
            return cluster
        notebooks = self._discovery.notebooks(scheduler)
        return msgspec.structs.replace(cluster, other_clients=marked(cluster.other_clients, notebooks))

    def _schedulers(self) -> list[str]:
        """Return the ids of the schedulers that supervisors look after."""
        live = [watch.cluster for watch in self._watches.values() if watch.cluster.status not in ENDED]
        return [cluster.scheduler.id for cluster in live if cluster.scheduler and cluster.scheduler.id]

    def followed(self, cluster_id: str) -> bool:
        """Whether this cluster's supervisor has answered to this process."""
        watch = self._watches.get(cluster_id)
        return watch is not None and watch.answered

    def find(self, name: str | None) -> Cluster:
        """Return the cluster with this id, name or address, or the only live one; NotFound or Conflict otherwise."""
        return choose(name, self.clusters())

    async def create(self, body: ClusterCreate) -> Cluster:
        """Reserve the cores, start the supervisor and return the starting cluster.

        Raises
        ------
        Invalid
            A field of the request is wrong; nothing was started.
        NotFound, Unavailable
            The kernel that it names isn't there or can't be read.
        Conflict
            Over the limit, with the figures.

        """
        return self._begin(await self._resolve(body))

    def _begin(self, spec: LaunchSpec) -> Cluster:
        settings = self.configuration
        row = self._ledger.reserve(spec, core_limit=settings.core_limit, cluster_limit=settings.cluster_limit)
        try:
            self._children[spec.id] = supervisors.start(spec)
        except OSError:
            self._ledger.delete(spec.id)
            raise Unavailable("The cluster's process could not be started", "See the server's log") from None
        watch = self._watches[spec.id] = _Watch(row)
        watch.task = asyncio.create_task(self._follow(watch), name=f"follow {spec.id}")
        self._signal(spec.id)
        return row

    async def attach(self, body: ClusterAttach) -> Cluster:
        """Follow a cluster that somebody else runs, and return it as it is known now.

        Raises
        ------
        Invalid
            The address or a certificate file may not be used.
        Conflict
            It is attached already.
        TooMany
            More than `ATTACHMENTS_A_MINUTE` were asked for.

        """
        moment = time.monotonic()
        self._attached = [at for at in self._attached if moment - at < 60]
        if len(self._attached) >= ATTACHMENTS_A_MINUTE:
            raise TooMany("Too many clusters were attached within a minute", "Wait a minute and try again")
        self._attached.append(moment)
        settings = self.configuration
        _check_name(body.name)
        where = await attach.address(body.address, settings.allowed_addresses)
        encrypted = where.startswith("tls:")
        if encrypted and body.tls is None:
            raise Invalid("tls", "A tls:// address needs certificate files", "Give ca_file, cert_file and key_file")
        if body.tls is not None and not encrypted:
            raise Invalid("tls", "Certificate files go with a tls:// address only")
        files = attach.certificates(body.tls, settings.tls_roots) if body.tls is not None else None
        for cluster in self.clusters():
            if cluster.source == "attached" and cluster.scheduler and cluster.scheduler.address == where:
                raise Conflict(f"This cluster is attached already, as {cluster.name}")
        cluster_id = secrets.token_hex(4)
        name = body.name or where.partition("://")[2]
        return self._begin(
            LaunchSpec(
                id=cluster_id,
                name=name,
                factory="attached",
                workers=0,
                lease_seconds=UNWATCHED_SECONDS,
                created_at=now(),
                address=where,
                tls=files,
            )
        )

    async def change(self, cluster_id: str, body: ClusterChange) -> ChangedCluster:
        """Change a cluster's size, name or lease, and return it with what was granted.

        Raises
        ------
        Invalid
            Not exactly one of them is given, or it is out of bounds; nothing was changed.
        Conflict
            The cluster isn't ours to change, isn't running, or another one has the name.

        """
        given = [f for f in ("workers", "adaptive", "name", "lease_seconds") if getattr(body, f) is not msgspec.UNSET]
        if len(given) != 1:
            raise Invalid(given[1] if given else "body", "Give one of workers, adaptive, name and lease_seconds")
        limit = self.configuration.worker_limit
        if isinstance(body.workers, int) and body.workers > limit:
            raise Invalid("workers", f"At most {limit} workers are allowed in one cluster", limit=limit)
        if isinstance(body.adaptive, AdaptiveRequest):
            _check_bounds(body.adaptive, limit)
        if isinstance(body.name, str):
            _check_name(body.name)
        client = await self._steer(cluster_id)
        try:
            changed = await client.change(body)
        finally:
            await client.close()
        watch = self._watches.get(cluster_id)
        if watch is not None:
            self._update(watch, changed.cluster)
        fields = {name: getattr(changed.cluster, name) for name in changed.cluster.__struct_fields__}
        return ChangedCluster(**fields, granted=changed.granted, limit=changed.limit)

    async def restart(self, cluster_id: str, body: ClusterRestart) -> Cluster:
        """Begin to start a cluster's workers, or all of it, anew; Conflict where it isn't ours or doesn't run."""
        client = await self._steer(cluster_id)
        try:
            await client.restart(body.what)
        finally:
            await client.close()
        return self.cluster(cluster_id)

    async def _steer(self, cluster_id: str) -> supervisors.SupervisorClient:
        cluster = self.cluster(cluster_id)
        if cluster.source == "discovered":
            raise Conflict(f"This cluster belongs to {cluster.opened_by}, which opened it", "Change it there")
        if cluster.status in ENDED:
            raise Conflict(f"The cluster is {cluster.status}", "Start a new one")
        return await self._client(cluster)

    async def logs(self, cluster_id: str, *, node: str | None = None, after: str | None = None) -> Logs:
        """Return what the processes of a cluster of ours printed, also when it has ended."""
        cluster = self.cluster(cluster_id)
        if cluster.source != "managed":
            raise Conflict("The logs of this cluster are with who runs it", "Look where its processes were started")
        return await asyncio.to_thread(logs.read, cluster_id, node, after)

    async def delete(self, cluster_id: str) -> None:
        """Stop a cluster that runs; take one that has ended off the list; let go of one that isn't ours.

        A cluster that a notebook opened by itself raises Conflict.
        """
        cluster = self.cluster(cluster_id)
        if cluster.source == "attached":
            await self._detach(cluster)
            return
        if cluster.source == "discovered":
            raise Conflict(
                f"This cluster belongs to {cluster.opened_by}, which opened it",
                "Close it there, with `client.close()` or `cluster.close()`",
            )
        if cluster.status in ENDED:
            if self._ledger.reserved(cluster_id):
                raise Conflict("Processes of this cluster are still ending", "Try again in some seconds")
            self._ledger.delete(cluster_id)
            self._forget(cluster_id)
            await asyncio.to_thread(shutil.rmtree, cluster_dir(cluster_id), True)
            return
        try:
            client = await self._client(cluster)
            try:
                await client.stop()
            finally:
                await client.close()
        except CoiledError:
            row = self._ledger.get(cluster_id)
            if row is not None and not row.ended:
                raise
            # It has ended meanwhile, which is what was asked for.

    async def _detach(self, cluster: Cluster) -> None:
        try:
            client = await supervisors.SupervisorClient.connect(cluster.id, timeout=2)
            try:
                await client.stop()
            finally:
                await client.close()
        except Conflict:
            raise
        except CoiledError:
            self._log.info("the supervisor of %s doesn't answer", cluster.id)
        self._ledger.delete(cluster.id)
        self._forget(cluster.id)

    async def _client(self, cluster: Cluster) -> supervisors.SupervisorClient:
        deadline = asyncio.get_running_loop().time() + 5
        while True:
            try:
                return await supervisors.SupervisorClient.connect(cluster.id, timeout=2)
            except CoiledError:
                # A supervisor that has just been started isn't listening yet.
                if not self._starting(cluster.id) or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def _resolve(self, body: ClusterCreate) -> LaunchSpec:
        self._check(body)
        memory_limit = _bytes(body.memory_limit)
        interpreter: str | None = sys.executable
        build: BuildSpec | None = None
        settings = self.configuration
        if body.requirements is not None:
            lines = requirement_lines.check(body.requirements)
            build, interpreter = self._build(lines, body.python), None
        elif body.software is not None:
            try:
                stored = self._software.get(body.software)
            except NotFound as error:
                raise Invalid("software", error.message, error.hint) from None
            build, interpreter = self._software.build_spec(stored), None
        elif body.kernel is not None:
            reading = (await self._read_kernel(body.kernel)).reading
            build, interpreter = self._build(_pins(reading), reading.executable), None
        elif body.interpreter is not None:
            reading = (await self._read_kernel(body.interpreter.kernel)).reading
            _needs_dask(reading)
            interpreter = reading.executable
        cluster_id = secrets.token_hex(4)
        adaptive = body.adaptive and Adaptive(minimum=body.adaptive.minimum, maximum=body.adaptive.maximum)
        return LaunchSpec(
            id=cluster_id,
            name=body.name or f"cluster-{cluster_id[:4]}",
            factory=body.factory or "local",
            interpreter=interpreter,
            build=build,
            software=body.software,
            workers=_first(body),
            threads_per_worker=body.threads_per_worker or 1,
            memory_limit=memory_limit,
            adaptive=adaptive or None,
            environ=dict(body.environ or {}),
            options=factories.check_options(body.factory or "local", body.options or {}),
            lease_seconds=settings.lease_seconds,
            core_limit=settings.core_limit,
            created_at=now(),
        )

    def _build(self, lines: tuple[str, ...], python: str | None) -> BuildSpec:
        return BuildSpec(
            requirements=lines,
            python=python or sys.executable,
            index_options=self.configuration.index_options,
            allow_source_builds=self.configuration.allow_source_builds,
        )

    def _check(self, body: ClusterCreate) -> None:
        """Raise Invalid for what the types alone can't tell; nothing is started, fetched or executed."""
        chosen = [f for f in ("software", "kernel", "interpreter", "requirements") if getattr(body, f) is not None]
        if len(chosen) > 1:
            raise Invalid(chosen[1], f"Give one of {' and '.join(chosen)}, not both")
        if body.python is not None and body.requirements is None:
            raise Invalid("python", "A Python version goes with requirements only")
        if body.adaptive is not None:
            _check_bounds(body.adaptive, self.configuration.worker_limit)
            if body.workers is not None and not body.adaptive.minimum <= body.workers <= body.adaptive.maximum:
                raise Invalid("workers", "The first workers must lie between the minimum and the maximum")
        _check_name(body.name)
        limit = self.configuration.worker_limit
        if (body.workers or 0) > limit:
            raise Invalid("workers", f"At most {limit} workers are allowed in one cluster", limit=limit)
        if (body.threads_per_worker or 0) > 1024:
            raise Invalid("threads_per_worker", "At most 1024 threads are allowed for one worker")
        if body.factory is not None and body.factory not in {f.name for f in factories.describe()}:
            raise Invalid("factory", f"There is no cluster factory {body.factory}", "See the factories of GET about")
        for key, value in (body.environ or {}).items():
            if not _ENVIRON_NAME.fullmatch(key) or "\0" in value:
                raise Invalid("environ", f"{key[:40]!r} is no name of an environment variable, or its value isn't text")
            if _ENVIRON_REFUSED.fullmatch(key):
                raise Invalid("environ", f"The variable {key} can't be set: it would change how Python or Dask start")

    # ---- software environments --------------------------------------------------------------------------------

    async def software(self) -> list[Software]:
        """Return the software environments of this user, by name, without their packages."""
        return await asyncio.to_thread(self._described, None)

    async def find_software(self, name: str) -> Software:
        """Return one software environment, or raise NotFound."""
        (found,) = await asyncio.to_thread(self._described, name)
        return found

    def _described(self, name: str | None) -> list[Software]:
        users = {c.name: c.environment.software or c.environment.prefix or "" for c in self._live()}
        users |= {f"kernel {kernel.name}": kernel.software or kernel.prefix for kernel in named.kernels()}
        if name is not None:
            return [self._software.describe(self._software.get(name), users, packages=True)]
        found = []
        for one in self._software.names():
            # One that is damaged doesn't hide the others; by its name it says what is wrong.
            with contextlib.suppress(NotFound, Unavailable):
                found.append(self._software.describe(self._software.get(one), users, packages=False))
        return found

    def _live(self) -> list[Cluster]:
        return [cluster for cluster in self.clusters() if cluster.status not in ENDED]

    async def create_software(self, body: SoftwareCreate) -> Software:
        """Lock packages and keep them under a name; nothing is installed.

        Without a kernel, requirements or a file, the packages of this interpreter.

        Raises
        ------
        Invalid
            A field is wrong, or the file asks for what isn't taken.
        Conflict
            There is one of this name.
        Impossible
            It can't be resolved, with the resolver's words.

        """
        chosen = [field for field in ("kernel", "requirements", "file") if getattr(body, field) is not None]
        if len(chosen) > 1:
            raise Invalid(chosen[1], f"Give one of {' and '.join(chosen)}, not both")
        stored = await self._software.create(body.name, await self._wanted(body), replace=body.replace)
        return await self.find_software(stored.name)

    async def _wanted(self, body: SoftwareCreate) -> named.Wanted:
        own = ".".join(map(str, sys.version_info[:3]))
        # What isn't asked for by its full version is this Python where it's of that series.
        python = own if body.python is None or f"{own}.".startswith(f"{body.python}.") else body.python
        if body.requirements is not None or body.file is not None:
            if body.file is None:
                source, found = "requirements", files.Parsed(lines=requirement_lines.check(body.requirements or ()))
            else:
                source = Path(body.file.name).name
                found = await asyncio.to_thread(
                    files.parse,
                    body.file.name,
                    body.file.text,
                    python,
                    self.conda_names(),
                    allowed=self.configuration.allowed_in_files,
                )
            if body.python is None and found.python is not None and not f"{own}.".startswith(f"{found.python}."):
                python = found.python
            return named.Wanted(
                source=source,
                python=python,
                interpreter=_own_python(python),
                hard=found.lines,
                pythons=found.pythons,
                hashes=found.hashes,
                doubtful=found.doubtful,
                left_out=found.left_out,
                references=found.references,
                options=found.options,
            )
        if body.python is not None:
            raise Invalid("python", "A Python version goes with requirements or a file only")
        reading = (await self._read_kernel(body.kernel)).reading if body.kernel else (await self._own_reading())
        _needs_dask(reading)
        return named.Wanted(
            source="kernel",
            python=reading.python,
            interpreter=reading.executable,
            wishes=_pins(reading),
            left_out=tuple(
                LeftOut(name=package.name, why="It isn't from an index, so nobody else could install it.")
                for package in reading.packages
                if package.source is not None and package.source.kind != "module"
            ),
        )

    async def _own_reading(self) -> Reading:
        reading, _ = await asyncio.to_thread(here.read)
        return reading

    def delete_software(self, name: str) -> None:
        """Forget a software environment; Conflict where a cluster runs it."""
        users = [cluster.name for cluster in self._live() if cluster.environment.software == name]
        if users:
            raise Conflict(f"The software environment {name} is in use by {', '.join(users)}", "Stop it first")
        self._software.delete(name)

    def export_software(self, name: str, form: str | None) -> SoftwareExport:
        """Return a software environment as a file: ``pylock`` (PEP 751), ``requirements`` or ``environment``."""
        stored = self._software.get(name)
        try:
            return self._software.export(stored, msgspec.convert(form or "pylock", named.Format))
        except msgspec.ValidationError:
            raise Invalid("format", "The format is pylock, requirements or environment") from None

    async def install_software(self, name: str) -> SoftwareInstalled:
        """Build a software environment here with a Jupyter kernel of it."""
        kernel, folder = await self._software.install(self._software.get(name))
        return SoftwareInstalled(kernel=kernel, prefix=str(folder))

    async def clean_software(self) -> SoftwareFreed:
        """Remove what was built of software environments and nothing uses any more."""
        kept = {cluster.environment.prefix for cluster in self._live() if cluster.environment.prefix}
        kept |= {str(Path(s.interpreter).parent.parent) for s in self._ledger.states() if s.interpreter}
        kept |= {kernel.prefix for kernel in named.kernels()}
        return await asyncio.to_thread(self._software.clean, kept)

    # ---- syncs ------------------------------------------------------------------------------------------------

    async def plan(self, body: PlanCreate, user: str = "") -> Plan:
        """Return what a sync would do; nothing is touched.

        Raises
        ------
        NotFound, Invalid
            The body names what isn't there.
        Conflict
            The cluster can't be synchronized in its state, or isn't one that can.
        Impossible
            Nothing of it can be done, with the resolver's words.

        """
        if body.direction == "to_kernel":
            raise Impossible(
                "The packages of a running kernel are never changed from here",
                "Run `%coiled sync --to-kernel` in the notebook: it makes a kernel that is equal to the workers",
            )
        return self._plans.hold(await self._make_plan(body, user, self._undone_by(body)))

    async def plan_kernel(self, body: PlanCreate) -> mirror.Mirror:
        """Return what a kernel beside this interpreter would have to be as a cluster's workers; nothing is touched.

        Raises
        ------
        Impossible, Invalid, NotFound
            As `plan`.

        """
        cluster = self.cluster(body.cluster)
        environment, missing = await self._side(None)
        if environment is None:
            raise Unavailable(missing[0].reason, "Try again")
        readings = await self._readings(cluster, modules(environment))
        rules = self._rulebook.rules()
        diff = _compared(cluster, environment, readings, rules)
        taken = [(one.name, one.source) for one in await self.software()]
        needed = await asyncio.to_thread(here.closure, "ipykernel")
        return await mirror.make(
            self.configuration, cluster, environment, readings, diff, rules, body, needed=needed, taken=taken
        )

    async def make_kernel(self, planned: mirror.Mirror) -> SoftwareInstalled:
        """Build what was planned, start it once, and only where it has exactly that register it as a Jupyter kernel.

        Raises
        ------
        Impossible
            It can't be installed, doesn't start or has something else; then nothing was changed.

        """

        async def check(folder: Path) -> None:
            wrong = mirror.differing(planned, await fresh.read(folder))
            if wrong:
                raise Impossible(f"The new kernel isn't as planned: {wrong}", "Nothing was changed")

        stored = await self._software.lock(planned.name, planned.wanted, replace=True)
        kernel, prefix = await self._software.install(stored, check)
        self._software.keep(stored, replace=True)
        return SoftwareInstalled(kernel=kernel, prefix=str(prefix))

    def _undone_by(self, body: PlanCreate) -> str | None:
        """Return the sync that a plan back to an earlier state would undo: the last one, if that is where it came from."""
        if body.source is None or body.source.layer is None:
            return None
        last = next((s for s in self.syncs() if s.cluster == body.cluster and s.state == "done"), None)
        if last is None or last.undone_by is not None or (last.layer_before or BASE) != body.source.layer:
            return None
        return last.id if self.cluster(body.cluster).environment.layer == last.layer else None

    def held_plan(self, plan_id: str, user: str = "") -> Plan:
        """Return a plan that is held for this user, or raise NotFound."""
        return self._plans.get(plan_id, user).plan

    def held_plans(self, user: str = "") -> tuple[Plan, ...]:
        """Return all plans that are held for this user."""
        return self._plans.of(user)

    async def _make_plan(self, body: PlanCreate, user: str, undo_of: str | None = None) -> planning.Held:
        cluster = self.cluster(body.cluster)
        if cluster.source == "discovered":
            raise Conflict(
                f"This cluster was opened by {cluster.opened_by}, which alone can reach it",
                "Attach it by its address, then it can be synchronized",
            )
        if cluster.status not in ("running", "idle", "degraded"):
            raise Conflict(f"The cluster is {cluster.status}", "Try again when it runs")
        running = next((s for s in self.syncs() if s.cluster == cluster.id and s.state not in FINAL), None)
        if running is not None:
            # What is read while workers move is no state that a plan could rest on.
            raise Conflict("A sync of this cluster is running", "Wait for it, or cancel it", sync=running.id)
        kernel_id = body.source.kernel if body.source and body.source.kernel else body.kernel
        software = body.source.software if body.source else None
        stored = self._software.get(software) if software is not None else None
        client = await self._client(cluster)
        try:
            (environment, missing, executable), survey = await asyncio.gather(
                self._software_side(stored) if stored is not None else self._kernel_side(kernel_id), client.survey()
            )
            readings = await _readings_for(environment, client)
        finally:
            await client.close()
        if environment is None:
            raise Unavailable(missing[0].reason if missing else "The kernel could not be read", "Try again")
        rules = self._rulebook.rules()
        basis = planning.Basis(
            cluster=self.cluster(body.cluster),
            kernel=environment,
            executable=executable,
            readings=readings,
            survey=survey,
            diff=_compared(cluster, environment, readings, rules, kernel_id),
            states=self._ledger.states(cluster.id),
            rules=rules,
        )
        return await self._plans.make(basis, body, user, undo_of=undo_of)

    async def _software_side(self, stored: named.Stored) -> tuple[Environment, tuple[Unread, ...], str]:
        interpreter = self._software.build_spec(stored).python or sys.executable
        environment = named.environment(stored)
        return environment, (), interpreter if os.sep in interpreter else software_builds.python_path(interpreter)

    async def _kernel_side(self, kernel: str | None) -> tuple[Environment | None, tuple[Unread, ...], str]:
        environment, missing = await self._side(kernel)
        if kernel is None:
            return environment, missing, sys.executable
        try:
            return environment, missing, (await self._read_kernel(kernel)).reading.executable
        except NotFound:
            raise
        except CoiledError as error:
            return None, (Unread(node="kernel", reason=error.message),), ""

    async def sync(self, plan_id: str, user: str = "") -> Sync:
        """Carry out a plan that is held for this user, and return its sync.

        Raises
        ------
        NotFound
            There is no such plan any more, or it was used.
        Conflict
            The world has changed since; `data` names the fresh plan. Or a sync of the cluster runs.

        """
        held = self._plans.get(plan_id, user)
        planning.check_usable(held.plan)
        self._plans.take(plan_id, user)
        fresh = await self._make_plan(held.body, user, held.undo_of)
        if fresh.plan.digest != held.plan.digest:
            self._plans.hold(fresh)
            raise Conflict("Something has changed since this plan was made", "Look at the new plan", plan=fresh.plan.id)
        return await self._begin_sync(fresh, plan_id)

    async def _begin_sync(self, held: planning.Held, plan_id: str | None) -> Sync:
        client = await self._client(self.cluster(held.plan.cluster))
        try:
            sync = await client.sync(msgspec.structs.replace(held.spec, plan=plan_id))
        finally:
            await client.close()
        self._note(sync)
        return sync

    def _note(self, sync: Sync) -> None:
        known = self._syncs.get(sync.id)
        if known is None or sync.revision > known.revision:
            if sync.state in FINAL:
                self._syncs.pop(sync.id, None)
            else:
                self._syncs[sync.id] = sync
            self._changed(Change(kind="sync", id=sync.id, revision=sync.revision))

    def syncs(self) -> list[Sync]:
        """Return the last syncs of this user's clusters on this host, newest first."""
        found = []
        for stored, _ in self._ledger.syncs():
            live = self._syncs.get(stored.id)
            sync = live if live is not None and (live.revision > stored.revision or self._coming(stored)) else stored
            found.append(sync if sync.state in FINAL or self._carried_out(sync) else _lost_sync(sync))
        return found

    def _coming(self, stored: Sync) -> bool:
        """Whether the end of a sync is in the ledger, but what its cluster is since then isn't known here yet."""
        watch = self._watches.get(stored.cluster)
        if stored.state not in FINAL or watch is None or watch.client is None:
            return False
        seconds = age(stored.ended_at)
        return seconds is not None and seconds < TELLING_SECONDS

    def _carried_out(self, sync: Sync) -> bool:
        """Whether the cluster of a sync that hasn't ended lives; an attached one's next supervisor takes it up."""
        row = self._ledger.get(sync.cluster)
        if row is None or row.ended:
            return False
        return self._ledger.owner_alive(row) or (row.spec is not None and row.spec.address is not None)

    def find_sync(self, sync_id: str) -> Sync:
        """Return one sync, or raise NotFound."""
        for sync in self.syncs():
            if sync.id == sync_id:
                return sync
        raise NotFound("There is no sync with this id", "See GET syncs")

    async def cancel_sync(self, sync_id: str) -> Sync:
        """Cancel a sync that runs, which brings the old state back; Conflict where it has ended."""
        sync = self.find_sync(sync_id)
        if sync.state in FINAL:
            raise Conflict(f"This sync is {sync.state} already")
        client = await self._client(self.cluster(sync.cluster))
        try:
            return await client.cancel(sync_id)
        finally:
            await client.close()

    async def undo(self, sync_id: str, user: str = "") -> Sync:
        """Bring back the state before a sync that is done, as a sync of its own.

        Raises
        ------
        Conflict
            It isn't the last that was done, or going back would lose results: then a plan has to be agreed to.

        """
        sync = self.find_sync(sync_id)
        if sync.state != "done" or sync.undone_by is not None:
            raise Conflict("Only a sync that is done can be undone, and once")
        present = self.cluster(sync.cluster).environment.layer
        if present != sync.layer:
            raise Conflict(
                "The cluster has been synchronized again since", "Choose an earlier state instead, see GET layers"
            )
        body = PlanCreate(cluster=sync.cluster, source=PlanFrom(layer=sync.layer_before or BASE))
        held = await self._make_plan(body, user, undo_of=sync_id)
        if held.plan.needs:
            self._plans.hold(held)
            what = "lose results" if "lost_results" in held.plan.needs else "send credentials of an index without TLS"
            raise Conflict(f"Going back would {what}", "Look at the plan and agree to it", plan=held.plan.id)
        planning.check_usable(held.plan)
        return await self._begin_sync(held, held.plan.id)

    def layers(self) -> list[Layer]:
        """Return the states that clusters had, the last used first, with who uses them now."""
        live = {c.id: c.environment.layer or BASE for c in self.clusters() if c.status not in ENDED}
        found: dict[str, list[State]] = {}
        for state in self._ledger.states():
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
        """Remove a layer that no cluster runs in, where it lies; Conflict where one does."""
        layer = next((layer for layer in self.layers() if layer.id == layer_id), None)
        if layer is None or layer_id == BASE:
            raise NotFound("There is no such layer", "See GET layers")
        if layer.clusters:
            names = ", ".join(self.cluster(cluster).name for cluster in layer.clusters)
            raise Conflict(f"The layer is in use by {names}", "Go back to another state first")
        for cluster_id in layer.known_by:
            client = await self._client(self.cluster(cluster_id))
            try:
                await client.remove_layer(layer_id)
            finally:
                await client.close()
        if not layer.known_by:
            raise Impossible(
                "The clusters that had this layer have gone, so nobody can be asked to remove it",
                f"Remove the folder yourself: {', '.join(place.path for place in layer.places)}",
            )
        self._ledger.forget_state(layer_id)

    # ---- readings ---------------------------------------------------------------------------------------------

    async def _read_kernel(self, kernel_id: str) -> KernelReading:
        if self._kernels is None:
            raise NotFound("There are no kernels outside a Jupyter server")
        return await self._kernels.read(kernel_id)

    async def environments(self, *, kernel: str | None = None, cluster: str | None = None) -> list[Environment]:
        """Return the environment of a kernel, or one per group of a cluster."""
        if (kernel is None) == (cluster is None):
            raise Invalid("kernel", "Give either a kernel or a cluster")
        if kernel is not None:
            return [await self._kernel_environment(kernel)]
        return list((await self._readings(self.cluster(cluster or ""))).environments)

    async def label(self, kernel_id: str) -> str | None:
        """Return the name of a kernel's notebook, or None."""
        return await self._label(kernel_id)

    async def _readings(self, cluster: Cluster, wanted: tuple[str, ...] = ()) -> Readings:
        if self._discovery is not None and cluster.source == "discovered":
            return await self._discovery.readings(cluster.id, wanted)
        never = cluster.status == "unreachable" and cluster.seen_at is None
        if cluster.status in ENDED or cluster.status in ("starting", "stopping") or never:
            reason = cluster.reason or f"The cluster is {cluster.status}"
            return Readings(unread=(Unread(node="cluster", reason=reason),))
        try:
            client = await supervisors.SupervisorClient.connect(cluster.id, timeout=2)
        except CoiledError as error:
            return Readings(unread=(Unread(node="cluster", reason=error.message),))
        try:
            return await client.environments(wanted)
        except CoiledError as error:
            return Readings(unread=(Unread(node="cluster", reason=error.message),))
        finally:
            await client.close()

    async def diff(
        self, cluster_id: str, *, kernel: str | None = None, label: str | None = None, software: str | None = None
    ) -> Diff:
        """Compare a kernel (without one: this interpreter) with a cluster.

        What can't be read is named in `unread`; only an unknown id raises.
        """
        stored = self._software.get(software) if software is not None else None
        cluster = self.cluster(cluster_id)
        environment, missing = await self._side(kernel)
        readings = await self._readings(cluster, modules(environment) if environment else ())
        default = Path(sys.prefix).name if kernel is None else "kernel"
        return compare(
            environment,
            readings.environments,
            cluster_id=cluster.id,
            cluster_name=cluster.name,
            kernel_id=kernel,
            kernel_label=label or default,
            unread=(*missing, *readings.unread),
            at=now(),
            rules=self._rulebook.rules(),
            software={**stored.versions, "python": stored.python} if stored else None,
        )

    async def explain(self, body: ExplainRequest) -> Explanation:
        """Return the rows of the diff, read now, that explain a failure's text."""
        diff = await self.diff(body.cluster, kernel=body.kernel)
        # Searching the longest text takes a quarter of a second.
        return await asyncio.to_thread(explain, body.text, diff)

    async def _side(self, kernel: str | None) -> tuple[Environment | None, tuple[Unread, ...]]:
        if kernel is None:
            reading, content_age = await asyncio.to_thread(here.read)
            return kernel_environment(reading, "kernel", now(), content_age), ()
        try:
            return await self._kernel_environment(kernel), ()
        except NotFound:
            raise
        except CoiledError as error:
            return None, (Unread(node="kernel", reason=error.message),)

    async def _kernel_environment(self, kernel: str) -> Environment:
        found = await self._read_kernel(kernel)
        environment = kernel_environment(found.reading, kernel, found.taken_at, found.content_age)
        return with_imports(environment, await self._imports(kernel))

    def conda_names(self) -> Mapping[str, str | None]:
        """Return conda's names of distributions, with those of the rules' files."""
        return self._rulebook.rules().conda

    def rules(self) -> Rules:
        """Return every rule in its order, and what this user ignores or rates otherwise."""
        return self._rulebook.to_wire()

    def change_rules(self, body: RulesChange) -> Rules:
        """Change what this user ignores or rates otherwise, and return the rules that then hold."""
        return self._rulebook.change(body)

    def usage(self) -> Usage:
        """Return the core usage of this user on this host, all figures from the last snapshots."""
        live = [c for c in self.clusters() if c.status not in ENDED]
        limit = self._ledger.limit(self.configuration.core_limit)
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
                limit=limit,
            ),
            memory=Memory(
                used=sum(c.memory.used for c in counted),
                # They share one machine, however much each of them may use.
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


def _compared(
    cluster: Cluster, environment: Environment, readings: Readings, rules: RuleSet, kernel_id: str | None = None
) -> Diff:
    """Return the diff that a plan rests on."""
    return compare(
        environment,
        readings.environments,
        cluster_id=cluster.id,
        cluster_name=cluster.name,
        kernel_id=kernel_id,
        kernel_label="",
        unread=readings.unread,
        at=now(),
        rules=rules,
    )


async def _readings_for(kernel: Environment | None, client: supervisors.SupervisorClient) -> Readings:
    """Return what a plan rests on: where local code may be the same, its files were looked at, as far as that ends in time."""
    deadline = time.monotonic() + CONTENT_SECONDS
    while True:
        readings = await client.environments(modules(kernel) if kernel else ())
        if kernel is None or not core.doubtful(kernel, readings.environments) or time.monotonic() > deadline:
            return readings
        await asyncio.sleep(0.2)


def _lost_sync(sync: Sync) -> Sync:
    """Return a sync whose cluster went while it ran."""
    text = "The cluster went while it was synchronized, so nothing is claimed of it."
    return msgspec.structs.replace(sync, state="lost", result=SyncResult(text=text), ended_at=sync.ended_at or now())


def _check_name(name: str | None) -> None:
    if name is not None and not name.isprintable():
        raise Invalid("name", "A name must be printable text")


def _alive(cluster_id: str) -> bool:
    """Whether any process of a cluster lives: its supervisor, launcher, guard or nodes hold a lock."""
    try:
        with alive_path(cluster_id).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _first(body: ClusterCreate) -> int:
    if body.workers is not None:
        return body.workers
    return body.adaptive.minimum if body.adaptive else 2


def _check_bounds(bounds: AdaptiveRequest, limit: int) -> None:
    if bounds.minimum > bounds.maximum:
        raise Invalid("adaptive.minimum", "The minimum must not be larger than the maximum")
    if bounds.maximum > limit:
        raise Invalid("adaptive.maximum", f"At most {limit} workers are allowed in one cluster", limit=limit)
    if bounds.maximum == 0:
        raise Invalid("adaptive.maximum", "At least one worker must be allowed")


async def _nameless(kernel_id: str) -> str | None:
    return None


async def _no_imports(kernel_id: str) -> frozenset[str]:
    return frozenset()


def _bytes(limit: int | str | None) -> int | None:
    if limit is None or isinstance(limit, int):
        return limit
    match = _MEMORY.fullmatch(limit)
    if match is None:
        raise Invalid("memory_limit", "Give memory as bytes or as text such as 4 GiB")
    unit = (match[2] or "").lower()
    factor = (_BINARY if "i" in unit else _UNITS)[unit[:1]]
    size = int(float(match[1]) * factor)
    if size < 1:
        raise Invalid("memory_limit", "A worker needs some memory")
    return size


def _pins(reading: Reading) -> tuple[str, ...]:
    """Return ``name==version`` of everything that an index can give; local code doesn't travel yet."""
    _needs_dask(reading)
    lines = [f"{package.name}=={package.version}" for package in reading.packages if package.source is None]
    good: list[str] = []
    for line in lines:
        with contextlib.suppress(Invalid):
            good.extend(requirement_lines.check([line]))
    return tuple(good)


def _own_python(python: str) -> str | None:
    return sys.executable if python == ".".join(map(str, sys.version_info[:3])) else None


def _needs_dask(reading: Reading) -> None:
    if "distributed" not in {package.name for package in reading.packages}:
        raise Conflict(
            "The kernel's environment has no Dask: `distributed` isn't installed",
            "Install it there with `%pip install distributed`, or choose another environment",
        )
