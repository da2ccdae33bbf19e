"""The ledger of this user's clusters on this host: who owns which, their last state, and the cores they reserve.

Rules: cores are reserved before anything starts and released only after the exit is seen, in one transaction with the
check of the limit; a row is judged by processes of its own machine, boot and pid namespace only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from .core.cluster import LaunchSpec, now
from .core.errors import Conflict, Unavailable
from .core.sync import BASE, FINAL, State, SyncSpec
from .core.wire import Cluster, ClusterSoftware, Cores, Desired, Memory, SchedulerInfo, Step, Sync
from .paths import runtime_dir

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS clusters (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, snapshot BLOB NOT NULL, cores INTEGER NOT NULL,
        ended INTEGER NOT NULL DEFAULT 0, place TEXT NOT NULL, pid INTEGER, ticks TEXT, created REAL NOT NULL,
        spec BLOB NOT NULL DEFAULT '{}'
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS syncs (
        id TEXT PRIMARY KEY, cluster TEXT NOT NULL, snapshot BLOB NOT NULL, spec BLOB NOT NULL,
        ended INTEGER NOT NULL DEFAULT 0, place TEXT NOT NULL, created REAL NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS states (
        cluster TEXT NOT NULL, id TEXT NOT NULL, state BLOB NOT NULL, place TEXT NOT NULL, used REAL NOT NULL,
        PRIMARY KEY (cluster, id)
    )
    """,
)
KEPT_STATES = 5
"""States of one cluster that stay at hand, beside its base environment."""
KEPT_SYNCS = 20
_COLUMNS = ["id", "name", "snapshot", "cores", "ended", "place", "pid", "ticks", "created", "spec"]
_READ = """
SELECT CAST(id AS TEXT) AS id, CAST(name AS TEXT) AS name, CAST(snapshot AS BLOB) AS snapshot,
    CAST(cores AS INTEGER) AS cores, CAST(ended AS INTEGER) AS ended, CAST(place AS TEXT) AS place,
    CAST(pid AS INTEGER) AS pid, CAST(ticks AS TEXT) AS ticks, CAST(created AS REAL) AS created,
    CAST(spec AS BLOB) AS spec
FROM clusters ORDER BY created, id
"""
"""SQLite keeps whatever it is given or a damaged disk makes of it; what is read has its type."""
_FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""What damage raises: SQLite's own messages quote it."""
_OUTSIDE = re.compile("lock|open|readonly|permission|disk|full|interrupt|large file")
"""What SQLite says when the disk or another process is the reason, and not what is in the file."""
_ID = re.compile("[A-Za-z0-9]{1,32}")
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
    """What it was started from, without variables, index options and lock; None in a row of an older version."""


def _place() -> str:
    """Return ``machine/boot/namespace/host``, which must be equal for a pid to mean the same process."""
    parts = []
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            parts.append(Path(path).read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError):
            parts.append("")
    try:
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        parts.append("")
    host = os.uname().nodename
    if not any(parts[1:]):
        import psutil

        parts = [parts[0] or host, f"{psutil.boot_time():.0f}", ""]
    return "/".join([*parts, host])


