"""Plans a kernel with a cluster's workers' packages: a new environment beside the notebook's, which stays unchanged."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Collection

from msgspec import Struct

from ...configuration import Configuration
from ...core.change.actions import kernel_actions, python_action
from ...core.change.afterwards import ordered, outside, totals
from ...core.change.goals import Available, kernel_goal, refusal, scope_names
from ...core.errors import Impossible
from ...core.groups import Readings
from ...core.reading import Reading
from ...core.rules import RuleSet, equal_versions, minor
from ...core.wire import Cluster, Diff, Environment, Plan, PlanAction, PlanCreate, PlanLost
from ...software import build, index
from ...software.named import locking
from ...software.resolve import resolve
from .held import lifetime
from .make import digest

SECONDS = 30.0
"""A rough estimate for building and the first start of a kernel."""


class KernelPlan(Struct, frozen=True, kw_only=True):
    """A plan, and the request for its environment."""

    plan: Plan
    name: str
    request: locking.LockRequest


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
) -> KernelPlan:
    """Return the plan of a kernel like `kernel` with the workers' packages; nothing is changed.

    Parameters
    ----------
    needed
        Requirements of ipykernel in the kernel's environment, names by PEP 503.
    taken
        Name and source of each existing software environment.

    Raises
    ------
    Impossible
        No worker could be read, or none of its packages is available here.
    Invalid
        The scope names a package that neither side has.

    """
    groups = [group for group in readings.environments if group.role == "worker" and group.level == "all"]
    if not groups:
        reason = readings.unread[0].reason if readings.unread else "it has none, or they refuse to be read"
        raise Impossible(f"No worker of {cluster.name} could be read: {reason}", "Look at the cluster first")
    names = scope_names(body.scope, diff.rows)
    goal = kernel_goal(kernel, groups, diff.rows, names, rules, needed)
    python, interpreter, changed = await choose_python(kernel, groups, names)
    resolution = await resolve(
        locking.target(python),
        build.complete(("ipykernel",)),
        goal.goal.preferred,
        index=index.parse(configuration.index_options),
        hints=goal.goal.hints,
        allow_source_builds=configuration.allow_source_builds,
    )
    available = Available(versions=resolution.versions, refused=resolution.refused)
    done = [*changed, *kernel_actions(kernel, goal, available, diff.rows)]
    silent = [
        refusal("workers", kernel.id, f"{unread.node} was not read: {unread.reason}") for unread in readings.unread
    ]
    does = any(action.kind != "refuse" for action in done)
    if not does:
        # A package that only the kernel has is no difference to fix: the new environment just lacks it.
        done = [action for action in done if action.after not in (None, action.before)]
    listed = (*done, *goal.refused, *(goal.apart if does else ()), *silent)
    created_at, expires_at = lifetime()
    how = "build" if does else "refused" if listed else "nothing"
    source = f"workers of {cluster.name}"
    return KernelPlan(
        plan=Plan(
            id=secrets.token_hex(8),
            digest=digest(cluster.id, python, sorted(resolution.versions.items()), listed),
            cluster=cluster.id,
            direction="to_kernel",
            how=how,  # type: ignore[arg-type]  # one of three
            actions=ordered(listed, diff.rows),
            rolls=(),
            restarts=(),
            lost=PlanLost(),
            others=(),
            seconds=SECONDS if does else 0.0,
            needs=(),
            layer=None,
            created_at=created_at,
            expires_at=expires_at,
            totals=totals(listed, outside=outside(diff.rows, names)),
        ),
        name=free_name(cluster.name, source, taken),
        request=locking.LockRequest(
            source=source,
            python=python,
            interpreter=interpreter,
            required=tuple(f"{name}=={version}" for name, version in sorted(resolution.versions.items())),
        ),
    )


def differing(planned: KernelPlan, reading: Reading) -> str:
    """Return how a reading of the new kernel differs from the plan; empty if it doesn't."""
    found = {package.name: package.version for package in reading.packages}
    versions = dict(line.split("==") for line in planned.request.required)
    wrong = [
        f"{name} {found.get(name, 'none')} instead of {version}"
        for name, version in versions.items()
        if name not in found or not equal_versions(found[name], version)
    ]
    if minor(reading.python) != minor(planned.request.python):
        wrong.insert(0, f"Python {reading.python} instead of {planned.request.python}")
    return ", ".join(wrong)


async def choose_python(
    kernel: Environment, groups: list[Environment], names: frozenset[str] | None
) -> tuple[str, str | None, list[PlanAction]]:
    """Return the version of the Python to build on, its path if it is the kernel's own, and refusals about it."""
    theirs = sorted({group.python for group in groups})
    minors = sorted({minor(python) for python in theirs})
    own = kernel.python, sys.executable
    if (names is not None and "python" not in names) or minors == [minor(kernel.python)]:
        return *own, []
    if len(minors) > 1:
        return *own, [
            refusal("python", kernel.id, f"The workers differ among themselves: {' and '.join(theirs)}.", kernel.python)
        ]
    if groups[0].implementation != "cpython":
        why = f"The workers run {groups[0].implementation}; environments are built for CPython only."
        return *own, [refusal("python", kernel.id, why, kernel.python, theirs[0])]
    for wish in (*theirs, *minors):
        found = await build.python_here(wish)
        if found is not None:
            why = f"The workers run Python {theirs[0]}."
            return found, None, [python_action(kernel.python, found, kernel.id, why)]
    why = (
        f"There is no Python {minors[0]} on this machine: install it, for example with `uv python install {minors[0]}`."
    )
    return *own, [refusal("python", kernel.id, why, kernel.python, theirs[0])]


def free_name(cluster: str, source: str, taken: Collection[tuple[str, str]]) -> str:
    """Return a free name, or the name of the environment that was made from the same workers before."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", cluster).strip("._-")[:60].rstrip("._-") or "cluster"
    others = {known.lower() for known, made_from in taken if made_from != source}
    number = 1
    while (found := name if number == 1 else f"{name}-{number}").lower() in others:
        number += 1
    # In its existing spelling.
    return next((known for known, _ in taken if known.lower() == found.lower()), found)
