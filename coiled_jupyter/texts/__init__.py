"""Sources that are evaluated in other processes: one self-contained file each, standard library only, Python 3.8+."""

import ast
import base64
import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Any

LOAD = "(lambda m: (K in m or eval(B), m[K].node(*A))[1])(__import__('sys').modules)"
"""Sends the texts that every node keeps, and asks it; names: those of `node_names`."""

# Apart, since every node compiles the text above, and only a new process this one.
_BEGIN = (
    "(lambda u, g: (exec(u(Z), g), g['enter'](K, u(F), u(E))))"
    "(lambda t: __import__('zlib').decompress(__import__('base64').b64decode(t)).decode('utf-8'), {'__name__': K})"
)

SHORT = "(lambda m: m[K].call(*A) if K in m else 'absent')(__import__('sys').modules)"
"""Asks a text that is kept in a process; ``absent`` where it isn't yet. It can't raise, which would log its arguments."""

KEEP = (
    "(lambda m, u: (K in m or (lambda t, o: (exec(u(Z), t.__dict__), setattr(t, 'OTHERS', o),"
    " [exec(u(z), o.setdefault(n, {'__name__': n})) for n, z in O.items()], m.setdefault(K, t)))"
    "(__import__('types').ModuleType(K), {}), 'kept')[1])(__import__('sys').modules,"
    " lambda t: __import__('zlib').decompress(__import__('base64').b64decode(t)).decode('utf-8'))"
)
"""Keeps a text in a process for `SHORT`; names: those of `kept_names`."""

KEPT = {"activity": (), "nanny": ("layer_plugin",), "scheduler": ("gateway",), "worker": ()}
"""The texts that are kept, with the others that each needs."""

OF_SCHEDULER = "(exec(S, G), G['of_scheduler'](I))[1]"
"""Lists the clients of a scheduler in its process; names: those of `scheduler_names`."""


@cache
def source(name: str) -> str:
    """Return the source of the text `name`, such as ``probe``; ``content`` carries ``imports``, which a child runs."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return text.replace('IMPORTS = ""', f'IMPORTS = "{packed("imports")}"') if name == "content" else text


@cache
def packed(name: str) -> str:
    """Return the source of a text, compressed by zlib, as Base64 text: some ways to a node are JSON."""
    return base64.b64encode(zlib.compress(_bare(source(name)).encode("utf-8"), 9)).decode("ascii")


def _bare(text: str) -> str:
    """Return a source without comments and docstrings."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for part in body if isinstance(body, list) and len(body) > 1 else ():
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                docstrings.update(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return "\n".join(line for number, line in lines if number not in docstrings and line.split("#")[0].strip())


@cache
def node_key() -> str:
    """Return the name under which the texts of this version stay in a node's ``sys.modules``."""
    seen = hashlib.blake2b(digest_size=6)
    for name in ("node", "fingerprint", "edits", "probe", "content"):
        seen.update(source(name).encode("utf-8"))
    return "_coiled_jupyter_" + seen.hexdigest()


def node_names(verb: str, *arguments: Any, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the names for `LOAD` that make a node answer ``node(verb, …)`` with the texts that it needs for it."""
    sources = {name: packed(name) for name in needs}
    kept = {"Z": packed("node"), "F": packed("fingerprint"), "E": packed("edits")}
    return {"K": node_key(), "A": [verb, sources, *arguments], "B": _BEGIN, **kept}


def scheduler_names(identity: str) -> dict[str, Any]:
    """Return the names for `OF_SCHEDULER` that list the clients of the scheduler with this id."""
    return {"S": source("clients"), "G": {"__name__": "coiled_jupyter_clients"}, "I": identity}


@cache
def kept_key(name: str) -> str:
    """Return the name under which a text of this version, such as ``nanny``, stays in ``sys.modules``."""
    seen = hashlib.blake2b(digest_size=6)
    for part in (name, *KEPT[name]):
        seen.update(source(part).encode("utf-8"))
    return f"_coiled_jupyter_{name}_{seen.hexdigest()}"


def kept_names(name: str) -> dict[str, Any]:
    """Return the names for `KEEP` that keep a text; nothing secret is among them."""
    return {"K": kept_key(name), "Z": packed(name), "O": {other: packed(other) for other in KEPT[name]}}


def short_names(name: str, verb: str, *arguments: Any) -> dict[str, Any]:
    """Return the names for `SHORT` that ask a kept text."""
    return {"K": kept_key(name), "A": [verb, *arguments]}


CELL = "(exec(S, G), G['run'](C, I, T, W))[1]"
"""Runs a user's cell in a task of its own; names: those of `cell_names`."""

INTERRUPT = "(exec(S, G), G['interrupt'](T))[1]"
"""Ends that cell, evaluated in the process of its worker; names: those of `cell_names`."""


def cell_names(
    topic: str, cell: str = "", given: dict[str, Any] | None = None, *, wanted: bool = False
) -> dict[str, Any]:
    """Return the names for `CELL` and `INTERRUPT`: the cell as text, and the values that go along."""
    own = {"S": source("cell"), "G": {"__name__": "coiled_jupyter_cell"}, "T": topic}
    return {**own, "C": cell, "I": given or {}, "W": wanted}


SEAL_PLUGIN = "(exec(S, G), G['plugin']())[1]"
"""Makes the WorkerPlugin that seals the clients of tasks, where it is unpickled; names: those of `seal_plugin_names`."""


def seal_plugin_names() -> dict[str, Any]:
    """Return the names for `SEAL_PLUGIN`."""
    return {"S": source("seal"), "G": {"__name__": "coiled_jupyter_seal"}}


LAYER_PLUGIN = "(exec(S, G), G['plugin'](L))[1]"
"""Makes the NannyPlugin of layers, where it is unpickled; names: those of `layer_plugin_names`."""


def layer_plugin_names(layers: str) -> dict[str, Any]:
    """Return the names for `LAYER_PLUGIN`; `layers` is JSON, by place."""
    return {"S": source("layer_plugin"), "G": {"__name__": "coiled_jupyter_layer_plugin"}, "L": layers}
