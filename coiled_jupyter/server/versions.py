"""Finds an incompatible Jupyter package, with which the server extension isn't loaded, and says which side to upgrade."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterable
from typing import Any

from packaging.specifiers import SpecifierSet

_NEEDED = re.compile(r"(jupyter-(?:server|client|events))([^;]*);.*extra == ['\"]lab['\"]")


def misfit(requirements: Iterable[str], version: Callable[[str], str] = importlib.metadata.version) -> str | None:
    """Return a sentence about the first package that doesn't meet this distribution's extra `lab`, or None.

    Parameters
    ----------
    requirements
        As `importlib.metadata.requires` returns them.
    version
        Returns the installed version of a distribution, or raises `importlib.metadata.PackageNotFoundError`.

    """
    for name, needed in (match.groups() for match in map(_NEEDED.match, requirements) if match):
        try:
            found = version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"coiled-jupyter needs {name}{needed.strip()}, which isn't installed beside this Jupyter server"
        wrong = [one for one in SpecifierSet(needed) if not one.contains(found, prereleases=True)]
        if wrong:
            side = name if wrong[0].operator.startswith(">") else "coiled-jupyter"
            return f"coiled-jupyter needs {name}{needed.strip()}, and this is {name} {found}: upgrade {side}"
    return None


def present_misfit() -> str | None:
    """Return the result of `misfit` for the installed packages."""
    return misfit(importlib.metadata.requires("coiled-jupyter") or ())


def _load_jupyter_server_extension(server: Any) -> None:
    """Take the extension's place, and log why it isn't loaded."""
    server.log.error("%s. The panel of clusters does nothing until then.", present_misfit())
