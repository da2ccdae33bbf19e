"""The benchmarks run; what they measure is looked at by people, since CI machines differ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.nightly
def test_quick():
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for what in (
        "Import of the server extension",
        "Probe of 1000 distributions",
        "files of 300 distributions",
        "reading of 50 workers",
        "cluster of 2 workers is ready",
        "Sync of 2 workers",
        "Undo of it",
        "1000 rows in the panel",
        "Traffic of a minute",
        "Task stream of 100000 spans",
    ):
        assert what in done.stdout
