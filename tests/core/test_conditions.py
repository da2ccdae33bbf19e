"""What results depend on besides code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coiled_jupyter.core.compare.verdict import headline
from coiled_jupyter.core.rules import RuleFile, combine
from tests.core.test_compare import compared, env_of, looked_at, some

SAME = {"PYTHONOPTIMIZE": "0", "PYTHONHASHSEED": "6640", "TZ": "UTC+0", "LC_CTYPE": "utf-8"}


def place(role: str = "worker", nodes: int = 1, **conditions: str):
    made = looked_at(env_of(some(), role=role, nodes=nodes))
    return replace(made, id=f"{role}-{sorted(conditions.items())}", conditions={**SAME, **conditions})


def diff(kernel, *workers, **rest):
    return compared(kernel, [place("scheduler"), *workers], **rest)


def row(found, name: str):
    return next(row for row in found.rows if row.name == name)


@pytest.mark.parametrize(
    ("name", "here", "there", "severity", "words"),
    [
        ("PYTHONOPTIMIZE", "0", "1", "risky", "assert statements are left out"),
        ("LC_CTYPE", "utf-8", "ascii", "risky", "read as utf-8 here and as ascii on the workers"),
        ("LC_COLLATE", "C", "de_DE.UTF-8", "minor", "may sort"),
        ("TZ", "CET+1/CEST+2", "UTC+0", "minor", "local time"),
        ("DASK_DATAFRAME__QUERY_PLANNING", "true", "false", "minor", "may work otherwise"),
    ],
)
def test_a_condition_that_differs_is_a_row_with_a_rule(name, here, there, severity, words):
    found = diff(place("kernel", **{name: here}), place(**{name: there}))
    condition = row(found, name)
    assert (condition.status, condition.severity, condition.condition) == ("differs", severity, True)
    assert words in condition.why
    assert (condition.kernel.version, {g.version for g in condition.groups}) == (here, {there})
    assert found.verdict == {"risky": "risky", "minor": "compatible"}[severity]
    assert (
        headline(found)
        == {
            "risky": "1 difference may give other results on c",
            "minor": "No known problem on c",
        }[severity]
    )


def test_what_is_set_on_one_side_only_is_told():
    found = row(diff(place("kernel", DASK_ARRAY__CHUNK_SIZE="1MiB"), place()), "DASK_ARRAY__CHUNK_SIZE")
    assert (found.kernel.version, found.groups[0].version) == ("1MiB", "not set")


@pytest.mark.parametrize(
    ("seeds", "status"),
    [
        ([("6640", 5)], "same"),
        ([("random", 1)], "same"),
        ([("random", 2)], "differs"),
        ([("6640", 1), ("random", 1)], "split"),
        ([("1", 1), ("2", 1)], "split"),
    ],
)
def test_seeds_of_hash_matter_between_workers_and_not_to_the_notebook(seeds, status):
    workers = [place(nodes=nodes, PYTHONHASHSEED=seed) for seed, nodes in seeds]
    found = diff(place("kernel", PYTHONHASHSEED="random"), *workers)
    seed = row(found, "PYTHONHASHSEED")
    assert (seed.status, seed.severity) == (status, {"same": "same", "differs": "minor", "split": "risky"}[status])
    assert found.verdict == {"same": "equal", "differs": "compatible", "split": "risky"}[status]


def test_workers_of_several_hosts_are_several_processes():
    workers = [replace(place(PYTHONHASHSEED="random"), id=host, host=host) for host in "ab"]
    assert row(diff(place("kernel"), *workers), "PYTHONHASHSEED").severity == "risky"


def test_two_platforms_are_never_equal():
    other = replace(place(), platform="macosx-11.0-arm64")
    found = diff(place("kernel"), other)
    assert (row(found, "platform").severity, found.verdict) == ("minor", "compatible")
    scheduler = replace(place("scheduler"), platform="macosx-11.0-arm64")
    assert compared(place("kernel"), [scheduler, place()]).verdict == "compatible"


def test_a_user_ignores_a_condition_as_a_package():
    rules = combine(user=RuleFile(ignore=("TZ",)))
    found = diff(place("kernel", TZ="CET+1"), place(), rules=rules)
    assert row(found, "TZ").severity == "same"


values = st.dictionaries(st.sampled_from([*SAME, "DASK_ARRAY__X"]), st.sampled_from(["0", "1", "random", "utf-8"]))


@given(values, values)
def test_equal_only_where_nothing_that_matters_differs(here, there):
    found = diff(place("kernel", **here), place(**there))
    mine, theirs = {**SAME, **here}, {**SAME, **there}
    same = {k: v for k, v in mine.items() if k != "PYTHONHASHSEED"} == {
        k: v for k, v in theirs.items() if k != "PYTHONHASHSEED"
    }
    assert (found.verdict == "equal") == same
