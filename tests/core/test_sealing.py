"""When sealed graphs spare a scheduler, and when they can't be sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.sealing import covers, is_sealed, obstacle
from coiled_jupyter.core.wire import Diff, Environment
from tests.core.test_compare import AT, TAKEN, env_of, some

SCHEDULER = "Scheduler-1"


def made(kernel: Environment, *groups: Environment, sealing: bool = True) -> Diff:
    looked = [replace(environment, content_at=TAKEN) for environment in (kernel, *groups)]
    return compare(
        looked[0],
        looked[1:],
        cluster_id="c",
        cluster_name="c",
        kernel_id="k",
        kernel_label="k",
        at=AT,
        scheduler=SCHEDULER,
        sealing=sealing,
    )


def places(name: str, here: str | None, there: str | None, *, kernel=(SCHEDULER,), worker=("*",)):
    mine = [some(here, name, use="imported")] if here else []
    return (
        env_of(*mine, role="kernel", sealed=kernel),
        env_of(*mine, sealed=worker),
        env_of(*([some(there, name)] if there else []), role="scheduler"),
    )


@pytest.mark.parametrize(("here", "there"), [("2.1.3", "1.26.4"), ("2.1.3", None), (None, "1.26.4")])
def test_what_a_scheduler_passes_on_is_no_difference_to_a_sealed_notebook(here, there):
    diff = made(*places("numpy", here, there))
    row = next(row for row in diff.rows if row.name == "numpy")
    assert row.severity == "same"
    assert "sealed" in row.why
    assert diff.verdict == "compatible"
    assert not diff.unsealed


@pytest.mark.parametrize("seen", [{"kernel": ()}, {"kernel": ("Scheduler-2",)}, {"worker": ()}])
def test_without_a_seal_on_both_sides_the_scheduler_counts(seen):
    diff = made(*places("numpy", "2.1.3", "1.26.4", **seen))
    row = next(row for row in diff.rows if row.name == "numpy")
    assert row.severity == "breaks"
    assert row.fix.startswith("Send this notebook's graphs sealed")
    assert diff.unsealed
    # Of a cluster that no sync has made one for sealed graphs, that is no advice.
    plain = made(*places("numpy", "2.1.3", "1.26.4", **seen), sealing=False)
    assert not plain.unsealed
    assert "sealed" not in next(row for row in plain.rows if row.name == "numpy").fix


@pytest.mark.parametrize("name", ["dask", "distributed", "cloudpickle", "msgpack", "python", "lz4"])
def test_what_the_scheduler_runs_itself_always_counts(name):
    assert not covers(name)
    sealed = made(*places(name, "2.0", "1.0"))
    plain = made(*places(name, "2.0", "1.0", kernel=(), worker=()), sealing=False)
    of = [[row.severity for row in diff.rows if row.name == name] for diff in (sealed, plain)]
    assert of[0] == of[1]


@given(st.lists(st.booleans(), max_size=4), st.booleans())
def test_a_cluster_is_sealed_only_where_all_that_send_to_it_are(workers, kernel):
    groups = [env_of(sealed=("*",) if sealed else ()) for sealed in workers]
    mine = env_of(role="kernel", sealed=(SCHEDULER,) if kernel else ())
    assert is_sealed(mine, groups, SCHEDULER) == (kernel and bool(workers) and all(workers))
    assert not is_sealed(mine, groups, None)


@pytest.mark.parametrize(
    ("here", "there", "possible"),
    [
        ("2026.8.0", "2026.8.0", True),
        ("2026.8.0", "2025.4.0", True),
        ("2025.3.0", "2024.12.1", True),
        ("2024.5.2", "2023.4.0", True),
        ("2024.12.0", "2024.11.2", False),
        ("2025.4.0", "2025.3.0", False),
        ("2023.3.0", "2023.3.0", False),
        ("odd", "2026.8.0", False),
        ("", "2026.8.0", False),
    ],
)
def test_both_sides_have_to_send_graphs_in_the_same_form(here, there, possible):
    kernel = env_of(*([some(here, "distributed")] if here else []), role="kernel")
    why = obstacle(kernel, env_of(some(there, "distributed"), role="scheduler"))
    assert (why is None) == possible, why
