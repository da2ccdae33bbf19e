"""Texts that are evaluated in other processes: one self-contained, stdlib-only file each, Python 3.8 and newer."""

import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Any

EVALUATE = "(lambda m: '' if m is None else m.node(*A))(__import__('sys').modules.get(K))"
"""Asks a node that has the texts already; ``''`` where it hasn't. Names: those of `node_names`."""
LOAD = (
    "(lambda m: (K in m or (lambda z, g: (exec(z.decompress(Z).decode('utf-8'), g),"
    " g['enter'](K, z.decompress(P).decode('utf-8'))))(__import__('zlib'), {'__name__': K}),"
    " m[K].node(*A))[1])(__import__('sys').modules)"
)
"""Sends the texts to a node that may not have them and asks it."""


@cache
def source(name: str) -> str:
    """Return the source of the text `name`, such as ``probe``."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")


@cache
def packed(name: str) -> bytes:
    """Return the source of a text, compressed by zlib."""
    return zlib.compress(source(name).encode("utf-8"), 9)


@cache
def node_key() -> str:
    """Return the name under which the texts of this version stay in a node's ``sys.modules``."""
    seen = hashlib.blake2b((source("node") + source("probe")).encode("utf-8"), digest_size=6)
    return "_coiled_jupyter_" + seen.hexdigest()


def node_names(*arguments: Any, load: bool = False) -> dict[str, Any]:
    """Return the names for `EVALUATE`, or for `LOAD`, that make a node answer ``node(*arguments)``."""
    names: dict[str, Any] = {"K": node_key(), "A": list(arguments)}
    if load:
        names |= {"Z": packed("node"), "P": packed("probe")}
    return names
