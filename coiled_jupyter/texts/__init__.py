"""Texts that are evaluated in other processes: one self-contained, stdlib-only file each, Python 3.8 and newer."""

from functools import cache
from pathlib import Path


@cache
def source(name: str) -> str:
    """Return the source of the text `name`, such as ``probe``."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
