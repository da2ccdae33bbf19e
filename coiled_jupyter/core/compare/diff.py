"""Makes the diff of a kernel and a cluster: rows, verdict, and what could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..rules import ORDER, RuleSet, shipped
from ..times import age
from ..wire import Checked, Diff, DiffCluster, DiffGroup, DiffKernel, Environment, Row, Severities, Unread
from .conditions import condition_rows
from .rows import STATUSES, Rows, order
from .sides import Sides
from .verdict import CONTENT_SECONDS, holds, level, unread_parts, verdict


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
    rules: RuleSet | None = None,
    seen: Mapping[str, str] | None = None,
    scheduler: str | None = None,
    sealing: bool = False,
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
    rules
        What decides severities; None is the shipped rules.
    seen
        By package, the text of a failure on this cluster that points at it.
    scheduler
        The id of the cluster's scheduler, by which a kernel's clients tell to whom they send sealed graphs.
    sealing
        Whether a sync has made the cluster one that takes sealed graphs.

    """
    rows: list[Row] = []
    unsealed = False
    if kernel and groups:
        judged = rules or shipped()
        sides = Sides(kernel, groups, scheduler, sealing=sealing)
        packages, unsealed = Rows(sides, software or {}, judged, seen or {}).all(), sides.unsealed
        rows = sorted([*packages, *condition_rows(kernel, groups, judged)], key=order)
    read = [environment for environment in (kernel, *groups) if environment is not None]
    missing = [*unread, *(entry for environment in read for entry in unread_parts(environment))]
    if kernel is None and not any(entry.node == "kernel" for entry in missing):
        missing.append(Unread(node="kernel", reason="The kernel could not be read"))
    if not groups and not missing:
        missing.append(Unread(node="cluster", reason="No node of the cluster has been read yet"))
    missing += _absent(groups, missing)
    read_level = level(read) if kernel is not None and groups else "none"
    in_full = [environment for environment in read if environment.level == "all"]
    looked = [age(environment.content_at, at) for environment in in_full]
    content = bool(in_full) and all(holds(seconds, CONTENT_SECONDS) for seconds in looked)
    severities = Counter(row.severity for row in rows)
    counts = Counter(row.status for row in rows)
    ages = [age(environment.taken_at, at) for environment in read]
    decided, deciding = verdict(rows, unread=missing, level=read_level, ages=ages, content=content)
    return Diff(
        verdict=decided,
        deciding=deciding,
        level=read_level,
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
        counts={status: counts[status] for status in STATUSES},
        severities=Severities(**{severity: severities[severity] for severity in ORDER}),
        unread=tuple(missing),
        checked=Checked(content=content),
        rows=tuple(rows),
        taken_at=min((e.taken_at for e in read), default=at),
        unsealed=unsealed,
    )


def _absent(groups: Sequence[Environment], missing: Sequence[Unread]) -> list[Unread]:
    """Name the roles of which no node was read: what a task would meet there isn't known."""
    if not groups:
        return []
    roles = {group.role for group in groups if group.nodes}
    named = {entry.node for entry in missing}
    found = []
    if "worker" not in roles and not named - {"kernel", "scheduler"}:
        found.append(Unread(node="workers", reason="No worker is running, so it isn't known what tasks would meet"))
    if "scheduler" not in roles and not named & {"scheduler", "cluster"}:
        found.append(Unread(node="scheduler", reason="The scheduler has not been read"))
    return found
