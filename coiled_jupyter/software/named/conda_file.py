"""Reads what a conda environment file wishes as requirements of PyPI; a wish that can't be one is refused or left out, by name.

A name is taken only where conda and PyPI are known to give it to one project: somebody else's code would run on workers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ...core import conda
from ...core.errors import Invalid
from ...core.wire import LeftOut

_ENTRY = re.compile(r"(?:([^\s:\[\]]+)::)?([A-Za-z0-9_.-]+)\s*(.*)", re.DOTALL)
_USUAL = frozenset({"conda-forge", "defaults", "main", "anaconda", "pkgs/main"})
"""Channels from which everybody takes everything; a package of another one may be made in another way."""
_TOOLS = frozenset({"pip", "setuptools", "wheel"})
_PLAIN_BUILD = re.compile(r"[A-Za-z0-9_.]+")
_HINT = "Leave this wish out, or name the package in the pip part of the file"


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What conda's part of a file comes to: requirements, the wish for Python, and what is left out, with the reason."""

    lines: tuple[str, ...]
    python: str | None
    pythons: str
    left_out: tuple[LeftOut, ...]


class _Wish(msgspec.Struct, frozen=True):
    """One entry of a file, by its parts."""

    name: str
    version: str = ""
    build: str = ""
    channel: str = ""


def wishes(entries: Sequence[object], names: Mapping[str, str | None]) -> Wishes:
    """Translate the entries of conda's part; `names` are conda's names of distributions (`core.conda`).

    Raises
    ------
    Invalid
        A wish has no counterpart for a package of PyPI; the message names it.

    """
    lines: list[str] = []
    left: list[LeftOut] = []
    python, pythons = None, ""
    for entry in entries:
        wish = _parsed(entry)
        if wish.name == "python":
            python, pythons = _python(wish.version, str(entry))
            continue
        if wish.name in _TOOLS and not wish.version:
            left.append(LeftOut(name=wish.name, why="It is an installer's tool, which isn't needed."))
            continue
        known, reason = conda.for_file(wish.name, names)
        if known is None:
            left.append(LeftOut(name=wish.name, why=reason))
            continue
        if wish.channel and wish.channel not in _USUAL:
            raise _refused(entry, f"PyPI has no package of the channel {wish.channel}")
        specifier = version(wish.version)
        if specifier is None:
            raise _refused(entry, "PyPI has no such wish for a version")
        if wish.build.strip("*"):
            if not (_PLAIN_BUILD.fullmatch(wish.build) and specifier.startswith("==")):
                raise _refused(entry, f"the build {wish.build} can't be asked of PyPI")
            # An export names the build of everything.
            why = "PyPI's file of this version is another build."
            left.append(LeftOut(name=f"{wish.name}, build {wish.build}", why=why))
        lines.append(f"{known}{specifier}")
    return Wishes(lines=tuple(lines), python=python, pythons=pythons, left_out=tuple(left))


def _refused(entry: object, why: str) -> Invalid:
    return Invalid("file.text", f"{str(entry)[:80]!r} can't be met: {why}", _HINT)


def _parsed(entry: object) -> _Wish:
    text = entry.strip() if isinstance(entry, str) and len(entry) <= 500 else ""
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise Invalid("file.text", f"{str(entry)[:60]!r} isn't a conda package")
    channel, name, rest = match[1] or "", match[2].lower(), match[3].strip()
    bracket = re.fullmatch(r"([^\[]*)\[([^\]]*)\](.*)", rest, re.DOTALL)
    if bracket is None:
        return _Wish(name, *_split(rest), channel)
    pairs = re.findall(r"([a-z_]+)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^,\s'\"]+))", bracket[2])
    found: dict[str, str] = {key: one or two or three for key, one, two, three in pairs}
    left = re.sub(r"([a-z_]+)\s*=\s*(?:'[^']*'|\"[^\"]*\"|[^,\s'\"]+)", "", bracket[2]).strip(" ,")
    if left or bracket[3].strip() or set(found) - {"version", "build", "channel"}:
        # dask[distributed] is pip's way to write it.
        raise _refused(entry, f"conda has no wish [{bracket[2][:40]}]")
    before = _split(bracket[1].strip())
    return _Wish(name, found.get("version", before[0]), found.get("build", before[1]), found.get("channel", channel))


def _split(rest: str) -> tuple[str, str]:
    """Return the wishes for version and build; the build follows a second ``=``, or a space."""
    single = re.fullmatch(r"(==?)\s*([^=\s,|<>!]+)(?:[=\s]\s*(\S+))?", rest)
    if single is not None:
        # Where a build is named, the version is the whole version of that build.
        sign = "==" if single[3] and "*" not in single[2] + single[3] else single[1]
        return sign + single[2], single[3] or ""
    spaced = re.fullmatch(r"(\S*[^\s,|<>=!~])\s+([^\s,|<>=!~]\S*)", rest)
    return (spaced[1], spaced[2]) if spaced is not None else (rest, "")


def _python(wish: str, entry: str) -> tuple[str | None, str]:
    """Return the one version that is wished for, if it is one, and the range."""
    specifier = version(wish)
    if specifier is None:
        raise _refused(entry, "it is no range of versions of Python")
    one = re.fullmatch(r"==(\d+\.\d+(?:\.\d+)?)(?:\.\*)?", specifier)
    return (one[1], "") if one is not None else (None, specifier)


def version(wish: str) -> str | None:
    """Return a version spec of conda as PEP 440; None if that can't express it."""
    if not wish or wish in ("*", "=*", "==*"):
        return ""
    found = []
    for part in (part.strip() for part in wish.split(",")):
        match = re.fullmatch(r"(==|=|>=|<=|>|<|!=|~=)?\s*([0-9][0-9A-Za-z.+!_-]*?)(\.?\*)?", part)
        if match is None:
            return None
        sign, number, star = match[1] or "==", match[2], bool(match[3])
        try:
            Version(number)
        except InvalidVersion:
            return None
        # conda's single "=" means "of this series".
        series = (star or sign == "=") and sign in ("==", "=", "!=")
        found.append(f"{'==' if sign == '=' else sign}{number}{'.*' if series else ''}")
    try:
        SpecifierSet(",".join(found))
    except InvalidSpecifier:
        return None
    return ",".join(found)


def exported(text: str) -> list[str] | None:
    """Return the entries of what ``conda list --export`` has written, or None if the text is something else."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    entry = re.compile(r"[A-Za-z0-9_.-]+=[^=\s]+=[^=\s]+")
    return lines if lines and all(entry.fullmatch(line) for line in lines) else None
