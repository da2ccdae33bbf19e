"""Compares a kernel's environment with a cluster's and says what it means: rows and the verdict.

The verdict's law: a `block` row → breaks; else anything unread, old or not read in full → unknown; else a row at `warn`
or a note in use → differs; else equal. Nothing else is ever green.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from . import rules
from .cluster import age
from .rules import Rating
from .wire import (
    Checked,
    Diff,
    DiffCluster,
    DiffGroup,
    DiffKernel,
    Environment,
    Level,
    Loaded,
    Package,
    Row,
    RowGroup,
    RowSide,
    RowSoftware,
    RowStatus,
    Severities,
    Source,
    Unread,
    Verdict,
)

STALE_SECONDS = 30.0
_STATUSES: tuple[RowStatus, ...] = (
    "broken",
    "unknown",
    "split",
    "differs",
    "only_kernel",
    "only_cluster",
    "content_differs",
    "restart_needed",
    "same",
)


def compare(
    kernel: Environment | None,
    groups: Sequence[Environment],
    *,
    cluster_id: str,
    cluster_name: str,
    kernel_id: str | None,
    kernel_label: str,
    at: str,
    unread: Sequence[Unread] = (),
    software: Mapping[str, str] | None = None,
) -> Diff:
    """Compare a kernel with all groups of a cluster.

    Parameters
    ----------
    kernel
        None where it couldn't be read; `unread` says why.
    unread
        What couldn't be read; with anything here the verdict is never `equal`.
    at
        The present time, against which the readings' ages are judged.

    """
    rows = _rows(kernel, groups, software or {}) if kernel is not None and groups else []
    missing = list(unread)
    if kernel is None and not any(entry.node == "kernel" for entry in missing):
        missing.append(Unread(node="kernel", reason="The kernel could not be read"))
    if not groups and not missing:
        missing.append(Unread(node="cluster", reason="No node of the cluster has been read yet"))
    read = [environment for environment in (kernel, *groups) if environment is not None]
    level = _level(read) if kernel is not None and groups else "none"
    severities = Counter(row.severity for row in rows)
    counts = Counter(row.status for row in rows)
    return Diff(
        verdict=verdict(rows, unread=missing, level=level, ages=[age(e.taken_at, at) for e in read]),
        level=level,
        kernel=DiffKernel(
            id=kernel_id,
            label=kernel_label,
            python=kernel.python if kernel else None,
            digest=kernel.digest if kernel else None,
        ),
        cluster=DiffCluster(
            id=cluster_id,
            name=cluster_name,
            groups=tuple(
                DiffGroup(
                    id=g.id, role=g.role, host=g.host, prefix=g.prefix, python=g.python, digest=g.digest, nodes=g.nodes
                )
                for g in groups
            ),
        ),
        counts={status: counts[status] for status in _STATUSES},
        severities=Severities(**{severity: severities[severity] for severity in rules.ORDER}),
        unread=tuple(missing),
        checked=Checked(content=False),
        rows=tuple(rows),
        taken_at=min((e.taken_at for e in read), default=at),
    )


def verdict(
    rows: Iterable[Row],
    *,
    unread: Sequence[Unread],
    level: Level,
    ages: Sequence[float | None],
    stale: float = STALE_SECONDS,
) -> Verdict:
    """Apply the verdict's law."""
    rows = list(rows)
    if any(row.severity == "block" for row in rows):
        return "breaks"
    if unread or level != "all" or not ages or any(seconds is None or seconds > stale for seconds in ages):
        return "unknown"
    if not rows:
        return "unknown"
    if any(row.severity == "warn" or (row.severity == "note" and row.in_use) for row in rows):
        return "differs"
    return "equal"


def _level(environments: Sequence[Environment]) -> Level:
    levels = {environment.level for environment in environments}
    return "none" if "none" in levels else "versions" if "versions" in levels else "all"


def _python(environment: Environment) -> Package:
    name = environment.implementation
    version = environment.python if name == "cpython" else f"{name} {environment.python}"
    return Package(name="python", version=version, in_use=True)


def _rows(kernel: Environment, groups: Sequence[Environment], software: Mapping[str, str]) -> list[Row]:
    here = {p.name: p for p in (_python(kernel), *kernel.packages)}
    there = [(group, {p.name: p for p in (_python(group), *group.packages)}) for group in groups]
    broken = [
        {p.package for p in e.problems if p.package and p.kind in ("duplicate", "no_record")} for e in (kernel, *groups)
    ]
    names = {*here, *(name for _, packages in there for name in packages), *(name for side in broken for name in side)}
    rows = [
        _row(name, here.get(name), [(g, packages.get(name)) for g, packages in there], broken, kernel, software)
        for name in names
    ]
    return sorted(rows, key=lambda row: (rules.ORDER.index(row.severity), not row.in_use, row.name))


