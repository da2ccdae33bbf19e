"""Laws of the comparison and of the verdict."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.diff import compare, verdict
from coiled_jupyter.core.environment import Reading, ReadPackage, digest, group, kernel_environment
from coiled_jupyter.core.wire import Diff, Source, Unread

AT = "2026-01-01T00:00:10.000Z"
TAKEN = "2026-01-01T00:00:00.000Z"
NAMES = ["numpy", "pandas", "dask", "distributed", "toolz", "my-lib", "ipykernel", "zope-interface"]
VERSIONS = ["1.0", "1.0.0", "1.1", "2.0", "2026.8.0", "0.3", "odd text"]


def reading(packages: dict[str, ReadPackage], *, python: str = "3.11.7", host: str = "a") -> Reading:
    return Reading(
        python=python,
        implementation="cpython",
        platform="linux-x86_64",
        prefix="/p",
        base_prefix="/p",
        executable="/p/bin/python",
        base_executable="/p/bin/python",
        host=host,
        pid=1,
        packages=tuple(packages[name] for name in sorted(packages)),
    )


def package(name: str, version: str, **rest) -> ReadPackage:
    return ReadPackage(name=name, version=version, **rest)


sources = st.one_of(
    st.none(),
    st.builds(Source, url=st.sampled_from(["file:///x", "https://h/r"]), kind=st.sampled_from(["editable", "vcs"])),
)
packages = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(VERSIONS), st.one_of(st.none(), st.sampled_from(VERSIONS)), sources, st.booleans()),
).map(lambda d: {n: package(n, v, loaded=loaded, source=s, in_use=u) for n, (v, loaded, s, u) in d.items()})
readings = st.builds(reading, packages, python=st.sampled_from(["3.11.7", "3.11.9", "3.12.1"]))


def diff(kernel: Reading | None, workers: dict[str, Reading], *, unread=(), at: str = AT) -> Diff:
    return compare(
        kernel_environment(kernel, "k", TAKEN) if kernel else None,
        group(workers, "worker", taken_at=TAKEN),
        cluster_id="c",
        cluster_name="c",
        kernel_id="k",
        kernel_label="k",
        unread=unread,
        at=at,
    )


@given(readings, readings)
def test_antisymmetric(a, b):
    forth = {row.name: row.status for row in diff(a, {"w": b}).rows}
    back = {row.name: row.status for row in diff(b, {"w": a}).rows}
    mirror = {"only_kernel": "only_cluster", "only_cluster": "only_kernel"}
    assert forth == {name: mirror.get(status, status) for name, status in back.items()}


@given(readings, st.lists(readings, min_size=1, max_size=3), st.randoms())
def test_order_of_nodes_and_packages_is_irrelevant(kernel, nodes, random):
    named = {f"w{i}": node for i, node in enumerate(nodes)}
    shuffled = list(named.items())
    random.shuffle(shuffled)
    assert diff(kernel, dict(shuffled)) == diff(kernel, named)


@given(readings, readings)
def test_round_trip(a, b):
    made = diff(a, {"w": b})
    assert msgspec.json.decode(msgspec.json.encode(made), type=Diff) == made


@given(readings)
def test_alike_is_equal_unless_a_process_runs_something_else(a):
    made = diff(a, {"w": a})
    assert {row.status for row in made.rows} <= {"same", "restart_needed"}
    if all(row.status == "same" for row in made.rows):
        assert made.verdict == "equal"


@given(readings, readings)
def test_never_equal_with_anything_unread_or_old(a, b):
    assert diff(a, {"w": b}, unread=[Unread(node="x", reason="silent")]).verdict != "equal"
    assert diff(a, {"w": b}, at="2026-01-01T00:00:31.000Z").verdict != "equal"
    assert diff(None, {"w": b}).verdict == "unknown"
    assert diff(a, {}).verdict == "unknown"


@given(readings, readings)
def test_the_verdict_follows_the_rows(a, b):
    made = diff(a, {"w": b})
    severities = [row.severity for row in made.rows]
    if "block" in severities:
        assert made.verdict == "breaks"
    elif "warn" in severities or any(row.severity == "note" and row.in_use for row in made.rows):
        assert made.verdict == "differs"
    else:
        assert made.verdict == "equal"
    assert sum(made.counts.values()) == len(made.rows)
    assert made.severities.block == severities.count("block")
    keys = [(["block", "warn", "note", "ok"].index(r.severity), not r.in_use, r.name) for r in made.rows]
    assert keys == sorted(keys)


def test_no_rows_and_no_ages_are_unknown():
    assert verdict([], unread=[], level="all", ages=[1.0]) == "unknown"
    assert verdict([], unread=[], level="all", ages=[]) == "unknown"


def row(made: Diff, name: str):
    return next(r for r in made.rows if r.name == name)


def test_numpy_major_breaks():
    made = diff(reading({"numpy": package("numpy", "2.3.1")}), {"w": reading({"numpy": package("numpy", "1.26.4")})})
    assert (row(made, "numpy").status, row(made, "numpy").severity) == ("differs", "block")
    assert made.verdict == "breaks"


def test_nodes_that_differ_are_split_and_named():
    one, two = reading({"toolz": package("toolz", "1.0")}), reading({"toolz": package("toolz", "2.0")})
    made = diff(one, {"a": one, "b": one, "c": two})
    assert row(made, "toolz").status == "split"
    assert [len(g.nodes) for g in made.cluster.groups] == [2, 1]
    assert made.verdict != "equal"


def test_a_process_that_runs_another_version_must_restart():
    kernel = reading({"toolz": package("toolz", "1.1", loaded="1.0", in_use=True)})
    made = diff(kernel, {"w": reading({"toolz": package("toolz", "1.1")})})
    assert row(made, "toolz").status == "restart_needed"
    assert "kernel still runs 1.0" in row(made, "toolz").why
    assert made.verdict != "equal"


def test_equal_versions_of_other_source_are_not_green():
    editable = Source(url="file:///home/me/lib", kind="editable")
    kernel = reading({"my-lib": package("my-lib", "1.0", source=editable, in_use=True)})
    made = diff(kernel, {"w": reading({"my-lib": package("my-lib", "1.0")})})
    assert row(made, "my-lib").status == "content_differs"
    elsewhere = diff(kernel, {"w": reading({"my-lib": package("my-lib", "1.0", source=editable)}, host="b")})
    assert row(elsewhere, "my-lib").status == "content_differs"
    here = diff(kernel, {"w": reading({"my-lib": package("my-lib", "1.0", source=editable)})})
    assert row(here, "my-lib").status == "same"


def test_python_minor_breaks_and_patch_does_not():
    made = diff(reading({}, python="3.11.7"), {"w": reading({}, python="3.12.1")})
    assert row(made, "python").severity == "block"
    assert row(diff(reading({}, python="3.11.7"), {"w": reading({}, python="3.11.9")}), "python").severity == "note"


def test_an_imported_package_that_workers_lack_breaks():
    made = diff(reading({"polars": package("polars", "1.0", in_use=True)}), {"w": reading({})})
    assert (row(made, "polars").status, made.verdict) == ("only_kernel", "breaks")
    unused = diff(reading({"polars": package("polars", "1.0")}), {"w": reading({})})
    assert unused.verdict == "equal"
    assert row(unused, "polars").severity == "note"


def test_digest_covers_what_is_installed_only():
    a = reading({"toolz": package("toolz", "1.0", loaded="1.0", in_use=True)})
    b = reading({"toolz": package("toolz", "1.0")})
    assert digest(a) == digest(b)
    assert digest(a) != digest(reading({"toolz": package("toolz", "1.1")}))
