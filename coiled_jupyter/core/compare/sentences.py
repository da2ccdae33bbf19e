"""Words for what is found of a package on a place: what runs, what is missing, and how it is repaired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..rules import Damage
from ..wire import Package
from .packages import OLDER

_SHOWN_FILES = 5
SEAL = "Send this notebook's graphs sealed: choose Seal in the panel, or connect with coiled_jupyter.connect()."


def still(versions: Sequence[str], installed: str) -> str:
    """Name what a process still runs, such as "1.0, though 2.0 is installed"."""
    return (
        "what was there before its files were changed"
        if OLDER in versions
        else f"{listed(versions)}, though {installed} is installed"
    )


def repair(name: str, damage: Damage, folder: str, package: Package | None) -> str:
    """Say how a damaged installation is repaired, with the installer that made it."""
    if damage == "leftover":
        return f"Remove the folder {folder}."
    installer = package.installer if package else None
    if installer == "conda" or damage == "conda_conflict":
        return f"Repair it with `conda install --force-reinstall {name}`."
    uv, pip = f"`uv pip install --reinstall {name}`", f"`pip install --force-reinstall {name}`"
    return (
        f"Repair it with {uv}."
        if installer == "uv"
        else f"Repair it with {pip}."
        if installer == "pip"
        else f"Repair it with {uv} or {pip}."
    )


def have(name: str, version: str | None, count: int, *, short: bool) -> str:
    """Say what so many nodes have, such as "have numpy 2.0" or "lack it"; `short` leaves the name out."""
    if version is None:
        return "doesn't have it" if count == 1 and not short else "lack it" if count > 1 else "lacks it"
    verb = "has" if count == 1 else "have"
    return f"{verb} {version}" if short else f"{verb} {name} {version}".rstrip()


def files_that_differ(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Name the files that aren't the same on both sides, by the digests of each; nothing where those of a side aren't known."""
    if not mine or not theirs:
        return ""
    changed = [name for name, digest in mine.items() if theirs.get(name, digest) != digest]
    parts = [
        f"{_some(changed)} {'differs' if len(changed) == 1 else 'differ'}" if changed else "",
        *(
            f"only {side} has {_some(names)}" if names else ""
            for side, names in (
                ("the notebook", [name for name in mine if name not in theirs]),
                ("the cluster", [name for name in theirs if name not in mine]),
            )
        ),
    ]
    text = ", ".join(part for part in parts if part)
    return f"{text[:1].upper() if not changed else text[:1]}{text[1:]}." if text else ""


def _some(names: Sequence[str]) -> str:
    shown = sorted(names)[:_SHOWN_FILES]
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)


def listed(versions: Iterable[str]) -> str:
    """Return the versions as one text, each once."""
    return " and ".join(dict.fromkeys(version for version in versions if version))
