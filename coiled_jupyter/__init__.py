"""Know why the libraries of a notebook and of its Dask cluster must match, see that they don't, make them match.

Importing this package needs only the standard library.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

BROUGHT: frozenset[str] = frozenset({"coiled_jupyter"})
"""Top-level modules that only this package has imported; a reading (`texts.probe`) doesn't take them for the user's."""


@contextlib.contextmanager
def bringing() -> Iterator[None]:
    """Note what is imported in the block as this package's own."""
    global BROUGHT
    before = {name.partition(".")[0] for name in list(sys.modules)}
    try:
        yield
    finally:
        # Another thread may be reading it.
        BROUGHT |= {name.partition(".")[0] for name in list(sys.modules)} - before


def __getattr__(name: str) -> object:
    if name in ("connect", "cluster", "CoiledError"):
        with bringing():
            return _given(name)
    if name == "__version__":
        from importlib.metadata import version

        return version("coiled-jupyter")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _given(name: str) -> object:
    if name == "connect":
        from .ipython.connect import connect

        return connect
    if name == "cluster":
        from .ipython.cluster import cluster

        return cluster
    from .core.errors import CoiledError

    return CoiledError


def load_ipython_extension(shell: object) -> None:
    """Register `%coiled`, for ``%load_ext coiled_jupyter``."""
    with bringing():
        from .ipython.magics import load

        load(shell)


def _jupyter_server_extension_points() -> list[dict[str, object]]:
    """Tell jupyter_server where the extension is."""
    from .server.app import CoiledJupyter

    return [{"module": "coiled_jupyter", "app": CoiledJupyter}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell the lab's builder where the built page is."""
    return [{"src": "labextension", "dest": "coiled-jupyter"}]
