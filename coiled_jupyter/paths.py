"""The package's folders: data that stays, and what belongs to running processes of this user on this host."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .core.errors import Unavailable

DATA, _RUNTIME = "COILED_JUPYTER_DATA_DIR", "COILED_JUPYTER_RUNTIME_DIR"
_SOCKET_BYTES = 100
"""What every system allows for the path of a socket."""


def private(path: Path, variable: str) -> Path:
    """Make a folder that only this user can enter, whatever the umask, and return it; raise Unavailable if that fails."""
    hint = f"Remove what is there, or name another folder with {variable}"
    try:
        try:
            state = path.lstat()
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
            state = path.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            raise Unavailable(f"{path} isn't a folder of this user", hint)
        if stat.S_IMODE(state.st_mode) != 0o700:
            path.chmod(0o700)
    except OSError as error:
        raise Unavailable(f"The folder {path} can't be created or used: {error.strerror}", hint) from None
    return path


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise one sentence if the block fails because a folder of ours can't be written."""
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"{folder} can't be written: {error.strerror or type(error).__name__}",
            "Look at its disk and its permissions",
        ) from None


def write(path: Path, content: bytes, *, exclusive: bool = False) -> bool:
    """Write a file of ours as a whole or not at all, which only this user can read.

    With `exclusive` a file that is there stays, and False is returned.
    """
    with writing(path.parent):
        handle, staging = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if not exclusive:
                Path(staging).replace(path)
                return True
            # Of two that are written at once, one is refused.
            with contextlib.suppress(FileExistsError):
                os.link(staging, path)
                return True
            return False
        finally:
            Path(staging).unlink(missing_ok=True)


def data_dir(*below: str) -> Path:
    """Return the folder of software environments, or one below it; ``COILED_JUPYTER_DATA_DIR`` overrides it."""
    override = os.environ.get(DATA)
    if override:
        path = private(Path(override), DATA)
    else:
        from jupyter_core.paths import jupyter_data_dir

        path = private(Path(jupyter_data_dir(), "coiled-jupyter"), DATA)
    for name in below:
        path = private(path / name, DATA)
    return path


def runtime_dir() -> Path:
    """Return the folder of the ledger, sockets and logs; ``COILED_JUPYTER_RUNTIME_DIR`` overrides it."""
    override = os.environ.get(_RUNTIME)
    home = os.environ.get("XDG_RUNTIME_DIR")
    if override:
        path = Path(override)
    elif home and Path(home).is_dir():
        path = Path(home, "coiled-jupyter")
    else:
        path = Path(tempfile.gettempdir(), f"coiled-jupyter-{os.getuid()}")
    # Below it lies the socket of a cluster, named by an id of eight characters.
    if len(os.fsencode(path)) + len("/c/12345678/s") > _SOCKET_BYTES:
        raise Unavailable(
            f"The path of the runtime folder is too long for a socket: {path}", f"Set {_RUNTIME} to a shorter path"
        )
    return private(path, _RUNTIME)


def cluster_dir(cluster_id: str) -> Path:
    """Return the folder of one cluster: socket, TLS files, log. `cluster_id` is one of ours."""
    if not cluster_id.isalnum() or len(cluster_id) > 32:
        raise Unavailable("This isn't the id of a cluster of ours")
    return private(private(runtime_dir() / "c", _RUNTIME) / cluster_id, _RUNTIME)


def relay_dir(name: str) -> Path:
    """Return the folder of one relay through a kernel, made or not: its TLS files and its port. `name` is one of ours."""
    return private(runtime_dir() / "r", _RUNTIME) / name


def alive_path(cluster_id: str) -> Path:
    """Return the file that is locked as long as any process of a cluster lives."""
    return cluster_dir(cluster_id) / "alive"


def socket_path(cluster_id: str) -> Path:
    """Return the path of a supervisor's socket."""
    return cluster_dir(cluster_id) / "s"
