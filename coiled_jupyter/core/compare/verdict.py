"""Decides what a comparison means as a whole.

The verdict's law: a row that breaks → breaks; else anything unread, old or not read in full → unknown; else a risky row,
or one of a package that the notebook has imported and that isn't the same → risky; else a row that isn't the same →
compatible; else equal. Nothing else is ever green.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..wire import Diff, Environment, Level, Row, Unread, Verdict

STALE_SECONDS = 30.0
FUTURE_SECONDS = 1.0
"""By how much a reading may come after the present: it is dated when it ends, by rounded times."""
UNKNOWN = "Can't tell yet: not everything could be read"
CONTENT_SECONDS = 60.0
"""How long a look at files holds; it's made every 20 seconds, unless a disk hangs."""


def verdict(
    rows: Iterable[Row],
    *,
    unread: Sequence[Unread],
    level: Level,
    ages: Sequence[float | None],
    content: bool = False,
    stale: float = STALE_SECONDS,
) -> tuple[Verdict, int]:
    """Apply the verdict's law; return the verdict and how many rows it is due to.

    `content` is whether the files of every place have been looked at; without that nothing is but broken or unknown.
    """
    rows = list(rows)
    breaking = sum(row.severity == "breaks" for row in rows)
    if breaking:
        return "breaks", breaking
    if unread or level != "all" or not ages or not all(holds(seconds, stale) for seconds in ages):
        return "unknown", 0
    if not content or not rows or any(row.status == "unknown" and row.severity != "same" for row in rows):
        return "unknown", 0
    risky = sum(_is_risky(row) for row in rows)
    if risky:
        return "risky", risky
    if all(row.status == "same" for row in rows):
        return "equal", 0
    # What is rated to make no difference, such as a tool of the notebook's, is not counted.
    return "compatible", sum(row.severity == "minor" and not row.condition for row in rows)


def _is_risky(row: Row) -> bool:
    # Every notebook names Python; a rule says what another patch release means.
    return row.severity == "risky" or (row.severity == "minor" and row.use == "imported" and row.name != "python")


def headline(diff: Diff) -> str:
    """Return a diff's verdict as one line, which names the cluster."""
    count, name = diff.deciding, diff.cluster.name
    what = "difference" if any(row.condition and row.severity == diff.verdict for row in diff.rows) else "package"
    packages = f"{count} {what}" + ("" if count == 1 else "s")
    return {
        "breaks": f"{packages} will break on {name}",
        "risky": f"{packages} may give other results on {name}",
        "compatible": f"No known problem on {name}"
        + (f" · {packages} {'differs' if count == 1 else 'differ'}" if count else ""),
        "equal": f"Same packages on {name}",
        "unknown": UNKNOWN,
    }[diff.verdict]


def holds(seconds: float | None, limit: float) -> bool:
    """Whether a reading of this age still holds; one from the future was dated by a clock that has been set back."""
    return seconds is not None and -FUTURE_SECONDS <= seconds <= limit


def level(environments: Sequence[Environment]) -> Level:
    """Return how much was read of all of these places: the least that was of any."""
    levels = {environment.level for environment in environments}
    return "none" if "none" in levels else "versions" if "versions" in levels else "all"


def unread_parts(environment: Environment) -> Iterable[Unread]:
    """Name what of a place that was read could not be."""
    node = "kernel" if environment.role == "kernel" else environment.nodes[0] if environment.nodes else "cluster"
    for problem in environment.problems:
        if problem.kind == "truncated":
            yield Unread(node=node, reason="The list of packages was cut: there are more than can be compared")
        elif problem.kind == "unreadable":
            of = f" of {problem.package}" if problem.package else ""
            yield Unread(node=node, reason=f"Could not be read{of}: {problem.where}")
        elif problem.kind == "edited" and problem.package is None:
            yield Unread(node=node, reason=f"Changed after its installation, and of no known package: {problem.where}")
