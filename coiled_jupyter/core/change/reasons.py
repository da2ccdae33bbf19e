"""Says in one sentence why a package can't be had, from the words of a resolver or an installer."""

from __future__ import annotations

import re

from msgspec import Struct

LONG = 200
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PIN = rf"(?P<name>{_NAME})(?:\[[^\]]*\])?==(?P<version>[^\s,]+)"
_ABSENT = re.compile(rf"(?P<name>{_NAME}) was not found in (?:the package registry|the provided|the cache)")
_UNKNOWN = re.compile(rf"there is no version of {_PIN}")
_YANKED = re.compile(rf"{_PIN} was yanked")
_TAG = re.compile(rf"{_PIN} has no wheels? with a matching (?P<what>[A-Za-z]+)")
_WHEEL = re.compile(rf"{_PIN} has no (?:usable wheels|wheels|source distribution)")
_PYTHON = re.compile(rf"{_PIN} (?:depends on|requires) Python(?P<needs>[<>=!~][^\s]*)")
_NEEDS = re.compile(rf"{_PIN} depends on (?P<other>{_NAME})(?:\{{[^}}]*\}})?(?P<needs>[<>=!~][^\s]*)?")
_BOUND = re.compile(rf"({_NAME})(?:==|>=|<=|~=|!=|<|>)")
_SENTENCE = re.compile(r"[.!?:](?=\s)")


class Reason(Struct, frozen=True):
    """Why a package can't be had: one sentence, and the words that it is short for, if there are more."""

    text: str
    details: str = ""


def reason(name: str, words: str) -> Reason:
    """Return the reason why a package can't be had; sentences of ours that are short stay as they are."""
    text = _resolved(name, words)
    if text is not None:
        return Reason(text, words)
    if len(words) <= LONG and "\n" not in words:
        return Reason(words)
    first = words.splitlines()[0]
    end = _SENTENCE.search(first)
    first = first[: end.start()] if end else first
    return Reason(f"{first[:LONG].rstrip()}{'…' if len(first) > LONG else '.'}", words)


def _resolved(name: str, words: str) -> str | None:
    """Return what a resolver says, or None if these are no resolver's words."""
    if not words.startswith("Because ") and "we can conclude" not in words:
        return None
    if (found := _ABSENT.search(words)) is not None:
        return f"{_which(name, found['name'])} isn't on the package index."
    if (found := _UNKNOWN.search(words)) is not None:
        return f"The package index has no {found['name']} {_short(found['version'])}."
    if (found := _YANKED.search(words)) is not None:
        return f"{found['name']} {_short(found['version'])} was withdrawn from the package index."
    if (found := _PYTHON.search(words)) is not None:
        return f"{found['name']} {_short(found['version'])} needs Python {found['needs'].rstrip(',')}."
    if (found := _TAG.search(words)) is not None:
        what = "Python" if found["what"].lower() in ("python", "abi") else "platform"
        return f"There is no wheel of {found['name']} {_short(found['version'])} for the cluster's {what}."
    if (found := _WHEEL.search(words)) is not None:
        return f"There is no wheel of {found['name']} {_short(found['version'])} that can be installed on the cluster."
    for found in _NEEDS.finditer(words):
        needs = f"{found['other']}{(found['needs'] or '').rstrip(',.')}"
        if found["name"].lower() == name.lower():
            return f"It needs {needs}, which doesn't fit the other packages."
        if found["other"].lower() == name.lower():
            return f"{found['name']} {_short(found['version'])} needs {needs}."
    others = [other for other in dict.fromkeys(_BOUND.findall(words)) if other.lower() not in (name.lower(), "python")]
    return f"It doesn't fit {' and '.join(others[:2])}." if others else "It doesn't fit the other packages."


def _which(name: str, found: str) -> str:
    return "It" if found.lower() == name.lower() else f"{found}, which it needs,"


def _short(version: str) -> str:
    return version.rstrip(",.;")
