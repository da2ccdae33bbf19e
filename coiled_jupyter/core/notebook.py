"""Finds the packages that a notebook's source imports, whether or not its cells have run."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Any

import msgspec

from .explain import DISTRIBUTIONS
from .wire import Environment

CELL_LIMIT = 2000
SIZE_LIMIT = 200_000
"""The most characters of one cell that are parsed."""
_LOOSE = re.compile(r"^[ \t]*(?:import|from)[ \t]+([A-Za-z_]\w{0,99})", re.MULTILINE)


def imports(notebook: Any) -> frozenset[str]:
    """Return the top-level modules that the code cells of a notebook (its JSON, hostile) name in imports."""
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    found: set[str] = set()
    for cell in (cells if isinstance(cells, list) else [])[:CELL_LIMIT]:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source")
            text = "".join(map(str, source)) if isinstance(source, list) else str(source or "")
            found |= cell_imports(text)
    return frozenset(found)


def cell_imports(text: str) -> set[str]:
    """Return the top-level modules that one cell names in imports."""
    text = text[:SIZE_LIMIT]
    if text.lstrip().startswith("%%") and not text.lstrip().startswith(("%%time", "%%capture", "%%coiled")):
        # Code of another language, or the content of a file.
        return set()
    # Magics and shell lines aren't Python.
    plain = re.sub(r"(?m)^[ \t]*[%!?].*$", "pass", text)
    try:
        tree = ast.parse(plain)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(_LOOSE.findall(plain))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def distributions_of(modules: Collection[str]) -> set[str]:
    """Return the distributions that top-level modules may belong to."""
    names = {name.replace("_", "-").lower() for name in modules}
    return names | {name for module in modules for name in DISTRIBUTIONS.get(module, ())}


def with_imports(environment: Environment, modules: frozenset[str]) -> Environment:
    """Return the environment with the packages of these modules marked as in use."""
    names = distributions_of(modules)
    packages = tuple(
        msgspec.structs.replace(package, in_use=True) if package.name in names and not package.in_use else package
        for package in environment.packages
    )
    return msgspec.structs.replace(environment, packages=packages)
