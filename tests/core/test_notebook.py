"""What a notebook's source imports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.notebook import imports, with_imports
from coiled_jupyter.core.wire import Environment, Package

anything = st.recursive(
    st.none() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


def notebook(*sources, kind="code"):
    return {"cells": [{"cell_type": kind, "source": source} for source in sources]}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import numpy as np, pandas.core", {"numpy", "pandas"}),
        ("from sklearn.linear_model import X\nfrom . import own", {"sklearn"}),
        (["import a\n", "import b"], {"a", "b"}),
        ("%pip install x\n!ls\nimport yaml", {"yaml"}),
        ("%%time\nimport a", {"a"}),
        ("%%bash\nimport a", set()),
        ("def f():\n    import late", {"late"}),
        ("import broken\nx = (", {"broken"}),
        ("# import no\n'import no'", set()),
    ],
)
def test_imports_of_cells(source, found):
    assert imports(notebook(source)) == found


def test_text_is_no_code():
    assert imports(notebook("import a", kind="markdown")) == frozenset()


@given(anything)
def test_any_json_is_survived(value):
    imports(value)
    imports({"cells": value})
    imports({"cells": [{"cell_type": "code", "source": value}]})


def test_packages_are_marked_by_their_modules():
    environment = Environment(
        id="k", role="kernel", host="h", prefix="/p", python="3.11.7", implementation="cpython", platform="linux-x86_64",
        packages=tuple(Package(name=name, version="1") for name in ("pyyaml", "numpy", "typing-extensions")),
        problems=(), level="all", digest="d", nodes=("k",), taken_at="2026-01-01T00:00:00.000Z",
    )  # fmt: skip
    marked = with_imports(environment, frozenset({"yaml", "typing_extensions"}))
    assert {package.name for package in marked.packages if package.in_use} == {"pyyaml", "typing-extensions"}
