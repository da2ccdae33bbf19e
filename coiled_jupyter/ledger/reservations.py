"""The rows of clusters: names, last states, owners, and the cores that are reserved for them.

Rules: cores are reserved before anything starts and released only after the exit is seen, in one transaction with the
check of the limit; a row is judged by processes of its own machine, boot and pid namespace only.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from pathlib import Path

import msgspec

from ..core.errors import Conflict
from ..core.launch import LaunchSpec
from ..core.times import now
from ..core.wire import Cluster, ClusterSoftware, Cores, Desired, Memory, SchedulerInfo, Step
from ..paths import runtime_dir
from . import owners
from .database import Database
from .journal import TABLES, Journal

_TABLE = """
    CREATE TABLE IF NOT EXISTS clusters (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, snapshot BLOB NOT NULL, cores INTEGER NOT NULL,
        ended INTEGER NOT NULL DEFAULT 0, place TEXT NOT NULL, pid INTEGER, ticks TEXT, created REAL NOT NULL,
        spec BLOB NOT NULL DEFAULT '{}'
    )
"""
_ADDED = "ALTER TABLE clusters ADD COLUMN spec BLOB NOT NULL DEFAULT '{}'"
_COLUMNS = ["id", "name", "snapshot", "cores", "ended", "place", "pid", "ticks", "created", "spec"]
_READ = """
SELECT CAST(id AS TEXT) AS id, CAST(name AS TEXT) AS name, CAST(snapshot AS BLOB) AS snapshot,
    CAST(cores AS INTEGER) AS cores, CAST(ended AS INTEGER) AS ended, CAST(place AS TEXT) AS place,
    CAST(pid AS INTEGER) AS pid, CAST(ticks AS TEXT) AS ticks, CAST(created AS REAL) AS created,
    CAST(spec AS BLOB) AS spec
