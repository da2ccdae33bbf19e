"""No module is imported, however indirectly, by one that it imports: also not in a function or for types only."""

from __future__ import annotations

import grimp
import pytest


def cycles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Return each set of modules that reach one another, by Tarjan's algorithm."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            if imported not in number:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], number[imported])
        if lowest[module] == number[module]:
            at = stack.index(module)
            if len(stack) > at + 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for module in sorted(graph.modules):
        if module not in number:
            visit(module)
    return found


def test_no_module_is_in_a_cycle():
    graph = grimp.build_graph("coiled_jupyter", cache_dir=None)
    # The package itself only hands out what lies above it, to who asks for it.
    for above in graph.find_modules_directly_imported_by("coiled_jupyter"):
        graph.remove_import(importer="coiled_jupyter", imported=above)
    assert cycles(graph) == []


@pytest.mark.parametrize(
    "text",
    [
        "from . import first",
        "def later():\n    from .first import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .first import x",
    ],
)
def test_a_cycle_is_found_wherever_its_import_is_written(text, tmp_path, monkeypatch):
    package = tmp_path / "cj_cycle"
    package.mkdir()
    for name, body in (("__init__", ""), ("first", "from . import second\nx = 1"), ("second", text), ("third", "")):
        (package / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    assert cycles(grimp.build_graph("cj_cycle", cache_dir=None)) == [["cj_cycle.first", "cj_cycle.second"]]
