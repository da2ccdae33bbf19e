"""Checks requirement lines: names, extras, versions and markers; never an option, a URL, a path or code."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement

from ..core.errors import Invalid
from ..core.names import normal


def check(lines: Iterable[str], *, field: str = "requirements") -> tuple[str, ...]:
    """Return the lines in normal form; nothing is fetched or executed.

    Raises
    ------
    Invalid
        A line isn't a plain requirement; `field` names its position, such as ``requirements[2]``.

    """
    checked = []
    for position, line in enumerate(lines):
        where = f"{field}[{position}]"
        if not line.isascii() or not line.isprintable() or len(line) > 500:
            raise Invalid(where, "A requirement is one short line of plain text, such as numpy==1.26.4")
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            raise Invalid(
                where, f"{line[:80]!r} isn't a requirement", "Write a name and a version, such as numpy==1.26.4"
            ) from None
        if requirement.url is not None:
            raise Invalid(
                where,
                f"{requirement.name} names a URL, which would be fetched and executed",
                "Write a name and a version",
            )
        checked.append(str(requirement))
    return tuple(checked)


def names(lines: Iterable[str]) -> frozenset[str]:
    """Return the names of the distributions that checked lines require, as PEP 503 spells them."""
    return frozenset(normal(Requirement(line).name) for line in lines)
