"""Reads the environment of the interpreter that this very process runs in, for the command line."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from ..core.environment import Reading, decode_reading
from ..texts import source


@cache
def _namespace() -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "coiled_jupyter_probe"}
    exec(compile(source("probe"), "<coiled-jupyter probe>", "exec"), namespace)  # noqa: S102 - our own text
    return namespace


def read() -> Reading:
    """Return the reading of this process; nothing counts as used, since what is imported is this command's own."""
    reading = decode_reading(_namespace()["probe"]())
    packages = tuple(msgspec.structs.replace(package, in_use=False) for package in reading.packages)
    return msgspec.structs.replace(reading, packages=packages)
