"""The commands `status`, `diff` and `explain`."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from ..activity import doing
from ..core.compare.verdict import headline
from ..core.errors import Invalid
from ..core.wire import Diff, ExplainRequest, Explanation, Row
from ..service.facade import Service
from .base import DONE, FAILED, UNREAD, Output, body
from .clusters import meant, tell_clusters

TEXT_LIMIT = 200_000
"""Characters of a failure, as the REST API takes them."""
CONTENT_SECONDS = 60.0
_ORDER = ("breaks", "risky", "minor", "same")
_COUNTED = (("breaks", "will break"), ("risky", "risky"), ("minor", "minor"), ("same", "the same"))
MARKS = {"breaks": "✕", "risky": "!", "minor": "+", "same": "✓"}
SIGNS = {"breaks": "✕", "risky": "!", "compatible": "✓", "equal": "✓", "unknown": "?"}


async def status(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    """Print clusters and core usage."""
    usage = service.clusters.usage()
    out.value(usage)
    cores = usage.cores
    out.line(f"Cores: {cores.busy} busy, {cores.allocated} allocated, {cores.requested} requested, limit {cores.limit}")
    tell_clusters(service.clusters.all(), out)
    return DONE


async def diff(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    """Compare this interpreter, or kernel, with a cluster."""
    async with meant(service, arguments) as cluster:
        with doing(f"Comparing with {cluster.name}"):
            found = await _compared(service, cluster.id, arguments.software)
    out.value(found)
    _tell_diff(found, out, everything=arguments.all, software=arguments.software)
    limit = _ORDER.index(arguments.fail_on) if arguments.fail_on else -1
    if any(_ORDER.index(row.severity) <= limit for row in found.rows):
        return FAILED
    return UNREAD if found.verdict == "unknown" else DONE


async def _compared(service: Service, cluster_id: str, software: str | None) -> Diff:
    """Return a diff that includes the comparison of files, if that ends in time."""
    deadline = time.monotonic() + CONTENT_SECONDS
    while True:
        diff = await service.comparing.diff(cluster_id, software=software)
        waiting = diff.verdict == "unknown" and diff.level == "all" and not diff.unread and not diff.checked.content
        if not waiting or time.monotonic() > deadline:
            return diff
        await asyncio.sleep(0.2)


async def explain(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    """Find the differences behind a traceback or Dask's mismatch warning."""
    text = _text(arguments.file) if arguments.file is not None else await out.text()
    if not text.strip():
        raise Invalid(
            "file", "There is no text to explain", "Pass the traceback, or Dask's warning, as a file or through a pipe"
        )
    async with meant(service, arguments) as cluster:
        with doing(f"Comparing with {cluster.name}"):
            explanation = await service.comparing.explain(body({"cluster": cluster.id, "text": text}, ExplainRequest))
    out.value(explanation)
    _tell_explanation(explanation, out)
    return UNREAD if explanation.verdict == "unknown" and not explanation.causes else DONE


def _text(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            # One character more than is allowed, so that a longer text is refused and not cut.
            return file.read(TEXT_LIMIT + 1)
    except (OSError, ValueError):
        raise Invalid("file", f"{path} can't be read", "Name a file with the traceback") from None


def _tell_diff(diff: Diff, out: Output, *, everything: bool, software: str | None) -> None:
    out.line(f"{diff.kernel.label} · Python {diff.kernel.python}  against  {diff.cluster.name}")
    out.line(f"{SIGNS[diff.verdict]} {headline(diff)}")
    for unread in diff.unread:
        out.line(f"? {unread.node}: {unread.reason}")
    rows = told_rows(diff, everything=everything)
    table = [("", "Package", "Here", "Cluster", software or "", "Why"), *(_cells(row) for row in rows)]
    # The third column is there on request.
    columns = [i for i in range(6) if i != 4 or software is not None]
    widths = [max(len(line[i]) for line in table) for i in range(5)] + [0]
    for line in table if rows else ():
        out.line("  ".join(line[i].ljust(widths[i]) for i in columns).rstrip())
    out.line(_rest(diff, len(rows)))


def told_rows(diff: Diff, *, everything: bool) -> list[Row]:
    """Return the rows to show: those that matter to the notebook, or all."""
    return [row for row in diff.rows if everything or row.matters or row.severity in ("breaks", "risky")]


def _rest(diff: Diff, told: int) -> str:
    """Return how many rows there are of each kind, and how those that aren't shown are."""
    counts = [f"{count} {word}" for key, word in _COUNTED if (count := getattr(diff.severities, key))]
    more = "; --all shows them too" if told < len(diff.rows) else ""
    return f"{', '.join(counts) or 'No packages'}{more}"


def _tell_explanation(explanation: Explanation, out: Output) -> None:
    out.line(explanation.text)
    for cause in explanation.causes:
        out.line(f"{MARKS[cause.row.severity]} {cause.row.name}: {cause.why}")
        out.line(f"    seen: {cause.evidence}")
        out.line(f"    fix:  {cause.row.fix}")


def cluster_versions(row: Row) -> str:
    """Return the versions of a package that a cluster's groups have, ``-`` where one lacks it; empty without groups."""
    return " / ".join(sorted({group.version or "-" for group in row.groups}))


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    here = row.kernel.version if row.kernel else "-"
    software = row.software.version if row.software else "-"
    return MARKS[row.severity], row.name, here, cluster_versions(row) or "-", software, row.why