def _ticks(pid: int) -> str | None:
    """Return the start time of a live process, or None; a zombie is dead."""
    try:
        # On Linux from the kernel's own count: a time of day would move with the clock.
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return None if state[0] in "ZXx" else state[19]
    except (OSError, IndexError):
        pass
    import psutil

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
        self.path = (path or runtime_dir() / "ledger.sqlite").absolute()
        self._place = _place()
        self._open()

    def _open(self) -> None:
        """Make the tables where there are none; a file that is damaged is set aside first."""
        # One process at a time, so that nobody sets aside the file that another has just made.
        try:
            with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    self._make()
                except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                    if isinstance(error, sqlite3.OperationalError) and _OUTSIDE.search(str(error)):
                        raise
                    self._set_aside()
                    self._make()
        except (OSError, *_FAULTS):
            raise Unavailable("The ledger of clusters can't be opened", f"Look at {self.path}") from None

    def _make(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        with contextlib.closing(sqlite3.connect(self.path, timeout=5)) as connection:
            for table in _TABLES:
                connection.execute(table)
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
            self._check()
            with contextlib.closing(_connect(self.path, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except _FAULTS:
            raise Unavailable("The ledger of clusters can't be written", f"Look at {self.path}") from None

    def _check(self) -> None:
        """Notice a file that was damaged or removed while this process runs, before a question to it."""
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=rw", timeout=5, uri=True)
            ) as connection:
                connection.execute("SELECT 1 FROM clusters LIMIT 1").fetchone()
        except _FAULTS:
            self._open()

    def reserve(self, spec: LaunchSpec, *, core_limit: int, cluster_limit: int) -> Cluster:
        """Enter a cluster with its cores and return its first state.

        Conflict where it goes over a limit, or another cluster that hasn't ended has its name.
        """
        cluster = _first_state(spec)
        with self._write() as connection:
            live = self._live(connection)
            limit, used = _limit(live, core_limit), sum(row["cores"] for row in live)
            if spec.cores and used + spec.cores > limit:
                holders = ", ".join(f"{row['name']} ({row['cores']})" for row in live if row["cores"]) or "nothing"
                raise Conflict(
                    f"{spec.cores} cores were asked for, and {max(limit - used, 0)} of {limit} are free; "
                    f"in use: {holders}",
                    "Ask for fewer workers or threads, or stop a cluster",
                    limit=limit,
                    used=used,
                    asked=spec.cores,
                    by_cluster={row["name"]: row["cores"] for row in live if row["cores"]},
                )
            if sum(not row["ended"] for row in live) >= cluster_limit:
                raise Conflict(f"There are already {cluster_limit} clusters", "Stop one first", limit=cluster_limit)
            _check_free(live, spec.name)
            if spec.adaptive is not None:
                # As for a change of the bounds: cut to the whole workers that are free.
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
                # Variables of workers and addresses of indexes may hold secrets.
                msgspec.json.encode(_without_secrets(spec)),
            ),
        )

    def _live(self, connection: sqlite3.Connection) -> list[sqlite3.Row]:
        """Return the rows of this place that hold cores or haven't ended; others' can't be judged from here."""
        rows = connection.execute(_READ).fetchall()
        return [row for row in rows if row["place"] == self._place and (row["cores"] > 0 or not row["ended"])]

    def restore(self, spec: LaunchSpec, cluster: Cluster, cores: int) -> None:
        """Enter a cluster again by its owner where its row has gone, as after damage of the file."""
        if self.get(spec.id) is not None:
            return
        with self._write() as connection, contextlib.suppress(sqlite3.IntegrityError):
            self._enter(connection, spec, cluster, cores)
        self.claim(spec.id)

    def resize(self, cluster_id: str, cores: int, *, step: int, core_limit: int) -> tuple[int, int]:
        """Reserve up to `cores` for a cluster, in whole steps, and return what it may use and the limit that held.

        More is granted as far as it fits; nothing is given back here, since the workers that use it still run.
        """
        with self._write() as connection:
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
        with self._write() as connection:
            connection.execute("UPDATE clusters SET cores = min(cores, ?) WHERE id = ?", (cores, cluster_id))

    def rename(self, cluster_id: str, name: str) -> None:
        """Give a cluster another name; Conflict where another one that hasn't ended has it."""
        with self._write() as connection:
            _check_free([row for row in self._live(connection) if row["id"] != cluster_id], name)
            connection.execute("UPDATE clusters SET name = ? WHERE id = ?", (name, cluster_id))

    def limit(self, core_limit: int) -> int:
        """Return the limit in cores that holds now: the lowest of `core_limit` and those of live clusters."""
        with self._write() as connection:
            return _limit(self._live(connection), core_limit)

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
            connection.execute("DELETE FROM syncs WHERE cluster = ?", (cluster_id,))

    # ---- syncs ------------------------------------------------------------------------------------------------

    def save_sync(self, sync: Sync, spec: SyncSpec) -> None:
        """Store where a sync stands and what it was to do, without credentials; the last ones of a cluster are kept."""
        entry = (msgspec.json.encode(sync), msgspec.json.encode(msgspec.structs.replace(spec, environ={}, build=None)))
        with self._write() as connection:
            connection.execute(
                "INSERT INTO syncs (id, cluster, snapshot, spec, ended, place, created) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET snapshot = excluded.snapshot, ended = excluded.ended",
                (sync.id, sync.cluster, *entry, int(sync.state in FINAL), self._place, time.time()),
            )
            connection.execute(
                "DELETE FROM syncs WHERE cluster = ? AND ended AND id NOT IN "
                "(SELECT id FROM syncs WHERE cluster = ? ORDER BY created DESC LIMIT ?)",
                (sync.cluster, sync.cluster, KEPT_SYNCS),
            )

    def syncs(self) -> list[tuple[Sync, SyncSpec]]:
        """Return the syncs of this place, newest first."""
        found = self._read(
            "SELECT CAST(snapshot AS BLOB) AS snapshot, CAST(spec AS BLOB) AS spec FROM syncs WHERE place = ? ORDER BY created DESC",
            self._place,
        )
        syncs = []
        for entry in found:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                spec = msgspec.json.decode(entry["spec"], type=SyncSpec)
                syncs.append((msgspec.json.decode(entry["snapshot"], type=Sync), spec))
        return syncs

    def save_state(self, state: State) -> None:
        """Store a state that a cluster is in now; the last ones stay at hand."""
        with self._write() as connection:
            connection.execute(
                "INSERT INTO states (cluster, id, state, place, used) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (cluster, id) DO UPDATE SET state = excluded.state, used = excluded.used",
                (state.cluster, state.id, msgspec.json.encode(state), self._place, time.time()),
            )
            connection.execute(
                "DELETE FROM states WHERE cluster = ? AND id != ? AND id NOT IN "
                "(SELECT id FROM states WHERE cluster = ? AND id != ? ORDER BY used DESC LIMIT ?)",
                (state.cluster, BASE, state.cluster, BASE, KEPT_STATES),
            )

    def states(self, cluster_id: str | None = None) -> list[State]:
        """Return the states that a cluster, or any of this place, was in; the last used first."""
        found = self._read(
            "SELECT CAST(cluster AS TEXT) AS cluster, CAST(state AS BLOB) AS state FROM states WHERE place = ? ORDER BY used DESC",
            self._place,
        )
        states = []
        for entry in found:
            if cluster_id in (None, entry["cluster"]):
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    states.append(msgspec.json.decode(entry["state"], type=State))
        return states

    def forget_state(self, state_id: str) -> None:
        """Take a state off the list of every cluster."""
        with self._write() as connection:
            connection.execute("DELETE FROM states WHERE id = ? AND place = ?", (state_id, self._place))

    def _read(self, query: str, *parameters: object) -> list[sqlite3.Row]:
        try:
            self._check()
            with contextlib.closing(_connect(self.path)) as connection:
                return connection.execute(query, parameters).fetchall()
        except _FAULTS:
            raise Unavailable("The ledger of clusters can't be read", f"Look at {self.path}") from None

    # ---- rows -------------------------------------------------------------------------------------------------

    def list(self) -> list[Row]:
        """Return the rows of this machine and namespace, oldest first; a shared home may hold others'."""
        found = self._read(_READ)
        rows = []
        for entry in found:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                if not _ID.fullmatch(entry["id"]):
                    continue
                fields = {key: entry[key] for key in entry.keys()}  # noqa: SIM118 - a sqlite3.Row iterates its values
                fields["snapshot"] = msgspec.json.decode(entry["snapshot"], type=Cluster)
                spec = None if entry["spec"] == b"{}" else msgspec.json.decode(entry["spec"], type=LaunchSpec)
                rows.append(Row(**{**fields, "ended": bool(entry["ended"]), "spec": spec}))
        return [row for row in rows if self._ours(row)]

    def _ours(self, row: Row) -> bool:
        """Whether a row can be judged from here: of this machine, and of this namespace or of a boot that is over.

        Containers may have no machine id, and machines made from one image the same; then the host's name tells them apart.
        """
        if row.place == self._place:
            return True
        machine, boot, _, host = (row.place.split("/") + [""] * 4)[:4]
        here, present, _, name = self._place.split("/")
        return bool(here) and (machine, host) == (here, name) and boot != present

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
        if row.place != self._place:
            # A pid of another boot of this machine is gone with that boot; anything else can't be judged from here.
            return not self._ours(row)
        if row.pid is None:
            return time.time() - row.created < CLAIM_SECONDS
        return row.ticks is not None and _ticks(row.pid) == row.ticks


