"""Gathers the report of a problem, without secrets; nothing is started, built or changed for it."""

from __future__ import annotations

import asyncio
import platform
import sys
import sysconfig
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import msgspec

from ..activity import doing
from ..core.choice import ENDED
from ..core.errors import CoiledError, NotFound
from ..core.times import now
from ..core.wire import Cluster, Diff, Doctor, Environment, LogLine, PlanCreate, SoftwarePackage, Usage
from ..links import this_process as here
from .facade import Service

LOG_LINES = 300
"""Lines of each cluster's logs."""
CLUSTERS = 20
PART_SECONDS = 30.0
_T = TypeVar("_T")


async def doctor(service: Service, kernel: str | None = None, *, user: str = "", plan: bool = False) -> Doctor:
    """Return the report on a kernel (None: this interpreter) and all clusters; it names its missing parts.

    Parameters
    ----------
    user
        Whose plans are included.
    plan
        Whether to make a plan for each cluster, which runs the resolver; otherwise recent plans are included.

    Raises
    ------
    NotFound
        There is no such kernel.

    """
    failed: list[str] = []

    async def part(what: str, told: Awaitable[_T]) -> _T | None:
        try:
            with doing(f"Collecting for the report: {what}"):
                return await asyncio.wait_for(told, PART_SECONDS)
        except asyncio.TimeoutError:
            failed.append(f"{what}: no answer within {PART_SECONDS:.0f} s")
        except CoiledError as error:
            failed.append(f"{what}: {error.told()}")
        return None

    own: list[Environment] | None = None
    if kernel is not None:
        try:
            own = await service.comparing.environments(kernel=kernel)
        except NotFound:
            # A wrong id is the caller's error; every other failure is part of the report.
            raise
        except CoiledError as error:
            failed.append(f"The kernel: {error.told()}")
    clusters: tuple[Cluster, ...] = ()
    usage: Usage | None = None
    try:
        clusters, usage = tuple(service.clusters.all())[-CLUSTERS:], service.clusters.usage()
    except CoiledError as error:
        failed.append(f"The clusters: {error.told()}")
    live = [cluster for cluster in clusters if cluster.status not in ENDED]
    groups: dict[str, tuple[Environment, ...]] = {}
    diffs: list[Diff] = []
    for cluster in live:
        found = await part(f"The environments of {cluster.name}", service.comparing.environments(cluster=cluster.id))
        groups[cluster.id] = tuple(found or ())
        diff = await part(f"The comparison with {cluster.name}", service.comparing.diff(cluster.id, kernel=kernel))
        diffs += [diff] if diff is not None else []
        if plan:
            await part(
                f"A plan for {cluster.name}", service.changing.plan(PlanCreate(cluster=cluster.id, kernel=kernel), user)
            )
    lines: dict[str, tuple[LogLine, ...]] = {}
    for cluster in clusters:
        if cluster.source == "managed":
            logs = await part(f"The logs of {cluster.name}", service.clusters.logs(cluster.id))
            lines[cluster.id] = logs.lines[-LOG_LINES:] if logs is not None else ()
    software = await part("The software environments", service.software.all())
    syncs = await part("The syncs", service.changing.syncs())
    layers = await part("The earlier states", service.changing.layers())
    made = Doctor(
        contents=(
            "versions of Python, of the operating system, and of everything that is installed beside this server",
            f"{len(clusters)} clusters with their states, workers, steps and addresses",
            f"what {'the kernel' if own else 'this Python'} and every group of nodes have installed, and how they differ",
            "what a sync would do, the last syncs with their logs, earlier states, and software environments",
            f"the last {LOG_LINES} lines that the processes of each cluster have printed: look through these before you pass it on",
            "not in it: credentials, tokens, passwords, keys, variables of workers; the home folder is written as ~",
        ),
        about=service.about(),
        system={
            "python": sys.version,
            "executable": sys.executable,
            "platform": sysconfig.get_platform(),
            "machine": platform.platform(),
        },
        packages=tuple(
            SoftwarePackage(name=n, version=v) for n, v in (await asyncio.to_thread(here.installed)).items()
        ),
        usage=usage,
        clusters=clusters,
        kernel=own[0] if own else None,
        environments=groups,
        diffs=tuple(diffs),
        plans=service.changing.held_plans(user),
        syncs=tuple(syncs or ()),
        layers=tuple(layers or ()),
        software=tuple(software or ()),
        logs=lines,
        failed=tuple(failed),
        taken_at=now(),
    )
    return await asyncio.to_thread(_redacted, made)


def _redacted(made: Doctor) -> Doctor:
    # Imported here, because compiling its patterns would slow the server's start.
    from ..core import redact

    return msgspec.convert(redact.everything(msgspec.to_builtins(made), [str(Path.home())]), Doctor)
