"""Which differences keep a cell from running on a cluster: those that break its imports, its values, or every task."""

from __future__ import annotations

from collections.abc import Collection

from .change.goals import SCHEDULER_BOUND
from .uses import distributions_of
from .wire import Diff, Row


def in_the_way(diff: Diff, modules: Collection[str]) -> tuple[Row, ...]:
    """Return the rows at ``breaks`` that concern a cell.

    Parameters
    ----------
    modules
        Modules that the cell imports, and those of the types of the values that go along.

    """
    names = distributions_of(modules) | SCHEDULER_BOUND
    return tuple(
        row
        for row in diff.rows
        if row.severity == "breaks" and (row.name in names or not set(row.modules).isdisjoint(modules))
    )
