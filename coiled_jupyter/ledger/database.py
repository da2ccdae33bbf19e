"""One SQLite file that several processes share: short transactions, and a new file if it is damaged or gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.errors import Unavailable

FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""What damage raises: SQLite's own messages quote it."""
_OUTSIDE = re.compile("lock|open|readonly|permission|disk|full|interrupt|large file")
"""What SQLite says when the reason is the disk or another process, and not the content of the file."""
_REASONS = {
    "lock": "another process holds it locked",
    "full": "the disk is full",
    "readonly": "it is read-only",
    "open": "its file can't be opened",
    "disk": "the disk fails",
}


class Database:
    """A database file in a folder, which is created again if it has gone.

    Every method raises Unavailable with the reason if the file can't be read or written within `patience` seconds. A
    file that isn't a database, or with other columns, is set aside as ``.corrupt-<time>`` and a new one is made.

    Parameters
    ----------
    path
        Where the file is.
    tables
        The statements that create the tables; each has ``IF NOT EXISTS``.
    columns
        The columns of the table `clusters`.
    added
        Statements that add the last of those columns to the tables of an older version.

    """

    def __init__(self, path: Path, tables: Sequence[str], columns: list[str], added: str) -> None:
        self.path = path
        self.patience = 5.0
        self._tables, self._columns, self._added = tables, columns, added
        try:
            self._open()
        except (OSError, *FAULTS) as error:
            raise self._unavailable("opened", error) from None

    def _unavailable(self, what: str, error: Exception) -> Unavailable:
        text = str(error).lower()
        reason = next((f": {words}" for mark, words in _REASONS.items() if mark in text), "")
        return Unavailable(f"The ledger of clusters can't be {what}{reason}", f"Look at {self.path}")

    def _open(self) -> None:
        """Create missing tables; a damaged file is set aside first."""
        with contextlib.suppress(FileExistsError):
            self.path.parent.mkdir(mode=0o700)
        # One process at a time, so that none sets aside the file that another has just created.
        with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
            self._wait_for(lock.fileno())
            try:
                self._make()
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if isinstance(error, sqlite3.OperationalError) and _OUTSIDE.search(str(error)):
                    raise
                self._set_aside()
                self._make()

    def _wait_for(self, lock: int) -> None:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise sqlite3.OperationalError("locked") from None
                time.sleep(0.02)
            else:
                return

    def _make(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        with contextlib.closing(sqlite3.connect(self.path, timeout=self.patience)) as connection:
            for table in self._tables:
                connection.execute(table)
            columns = [row[1] for row in connection.execute("PRAGMA table_info(clusters)")]
            if columns == self._columns[:-1]:
                connection.execute(self._added)
            elif columns != self._columns or connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError

    def _set_aside(self) -> None:
        stamp = f"corrupt-{time.time():.0f}"
        for name in (self.path.name, f"{self.path.name}-journal"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(name).rename(self.path.with_name(f"{name}.{stamp}"))

    def _connect(self) -> sqlite3.Connection:
        """Connect to the file; create it anew first if it was damaged or removed."""
        try:
            return self._checked()
        except FAULTS as error:
            if isinstance(error, sqlite3.OperationalError) and "lock" in str(error):
                raise
            self._open()
            return self._checked()

    def _checked(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", timeout=self.patience, isolation_level=None, uri=True
        )
        try:
            # It has to outlive processes, not the machine: when that ends, so do all clusters.
            connection.execute("PRAGMA synchronous = OFF")
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            connection.execute("SELECT 1 FROM clusters LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Hold one transaction, which is rolled back if the body raises."""
        try:
            with contextlib.closing(self._connect()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    raise
        except (OSError, *FAULTS) as error:
            raise self._unavailable("written", error) from None

    def read(self, query: str, *parameters: object) -> list[sqlite3.Row]:
        """Return the rows that a query finds."""
        try:
            with contextlib.closing(self._connect()) as connection:
                return connection.execute(query, parameters).fetchall()
        except (OSError, *FAULTS) as error:
            raise self._unavailable("read", error) from None