def _row(
    name: str,
    mine: Package | None,
    theirs: list[tuple[Environment, Package | None]],
    broken: list[set[str]],
    kernel: Environment,
    software: Mapping[str, str],
) -> Row:
    in_use = bool(mine and mine.in_use)
    status, rating = _judge(name, mine, theirs, any(name in side for side in broken), kernel, in_use=in_use)
    return Row(
        name=name,
        kernel=RowSide(version=mine.version, loaded=_single(mine.loaded), source=mine.source) if mine else None,
        groups=tuple(
            RowGroup(
                group=group.id,
                version=package.version if package else None,
                loaded=package.loaded if package else (),
                source=package.source if package else None,
            )
            for group, package in theirs
        ),
        software=RowSoftware(version=software[name]) if name in software else None,
        status=status,
        severity=rating.severity,
        in_use=in_use,
        why=rating.why,
        fix=rating.fix,
    )


def _judge(
    name: str,
    mine: Package | None,
    theirs: list[tuple[Environment, Package | None]],
    is_broken: bool,
    kernel: Environment,
    *,
    in_use: bool,
) -> tuple[RowStatus, Rating]:
    """Return the first status that holds, with its rating."""
    # A scheduler runs no tasks: what it lacks or has beside matters only where it is part of the protocol.
    judged = [(g, p) for g, p in theirs if g.role != "scheduler" or name in rules.SCHEDULER] or theirs
    scheduler_only = judged is theirs and all(g.role == "scheduler" for g, _ in theirs)
    versions = [p.version if p else None for _, p in judged]
    ratings = [_pair(name, mine, p, g, kernel, in_use=in_use) for g, p in judged]
    if is_broken:
        return "broken", rules.worst([rules.rate_status("broken", name, in_use=in_use), *(r for _, r in ratings)])
    if len(_distinct(versions)) > 1:
        least = Rating("warn", f"Nodes have different versions of {name}.", f"Install one {name} on all nodes.")
        if name in rules.TOOLS:
            least = Rating("ok", least.why, least.fix)
        return "split", rules.worst([*(r for _, r in ratings if r.severity != "ok"), least])
    statuses = {s for s, _ in ratings}
    status = next(s for s in _STATUSES if s in statuses)
    rating = rules.worst([r for _, r in ratings])
    if scheduler_only and rating.severity in ("block", "warn") and name not in rules.SCHEDULER:
        rating = Rating("note", "Only the scheduler, which runs no tasks, could be compared.", rating.fix)
    return status, rating


def _pair(
    name: str, mine: Package | None, other: Package | None, group: Environment, kernel: Environment, *, in_use: bool
) -> tuple[RowStatus, Rating]:
    if mine is None or other is None:
        absent: RowStatus = "only_cluster" if mine is None else "only_kernel"
        if mine is None and other is None:
            return "same", Rating("ok", "", "")
        return absent, rules.rate_status(absent, name, in_use=in_use)
    if not rules.equal_versions(mine.version, other.version):
        return "differs", rules.rate_versions(name, mine.version, other.version, in_use=in_use)
    if not _same_content(mine.source, other.source, kernel.host == group.host):
        return "content_differs", rules.rate_status("content_differs", name, in_use=in_use)
    stale = _stale(mine, "The notebook's kernel", other.version, in_use=in_use)
    stale += _stale(other, "A process of the cluster", mine.version, in_use=in_use)
    if stale:
        return "restart_needed", rules.worst(stale)
    return "same", Rating("ok", "", "")


def _stale(package: Package, who: str, against: str, *, in_use: bool) -> list[Rating]:
    """Rate processes that run another version of `package` than what is installed."""
    found = []
    for loaded in package.loaded:
        if _is_version(loaded.version) and not rules.equal_versions(loaded.version, package.version):
            runs = rules.rate_versions(package.name, loaded.version, against, in_use=in_use)
            why = f"{who} still runs {loaded.version}, though {package.version} is installed."
            severity = runs.severity if runs.severity == "block" else "warn"
            found.append(Rating(severity, why, "Restart it."))
    return found


def _is_version(text: str) -> bool:
    # A module's own `__version__` isn't always a version; such a text can't show that an old one runs.
    return text[:1].isdigit() and rules.equal_versions(text, text)


def _same_content(a: Source | None, b: Source | None, same_host: bool) -> bool:
    if a is None or b is None:
        return a is b
    if (a.kind, a.url, a.commit) != (b.kind, b.url, b.commit):
        return False
    return a.kind == "vcs" or same_host or not a.url.startswith("file:")


def _distinct(versions: list[str | None]) -> list[str | None]:
    distinct: list[str | None] = []
    for version in versions:
        known = any(
            v is version or (v is not None and version is not None and rules.equal_versions(v, version))
            for v in distinct
        )
        if not known:
            distinct.append(version)
    return distinct


def _single(loaded: tuple[Loaded, ...]) -> str | None:
    return loaded[0].version if loaded else None
