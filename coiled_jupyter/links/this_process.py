"""Reads the environment of this process's own interpreter, for the command line and the magic."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from functools import cache
from typing import Any

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..activity import doing
from ..core.clients import Sealed
from ..core.errors import Unavailable
from ..core.reading import Answer, Reading, decode_answer
from ..texts import source

CONTENT_SECONDS = 60.0


@cache
def _namespaces() -> dict[str, dict[str, Any]]:
    namespaces: dict[str, dict[str, Any]] = {}
    for name in ("probe", "content", "node"):
        namespaces[name] = text(name)
    # Somebody waits for a command, or for a cell.
    namespaces["content"]["NICE"] = 0
    return namespaces


def read(content_seconds: float = CONTENT_SECONDS) -> tuple[Reading, float | None]:
    """Return the reading of this process, and the seconds since its files were examined; waits for that.

    In a shell's command nothing counts as in use, since all imports are the command's own; for a kernel see `begin`.
    """
    with doing("Reading the packages of this Python"):
        return _read(time.monotonic() + content_seconds)


def _read(deadline: float) -> tuple[Reading, float | None]:
    texts = _namespaces()
    while True:
        keys = texts["probe"]["keys"]()
        # A notebook's own code counts; what lies beside a command does not.
        text = texts["node"]["answer"](
            keys, texts["probe"], texts["content"], "", tracked(), (), texts["probe"]["forget"]
        )
        answer: Answer = decode_answer(text)
        if answer.reading is None:
            raise Unavailable("This Python could not read its own environment")
        if answer.content_age is not None or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if _begun:
        return answer.reading, answer.content_age
    packages = tuple(msgspec.structs.replace(package, use="") for package in answer.reading.packages)
    return msgspec.structs.replace(answer.reading, packages=packages, named=()), answer.content_age


def schedulers() -> list[tuple[str, str]]:
    """Return (id, address) of the schedulers that live Dask clients of this process use, the default client's first.

    Dask isn't imported for that: a process that hasn't has no client.
    """
    module = sys.modules.get("distributed.client")
    default = getattr(module, "_get_global_client", lambda: None)()
    others = list(getattr(getattr(module, "Client", None), "_instances", ()))
    found = []
    for client in (default, *others):
        identity = getattr(client, "_scheduler_identity", None) or {}
        if getattr(client, "status", "") == "running" and isinstance(identity.get("id"), str):
            found.append((identity["id"], str(getattr(client.scheduler, "address", ""))))
    return list(dict.fromkeys(found))


def seal(scheduler: str, *, on: bool) -> None:
    """Have Dask clients of this process send sealed graphs to a scheduler (its id) from now on, or end that.

    Raises
    ------
    Unavailable
        It can't be done, with the reason.

    """
    answer = msgspec.json.decode(text("seal")["change"](scheduler, on), type=Sealed)
    if answer.error:
        raise Unavailable(f"This Python can't send sealed graphs: {answer.error}")


def tracked() -> bool:
    """Whether this process is that of a notebook, of whose imports it is known which are the user's."""
    return bool(_begun)


@cache
def text(name: str) -> dict[str, Any]:
    """Return the namespace of a text of ours, evaluated in this process once."""
    namespace: dict[str, Any] = {"__name__": f"coiled_jupyter_{name}"}
    exec(compile(source(name), f"<coiled-jupyter {name}>", "exec"), namespace)  # noqa: S102 - our own text
    return namespace


def installed() -> dict[str, str]:
    """Return ``{name: version}`` of the distributions of this Python, names by PEP 503, in order."""
    found = {canonicalize_name(d.metadata["Name"] or "?"): d.version for d in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def begin(namespaces: list[dict[str, Any]]) -> None:
    """Track from now on which packages the user of this process has imported.

    What IPython and the kernel require, and what only this package has imported (`coiled_jupyter.BROUGHT`), counts only
    if one of `namespaces` refers to it; every other import counts.
    """
    if _begun:
        return
    # A .pth file of setuptools is executed whenever Python starts; a kernel imports argcomplete and msgpack if
    # they are installed.
    own = closure("ipykernel", "ipython", "setuptools", "argcomplete", "msgpack")
    _namespaces()["probe"]["baseline"](True, namespaces, own)
    _begun.append(True)


_begun: list[bool] = []


def closure(*names: str) -> frozenset[str]:
    """Return these distributions and everything that they require here, names by PEP 503."""
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