FROM clusters ORDER BY created, id
"""
"""SQLite stores values of any type, and a damaged disk may change them; the casts give each column its type."""
_ID = re.compile("[A-Za-z0-9]{1,32}")
CLAIM_SECONDS = 30.0
"""How long a row may be without an owner before its supervisor counts as never started."""


class Row(msgspec.Struct, frozen=True):
    """One cluster of the ledger; `cores` is what it still reserves."""

    id: str
    name: str
    snapshot: Cluster
    cores: int
    ended: bool
    place: str
    pid: int | None
    ticks: str | None
    created: float
    spec: LaunchSpec | None
    """What it was started from, without variables, index options and lock; None in a row of an older version."""

    def owner_alive(self, here: str | None = None) -> bool:
        """Whether the supervisor of this cluster lives; rows of other machines or namespaces count as alive."""
        here = here or owners.place()
        if self.place != here:
            # A pid of another boot of this machine is gone with that boot; anything else can't be judged from here.
            return not owners.known_here(self.place, here)
        if self.pid is None:
            return time.time() - self.created < CLAIM_SECONDS
        return self.ticks is not None and owners.ticks(self.pid) == self.ticks


class Ledger:
    """The clusters of this user on this host, shared by all servers, kernels and shells.

    Every method raises Unavailable if the file can't be read or written within `patience` seconds.

    Parameters
    ----------
    path
        Where the file is; None is in the runtime folder.
    place
        Whose rows these are (`owners.place`); None is where this process runs.

    """

    def __init__(self, path: Path | None = None, place: str | None = None) -> None:
        self._place = place or owners.place()
        path = (path or runtime_dir() / "ledger.sqlite").absolute()
        self._database = Database(path, (_TABLE, *TABLES), _COLUMNS, _ADDED)
        self.journal = Journal(self._database, self._place)

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def patience(self) -> float:
        """How many seconds a call waits for other processes."""
        return self._database.patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._database.patience = seconds

    def reserve(self, spec: LaunchSpec, *, core_limit: int, cluster_limit: int) -> Cluster:
        """Enter a cluster with its cores and return its first state.

        Conflict if it exceeds a limit, or if a cluster that hasn't ended has its name.
        """
        cluster = first_state(spec)
        with self._database.write() as connection:
            live = self._live(connection)
            limit, used = _limit(live, core_limit), sum(row["cores"] for row in live)
            if spec.cores and used + spec.cores > limit:
                holders = ", ".join(f"{row['name']} ({row['cores']})" for row in live if row["cores"]) or "nothing"
                raise Conflict(
                    f"{spec.cores} cores were requested, and {max(limit - used, 0)} of {limit} are free; "
                    f"in use: {holders}",
                    "Request fewer workers or threads, or stop a cluster",
                    limit=limit,
                    used=used,
                    asked=spec.cores,
                    by_cluster={row["name"]: row["cores"] for row in live if row["cores"]},
                )
            if sum(not row["ended"] for row in live) >= cluster_limit:
                raise Conflict(f"There are already {cluster_limit} clusters", "Stop one first", limit=cluster_limit)
            _check_free(live, spec.name)
            if spec.adaptive is not None:
                # As for a change of the bounds: reduced to the whole workers that fit.
                most = max((limit - used) // spec.threads_per_worker, spec.workers, 1)
                bounds = msgspec.structs.replace(spec.adaptive, maximum=min(spec.adaptive.maximum, most))
                cluster = msgspec.structs.replace(
                    cluster, desired=msgspec.structs.replace(cluster.desired, adaptive=bounds)
                )
            self._enter(connection, spec, cluster, spec.cores)
        return cluster

    def _enter(self, connection: sqlite3.Connection, spec: LaunchSpec, cluster: Cluster, cores: int) -> None:
        connection.execute(
            "INSERT INTO clusters (id, name, snapshot, cores, place, created, spec) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(spec.id, cluster.name, msgspec.json.encode(cluster), cores, self._place, time.time()),
                # Variables of workers, addresses of indexes and arguments of classes may hold secrets.
                msgspec.json.encode(_without_secrets(spec)),
            ),
        )

    def _live(self, connection: sqlite3.Connection) -> list[sqlite3.Row]:
        """Return the rows of this place that hold cores or haven't ended; others' can't be judged from here."""
        rows = connection.execute(_READ).fetchall()
        return [row for row in rows if row["place"] == self._place and (row["cores"] > 0 or not row["ended"])]

    def restore(self, spec: LaunchSpec, cluster: Cluster, cores: int) -> None:
        """Enter a cluster again, called by its owner, if its row has gone, for example after damage of the file."""
        if self.get(spec.id) is not None:
            return
        with self._database.write() as connection, contextlib.suppress(sqlite3.IntegrityError):
            self._enter(connection, spec, cluster, cores)
        self.claim(spec.id)

    def resize(self, cluster_id: str, cores: int, *, step: int, core_limit: int) -> tuple[int, int]:
        """Reserve up to `cores` for a cluster, in whole steps, and return what it may use and the limit that held.

        More is granted as far as it fits; nothing is released here, since the workers that use it still run.
        """
        with self._database.write() as connection:
            live = self._live(connection)
            own = next((row["cores"] for row in live if row["id"] == cluster_id), 0)
            limit = _limit(live, core_limit)
            free = max(limit - sum(row["cores"] for row in live if row["id"] != cluster_id), 0)
            granted = min(cores, max(free // step * step, own))
            if granted > own:
                connection.execute("UPDATE clusters SET cores = ? WHERE id = ?", (granted, cluster_id))
        return granted, limit

    def give_back(self, cluster_id: str, cores: int) -> None:
        """Lower a cluster's reservation to `cores`; the processes that used the rest must have been seen to end."""
        with self._database.write() as connection:
            connection.execute("UPDATE clusters SET cores = min(cores, ?) WHERE id = ?", (cores, cluster_id))

    def rename(self, cluster_id: str, name: str) -> None:
        """Rename a cluster; Conflict if another one that hasn't ended has the name."""
        with self._database.write() as connection:
            _check_free([row for row in self._live(connection) if row["id"] != cluster_id], name)
            connection.execute("UPDATE clusters SET name = ? WHERE id = ?", (name, cluster_id))

    def limit(self, core_limit: int) -> int:
        """Return the limit in cores that holds now: the lowest of `core_limit` and those of live clusters."""
        with self._database.write() as connection:
            return _limit(self._live(connection), core_limit)

    def claim(self, cluster_id: str) -> None:
        """Enter the calling process as the owner of a cluster."""
        pid = os.getpid()
        with self._database.write() as connection:
            connection.execute(
                "UPDATE clusters SET pid = ?, ticks = ? WHERE id = ?", (pid, owners.ticks(pid), cluster_id)
            )

    def take(self, cluster_id: str) -> bool:
        """Become the owner of a cluster whose owner is gone, to start a new one; False if it has an owner."""
        row = self.get(cluster_id)
        if row is None or row.ended or self.owner_alive(row):
            return False
        pid = os.getpid()
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE clusters SET pid = ?, ticks = ?, place = ? WHERE id = ? AND pid IS ? AND ticks IS ?",
                (pid, owners.ticks(pid), self._place, cluster_id, row.pid, row.ticks),
            )
            return changed.rowcount == 1

    def snapshot(self, cluster_id: str, cluster: Cluster, *, ended: bool = False) -> None:
        """Store a cluster's last state."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE clusters SET snapshot = ?, ended = ? WHERE id = ?",
                (msgspec.json.encode(cluster), int(ended), cluster_id),
            )

    def release(self, cluster_id: str) -> None:
        """Release a cluster's cores; its processes must have been seen to end."""
        with self._database.write() as connection:
            connection.execute("UPDATE clusters SET cores = 0 WHERE id = ?", (cluster_id,))

    def delete(self, cluster_id: str) -> None:
        """Take a cluster off the list."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM clusters WHERE id = ?", (cluster_id,))
            connection.execute("DELETE FROM syncs WHERE cluster = ?", (cluster_id,))

    def list(self) -> list[Row]:
        """Return the rows of this machine and namespace, oldest first; a shared home may hold others'."""
        found = self._database.read(_READ)
        rows = []
        for entry in found:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                if not _ID.fullmatch(entry["id"]):
                    continue
                fields = {key: entry[key] for key in entry.keys()}  # noqa: SIM118 - a sqlite3.Row iterates its values
                fields["snapshot"] = msgspec.json.decode(entry["snapshot"], type=Cluster)
                spec = None if entry["spec"] == b"{}" else msgspec.json.decode(entry["spec"], type=LaunchSpec)
                rows.append(Row(**{**fields, "ended": bool(entry["ended"]), "spec": spec}))
        return [row for row in rows if owners.known_here(row.place, self._place)]

    def get(self, cluster_id: str) -> Row | None:
        """Return one row, or None."""
        return next((row for row in self.list() if row.id == cluster_id), None)

    def reserved(self, cluster_id: str) -> int:
        """Return the cores that a cluster still reserves."""
        return sum(row.cores for row in self.list() if row.id == cluster_id)

    def used_cores(self) -> int:
        """Return the cores that are reserved now."""
        return sum(row.cores for row in self.list())

    def owner_alive(self, row: Row) -> bool:
        """Whether the supervisor of a cluster lives; rows of other machines or namespaces count as alive."""
        return row.owner_alive(self._place)


def _without_secrets(spec: LaunchSpec) -> LaunchSpec:
    build = spec.build and msgspec.structs.replace(spec.build, index_options=(), lock="")
    made = spec.cluster_class and msgspec.structs.replace(spec.cluster_class, args=(), kwargs={})
    return msgspec.structs.replace(spec, environ={}, build=build, cluster_class=made)


def _limit(live: list[sqlite3.Row], core_limit: int) -> int:
    """Return the lowest limit: of the caller and of those who started live clusters."""
    limits = [core_limit]
    for row in live:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            limits.append(msgspec.json.decode(row["spec"], type=_Limited).core_limit or core_limit)
    return min(limits)


class _Limited(msgspec.Struct):
    core_limit: int = 0


def _check_free(live: list[sqlite3.Row], name: str) -> None:
    if any(row["name"] == name and not row["ended"] for row in live):
        raise Conflict(f"A cluster called {name} exists already", "Choose another name, or stop that one", name=name)


def first_state(spec: LaunchSpec) -> Cluster:
    """Return the state of a cluster before anything was started."""
    names = ["Resolve packages"] if spec.build and not spec.build.lock else []
    names += ["Build environment"] if spec.build else []
    names += ["Start scheduler", "Start workers"] if spec.address is None else ["Connect"]
    return Cluster(
        id=spec.id,
        name=spec.name,
        source="managed" if spec.address is None else "attached",
        opened_by=None,
        factory=spec.factory,
        counted=spec.counted,
        joined=spec.cluster_class is not None and spec.cluster_class.joined,
        status="starting",
        since=spec.created_at or now(),
        reason=None,
        steps=tuple(Step(name=name, state="waiting") for name in names),
        desired=Desired(
            workers=spec.workers if spec.address is None else 0,
            adaptive=spec.adaptive,
            lease_seconds=spec.lease_seconds if spec.address is None else None,
        ),
        workers=(),
        scheduler=SchedulerInfo(address=spec.address, id=None, dashboard=None) if spec.address else None,
        cores=Cores(busy=0, allocated=0, requested=spec.cores),
        memory=Memory(used=0, limit=None),
        tasks=None,
        environment=ClusterSoftware(software=spec.software, layer=spec.layer),
        lease_until=None,
        clients=0,
        created_at=spec.created_at or now(),
        seen_at=None,
        revision=0,
    )
