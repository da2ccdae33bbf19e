"""Gathers what a report of a problem needs, without secrets; nothing is started, built or changed for it."""

from __future__ import annotations

import asyncio
import platform
import sys
import sysconfig
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import msgspec

from .core import redact
from .core.choice import ENDED
from .core.cluster import now
from .core.errors import CoiledError, NotFound
from .core.wire import Diff, Doctor, Environment, LogLine, PlanCreate, SoftwarePackage
from .links import here
from .service import Service

LOG_LINES = 300
"""Lines of each cluster at most."""
CLUSTERS = 20
PART_SECONDS = 30.0
_T = TypeVar("_T")


async def doctor(service: Service, kernel: str | None = None, *, user: str = "", plan: bool = False) -> Doctor:
    """Return the report on a kernel (without one: this interpreter) and all clusters; what can't be told is named.

    Parameters
    ----------
    user
        Whose plans are told.
    plan
        Whether one is made for each cluster, which runs the resolver; else those are told that were made lately.

    Raises
    ------
    NotFound
        There is no such kernel.

    """
    failed: list[str] = []

    async def part(what: str, told: Awaitable[_T]) -> _T | None:
        try:
            return await asyncio.wait_for(told, PART_SECONDS)
        except asyncio.TimeoutError:
            failed.append(f"{what}: no answer within {PART_SECONDS:.0f} s")
        except CoiledError as error:
            failed.append(f"{what}: {error.told()}")
        return None

    own: list[Environment] | None = None
    if kernel is not None:
        try:
            own = await service.environments(kernel=kernel)
        except NotFound:
            # An id that is wrong is a fault of who asks, everything else is told.
            raise
        except CoiledError as error:
            failed.append(f"The kernel: {error.told()}")
    clusters = tuple(service.clusters())[-CLUSTERS:]
    live = [cluster for cluster in clusters if cluster.status not in ENDED]
    groups: dict[str, tuple[Environment, ...]] = {}
    diffs: list[Diff] = []
    for cluster in live:
        found = await part(f"The environments of {cluster.name}", service.environments(cluster=cluster.id))
        groups[cluster.id] = tuple(found or ())
        diff = await part(f"The comparison with {cluster.name}", service.diff(cluster.id, kernel=kernel))
        diffs += [diff] if diff is not None else []
        if plan:
            await part(f"A plan for {cluster.name}", service.plan(PlanCreate(cluster=cluster.id, kernel=kernel), user))
    lines: dict[str, tuple[LogLine, ...]] = {}
    for cluster in clusters:
        if cluster.source == "managed":
            logs = await part(f"The logs of {cluster.name}", service.logs(cluster.id))
            lines[cluster.id] = logs.lines[-LOG_LINES:] if logs is not None else ()
    software = await part("The software environments", service.software())
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
        usage=service.usage(),
        clusters=clusters,
        kernel=own[0] if own else None,
        environments=groups,
        diffs=tuple(diffs),
        plans=service.held_plans(user),
        syncs=tuple(service.syncs()),
        layers=tuple(service.layers()),
        software=tuple(software or ()),
        logs=lines,
        failed=tuple(failed),
        taken_at=now(),
    )
    return await asyncio.to_thread(_redacted, made)


def _redacted(made: Doctor) -> Doctor:
    return msgspec.convert(redact.everything(msgspec.to_builtins(made), [str(Path.home())]), Doctor)
