"""Shows how the packages of a notebook's kernel and of its Dask cluster differ, and makes them match.

Importing this package needs only the standard library.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

BROUGHT: frozenset[str] = frozenset({"coiled_jupyter"})
"""Top-level modules that only this package has imported; a reading (`texts.probe`) doesn't count them as the user's."""

# As for every library: a program that configures no logging, such as the command, shows errors in its own way.
logging.getLogger(__name__).addHandler(logging.NullHandler())


@contextlib.contextmanager
def bringing() -> Iterator[None]:
    """Record what is imported in the block as this package's own."""
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
            return _public(name)
    if name == "__version__":
        from importlib.metadata import version

        return version("coiled-jupyter")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _public(name: str) -> object:
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


def unload_ipython_extension(shell: object) -> None:
    """Take `%coiled` away, for ``%unload_ext coiled_jupyter``."""
    from .ipython.magics import unload

    unload(shell)


def _jupyter_server_extension_points() -> list[dict[str, object]]:
    """Return the extension's entry for jupyter_server, or that of a module that logs why it can't be loaded."""
    from .server import versions

    if versions.present_misfit():
        return [{"module": "coiled_jupyter.server.versions"}]
    from .server.app import CoiledJupyter

    return [{"module": "coiled_jupyter", "app": CoiledJupyter}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Return the folder of the built page, for JupyterLab's builder."""
    return [{"src": "labextension", "dest": "coiled-jupyter"}]
