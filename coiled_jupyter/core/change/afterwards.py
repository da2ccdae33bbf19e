"""Decides what stays wrong when a plan has been carried out, in which order a plan tells it, and its totals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from ..compare.diff import compare
from ..rules import ORDER, RuleSet
from ..wire import Environment, Package, PlanAction, PlanRemaining, PlanTotals, Row
from .goals import travels

_RANK = {severity: rank for rank, severity in enumerate(ORDER)}


def moved(
    kernel: Environment,
    group: Environment,
    nodes: Collection[str],
    versions: Mapping[str, str],
    python: str | None = None,
) -> tuple[Environment, ...]:
    """Return a group as it will be when `nodes` of it have moved to `versions`: two where some of it stays.

    `python` is the version of Python that they move to, None for the present one.
    """
    there = {package.name: package for package in group.packages}
    mine = {package.name: package for package in kernel.packages if package.source is not None}

    def after(name: str, version: str) -> Package:
        package = mine.get(name)
        if package is not None and package.version == version:
            return Package(name=name, version=version, source=package.source, content=package.content)
        present = there.get(name)
        if present is not None and present.version == version and present.source is None:
            return replace(present, loaded=())
        return Package(name=name, version=version)

    stays = tuple(node for node in group.nodes if node not in nodes)
    goes = tuple(node for node in group.nodes if node in nodes)
    if not goes:
        return (group,)
    kept = [package for package in group.packages if not travels(package) and package.name != "python"]
    packages = (*kept, *(after(name, version) for name, version in sorted(versions.items())))
    new = replace(group, packages=packages, problems=(), nodes=goes)
    if python is not None:
        new = replace(new, python=python, library=kernel.library)
    return (new, replace(group, id=f"{group.id}-stays", nodes=stays)) if stays else (new,)


def extended(scheduler: Environment, added: Mapping[str, str]) -> Environment:
    """Return a scheduler as it will be when it can import packages that it lacks from a layer."""
    known = {package.name for package in scheduler.packages}
    more = tuple(Package(name=n, version=v) for n, v in sorted(added.items()) if n not in known)
    return replace(scheduler, packages=(*scheduler.packages, *more))


def remaining(
    kernel: Environment,
    groups: Sequence[Environment],
    rules: RuleSet,
    at: str,
    refused: Iterable[PlanAction] = (),
    scheduler: str | None = None,
) -> tuple[PlanRemaining, ...]:
    """Return what still breaks or is risky once the cluster, with a scheduler of this id, is as `groups`; the worst first.

    Of what a plan has `refused` its reason is told, which says who can change it.
    """
    why = {action.name: action.why for action in refused}
    made = compare(
        kernel,
        groups,
        cluster_id="",
        cluster_name="",
        kernel_id=None,
        kernel_label="",
        at=at,
        rules=rules,
        scheduler=scheduler,
    )
    roles = {group.id: group.role for group in groups}
    found = []
    for row in made.rows:
        if row.severity not in ("breaks", "risky"):
            continue
        here = row.kernel.version if row.kernel else None
        differing = [group for group in row.groups if group.version != here] or list(row.groups)
        sides = {roles[group.group] for group in differing}
        found.append(
            PlanRemaining(
                name=row.name,
                severity=row.severity,
                here=here,
                there=tuple(dict.fromkeys(group.version for group in differing)),
                where="workers" if sides == {"worker"} else "scheduler" if sides == {"scheduler"} else "cluster",
                why=why.get(row.name, row.why),
                condition=row.condition,
            )
        )
    return tuple(found)


def sentence(left: PlanRemaining) -> str:
    """Return what stays different, such as ``Python 3.10.13 on the cluster, 3.11.7 here``."""
    name = "Python" if left.name == "python" else left.name
    there = " and ".join(sorted(version or "none" for version in left.there))
    if left.there == (None,):
        return f"{name} is missing on the {left.where}, {left.here} here"
    if left.here is None:
        return f"{name} {there} on the {left.where}, none here"
    if left.there == (left.here,):
        return f"{name} {there} on the {left.where} and here, but not the same"
    return f"{name} {there} on the {left.where}, {left.here} here"


def headline(remaining: Sequence[PlanRemaining]) -> str:
    """Return what the differences that stay mean for the notebook."""
    if any(left.severity == "breaks" for left in remaining):
        return "Your notebook will still break"
    return "Your notebook may still give other results"


def ordered(actions: Iterable[PlanAction], rows: Iterable[Row]) -> tuple[PlanAction, ...]:
    """Return actions with their severities, the worst first; before the others of a severity, what goes unasked.

    What is about no package, such as workers that can't be moved, is before all.
    """
    severities = {row.name: row.severity for row in rows}
    rated = [replace(action, severity=severities.get(action.name, "same")) for action in actions]

    def place(action: PlanAction) -> tuple[bool, int, bool, str, str]:
        return (
            action.name in severities or action.kind != "refuse",
            _RANK[action.severity],
            action.cause != "unfit",
            action.name,
            action.group,
        )

    return tuple(sorted(rated, key=place))


def totals(actions: Sequence[PlanAction], *, extra: Collection[str] = (), outside: int = 0) -> PlanTotals:
    """Return how many packages change; one that changes in any group counts as changed, and each counts once."""
    kinds: dict[str, set[str]] = {}
    for action in actions:
        kind = (
            "refuse"
            if action.kind == "refuse"
            else "install"
            if action.before is None
            else "remove"
            if action.after is None
            else "change"
        )
        kinds.setdefault(action.name, set()).add(kind)
    counted = dict.fromkeys(("change", "install", "remove", "refuse"), 0)
    for found in kinds.values():
        counted[next(kind for kind in counted if kind in found)] += 1
    return PlanTotals(**counted, extra=len(extra), outside=outside)


def outside(rows: Iterable[Row], names: frozenset[str] | None) -> int:
    """Return how many packages differ and could be synced, but aren't in the scope `names` (None: all are)."""
    if names is None:
        return 0
    return sum(
        row.status not in ("same", "unknown", "only_cluster")
        and row.severity != "same"
        and row.name not in (*names, "python")
        and not row.condition
        and not _is_code(row)
        for row in rows
    )


def _is_code(row: Row) -> bool:
    return row.kernel is not None and row.kernel.source is not None and row.kernel.source.kind == "module"
