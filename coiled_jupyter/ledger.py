"""The ledger of this user's clusters on this host: who owns which, their last state, and the cores they reserve.

Rules: cores are reserved before anything starts and released only after the exit is seen, in one transaction with the
check of the limit; a row is judged by processes of its own machine, boot and pid namespace only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from .core.cluster import LaunchSpec, now
from .core.errors import Conflict, Unavailable
from .core.wire import Cluster, ClusterSoftware, Cores, Desired, Memory, SchedulerInfo, Step
from .paths import runtime_dir

_TABLES = """
CREATE TABLE IF NOT EXISTS clusters (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, snapshot BLOB NOT NULL, cores INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0, place TEXT NOT NULL, pid INTEGER, ticks TEXT, created REAL NOT NULL,
    spec BLOB NOT NULL DEFAULT '{}'
)
"""
_COLUMNS = ["id", "name", "snapshot", "cores", "ended", "place", "pid", "ticks", "created", "spec"]
CLAIM_SECONDS = 30.0
"""How long a row may be without an owner before its supervisor counts as never started."""


@dataclass(frozen=True)
class Row:
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
    """What it was started from, without variables and index options; None in a row of an older version."""


def _place() -> str:
    """Return what must be equal for a pid to mean the same process: machine, boot, pid namespace."""
    parts = []
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        with contextlib.suppress(OSError):
            parts.append(Path(path).read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts) or f"{os.uname().nodename}/{psutil.boot_time():.0f}"


def _ticks(pid: int) -> str | None:
    """Return the start time of a live process, or None; a zombie is dead."""
    try:
        # On Linux from the kernel's own count: a time of day would move with the clock.
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return None if state[0] in "ZXx" else state[19]
    except (OSError, IndexError):
        pass
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


class Ledger:
    """SQLite in the runtime folder, shared by all servers, kernels and shells of the user.

    Every method raises Unavailable where the file can't be read or written within 5 seconds. A file that isn't a
    database is set aside as ``.corrupt-<time>`` and a new one made.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or runtime_dir() / "ledger.sqlite"
        self._place = _place()
        # One process at a time, so that nobody sets aside the file that another has just made.
        with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._make()
            except sqlite3.OperationalError:
                raise Unavailable("The ledger of clusters can't be opened", f"Look at {self.path}") from None
            except sqlite3.DatabaseError:
                self._set_aside()
                self._make()

    def _make(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        with contextlib.closing(sqlite3.connect(self.path, timeout=5)) as connection:
            connection.execute(_TABLES)
            columns = [row[1] for row in connection.execute("PRAGMA table_info(clusters)")]
            if columns == _COLUMNS[:-1]:
                connection.execute("ALTER TABLE clusters ADD COLUMN spec BLOB NOT NULL DEFAULT '{}'")
            elif columns != _COLUMNS or connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError

    def _set_aside(self) -> None:
        stamp = f"corrupt-{time.time():.0f}"
        for name in (self.path.name, f"{self.path.name}-journal"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(name).rename(self.path.with_name(f"{name}.{stamp}"))

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=5, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except sqlite3.Error:
            raise Unavailable("The ledger of clusters can't be written", f"Look at {self.path}") from None

    def reserve(self, spec: LaunchSpec, *, core_limit: int, cluster_limit: int) -> Cluster:
        """Enter a cluster with its cores and return its first state; Conflict where it goes over a limit."""
        cluster = _first_state(spec)
        with self._write() as connection:
            live = connection.execute("SELECT name, cores, ended FROM clusters WHERE cores > 0 OR NOT ended").fetchall()
            used = sum(row["cores"] for row in live)
            if used + spec.cores > core_limit:
                holders = ", ".join(f"{row['name']} ({row['cores']})" for row in live) or "nothing"
                raise Conflict(
                    f"{spec.cores} cores were asked for, and {max(core_limit - used, 0)} of {core_limit} are free; "
                    f"in use: {holders}",
                    "Ask for fewer workers or threads, or stop a cluster",
                    limit=core_limit,
                    used=used,
                    asked=spec.cores,
                )
            if sum(not row["ended"] for row in live) >= cluster_limit:
                raise Conflict(f"There are already {cluster_limit} clusters", "Stop one first", limit=cluster_limit)
            connection.execute(
                "INSERT INTO clusters (id, name, snapshot, cores, place, created, spec) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(spec.id, spec.name, msgspec.json.encode(cluster), spec.cores, self._place, time.time()),
                    # Variables of workers and addresses of indexes may hold secrets.
                    msgspec.json.encode(_without_secrets(spec)),
                ),
            )
        return cluster

    def claim(self, cluster_id: str) -> None:
        """Enter the calling process as the owner of a cluster."""
        pid = os.getpid()
        with self._write() as connection:
            connection.execute("UPDATE clusters SET pid = ?, ticks = ? WHERE id = ?", (pid, _ticks(pid), cluster_id))

    def take(self, cluster_id: str) -> bool:
        """Become the owner of a cluster whose owner is gone, to start it a new one; False where it has one."""
        row = self.get(cluster_id)
        if row is None or row.ended or self.owner_alive(row):
            return False
        pid = os.getpid()
        with self._write() as connection:
            changed = connection.execute(
                "UPDATE clusters SET pid = ?, ticks = ?, place = ? WHERE id = ? AND pid IS ? AND ticks IS ?",
                (pid, _ticks(pid), self._place, cluster_id, row.pid, row.ticks),
            )
            return changed.rowcount == 1

    def snapshot(self, cluster_id: str, cluster: Cluster, *, ended: bool = False) -> None:
        """Store a cluster's last state."""
        with self._write() as connection:
            connection.execute(
                "UPDATE clusters SET snapshot = ?, ended = ? WHERE id = ?",
                (msgspec.json.encode(cluster), int(ended), cluster_id),
            )

    def release(self, cluster_id: str) -> None:
        """Give a cluster's cores back; its processes must have been seen to end."""
        with self._write() as connection:
            connection.execute("UPDATE clusters SET cores = 0 WHERE id = ?", (cluster_id,))

    def delete(self, cluster_id: str) -> None:
        """Take a cluster off the list."""
        with self._write() as connection:
            connection.execute("DELETE FROM clusters WHERE id = ?", (cluster_id,))

    def list(self) -> list[Row]:
        """Return all rows, oldest first."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=5)) as connection:
                connection.row_factory = sqlite3.Row
                found = connection.execute("SELECT * FROM clusters ORDER BY created, id").fetchall()
        except sqlite3.Error:
            raise Unavailable("The ledger of clusters can't be read", f"Look at {self.path}") from None
        rows = []
        for entry in found:
            with contextlib.suppress(msgspec.DecodeError):
                fields = {key: entry[key] for key in entry.keys()}  # noqa: SIM118 - a sqlite3.Row iterates its values
                fields["snapshot"] = msgspec.json.decode(entry["snapshot"], type=Cluster)
                spec = None if entry["spec"] in ("{}", b"{}") else msgspec.json.decode(entry["spec"], type=LaunchSpec)
                rows.append(Row(**{**fields, "ended": bool(entry["ended"]), "spec": spec}))
        return rows

    def get(self, cluster_id: str) -> Row | None:
        """Return one row, or None."""
        return next((row for row in self.list() if row.id == cluster_id), None)

    def used_cores(self) -> int:
        """Return the cores that are reserved now."""
        return sum(row.cores for row in self.list())

    def owner_alive(self, row: Row) -> bool:
        """Whether the supervisor of a cluster lives; rows of other machines or namespaces count as alive."""
        if row.place != self._place:
            # A pid of another boot of this machine is gone with that boot; anything else can't be judged from here.
            same_machine = row.place.split("/")[0] == self._place.split("/")[0]
            return not (same_machine and row.place.split("/")[1:2] != self._place.split("/")[1:2])
        if row.pid is None:
            return time.time() - row.created < CLAIM_SECONDS
        return row.ticks is not None and _ticks(row.pid) == row.ticks


def _without_secrets(spec: LaunchSpec) -> LaunchSpec:
    build = spec.build and msgspec.structs.replace(spec.build, index_options=())
    return msgspec.structs.replace(spec, environ={}, build=build)


def _first_state(spec: LaunchSpec) -> Cluster:
    names = ["Resolve packages", "Build environment"] if spec.build else []
    names += ["Start scheduler", "Start workers"] if spec.address is None else ["Connect"]
    return Cluster(
        id=spec.id,
        name=spec.name,
        source="managed" if spec.address is None else "attached",
        opened_by=None,
        factory=spec.factory,
        status="starting",
        since=spec.created_at or now(),
        reason=None,
        steps=tuple(Step(name=name, state="waiting") for name in names),
        desired=Desired(workers=spec.workers if spec.address is None else 0, adaptive=spec.adaptive),
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
