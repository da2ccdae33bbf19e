"""Finds the packages that a notebook's source imports, whether or not its cells have run."""

from __future__ import annotations

import ast
import re
from typing import Any

CELL_LIMIT = 2000
SIZE_LIMIT = 200_000
"""The most characters of one cell that are parsed."""
PARTS = 3
"""As deep as namespaces go in which distributions lie: ``azure.storage.blob``."""
_LOOSE = re.compile(r"^[ \t]*(?:import|from)[ \t]+([A-Za-z_][\w.]{0,199})", re.MULTILINE)


def imports(notebook: Any) -> frozenset[str]:
    """Return the modules that the code cells of a notebook (its JSON, hostile) name in imports, as `cell_imports`."""
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    sources = []
    for cell in (cells if isinstance(cells, list) else [])[:CELL_LIMIT]:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source")
            sources.append("".join(map(str, source)) if isinstance(source, list) else str(source or ""))
    return frozenset().union(*map(cell_imports, sources))


def cell_imports(text: str) -> set[str]:
    """Return the modules that one cell names in imports: top-level ones, and names two levels below them."""
    text = text[:SIZE_LIMIT]
    if text.lstrip().startswith("%%") and not text.lstrip().startswith(("%%time", "%%capture", "%%coiled")):
        # Code of another language, or the content of a file.
        return set()
    # Magics and shell lines aren't Python.
    plain = re.sub(r"(?m)^[ \t]*[%!?].*$", "pass", text)
    try:
        tree = ast.parse(plain)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set().union(*map(_upper, _LOOSE.findall(plain)))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(*(_upper(alias.name) for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(*(_upper(f"{node.module}.{alias.name}") for alias in node.names))
    return found


def _upper(name: str) -> set[str]:
    parts = name.rstrip(".").split(".")[:PARTS]
    return {".".join(parts[: length + 1]) for length in range(len(parts))}
