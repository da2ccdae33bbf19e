"""Compares one package with another: version, source, and what processes run of it."""

from __future__ import annotations

from collections.abc import Iterable

from ..rules import equal_versions, is_version
from ..wire import Package, Source

OLDER = "what was there before"
"""The version of what a process runs if its code was replaced or edited under it and no version shows that."""


def is_module(package: Package) -> bool:
    """Whether this is code beside the notebook, which no distribution brought."""
    return package.source is not None and package.source.kind == "module"


def is_native(package: Package) -> bool:
    """Whether this is a package of conda's that is no Python distribution, as its build tells."""
    if package.channel is None or package.in_use or package.loaded or package.content is not None:
        return False
    return "py" not in (package.build or "") or package.name in ("python-abi", "libpython")


def plainly_same(mine: Package, other: Package | None) -> bool:
    """Whether two packages are equal in all that is compared, without a closer look."""
    return (
        other is not None
        and mine.version == other.version
        and mine.source is None
        and other.source is None
        and mine.content == other.content
        and mine.build == other.build
        and mine.channel == other.channel
        and (not mine.loaded or not running(mine, with_older=True))
        and (not other.loaded or not running(other, with_older=True))
    )


def running(package: Package, *, with_older: bool = False) -> list[str]:
    """Return the versions that processes run though another is installed; with `with_older` also `OLDER`."""
    # A module's own `__version__` isn't always a version; such a text can't show that an old one runs.
    return [
        loaded.version
        for loaded in package.loaded
        if (with_older and loaded.version == OLDER)
        or (
            loaded.version != package.version
            and is_version(loaded.version)
            and not equal_versions(loaded.version, package.version)
        )
    ]


def same_source(a: Source | None, b: Source | None, same_host: bool) -> bool:
    """Whether two packages come from the same place; a folder is the same one only on one host."""
    if a is None or b is None:
        return a is b
    if (a.kind, a.url, a.commit) != (b.kind, b.url, b.commit):
        return False
    return a.kind == "vcs" or same_host or not a.url.startswith("file:")


def same_version(a: str | None, b: str | None) -> bool:
    """Whether two versions are equal; None, not installed, equals None only."""
    return a is b if a is None or b is None else equal_versions(a, b)


def distinct(versions: Iterable[str | None]) -> list[str | None]:
    """Return the versions without those that equal an earlier one."""
    distinct: list[str | None] = []
    for version in versions:
        if not any(same_version(known, version) for known in distinct):
            distinct.append(version)
    return distinct
