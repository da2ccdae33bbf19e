"""The files of one cluster: its folder, which is recreated if it is removed, and scratch space on a disk."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..core.errors import CoiledError, Unavailable
from ..factories import local
from ..paths import DATA, alive_path, cluster_dir, data_dir, private, runtime_dir, socket_path
from . import logs

_log = logging.getLogger("coiled_jupyter.supervisor")


class ClusterFolder:
    """The folder in the runtime folder: socket, certificates, logs, and the lock that all processes of the cluster hold.

    A logout may remove it while the cluster lives. Its contents are kept in memory, so it can be recreated.
    """

    def __init__(self, cluster_id: str) -> None:
        self._id = cluster_id
        # Resolved once, so that the same folder is recreated even if a logout has removed its parent.
        os.environ["COILED_JUPYTER_RUNTIME_DIR"] = str(runtime_dir())
        self.path = cluster_dir(cluster_id)
        self.alive = self._lock()
        """A locked descriptor; the lock lasts until this process and all that inherited it have ended."""
        self._certificates: dict[Path, bytes] = {}

    def _lock(self, flags: int = 0) -> int:
        descriptor = os.open(alive_path(self._id), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            # Shared: no process of the cluster waits for another one, or for itself.
            fcntl.flock(descriptor, fcntl.LOCK_SH | flags)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def make_certificates(self) -> None:
        """Make and store the certificates of a new cluster."""
        local.write_tls(self.path)
        self._certificates = {path: path.read_bytes() for path in local.tls_paths(self.path).values()}

    def keep_certificates(self, texts: Mapping[str, str]) -> None:
        """Store the certificates that a cluster's class has made: ``ca``, ``cert`` and ``key`` as PEM texts."""
        self._certificates = {path: texts[name].encode() for name, path in local.tls_paths(self.path).items()}
        self._write_certificates()

    def _write_certificates(self) -> None:
        for path, content in self._certificates.items():
            with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(content)

    def whole(self) -> bool:
        """Return whether the socket and the lock still exist."""
        with contextlib.suppress(OSError):
            lock, held = (self.path / "alive").stat(), os.fstat(self.alive)
            return (self.path / "s").exists() and os.path.samestat(lock, held)
        return False

    def make_again(self) -> None:
        """Recreate what is gone of the folder, except logs; raise OSError or CoiledError if that fails."""
        cluster_dir(self._id)
        descriptor = self._lock(fcntl.LOCK_NB)
        # The same descriptor number, so that processes started later inherit the new lock.
        os.dup2(descriptor, self.alive, inheritable=False)
        os.close(descriptor)
        self._write_certificates()
        log = logs.open_log(self._id, "supervisor")
        for stream_number in (1, 2):
            os.dup2(log, stream_number)
        os.close(log)

    def clean(self) -> None:
        """Remove the files of an ended cluster, except its logs."""
        with contextlib.suppress(OSError, CoiledError):
            names = [*local.tls_paths(self.path).values(), self.path / "scheduler.json", socket_path(self._id)]
            for path in names:
                path.unlink(missing_ok=True)


class Scratch:
    """Folders on a disk for spilled data, which must not fill the file system of sockets and the ledger.

    Each is locked while its supervisor lives; those of a killed supervisor are removed by the next one that starts.
    """

    def __init__(self, cluster_id: str) -> None:
        self._id = cluster_id
        self._locks: dict[Path, int] = {}

    def make(self, configured: str | None = None) -> Path:
        """Create a folder below the `configured` one, else the data folder, else the system's temporary one."""
        for base in self._bases(configured):
            try:
                return self._make(base)
            except (OSError, CoiledError) as error:
                _log.warning("no folder for spilled data can be created in %s: %s", base, error)
        raise Unavailable(
            "There is no folder for spilled data: neither the data folder nor the temporary folder can be written",
            "Set temporary-directory in Dask's configuration, or COILED_JUPYTER_DATA_DIR, to a folder on a disk",
        )

    def _bases(self, configured: str | None) -> Iterator[Path]:
        name = f"coiled-jupyter-{os.getuid()}"
        if configured:
            yield Path(configured).expanduser() / name
        with contextlib.suppress(CoiledError):
            yield data_dir("scratch")
        yield Path(tempfile.gettempdir()) / name / "scratch"

    def _make(self, base: Path) -> Path:
        private(base, DATA)
        folder = base / self._id
        if folder not in self._locks:
            for left in base.glob("*.lock"):
                self._remove_left(left)
            self._locks[folder] = _locked(base / f"{self._id}.lock")
        return private(folder, DATA)

    def _remove_left(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                path.unlink(missing_ok=True)
            finally:
                os.close(lock)

    def remove(self) -> None:
        """Remove all folders; the workers must have ended."""
        for folder, lock in self._locks.items():
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".lock").unlink(missing_ok=True)
            os.close(lock)
        self._locks.clear()


def _locked(path: Path) -> int:
    """Return a locked descriptor of an existing file, even if another process removes the file meanwhile."""
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
            return lock
        os.close(lock)
