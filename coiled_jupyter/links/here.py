"""Reads the environment of the interpreter that this very process runs in, for the command line."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import msgspec

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

    Nothing counts as used, since what is imported is this command's own.
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
    packages = tuple(msgspec.structs.replace(package, in_use=False) for package in answer.reading.packages)
    return msgspec.structs.replace(answer.reading, packages=packages), answer.content_age
