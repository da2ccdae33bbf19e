"""What a difference means, by example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.rules import DATA, ORDER, PROTOCOL, TOOLS, equal_versions, rate_status, rate_versions, worst


@pytest.mark.parametrize(
    ("name", "kernel", "cluster", "in_use", "severity"),
    [
        ("python", "3.11.7", "3.12.1", False, "block"),
        ("python", "3.11.7", "3.11.9", False, "note"),
        ("python", "3.11.7", "pypy 3.11.7", False, "block"),
        ("distributed", "2026.8.0", "2026.7.0", False, "block"),
        ("distributed", "2026.8.0", "2026.8.1", False, "warn"),
        ("dask", "2026.8.0", "2025.8.0", False, "block"),
        ("cloudpickle", "3.1.0", "2.2.0", False, "block"),
        ("cloudpickle", "3.1.0", "3.0.0", False, "warn"),
        ("numpy", "2.4.6", "1.26.4", False, "block"),
        ("numpy", "2.4.6", "2.3.0", False, "warn"),
        ("numpy", "2.4.6", "2.4.5", False, "note"),
        ("numpy", "2.4.6", "custom", False, "block"),
        ("polars", "0.20.1", "0.21.0", False, "block"),
        ("ipykernel", "7.0", "6.0", True, "ok"),
        ("mylib", "2.0", "1.0", True, "warn"),
        ("mylib", "2.0", "1.0", False, "note"),
        ("mylib", "2.1", "2.0", True, "note"),
        ("mylib", "1!1.0", "1.0", True, "warn"),
    ],
)
def test_versions(name, kernel, cluster, in_use, severity):
    rating = rate_versions(name, kernel, cluster, in_use=in_use)
    assert rating.severity == severity
    # The same seen from the other side.
    assert rate_versions(name, cluster, kernel, in_use=in_use).severity == severity
    assert rating.severity == "ok" or (rating.why.endswith(".") and rating.fix.endswith("."))


@pytest.mark.parametrize(
    ("status", "name", "in_use", "severity"),
    [
        ("only_kernel", "mylib", True, "block"),
        ("only_kernel", "mylib", False, "note"),
        ("only_kernel", "ipykernel", True, "ok"),
        ("only_cluster", "mylib", False, "note"),
        ("broken", "mylib", True, "block"),
        ("broken", "mylib", False, "warn"),
        ("content_differs", "mylib", True, "warn"),
        ("unknown", "mylib", False, "warn"),
        ("same", "mylib", True, "ok"),
    ],
)
def test_statuses(status, name, in_use, severity):
    rating = rate_status(status, name, in_use=in_use)
    assert rating.severity == severity
    assert rating.severity == "ok" or rating.fix


@given(st.text(max_size=10), st.text(max_size=10), st.sampled_from(["python", "numpy", "dask", "mylib", "pip"]))
def test_no_text_is_a_fault(a, b, name):
    assert rate_versions(name, a, b, in_use=True).severity in ORDER
    assert equal_versions(a, a)
    assert equal_versions(a, b) == equal_versions(b, a)


def test_equality_is_that_of_pep_440():
    assert equal_versions("1.0", "1.0.0")
    assert equal_versions("1.0RC1", "1.0rc1")
    assert equal_versions("v1.0", "1.0")
    assert not equal_versions("1.0", "1.0+cu118")
    assert not equal_versions("1.0", "1.0.post1")
    assert not equal_versions("text", "Text")


def test_the_worst_wins_and_the_lists_are_apart():
    ratings = [rate_status("same", "a", in_use=False), rate_status("broken", "a", in_use=True)]
    assert worst(ratings) is ratings[1]
    assert not TOOLS & (DATA | PROTOCOL)
