"""What syncs did and which states clusters were in: kept for undo, and for the successor of a process that ended."""

from __future__ import annotations

import contextlib
import time

import msgspec

from ..core.change.journal import FINAL
from ..core.change.state import BASE, State, SyncSpec
from ..core.wire import Sync
from .database import Database

TABLES = (
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
"""States of one cluster that are kept, beside its base environment."""
KEPT_SYNCS = 20


class Journal:
    """Syncs and states of this place."""

    def __init__(self, database: Database, place: str) -> None:
        self._database, self._place = database, place

    def save_sync(self, sync: Sync, spec: SyncSpec) -> None:
        """Store a sync's progress and specification, without credentials; the latest of each cluster are kept."""
        stored = msgspec.structs.replace(spec, environ={}, index_options=(), build=None)
        entry = (msgspec.json.encode(sync), msgspec.json.encode(stored))
        with self._database.write() as connection:
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
        found = self._database.read(
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
        """Store the state that a cluster is in now; the latest are kept."""
        with self._database.write() as connection:
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
        found = self._database.read(
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
        with self._database.write() as connection:
            connection.execute("DELETE FROM states WHERE id = ? AND place = ?", (state_id, self._place))
