"""Plans a kernel that is equal to a cluster's workers: a new environment beside the notebook's, which is never written."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Collection
from datetime import datetime, timedelta, timezone

from msgspec import Struct

from .configuration import Configuration
from .core import plan as core
from .core.cluster import Readings
from .core.environment import Reading
from .core.errors import Impossible
from .core.rules import RuleSet, equal_versions, minor
from .core.wire import Cluster, Diff, Environment, Plan, PlanAction, PlanCreate, PlanLost
from .planning import HELD_SECONDS, check_names, iso
from .software import build, index, named
from .software.resolve import Wish, resolve

SECONDS = 30.0
"""Roughly what building and the first start of a kernel take."""


class Mirror(Struct, frozen=True, kw_only=True):
    """A plan, and what the environment is made from."""

    plan: Plan
    name: str
    wanted: named.Wanted


async def make(
    configuration: Configuration,
    cluster: Cluster,
    kernel: Environment,
    readings: Readings,
    diff: Diff,
    rules: RuleSet,
    body: PlanCreate,
    *,
    needed: frozenset[str],
    taken: Collection[tuple[str, str]],
) -> Mirror:
    """Return what a kernel like `kernel` would need to be as the workers; nothing is touched.

    Parameters
    ----------
    needed
        What ipykernel requires in the kernel's environment, by PEP 503.
    taken
        Name and source of each software environment that there is.

    Raises
    ------
    Impossible
        No worker could be read, or nothing of it can be had here.
    Invalid
        The scope names what neither side has.

    """
    groups = [group for group in readings.environments if group.role == "worker" and group.level == "all"]
    if not groups:
        reason = readings.unread[0].reason if readings.unread else "it has none, or they refuse to be read"
        raise Impossible(f"No worker of {cluster.name} could be read: {reason}", "Look at the cluster first")
    check_names(body.scope, diff.rows)
    names = core.scope_names(body.scope, diff.rows)
    here = core.wanted_here(kernel, groups, diff.rows, names, rules, needed)
    python, interpreter, changed = await _python(kernel, groups, names)
    resolution = await resolve(
        named.target(python),
        build.complete(("ipykernel",)),
        [Wish(requirement=line) for line in here.wish.wishes],
        index=index.parse(configuration.index_options),
        allow_source_builds=configuration.allow_source_builds,
    )
    had = core.Had(versions=resolution.versions, refused=resolution.refused)
    done = [*changed, *core.actions_here(kernel, here, had, diff.rows)]
    silent = [_refusal("workers", kernel, f"{unread.node} was not read: {unread.reason}") for unread in readings.unread]
    does = any(action.kind != "refuse" for action in done)
    if not does:
        # What would only be lacking in a new environment is no difference.
        done = [action for action in done if action.after not in (None, action.before)]
    listed = (*done, *here.refused, *(here.apart if does else ()), *silent)
    moment = datetime.now(timezone.utc)
    how = "build" if does else "refused" if listed else "nothing"
    source = f"workers of {cluster.name}"
    return Mirror(
        plan=Plan(
            id=secrets.token_hex(8),
            digest=core.digest(cluster.id, python, sorted(resolution.versions.items()), listed),
            cluster=cluster.id,
            direction="to_kernel",
            how=how,  # type: ignore[arg-type]  # one of three
            actions=listed,
            rolls=(),
            restarts=(),
            lost=PlanLost(),
            others=(),
            seconds=SECONDS if does else 0.0,
            needs=(),
            layer=None,
            created_at=iso(moment),
            expires_at=iso(moment + timedelta(seconds=HELD_SECONDS)),
        ),
        name=_free(cluster.name, source, taken),
        wanted=named.Wanted(
            source=source,
            python=python,
            interpreter=interpreter,
            hard=tuple(f"{name}=={version}" for name, version in sorted(resolution.versions.items())),
        ),
    )


def differing(mirror: Mirror, reading: Reading) -> str:
    """Say in what a reading of the new kernel differs from the plan; empty where it doesn't."""
    found = {package.name: package.version for package in reading.packages}
    planned = dict(line.split("==") for line in mirror.wanted.hard)
    wrong = [
        f"{name} {found.get(name, 'none')} instead of {version}"
        for name, version in planned.items()
        if name not in found or not equal_versions(found[name], version)
    ]
    if minor(reading.python) != minor(mirror.wanted.python):
        wrong.insert(0, f"Python {reading.python} instead of {mirror.wanted.python}")
    return ", ".join(wrong)


async def _python(
    kernel: Environment, groups: list[Environment], names: frozenset[str] | None
) -> tuple[str, str | None, list[PlanAction]]:
    """Return the version and, where it is the kernel's own, the path of the Python to build on, and what is said of it."""
    theirs = sorted({group.python for group in groups})
    minors = sorted({minor(python) for python in theirs})
    own = kernel.python, sys.executable
    if (names is not None and "python" not in names) or minors == [minor(kernel.python)]:
        return *own, []
    if len(minors) > 1:
        return *own, [_refusal("python", kernel, f"The workers differ among themselves: {' and '.join(theirs)}.")]
    if groups[0].implementation != "cpython":
        why = f"The workers run {groups[0].implementation}; environments are built for CPython only."
        return *own, [_refusal("python", kernel, why, theirs[0])]
    for wish in (*theirs, *minors):
        found = await build.python_here(wish)
        if found is not None:
            kind = "upgrade" if core.newer(found, kernel.python) else "downgrade"
            action = PlanAction(
                kind=kind,  # type: ignore[arg-type]  # one of two
                name="python",
                before=kernel.python,
                after=found,
                group=kernel.id,
                why=f"The workers run Python {theirs[0]}.",
            )
            return found, None, [action]
    why = (
        f"There is no Python {minors[0]} on this machine: install it, for example with `uv python install {minors[0]}`."
    )
    return *own, [_refusal("python", kernel, why, theirs[0])]


def _refusal(name: str, kernel: Environment, why: str, after: str | None = None) -> PlanAction:
    before = kernel.python if name == "python" else None
    return PlanAction(kind="refuse", name=name, before=before, after=after, group=kernel.id, why=why)


def _free(cluster: str, source: str, taken: Collection[tuple[str, str]]) -> str:
    """Return a name that is free, or that of the environment that was made from the same workers before."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", cluster).strip("._-")[:60].rstrip("._-") or "cluster"
    others = {known.lower() for known, made_from in taken if made_from != source}
    number = 1
    while (found := name if number == 1 else f"{name}-{number}").lower() in others:
        number += 1
    # Of the spelling that there is.
    return next((known for known, _ in taken if known.lower() == found.lower()), found)
