"""Reads the environment of the interpreter that this very process runs in, for the command line and the magic."""

from __future__ import annotations

import importlib.metadata
import time
from functools import cache
from typing import Any

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..core.environment import Answer, Reading, decode_answer
from ..core.errors import Unavailable
from ..texts import source

CONTENT_SECONDS = 15.0


@cache
def _namespaces() -> dict[str, dict[str, Any]]:
    namespaces = {}
    for name in ("probe", "content", "node"):
        namespaces[name] = {"__name__": f"coiled_jupyter_{name}"}
        exec(compile(source(name), f"<coiled-jupyter {name}>", "exec"), namespaces[name])  # noqa: S102 - our own text
    return namespaces


def read(content_seconds: float = CONTENT_SECONDS) -> tuple[Reading, float | None]:
    """Return the reading of this process, and the seconds since its files were looked at; waits for that look.

    In a shell's command nothing counts as used, since what is imported is the command's own; in a kernel see `begin`.
    """
    texts = _namespaces()
    deadline = time.monotonic() + content_seconds
    while True:
        keys = texts["probe"]["keys"]()
        text = texts["node"]["answer"](keys, texts["probe"], texts["content"], "", False, (), texts["probe"]["forget"])
        answer: Answer = decode_answer(text)
        if answer.reading is None:
            raise Unavailable("This Python could not read its own environment")
        if answer.content_age is not None or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if _begun:
        return answer.reading, answer.content_age
    packages = tuple(msgspec.structs.replace(package, in_use=False) for package in answer.reading.packages)
    return msgspec.structs.replace(answer.reading, packages=packages), answer.content_age


def installed() -> dict[str, str]:
    """Return ``{name: version}`` of the distributions of this Python, names by PEP 503, in order."""
    found = {canonicalize_name(d.metadata["Name"] or "?"): d.version for d in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def begin(namespaces: list[dict[str, Any]]) -> None:
    """From now on tell the packages that this process's user has imported.

    What IPython and the kernel require, and what only this package has imported (`coiled_jupyter.BROUGHT`), counts only
    where one of `namespaces` names it; all else that is imported was somebody's wish.
    """
    if _begun:
        return
    # Every Python imports setuptools for a moment at its start, by a file of its own; a kernel imports argcomplete and
    # msgpack where they are there.
    own = closure("ipykernel", "ipython", "setuptools", "argcomplete", "msgpack")
    _namespaces()["probe"]["baseline"](True, namespaces, own)
    _begun.append(True)


_begun: list[bool] = []


def closure(*names: str) -> frozenset[str]:
    """Return these distributions and all that they require here, names by PEP 503."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return frozenset(found)
