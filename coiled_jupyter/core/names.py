"""Spells names of distributions as PEP 503 does, without what `packaging` imports for that."""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[-_.]+")


def normal(name: str) -> str:
    """Return a name as PEP 503 spells it."""
    return _SEPARATORS.sub("-", name).lower()
