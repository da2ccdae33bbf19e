"""How long tests wait for what must come: where it comes, longer patience costs nothing."""

from __future__ import annotations

import time

PATIENCE = 3
"""How much slower than a quiet machine one may be on which tests, and whatever else runs there, share the processor."""


def deadline(seconds: float) -> float:
    """Return the time (`time.monotonic`) by which something has come that takes at most `seconds` on a quiet machine."""
    return time.monotonic() + PATIENCE * seconds
