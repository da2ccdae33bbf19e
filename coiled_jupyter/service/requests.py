"""Resolves a request to create a cluster into its supervisor's launch spec, or says which field is wrong and why."""

from __future__ import annotations

import contextlib
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from ..configuration import Configuration
from ..core.errors import Conflict, Invalid, NotFound
from ..core.launch import LOCAL, BuildSpec, ClusterClass, LaunchSpec
from ..core.reading import Reading
from ..core.times import now
from ..core.wire import Adaptive, AdaptiveRequest, ClusterChange, ClusterCreate, Offers, OffersAsk, Option
from ..factories.contract import Entry, Wanted
from ..factories.table import Table, missing
from ..paths import data_dir
from ..software import requirements as requirement_lines
from ..software.named.store import NamedEnvironments
from .attach import check_host
from .offers import Asking

_ENVIRON_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENVIRON_REFUSED = re.compile(r"(LD_|DYLD_|PYTHON|DASK_|UV_|PIP_).*|PATH", re.IGNORECASE)
_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b?|b)?\s*", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_CHANGES = ("workers", "adaptive", "name", "lease_seconds")
THREAD_LIMIT = 1024
"""Threads of one worker."""


class Requests:
    """Validates requests against the administrator's limits and resolves them.

    Parameters
    ----------
    table
        The kinds of clusters.
    read
        Returns the reading of a kernel, or raises CoiledError.

    """

    def __init__(
        self,
        configuration: Configuration,
        software: NamedEnvironments,
        table: Table,
        read: Callable[[str], Awaitable[Reading]],
    ) -> None:
        self._configuration, self._software, self._table, self._read = configuration, software, table, read
        self._asking = Asking()

    async def launch_spec(self, body: ClusterCreate) -> LaunchSpec:
        """Return the launch spec; Invalid with the wrong field, or any error of reading the kernel."""
        entry = self._table.entry(body.factory or LOCAL)
        self._check(body, entry)
        options = entry.checked(body.options or {}, await self._declared(body, entry))
        if entry.name == LOCAL and options.get("dashboard", False) is None:
            options["dashboard"] = self._configuration.dashboard
        await self._check_hosts(entry, options)
        memory_limit = memory_bytes(body.memory_limit)
        interpreter, build = await self._python(body, entry)
        cluster_id = secrets.token_hex(4)
        asked = body.adaptive and Adaptive(minimum=body.adaptive.minimum, maximum=body.adaptive.maximum)
        bounds = asked or (entry.adaptive if body.workers is None else None)
        workers = body.workers if body.workers is not None else bounds.minimum if bounds else entry.workers
        made = None
        if entry.make is not None:
            wanted = Wanted(
                id=cluster_id,
                workers=workers,
                threads_per_worker=body.threads_per_worker,
                memory_limit=memory_limit,
                options=options,
                logs=str(data_dir("jobs") / cluster_id),
            )
            made = entry.cluster_class(wanted)
            check_joined(body, made)
        step = made.step if made else 1
        return LaunchSpec(
            id=cluster_id,
            name=body.name or f"cluster-{cluster_id[:4]}",
            factory=entry.name,
            interpreter=interpreter,
            build=build,
            software=body.software,
            # Those of one job come together.
            workers=0 if made and made.joined else -(-workers // step) * step,
            threads_per_worker=body.threads_per_worker or 1,
            memory_limit=memory_limit,
            adaptive=bounds or None,
            environ=entry.credentials | dict(body.environ or {}),
            options=options,
            lease_seconds=self._configuration.lease_seconds,
            core_limit=self._configuration.core_limit,
            created_at=now(),
            cluster_class=made,
        )

    async def offers(self, name: str, body: OffersAsk) -> Offers:
        """Return what the platform of a factory offers; NotFound for one that doesn't exist, else as `Asking.ask`."""
        try:
            entry = self._table.entry(name)
        except Invalid as error:
            raise NotFound(error.message, error.hint) from None
        return await self._asking.ask(entry, await self._asks(entry, body.kernel))

    async def _asks(self, entry: Entry, kernel: str | None) -> str:
        """Return the Python that asks, which has what that takes."""
        if kernel is None:
            return self._own(entry)
        reading = await self._read(kernel)
        check_has(entry, (package.name for package in reading.packages), "the notebook's environment")
        return reading.executable

    def _own(self, entry: Entry) -> str:
        """Return the Python of the Jupyter server; Conflict where it lacks what a kind of cluster needs."""
        check_has(entry, set(entry.requires) - set(missing(entry.requires)), "the Jupyter server's environment")
        return sys.executable

    async def _declared(self, body: ClusterCreate, entry: Entry) -> Mapping[str, Option]:
        """Return the options that a platform declares by itself, if the request names one."""
        named = set(body.options or {}) - set(entry.options)
        if not named or entry.question is None:
            return {}
        if body.requirements is not None or body.software is not None:
            raise Invalid(
                f"options.{min(named)}",
                f"{entry.title} can't be asked for its options before this environment is there",
                "Leave them out, or choose the environment of the notebook or of the server",
            )
        shared = body.interpreter.kernel if body.interpreter is not None else None
        interpreter = await self._asks(entry, body.kernel or shared)
        return (await self._asking.ask(entry, interpreter, anew=False)).options

    async def _check_hosts(self, entry: Entry, options: Mapping[str, object]) -> None:
        """Raise Invalid where an option names a machine that may not be connected to."""
        for name in entry.hosts:
            for host in str(options.get(name) or "").split(","):
                if host.strip():
                    await check_host(host.strip(), 22, self._configuration.allowed_addresses, f"options.{name}")

    async def _python(self, body: ClusterCreate, entry: Entry) -> tuple[str | None, BuildSpec | None]:
        """Return an existing interpreter, or the environment to build."""
        if body.requirements is not None:
            lines = requirement_lines.check(body.requirements)
            check_has(entry, requirement_lines.names(lines), "the requirements")
            return None, self._build(lines, body.python)
        if body.software is not None:
            try:
                return None, self._software.build_spec(self._software.get(body.software))
            except NotFound as error:
                raise Invalid("software", error.message, error.hint) from None
        if body.kernel is not None:
            reading = await self._read(body.kernel)
            check_has(entry, (package.name for package in reading.packages), "the notebook's environment")
            return None, self._build(pins(reading), reading.executable)
        if body.interpreter is not None:
            reading = await self._read(body.interpreter.kernel)
            check_dask(reading)
            check_has(entry, (package.name for package in reading.packages), "the notebook's environment")
            return reading.executable, None
        return self._own(entry), None

    def _build(self, lines: tuple[str, ...], python: str | None) -> BuildSpec:
        return BuildSpec(
            requirements=lines,
            python=python or sys.executable,
            index_options=self._configuration.index_options,
            allow_source_builds=self._configuration.allow_source_builds,
        )

    def _check(self, body: ClusterCreate, entry: Entry) -> None:
        """Raise Invalid for what the types don't exclude; nothing is started, fetched or executed."""
        check_one(body, "software", "kernel", "interpreter", "requirements")
        if body.python is not None and body.requirements is None:
            raise Invalid("python", "A Python version goes with requirements only")
        if body.adaptive is not None:
            self._check_bounds(body.adaptive)
            if body.workers is not None and not body.adaptive.minimum <= body.workers <= body.adaptive.maximum:
                raise Invalid("workers", "The number of workers must be between the minimum and the maximum")
        check_name(body.name)
        self._check_workers(body.workers or 0)
        if (body.threads_per_worker or 0) > THREAD_LIMIT:
            raise Invalid("threads_per_worker", f"At most {THREAD_LIMIT} threads are allowed for one worker")
        for name in ("threads_per_worker", "memory_limit", "environ"):
            if (
                getattr(body, name)
                and name not in entry.takes
                and (name, body.threads_per_worker) != ("threads_per_worker", 1)
            ):
                raise Invalid(name, f"Clusters of the factory {entry.name} can't be told this", "Leave it out")
        for key, value in (body.environ or {}).items():
            if not _ENVIRON_NAME.fullmatch(key) or "\0" in value:
                raise Invalid(
                    "environ", f"{key[:40]!r} isn't a name of an environment variable, or its value isn't text"
                )
            if _ENVIRON_REFUSED.fullmatch(key):
                raise Invalid("environ", f"The variable {key} can't be set: it would change how Python or Dask start")

    def check_change(self, body: ClusterChange) -> None:
        """Raise Invalid unless a request is exactly one change, within bounds."""
        changes = [field for field in _CHANGES if getattr(body, field) is not msgspec.UNSET]
        if len(changes) != 1:
            raise Invalid(changes[1] if changes else "body", "Give one of workers, adaptive, name and lease_seconds")
        if isinstance(body.workers, int):
            self._check_workers(body.workers)
        if isinstance(body.adaptive, AdaptiveRequest):
            self._check_bounds(body.adaptive)
        if isinstance(body.name, str):
            check_name(body.name)

    def _check_workers(self, workers: int) -> None:
        limit = self._configuration.worker_limit
        if workers > limit:
            raise Invalid("workers", f"At most {limit} workers are allowed in one cluster", limit=limit)

    def _check_bounds(self, bounds: AdaptiveRequest) -> None:
        limit = self._configuration.worker_limit
        if bounds.minimum > bounds.maximum:
            raise Invalid("adaptive.minimum", "The minimum must not be larger than the maximum")
        if bounds.maximum > limit:
            raise Invalid("adaptive.maximum", f"At most {limit} workers are allowed in one cluster", limit=limit)
        if bounds.maximum == 0:
            raise Invalid("adaptive.maximum", "At least one worker must be allowed")


def check_one(body: object, *fields: str) -> None:
    """Raise Invalid if a request has more than one of these fields."""
    chosen = [field for field in fields if getattr(body, field) is not None]
    if len(chosen) > 1:
        raise Invalid(chosen[1], f"Give one of {' and '.join(chosen)}, not both")


def check_name(name: str | None) -> None:
    """Raise Invalid for a name that can't be shown."""
    if name is not None and not name.isprintable():
        raise Invalid("name", "A name must be printable text")


def check_joined(body: ClusterCreate, made: ClusterClass | None) -> None:
    """Raise Invalid where a cluster that runs already is to have another size from the beginning."""
    for field in ("workers", "adaptive"):
        if made is not None and made.joined and getattr(body, field) is not None:
            raise Invalid(field, "A cluster that is joined has the size that it has", "Leave it out, and scale it then")


def check_has(entry: Entry, names: Iterable[str], where: str) -> None:
    """Raise Conflict for an environment without what a kind of cluster needs."""
    lacking = sorted(set(entry.requires) - set(names))
    if lacking:
        raise Conflict(
            f"{lacking[0]} isn't in {where}, and clusters of the kind {entry.title} need it",
            f"Install it there, for example with `%pip install {lacking[0]}`",
            field="factory",
        )


def check_dask(reading: Reading) -> None:
    """Raise Conflict for an environment without Dask."""
    if "distributed" not in {package.name for package in reading.packages}:
        raise Conflict(
            "The kernel's environment has no Dask: `distributed` isn't installed",
            "Install it there with `%pip install distributed`, or choose another environment",
        )


def memory_bytes(limit: int | str | None) -> int | None:
    """Return the bytes of a limit such as ``4 GiB``, or raise Invalid."""
    if limit is None or isinstance(limit, int):
        return limit
    match = _MEMORY.fullmatch(limit)
    if match is None:
        raise Invalid("memory_limit", "Give memory as bytes or as text such as 4 GiB")
    unit = (match[2] or "").lower()
    size = int(float(match[1]) * (_BINARY if "i" in unit else _UNITS)[unit[:1]])
    if size < 1:
        raise Invalid("memory_limit", "The memory limit must be larger than 0")
    return size


def pins(reading: Reading) -> tuple[str, ...]:
    """Return ``name==version`` of all packages of an environment that come from an index."""
    check_dask(reading)
    lines: list[str] = []
    for package in reading.packages:
        if package.source is None:
            # No index accepts some forms of versions.
            with contextlib.suppress(Invalid):
                lines.extend(requirement_lines.check([f"{package.name}=={package.version}"]))
    return tuple(lines)
