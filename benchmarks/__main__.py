"""Measures everything: ``python -m benchmarks [--quick] [--write]``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import cluster, content, diff, imports, kernel, page, panes, probe, readings, sealing, service, sync, traffic
from .table import machine, markdown, shown

_HEAD = """# Benchmarks

Written by `scripts/bench --write`; all figures are medians. Two figures in one row were measured alternately in the same run.

"""


def main() -> int:
    """Measure, print, and exit with 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, to see that it runs")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    # Imports are measured as users have them.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    figures = []
    for module, rounds in (
        (imports, 9),
        (diff, 9),
        (probe, 7),
        (content, 3),
        (kernel, 7),
        (readings, 5),
        (cluster, 5),
        (service, 5),
        (page, 7),
        (traffic, 2),
        (panes, 3),
        (sealing, 5),
        (sync, 3),
    ):
        made = module.measure(1 if arguments.quick else rounds)
        print(shown(made), flush=True)
        figures += made
    if arguments.write:
        Path(__file__).with_name("RESULTS.md").write_text(
            f"{_HEAD}{machine()}\n\n{markdown(figures)}", encoding="utf-8"
        )
    return int(not arguments.quick and any(figure.kept is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
