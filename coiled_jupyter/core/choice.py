"""Decides which cluster a name refers to, and which name is nearest to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import Conflict, NotFound
from .wire import Cluster

ENDED = frozenset({"stopped", "failed", "lost"})
SHOWN = 10
"""The most names that an error lists."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean …?"`` with the nearest name, or nothing if none is near."""
    # Imported only when a name was mistyped.
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def choose(name: str | None, clusters: Sequence[Cluster]) -> Cluster:
    """Return the cluster with this id, name or address, or without a name the only one that hasn't ended.

    Raises
    ------
    NotFound
        There is none, with the nearest name.
    Conflict
        The name fits more than one.

    """
    live = [cluster for cluster in clusters if cluster.status not in ENDED]
    if name is None:
        if not live:
            raise NotFound("No cluster is running", "Create one with `coiled-jupyter cluster create`, or in the panel")
        if len(live) > 1:
            raise Conflict(f"There are several clusters: {_listed(live)}", "Name one of them")
        return live[0]
    for pool in (live, clusters):
        found = [cluster for cluster in pool if name in (cluster.id, cluster.name, _address(cluster))]
        if len(found) == 1:
            return found[0]
        if found:
            raise Conflict(f"Several clusters are called {name}", "Use the id of one of them")
    near = nearest(name, [cluster.name for cluster in live or clusters])
    hint = f"Running clusters: {_listed(live)}" if live else "No cluster is running"
    raise NotFound(f"There is no cluster {name[:200]}{near}", hint)


def _address(cluster: Cluster) -> str | None:
    return cluster.scheduler.address if cluster.scheduler else None


def _listed(clusters: Sequence[Cluster]) -> str:
    names = sorted(cluster.name for cluster in clusters)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
