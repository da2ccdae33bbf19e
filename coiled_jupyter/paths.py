"""The folders that are ours: data that stays, and what belongs to running processes of this user on this host."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from .core.errors import Unavailable


def _private(path: Path) -> Path:
    """Make a folder that only this user can enter, whatever the umask, and return it."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        state = path.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
        raise Unavailable(f"{path} isn't a folder of this user", "Remove it, or set COILED_JUPYTER_RUNTIME_DIR")
    if stat.S_IMODE(state.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def data_dir() -> Path:
    """Return the folder of software environments; ``COILED_JUPYTER_DATA_DIR`` overrides it."""
    override = os.environ.get("COILED_JUPYTER_DATA_DIR")
    if override:
        return _private(Path(override))
    from jupyter_core.paths import jupyter_data_dir

    return _private(Path(jupyter_data_dir(), "coiled-jupyter"))


def runtime_dir() -> Path:
    """Return the folder of the ledger, sockets and logs; ``COILED_JUPYTER_RUNTIME_DIR`` overrides it."""
    override = os.environ.get("COILED_JUPYTER_RUNTIME_DIR")
    if override:
        return _private(Path(override))
    home = os.environ.get("XDG_RUNTIME_DIR")
    if home and Path(home).is_dir():
        return _private(Path(home, "coiled-jupyter"))
    return _private(Path(tempfile.gettempdir(), f"coiled-jupyter-{os.getuid()}"))


def cluster_dir(cluster_id: str) -> Path:
    """Return the folder of one cluster: socket, TLS files, log. `cluster_id` is one of ours."""
    if not cluster_id.isalnum() or len(cluster_id) > 32:
        raise Unavailable("This isn't the id of a cluster of ours")
    return _private(_private(runtime_dir() / "c") / cluster_id)


def alive_path(cluster_id: str) -> Path:
    """Return the file that is locked as long as any process of a cluster lives."""
    return cluster_dir(cluster_id) / "alive"


def socket_path(cluster_id: str) -> Path:
    """Return the path of a supervisor's socket; AF_UNIX allows about 100 bytes."""
    path = cluster_dir(cluster_id) / "s"
    if len(os.fsencode(path)) > 100:
        raise Unavailable(f"The path of the runtime folder is too long for a socket: {path}", "Set XDG_RUNTIME_DIR")
    return path
