"""Figures and how they are written down."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

median = statistics.median


@dataclass(frozen=True)
class Figure:
    """One measurement, beside another of the same run where there is one; in seconds, or in another `unit`."""

    what: str
    seconds: float
    beside: str = ""
    other: float | None = None
    limit: float | None = None
    """The most that `ratio` (without `other`: `seconds`) is meant to be; None where nothing is promised."""

    unit: str = "ms"

    def shown(self, value: float) -> str:
        """Return a value of this figure with its unit."""
        return f"{1000 * value:.1f} ms" if self.unit == "ms" else f"{value:.0f} {self.unit}"

    @property
    def ratio(self) -> float | None:
        """How many times the other figure this one is."""
        return None if self.other is None else self.seconds / self.other

    @property
    def kept(self) -> bool | None:
        """Whether the promise holds."""
        value = self.seconds if self.ratio is None else self.ratio
        return None if self.limit is None else value <= self.limit


def markdown(figures: Iterable[Figure]) -> str:
    """Return a table in Markdown."""
    lines = ["| Measured | | Compared with | | Ratio | Target | |", "|---|--:|---|--:|--:|--:|---|"]
    for figure in figures:
        ratio = figure.ratio
        target = "" if figure.limit is None else f"{figure.limit:g}" if ratio else figure.shown(figure.limit)
        cells = [
            figure.what,
            figure.shown(figure.seconds),
            figure.beside,
            "" if figure.other is None else figure.shown(figure.other),
            "" if ratio is None else f"{ratio:.2f}",
            target,
            {None: "", True: "kept", False: "**missed**"}[figure.kept],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Return what the figures depend on."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def shown(figures: Sequence[Figure]) -> str:
    """Return lines for a terminal."""
    lines = []
    for figure in figures:
        ratio = "" if figure.ratio is None else f"  {figure.ratio:.2f} times {figure.beside}"
        verdict = {None: "", True: "  kept", False: "  MISSED"}[figure.kept]
        lines.append(f"{figure.shown(figure.seconds):>12}  {figure.what}{ratio}{verdict}")
    return "\n".join(lines)
