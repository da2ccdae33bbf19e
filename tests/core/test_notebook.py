"""What a notebook's source imports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.notebook import imports

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
        ("import numpy as np, pandas.core", {"numpy", "pandas", "pandas.core"}),
        (
            "from sklearn.linear_model import X\nfrom . import own",
            {"sklearn", "sklearn.linear_model", "sklearn.linear_model.X"},
        ),
        (
            "from google import protobuf\nimport google.cloud.storage.blob",
            {"google", "google.protobuf", "google.cloud", "google.cloud.storage"},
        ),
        ("from azure.storage import blob", {"azure", "azure.storage", "azure.storage.blob"}),
        (["import a\n", "import b"], {"a", "b"}),
        ("%pip install x\n!ls\nimport yaml", {"yaml"}),
        ("%%time\nimport a", {"a"}),
        ("%%bash\nimport a", set()),
        ("def f():\n    import late", {"late"}),
        ("import broken\nfrom google.protobuf import x\nx = (", {"broken", "google", "google.protobuf"}),
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
