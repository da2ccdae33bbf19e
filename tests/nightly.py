"""Which of many alike cases each run tries; the nightly run tries them all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def each_night(cases: Iterable[Any], often: Collection[Any]) -> list[Any]:
    """Return `cases`, of which those that aren't in `often` are tried by the nightly run only."""
    return [
        case
        if case in often
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.nightly)
        for case in cases
    ]
