"""Reads environments of kernels and clusters and compares them by the rules of administrator and user."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..core.choice import ENDED
from ..core.compare.diff import compare
from ..core.errors import CoiledError, Conflict, Invalid, NotFound
from ..core.explain import explain, proven
from ..core.groups import Readings, kernel_environment, modules
from ..core.notebook import cell_imports
from ..core.times import now
from ..core.wire import (
    Cluster,
    Diff,
    Environment,
    ExplainRequest,
    Explanation,
    KernelSeal,
    NotebookImports,
    Rules,
    RulesChange,
    Unread,
)
from ..links import this_process
from ..rulebook import RuleBook
from ..software.named.store import NamedEnvironments
from ..supervisor.client import SupervisorClient
from .discovery import Discovery, Kernels
from .plans.gather import Source

FILES_SECONDS = 10.0
"""How long an explanation waits for the comparison of files."""
IMPORTED_SECONDS = 4.0
"""How long it waits for code that was imported just now."""
SHOWN_SECONDS = 0.5
"""How long ago what is shown may have been read: several views of one page ask at once."""
KERNELS = 200
"""Of how many kernels, or pairs of kernel and cluster, something is remembered."""
SEEN = 50
"""The most packages to which failures have pointed, of one kernel and cluster."""


class Clusters(Protocol):
    """The clusters that can be compared."""

    async def fetch(self, cluster_id: str) -> Cluster:
        """Return one cluster, or raise NotFound."""


class Comparing:
    """The environments that can be read from here, and how they differ.

    Parameters
    ----------
    label
        Returns the name of a kernel's notebook, or None.
    imports
        Returns the modules that the source of a kernel's notebook, as last saved, imports.
    changed
        Called with the id of a kernel that would be compared otherwise now.

    """

    def __init__(
        self,
        clusters: Clusters,
        kernels: Kernels,
        discovery: Discovery,
        software: NamedEnvironments,
        rulebook: RuleBook,
        *,
        label: Callable[[str], Awaitable[str | None]],
        imports: Callable[[str], Awaitable[frozenset[str]]],
        changed: Callable[[str], None],
    ) -> None:
        self._clusters, self._kernels, self._discovery = clusters, kernels, discovery
        self._software, self._rulebook = software, rulebook
        self._label, self._imports, self._changed = label, imports, changed
        self._live: dict[str, frozenset[str]] = {}
        self._seen: dict[tuple[str | None, str], dict[str, str]] = {}

    async def environments(self, *, kernel: str | None = None, cluster: str | None = None) -> list[Environment]:
        """Return the environment of a kernel, or one per group of a cluster."""
        if (kernel is None) == (cluster is None):
            raise Invalid("kernel", "Name either a kernel or a cluster")
        if kernel is not None:
            return [(await self.source(kernel)).environment]
        return list((await self.readings(await self._clusters.fetch(cluster or ""))).environments)

    async def source(self, kernel_id: str | None) -> Source:
        """Return the environment of a kernel (None: this process) and its Python; NotFound or Unavailable otherwise."""
        if kernel_id is None:
            reading, content_age = await asyncio.to_thread(this_process.read)
            environment = kernel_environment(reading, "kernel", now(), content_age)
            return Source(environment, sys.executable, notebook=this_process.tracked())
        found = await self._kernels.read(kernel_id)
        named = self._live.get(kernel_id)
        if named is None:
            named = await self._imports(kernel_id)
        environment = kernel_environment(found.reading, kernel_id, found.taken_at, found.content_age, named)
        return Source(environment, found.reading.executable)

    async def readings(self, cluster: Cluster, wanted: tuple[str, ...] = ()) -> Readings:
        """Return the environments of a cluster's nodes; what can't be read is in `unread`."""
        if cluster.source == "discovered":
            return await self._discovery.readings(cluster.id, wanted)
        never = cluster.status == "unreachable" and cluster.seen_at is None
        if cluster.status in ENDED or cluster.status in ("starting", "stopping") or never:
            return _unread(cluster.reason or f"The cluster is {cluster.status}")
        try:
            client = await SupervisorClient.connect(cluster.id, timeout=2)
            try:
                return await client.environments(wanted, SHOWN_SECONDS)
            finally:
                await client.close()
        except CoiledError as error:
            return _unread(error.message)

    async def diff(self, cluster_id: str, *, kernel: str | None = None, software: str | None = None) -> Diff:
        """Compare a kernel (None: this interpreter) with a cluster.

        Nodes that can't be read are in `unread`; only an unknown id raises.
        """
        stored = self._software.get(software) if software is not None else None
        cluster = await self._clusters.fetch(cluster_id)
        environment: Environment | None = None
        missing: tuple[Unread, ...] = ()
        try:
            environment = (await self.source(kernel)).environment
        except NotFound:
            raise
        except CoiledError as error:
            missing = (Unread(node="kernel", reason=error.message),)
        readings = await self.readings(cluster, modules(environment) if environment else ())
        label = Path(sys.prefix).name if kernel is None else await self._label(kernel)
        made = compare(
            environment,
            readings.environments,
            cluster_id=cluster.id,
            cluster_name=cluster.name,
            kernel_id=kernel,
            kernel_label=label or "kernel",
            unread=(*missing, *readings.unread),
            at=now(),
            rules=self._rulebook.rules(),
            software={**stored.versions, "python": stored.python} if stored else None,
            seen=self._seen.get((kernel, cluster.id), {}),
            scheduler=cluster.scheduler.id if cluster.scheduler else None,
            sealing=cluster.environment.sealed,
        )
        self._forget(kernel, made)
        return made

    async def explain(self, body: ExplainRequest) -> Explanation:
        """Return the rows of a new diff that explain the text of a failure."""
        deadline = time.monotonic() + FILES_SECONDS
        diff = await self.diff(body.cluster, kernel=body.kernel)
        # Local code is known once files have been compared.
        while diff.level == "all" and not diff.checked.content and time.monotonic() < deadline:
            await asyncio.sleep(0.3)
            diff = await self.diff(body.cluster, kernel=body.kernel)
        # In a thread: searching the longest text takes a quarter of a second.
        found = await asyncio.to_thread(explain, body.text, diff)
        # What the failed cell has imported, beside the notebook, may not have been looked at yet.
        deadline = time.monotonic() + IMPORTED_SECONDS
        while found.basis == "none" and "No module named" in body.text and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            diff = await self.diff(body.cluster, kernel=body.kernel)
            found = await asyncio.to_thread(explain, body.text, diff)
        seen = proven(found, body.text)
        if seen:
            known = self._seen.pop((body.kernel, diff.cluster.id), {})
            _remember(self._seen, (body.kernel, diff.cluster.id), dict([*known.items(), *seen.items()][-SEEN:]))
            self._changed(body.kernel or "")
        return found

    def _forget(self, kernel: str | None, diff: Diff) -> None:
        """Forget failures that a whole reading shows to have lost their cause."""
        seen = self._seen.get((kernel, diff.cluster.id))
        if seen and diff.level == "all" and diff.checked.content and not diff.unread:
            differing = {row.name for row in diff.rows if row.status != "same"}
            for name in set(seen) - differing:
                del seen[name]

    async def tell_imports(self, kernel_id: str, body: NotebookImports) -> None:
        """Take what the cells of a kernel's notebook import now, whether or not they were saved."""
        # In a thread: to parse the largest body takes longer than the server may wait.
        named = await asyncio.to_thread(lambda: frozenset().union(*map(cell_imports, body.cells)))
        if self._live.get(kernel_id) != named:
            self._live.pop(kernel_id, None)
            _remember(self._live, kernel_id, named)
            self._changed(kernel_id)

    async def seal(self, kernel_id: str, body: KernelSeal) -> None:
        """Have a kernel's clients send sealed graphs to a cluster that takes such, or end that.

        Raises
        ------
        Conflict
            The cluster takes plain graphs only, or its scheduler isn't known.
        Unavailable, Timeout
            The kernel can't do it, or doesn't answer; the message says why.

        """
        cluster = await self._clusters.fetch(body.cluster)
        if cluster.scheduler is None or cluster.scheduler.id is None:
            raise Conflict(f"The scheduler of {cluster.name} isn't known", "Try again when the cluster runs")
        if body.sealed and not cluster.environment.sealed:
            raise Conflict(f"{cluster.name} was not synced for sealed graphs", "Sync it first")
        await self.seal_clients(kernel_id, cluster.scheduler.id, seal=body.sealed)

    async def seal_clients(self, kernel_id: str | None, scheduler: str, *, seal: bool) -> None:
        """Have the clients of a kernel (None: of this process, if it is a notebook's) seal, or end that."""
        if kernel_id is not None:
            await self._kernels.seal(kernel_id, scheduler, seal=seal)
        elif this_process.tracked():
            await asyncio.to_thread(this_process.seal, scheduler, on=seal)

    async def end_seals(self, scheduler: str) -> None:
        """Have no client that can be reached from here send sealed graphs to a scheduler any more."""
        for kernel_id in (None, *self._kernels.kernel_ids()):
            with contextlib.suppress(CoiledError):
                await self.seal_clients(kernel_id, scheduler, seal=False)

    def rules(self) -> Rules:
        """Return every rule in its order, and what this user ignores or rates otherwise."""
        return self._rulebook.to_wire()

    def change_rules(self, body: RulesChange) -> Rules:
        """Change what this user ignores or rates otherwise, and return the resulting rules."""
        return self._rulebook.change(body)

    def conda_names(self) -> Mapping[str, str | None]:
        """Return conda's names of distributions, with those of the rules' files."""
        return self._rulebook.rules().conda


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    """Keep a value; of too many the oldest goes."""
    while len(known) >= KERNELS:
        del known[next(iter(known))]
    known[key] = value


def _unread(reason: str) -> Readings:
    return Readings(unread=(Unread(node="cluster", reason=reason),))
