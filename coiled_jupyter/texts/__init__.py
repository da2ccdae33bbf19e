"""Texts that are evaluated in other processes: one self-contained, stdlib-only file each, Python 3.8 and newer."""

import base64
import hashlib
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

LOAD = "(lambda m: (K in m or eval(B), m[K].node(*A))[1])(__import__('sys').modules)"
"""Sends the texts that every node keeps, and asks it; names: those of `node_names`."""

# Apart, since every node compiles the text above, and only a new process this one.
_BEGIN = (
    "(lambda u, g: (exec(u(Z), g), g['enter'](K, u(M))))"
    "(lambda t: __import__('zlib').decompress(__import__('base64').b64decode(t)).decode('utf-8'), {'__name__': K})"
)

OF_SCHEDULER = "(exec(S, G), G['of_scheduler'](I))[1]"
"""Lists the clients of a scheduler in its process; names: those of `scheduler_names`."""


@cache
def source(name: str) -> str:
    """Return the source of the text `name`, such as ``probe``."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")


@cache
def packed(name: str) -> str:
    """Return the source of a text, compressed by zlib, as Base64 text: some ways to a node are JSON."""
    return base64.b64encode(zlib.compress(source(name).encode("utf-8"), 9)).decode("ascii")


@cache
def node_key() -> str:
    """Return the name under which the texts of this version stay in a node's ``sys.modules``."""
    seen = hashlib.blake2b(digest_size=6)
    for name in ("node", "mark", "probe", "content"):
        seen.update(source(name).encode("utf-8"))
    return "_coiled_jupyter_" + seen.hexdigest()


def node_names(verb: str, *arguments: Any, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the names for `LOAD` that make a node answer ``node(verb, …)`` with the texts that it needs for it."""
    sources = {name: packed(name) for name in needs}
    return {"K": node_key(), "A": [verb, sources, *arguments], "B": _BEGIN, "Z": packed("node"), "M": packed("mark")}


def scheduler_names(identity: str) -> dict[str, Any]:
    """Return the names for `OF_SCHEDULER` that list the clients of the scheduler with this id."""
    return {"S": source("clients"), "G": {"__name__": "coiled_jupyter_clients"}, "I": identity}


ROLLING = (
    "(lambda m: (K in m or (lambda g: (exec(__import__('zlib').decompress(__import__('base64').b64decode(S))"
    ".decode('utf-8'), g), g['enter'](K)))({'__name__': K}), m[K].ask(V, A))[1])(__import__('sys').modules)"
)
"""Sends the text `rolling`, which stays in the process, and asks it; names: those of `rolling_names`."""

PLUGIN = (
    "(lambda m: (K in m or (lambda g: (exec(__import__('zlib').decompress(__import__('base64').b64decode(S))"
    ".decode('utf-8'), g), g['enter'](K)))({'__name__': K}), m[K].plugin(L))[1])(__import__('sys').modules)"
)
"""Makes the nanny plugin of the text `rolling`; names: those of `rolling_names`, and ``L`` the layers by place."""


@cache
def _rolling_key() -> str:
    seen = hashlib.blake2b(source("rolling").encode("utf-8"), digest_size=6)
    return "_coiled_jupyter_rolling_" + seen.hexdigest()


def rolling_names(verb: str = "", *arguments: Any) -> dict[str, Any]:
    """Return the names for `ROLLING` that make a process answer a verb of the text `rolling`."""
    return {"K": _rolling_key(), "S": packed("rolling"), "V": verb, "A": json.dumps(arguments)}
