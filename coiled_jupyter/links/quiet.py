"""Words a request to a node so that Dask logs nothing of it, and reads the answer.

A scheduler's ``feed`` sends what a text evaluates to, and a node's ``echo`` sends back a value that is made where it is
unpickled: neither is logged nor an event, as ``run`` and ``run_function`` are. Where an administrator has forbidden
these two, what is worded here is refused too. The Jupyter server's process imports this, so no Dask here.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["scheduler", "worker", "nanny"]
Evaluated: TypeAlias = tuple[str, dict[str, Any]]
"""A text and the names for it, as the builtin `eval` takes them."""

# Nothing may be raised where a value is unpickled: the connection would end.
_TEXT = """
import sys
try:
    kind = getattr(sys.modules.get("distributed." + K), K.capitalize(), None)
    there = [S] if S is not None else list(getattr(kind, "_instances", ()))
    blocked = any(O in (getattr(each, "blocked_handlers", None) or ()) for each in there)
    A = [None] if blocked else [eval(T, N)]
    A = A if isinstance(A[0], str) else [None]
except BaseException as error:
    A = [None, type(error).__name__]
"""
_ON_NODE = "(G.setdefault('S', None), exec(C, G), G['A'])[2]"
_ON_SCHEDULER = "lambda scheduler: (G.setdefault('S', scheduler), exec(C, G), [G['A']])[2]"
NEXT: Evaluated = ("lambda scheduler, state: state.pop() if state else (_ for _ in ()).throw(OSError())", {})
"""The function of a ``feed``: it sends the answer once. ``feed`` takes an OSError for a reader that has gone."""
HEADER = {"serializer": "pickle", "writeable": (), "compression": (None,), "num-sub-frames": 1}
"""Of the value of an ``echo``, which the scheduler passes on as it is."""


def worded(kind: Kind, expression: str, names: dict[str, Any]) -> Evaluated:
    """Return what to evaluate: for a scheduler the ``setup`` of a ``feed``, else the value of an ``echo``."""
    forbidden = "run_function" if kind == "scheduler" else "run"
    asked = {"K": kind, "O": forbidden, "T": expression, "N": names}
    return (_ON_SCHEDULER if kind == "scheduler" else _ON_NODE), {"C": _TEXT, "G": asked}


def answered(answer: Any) -> bool:
    """Whether this is an answer to what was worded here; the text is its first item, None where that was refused."""
    return isinstance(answer, (list, tuple)) and 1 <= len(answer) <= 2
