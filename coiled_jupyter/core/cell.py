"""Which differences keep a cell from running on a cluster: those that break its imports, its values, or every task."""

from __future__ import annotations

from collections.abc import Collection

from .notebook import distributions_of
from .plan import SCHEDULER_BOUND
from .wire import Diff, Row


def in_the_way(diff: Diff, modules: Collection[str]) -> tuple[Row, ...]:
    """Return the rows at ``block`` that concern a cell.

    Parameters
    ----------
    modules
        Top-level modules that the cell imports, and those of the types of the values that go along.

    """
    names = distributions_of(modules) | SCHEDULER_BOUND
    return tuple(row for row in diff.rows if row.severity == "block" and row.name in names)