def _connect(path: Path, isolation_level: Literal["DEFERRED"] | None = "DEFERRED") -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, isolation_level=isolation_level)
    # It needs to outlive processes, not the machine, whose end is also that of all clusters.
    connection.execute("PRAGMA synchronous = OFF")
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _without_secrets(spec: LaunchSpec) -> LaunchSpec:
    build = spec.build and msgspec.structs.replace(spec.build, index_options=(), lock="")
    return msgspec.structs.replace(spec, environ={}, build=build)


def _limit(live: list[sqlite3.Row], core_limit: int) -> int:
    """Return the lowest limit of who asks and of those who started what is live."""
    limits = [core_limit]
    for row in live:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            limits.append(msgspec.json.decode(row["spec"], type=_Limited).core_limit or core_limit)
    return min(limits)


class _Limited(msgspec.Struct):
    core_limit: int = 0


def _check_free(live: list[sqlite3.Row], name: str) -> None:
    if any(row["name"] == name and not row["ended"] for row in live):
        raise Conflict(f"There is a cluster called {name} already", "Choose another name, or stop that one", name=name)


def _first_state(spec: LaunchSpec) -> Cluster:
    names = ["Resolve packages"] if spec.build and not spec.build.lock else []
    names += ["Build environment"] if spec.build else []
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
