"""Laws of the comparison and of the verdict."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.compare.packages import OLDER
from coiled_jupyter.core.compare.verdict import headline, verdict
from coiled_jupyter.core.groups import digest, group, kernel_environment
from coiled_jupyter.core.reading import Reading, ReadPackage
from coiled_jupyter.core.rules import RuleFile, combine
from coiled_jupyter.core.times import ago
from coiled_jupyter.core.wire import Diff, Environment, Loaded, Package, Problem, Source, Unread
from coiled_jupyter.texts import probe

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


USES = st.sampled_from(["", "loaded", "imported"])
sources = st.one_of(
    st.none(),
    st.builds(Source, url=st.sampled_from(["file:///x", "https://h/r"]), kind=st.sampled_from(["editable", "vcs"])),
)
packages = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(VERSIONS), st.one_of(st.none(), st.sampled_from(VERSIONS)), sources, USES),
).map(lambda d: {n: package(n, v, loaded=loaded, source=s, use=u) for n, (v, loaded, s, u) in d.items()})
readings = st.builds(reading, packages, python=st.sampled_from(["3.11.7", "3.11.9", "3.12.1"]))


def looked_at(environment: Environment) -> Environment:
    return replace(environment, content_at=TAKEN)


def diff(kernel: Reading | None, workers: dict[str, Reading], *, unread=(), at: str = AT, scheduler=None) -> Diff:
    groups = group(workers, "worker", taken_at=TAKEN)
    if scheduler is not None:
        groups += group({"s": scheduler}, "scheduler", taken_at=TAKEN)
    mine = looked_at(kernel_environment(kernel, "k", TAKEN)) if kernel else None
    return compared(mine, [looked_at(g) for g in groups], unread=unread, at=at)


def compared(
    kernel: Environment | None, groups: list[Environment], *, unread=(), at: str = AT, rules=None, seen=None
) -> Diff:
    return compare(
        kernel,
        groups,
        rules=rules,
        seen=seen,
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
    made = diff(a, {"w": a}, scheduler=a)
    assert {row.status for row in made.rows} <= {"same", "restart_needed"}
    if all(row.status == "same" for row in made.rows):
        assert made.verdict == "equal"


@given(readings, readings)
def test_never_equal_with_anything_unread_or_old(a, b):
    assert diff(a, {"w": b}, unread=[Unread(node="x", reason="silent")]).verdict != "equal"
    assert diff(a, {"w": b}, at="2026-01-01T00:00:31.000Z").verdict != "equal"
    # A reading of now, whose files were looked at long ago: the disk may hang.
    now = [replace(e, taken_at="2026-01-01T00:01:01.000Z") for e in group({"w": b}, "worker", taken_at=TAKEN)]
    mine = replace(looked_at(kernel_environment(a, "k", TAKEN)), taken_at="2026-01-01T00:01:01.000Z")
    assert compared(mine, [looked_at(e) for e in now], at="2026-01-01T00:01:01.000Z").verdict != "equal"
    assert diff(None, {"w": b}).verdict == "unknown"
    assert diff(a, {}).verdict == "unknown"


@given(readings, readings)
def test_the_verdict_follows_the_rows(a, b):
    made = diff(a, {"w": b}, scheduler=b)
    severities = [row.severity for row in made.rows]
    if "breaks" in severities:
        assert made.verdict == "breaks"
    elif "risky" in severities or any(
        row.severity == "minor" and row.use == "imported" and row.name != "python" for row in made.rows
    ):
        assert made.verdict == "risky"
    else:
        assert made.verdict == ("equal" if {row.status for row in made.rows} <= {"same"} else "compatible")
    assert sum(made.counts.values()) == len(made.rows)
    assert made.severities.breaks == severities.count("breaks")
    keys = [(["breaks", "risky", "minor", "same"].index(r.severity), not r.in_use, r.name) for r in made.rows]
    assert keys == sorted(keys)


@given(readings, st.sampled_from(["worker", "scheduler"]))
def test_a_cluster_without_a_worker_or_a_scheduler_is_never_equal(a, role):
    (only,) = (looked_at(one) for one in group({"n": a}, role, taken_at=TAKEN))
    made = compared(looked_at(kernel_environment(a, "k", TAKEN)), [only])
    assert made.verdict in ("unknown", "breaks")
    (told,) = made.unread
    assert told.node == {"worker": "scheduler", "scheduler": "workers"}[role]


@given(readings, st.floats(1.1, 1e6))
def test_a_reading_from_the_future_is_never_equal(a, seconds):
    """A clock that was set back would make what is old look new for hours."""
    later = ago(AT, -seconds)
    for field in ("taken_at", "content_at"):
        sides = [
            replace(looked_at(e), **{field: later})
            for role in ("worker", "scheduler")
            for e in group({role: a}, role, taken_at=TAKEN)
        ]
        made = compared(looked_at(kernel_environment(a, "k", TAKEN)), sides)
        assert made.verdict != "equal"


def test_no_rows_and_no_ages_are_unknown():
    assert verdict([], unread=[], level="all", ages=[1.0]) == ("unknown", 0)
    assert verdict([], unread=[], level="all", ages=[]) == ("unknown", 0)


def row(made: Diff, name: str):
    return next(r for r in made.rows if r.name == name)


def test_numpy_major_breaks():
    made = diff(reading({"numpy": package("numpy", "2.3.1")}), {"w": reading({"numpy": package("numpy", "1.26.4")})})
    assert (row(made, "numpy").status, row(made, "numpy").severity) == ("differs", "breaks")
    assert made.verdict == "breaks"


def test_nodes_that_differ_are_split_and_named():
    one, two = reading({"toolz": package("toolz", "1.0")}), reading({"toolz": package("toolz", "2.0")})
    made = diff(one, {"a": one, "b": one, "c": two})
    assert row(made, "toolz").status == "split"
    assert [len(g.nodes) for g in made.cluster.groups] == [2, 1]
    assert made.verdict != "equal"


def test_a_process_that_runs_another_version_must_restart():
    kernel = reading({"toolz": package("toolz", "1.1", loaded="1.0", use="imported")})
    made = diff(kernel, {"w": reading({"toolz": package("toolz", "1.1")})})
    assert row(made, "toolz").status == "restart_needed"
    assert "kernel still runs 1.0" in row(made, "toolz").why
    assert made.verdict != "equal"


def test_what_was_replaced_under_a_process_is_not_green_though_no_version_says_what_runs():
    kernel = reading({"toolz": package("toolz", "1.1", use="imported")})
    made = diff(kernel, {"w": reading({"toolz": package("toolz", "1.1", loaded=OLDER)})})
    assert row(made, "toolz").status == "restart_needed"
    assert row(made, "toolz").why == "Worker w still runs what was there before its files were changed."
    assert row(made, "toolz").fix == "Restart worker w."
    assert made.verdict != "equal"
    assert OLDER == probe.OLDER


def test_equal_versions_of_other_source_are_not_green():
    editable = Source(url="file:///home/me/lib", kind="editable")
    kernel = reading({"my-lib": package("my-lib", "1.0", source=editable, use="imported")})
    made = diff(kernel, {"w": reading({"my-lib": package("my-lib", "1.0")})})
    assert row(made, "my-lib").status == "content_differs"
    elsewhere = diff(kernel, {"w": reading({"my-lib": package("my-lib", "1.0", source=editable)}, host="b")})
    assert row(elsewhere, "my-lib").status == "content_differs"
    here = diff(kernel, {"w": reading({"my-lib": package("my-lib", "1.0", source=editable)})})
    assert row(here, "my-lib").status == "same"


def test_python_minor_breaks_and_patch_does_not():
    made = diff(reading({}, python="3.11.7"), {"w": reading({}, python="3.12.1")})
    assert row(made, "python").severity == "breaks"
    assert row(diff(reading({}, python="3.11.7"), {"w": reading({}, python="3.11.9")}), "python").severity == "minor"


def test_an_imported_package_that_workers_lack_breaks():
    made = diff(reading({"polars": package("polars", "1.0", use="imported")}), {"w": reading({})})
    assert (row(made, "polars").status, made.verdict) == ("only_kernel", "breaks")
    unused = diff(reading({"polars": package("polars", "1.0")}), {"w": reading({})}, scheduler=reading({}))
    assert unused.verdict == "compatible"
    assert row(unused, "polars").severity == "minor"


def test_digest_covers_what_is_installed_only():
    a = reading({"toolz": package("toolz", "1.0", loaded="1.0", use="imported")})
    b = reading({"toolz": package("toolz", "1.0")})
    assert digest(a) == digest(b)
    assert digest(a) != digest(reading({"toolz": package("toolz", "1.1")}))


# ---- damage of every kind is never green -----------------------------------------------------------------------------


def environment(reading: Reading, role: str = "worker", nodes: int = 1) -> Environment:
    made = group({f"{role[0]}{i}": reading for i in range(nodes)}, role, taken_at=TAKEN)[0]
    return looked_at(made)


def with_problem(env: Environment, kind: str, package: str | None) -> Environment:
    where = f"/p/site-packages/~{package}" if kind == "leftover" else f"/p/site-packages/{package}/a.py"
    return replace(env, problems=(*env.problems, Problem(kind=kind, package=package, where=where, fix="")))


def running(env: Environment, name: str, version: str) -> Environment:
    loaded = (Loaded(version=version, nodes=env.nodes),)
    return replace(env, packages=tuple(replace(p, loaded=loaded) if p.name == name else p for p in env.packages))


def named_only(env: Environment) -> Environment:
    named = tuple(p for p in env.packages if p.name in ("numpy", "dask"))
    return replace(env, level="versions", packages=named, content_at=None)


DAMAGE = {
    **{
        kind: lambda env, name, kind=kind: with_problem(env, kind, name)
        for kind in ("duplicate", "leftover", "no_record", "missing_files", "edited", "conda_conflict", "unreadable")
    },
    "edited of nobody": lambda env, name: with_problem(env, "edited", None),
    "edited of what isn't listed": lambda env, name: with_problem(env, "edited", "absent"),
    "leftover of nobody": lambda env, name: with_problem(env, "leftover", None),
    "unreadable folder": lambda env, name: with_problem(env, "unreadable", None),
    "truncated": lambda env, name: with_problem(env, "truncated", None),
    "stale": lambda env, name: replace(env, taken_at="2025-12-31T23:59:30.000Z"),
    "content unchecked": lambda env, name: replace(env, content_at=None),
    "versions": lambda env, name: named_only(env),
    "nothing": lambda env, name: replace(env, level="none", packages=()),
    "loaded another": lambda env, name: running(env, name, "99.1"),
}
plain = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from(VERSIONS), USES), min_size=1).map(
    lambda d: reading({name: package(name, version, use=used) for name, (version, used) in d.items()})
)


@given(plain, st.sampled_from(sorted(DAMAGE)), st.sampled_from(["kernel", "worker", "scheduler"]), st.data())
def test_no_damage_anywhere_is_ever_equal(read, damage, where, data):
    places = {role: environment(read, role) for role in ("kernel", "worker", "scheduler")}
    assert compared(places["kernel"], [places["worker"], places["scheduler"]]).verdict == "equal"
    name = data.draw(st.sampled_from([p.name for p in read.packages]))
    places[where] = DAMAGE[damage](places[where], name)
    made = compared(places["kernel"], [places["worker"], places["scheduler"]])
    assert made.verdict != "equal"
    unread = [Unread(node="w9", reason="silent")]
    assert compared(places["kernel"], [places["worker"]], unread=unread).verdict != "equal"


def some(version: str = "1.0", name: str = "my-lib", **fields) -> Package:
    return Package(name=name, version=version, **fields)


def env_of(*packages: Package, role: str = "worker", nodes: int = 1, **fields) -> Environment:
    made = environment(reading({}), role, nodes)
    made = replace(made, id=f"{role}-{sorted(fields.items())!r}-{packages!r}", packages=packages)
    return replace(made, **fields)


def one(kernel: Environment, *groups: Environment, name: str = "my-lib", **rest):
    return row(compared(kernel, list(groups), **rest), name)


# ---- content --------------------------------------------------------------------------------------------------------


def test_content_decides_before_the_source_does():
    editable = Source(url="file:///home/me/lib", kind="editable")
    mine = env_of(some(content="pure:aa", source=editable, use="imported"), role="kernel")
    assert one(mine, env_of(some(content="pure:aa"))).status == "same"
    assert one(mine, env_of(some(content="pure:bb"))).status == "content_differs"
    assert one(mine, env_of(some())).status == "content_differs"
    same_source = some(content="pure:bb", source=editable)
    assert one(mine, env_of(same_source)).severity == "risky"


def test_compiled_content_is_compared_only_where_it_can_be_equal():
    mine = env_of(some(content="built:aa"), role="kernel")
    other = some(content="built:bb")
    assert one(mine, env_of(other)).status == "content_differs"
    assert one(mine, env_of(some(content="pure:aa"))).status == "content_differs"
    assert one(mine, env_of(other, platform="macosx-14.0-arm64")).status == "same"
    assert one(mine, env_of(other, python="3.12.1")).status == "same"
    assert one(mine, env_of(some(content="built:aa"))).status == "same"


def test_what_was_edited_is_told():
    mine = env_of(some(), role="kernel")
    edited = with_problem(env_of(some()), "edited", "my-lib")
    made = one(mine, edited)
    assert (made.status, made.severity) == ("content_differs", "risky")
    assert "/p/site-packages/my-lib/a.py" in made.why
    both = with_problem(replace(mine, packages=(some(content="pure:aa"),)), "edited", "my-lib")
    assert one(both, replace(edited, packages=(some(content="pure:aa"),))).status == "same"


# ---- groups ---------------------------------------------------------------------------------------------------------


def test_nodes_that_differ_are_counted_in_words():
    kernel = env_of(some("2.1.3", "numpy"), role="kernel")
    many, two = env_of(some("2.1.3", "numpy"), nodes=62), env_of(some("1.26.4", "numpy"), nodes=2)
    made = one(kernel, many, two, name="numpy")
    assert (made.status, made.severity) == ("split", "breaks")
    assert made.why.startswith("62 of 64 workers have numpy 2.1.3 as the notebook does, 2 have 1.26.4.")
    assert "1.26.4 on 2 of 64 workers" in made.why
    lacking = one(kernel, many, env_of(nodes=2), name="numpy")
    assert lacking.why.startswith("62 of 64 workers have numpy 2.1.3 as the notebook does, 2 lack it.")
    assert one(kernel, env_of(some("2.1.3", "numpy"), host="b"), many, name="numpy").status == "same"


def test_what_differs_only_on_the_scheduler_says_so():
    kernel, workers = env_of(some("2.0", use="imported"), role="kernel"), env_of(some("2.0"), nodes=4)
    made = one(kernel, workers, env_of(some("1.0"), role="scheduler"))
    assert (made.status, made.severity) == ("split", "same")
    assert made.why.startswith("All 4 workers have my-lib 2.0 as the notebook does, the scheduler has 1.0.")
    lacking = one(kernel, workers, env_of(role="scheduler"))
    assert (lacking.status, lacking.severity) == ("split", "breaks")
    assert "can't load a task graph" in lacking.why
    wire = env_of(some("1.0", "toolz"), role="scheduler")
    made = one(env_of(some("2.0", "toolz"), role="kernel"), env_of(some("2.0", "toolz")), wire, name="toolz")
    assert (made.status, made.severity) == ("split", "minor")


def test_a_level_of_versions_knows_only_what_it_names():
    kernel = env_of(some("1.0", use="imported"), some("2.1", "numpy"), some("1.0", "other"), role="kernel")
    group = env_of(some("1.26.4", "numpy"), level="versions", content_at=None)
    made = compared(kernel, [group])
    assert (row(made, "my-lib").status, row(made, "my-lib").severity) == ("unknown", "risky")
    assert (row(made, "other").status, row(made, "other").severity) == ("unknown", "minor")
    assert (row(made, "numpy").status, row(made, "numpy").severity) == ("differs", "breaks")
    assert row(made, "python").status == "same"
    assert made.level == "versions"
    assert row(compared(kernel, [replace(group, python="")]), "python").status == "unknown"


# ---- processes ------------------------------------------------------------------------------------------------------


def test_restarts_name_the_processes():
    kernel = env_of(some("1.1", loaded=(Loaded(version="1.0", nodes=("k",)),), use="imported"), role="kernel")
    made = one(kernel, env_of(some("1.1")))
    assert (made.status, made.severity) == ("restart_needed", "risky")
    assert made.fix == "Restart the notebook's kernel."
    loaded = (Loaded(version="1.0", nodes=("w0", "w1")), Loaded(version="1.1", nodes=("w2",)))
    workers = env_of(some("1.1", loaded=loaded), nodes=3)
    made = one(env_of(some("1.1"), role="kernel"), workers)
    assert made.why.startswith("2 of 3 workers (w0, w1) still run 1.0, though 1.1 is installed.")
    assert made.fix == "Restart 2 of 3 workers (w0, w1)."


def test_processes_are_rated_by_what_they_run():
    loaded = (Loaded(version="1.26.4", nodes=("w0",)),)
    kernel = env_of(some("2.3", "numpy"), role="kernel")
    made = one(kernel, env_of(some("2.3", "numpy", loaded=loaded)), name="numpy")
    assert (made.status, made.severity) == ("restart_needed", "breaks")
    assert made.why.startswith("Worker w0 still runs 1.26.4, though 2.3 is installed.")
    assert made.fix.startswith("Restart worker w0.")


def test_one_remedy_is_named_once():
    kernel = env_of(some("2.3", "numpy", use="imported"), role="kernel")
    everywhere = one(
        kernel, env_of(some("1.26", "numpy")), env_of(some("1.26", "numpy"), role="scheduler"), name="numpy"
    )
    assert "The scheduler has numpy 1.26, the notebook 2.3" in everywhere.why
    assert everywhere.fix == "Install the same numpy on both sides."
    there = one(kernel, env_of(some("2.3", "numpy")), env_of(some("1.26", "numpy"), role="scheduler"), name="numpy")
    assert there.fix == "Install the same numpy in the scheduler's environment."


def test_the_scheduler_is_rated_by_what_it_runs():
    kernel = env_of(some("2026.8.0", "distributed"), role="kernel")
    worker = env_of(some("2026.8.0", "distributed"))
    old = Loaded(version="2024.5.0", nodes=("s0",))
    made = one(
        kernel, worker, env_of(some("2026.8.0", "distributed", loaded=(old,)), role="scheduler"), name="distributed"
    )
    assert (made.status, made.severity) == ("restart_needed", "breaks")
    assert "The scheduler still runs 2024.5.0" in made.why
    new = Loaded(version="2026.8.0", nodes=("s0",))
    ahead = env_of(some("2024.5.0", "distributed", loaded=(new,)), role="scheduler")
    made = one(kernel, ahead, name="distributed")
    assert (made.status, made.severity) == ("differs", "risky")
    assert "runs 2026.8.0 as the notebook does" in made.why


# ---- damage ---------------------------------------------------------------------------------------------------------


def test_broken_rows_say_the_repair():
    kernel = env_of(some("1.0", use="imported"), role="kernel")
    group = with_problem(env_of(some("1.0", installer="uv"), nodes=2), "missing_files", "my-lib")
    made = one(kernel, group, env_of(some("1.0"), nodes=2))
    assert (made.status, made.severity) == ("broken", "breaks")
    assert "2 of 4 workers" in made.why
    assert "`uv pip install --reinstall my-lib`" in made.fix
    pip = one(kernel, with_problem(env_of(some(installer="pip")), "no_record", "my-lib"))
    assert (pip.status, pip.severity) == ("broken", "risky")
    assert pip.fix == "Repair it with `pip install --force-reinstall my-lib`."
    leftover = one(kernel, with_problem(env_of(some()), "leftover", None), name="~None")
    assert (leftover.status, leftover.severity) == ("broken", "risky")
    assert leftover.fix == "Remove the folder /p/site-packages/~None."
    mine = one(with_problem(kernel, "duplicate", "my-lib"), env_of(some()))
    assert "the notebook's kernel" in mine.why


# ---- platforms ------------------------------------------------------------------------------------------------------


def test_what_the_other_side_need_not_have_is_ok_and_says_why():
    windows = {"platform": "win-amd64"}
    kernel = env_of(some("306", "pywin32", use="imported"), some("0.4", "colorama"), role="kernel", **windows)
    made = compared(kernel, [env_of()])
    assert (row(made, "pywin32").status, row(made, "pywin32").severity) == ("only_kernel", "same")
    assert "linux-x86_64" in row(made, "pywin32").why
    assert one(kernel, env_of(**windows), name="pywin32").severity == "breaks"
    back = one(env_of(role="kernel"), env_of(some("306", "pywin32"), **windows), name="pywin32")
    assert (back.status, back.severity) == ("only_cluster", "same")


def test_markers_of_requirements_excuse_an_absence():
    conditional = {"tomli": ("python_version < '3.11'",)}
    mine = some("2.0", "tomli", use="imported")
    kernel = env_of(mine, role="kernel", python="3.10.2", conditional=conditional)
    assert one(kernel, env_of(python="3.11.7"), name="tomli").severity == "same"
    assert one(kernel, env_of(python="3.10.9"), name="tomli").severity == "breaks"
    asked_for = replace(kernel, packages=(replace(mine, requested=True),))
    assert one(asked_for, env_of(python="3.11.7"), name="tomli").severity == "breaks"
    there = env_of(mine, python="3.10.2", conditional=conditional)
    mixed = one(kernel, there, env_of(python="3.11.7"), name="tomli")
    assert mixed.status != "split"


# ---- modules and conda ----------------------------------------------------------------------------------------------


def module(content: str | None = None, **fields) -> Package:
    source = Source(url="file:///home/me/helpers.py", kind="module")
    return Package(name="helpers", version="", source=source, content=content, **fields)


def test_local_modules():
    kernel = env_of(module("pure:aa", use="imported"), role="kernel")
    missing = one(kernel, env_of(), name="helpers")
    assert (missing.status, missing.severity) == ("only_kernel", "breaks")
    assert "ModuleNotFoundError" in missing.why
    assert "upload_file" in missing.fix
    other = one(kernel, env_of(module("pure:bb")), name="helpers")
    assert (other.status, other.severity) == ("content_differs", "risky")
    assert one(kernel, env_of(module("pure:aa"), host="b"), name="helpers").status == "same"


FILES = {"__init__.py": "1", "io.py": "2", "sub/x.py": "3"}


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({**FILES, "io.py": "9"}, "io.py differs. The code of"),
        ({"__init__.py": "1", "sub/x.py": "7", "io.py": "8"}, "io.py and sub/x.py differ. The code of"),
        ({"__init__.py": "1", "io.py": "2"}, "Only the notebook has sub/x.py. The code of"),
        (
            {"io.py": "9", "sub/x.py": "3", "y.py": "1"},
            "io.py differs, only the notebook has __init__.py, only the cluster has y.py. The code of",
        ),
        ({f"{n}.py": "1" for n in range(9)}, "only the cluster has 0.py, 1.py, 2.py, 3.py, 4.py and 4 more. "),
        ({}, "The code of"),
    ],
)
def test_of_a_folder_of_code_the_files_that_differ_are_named(theirs, said):
    kernel = env_of(module("pure:aa", use="imported", files=FILES), role="kernel")
    row = one(kernel, env_of(module("pure:bb", files=theirs)), name="helpers")
    assert (row.status, row.severity) == ("content_differs", "risky")
    assert said in row.why


def test_code_that_was_not_looked_for_is_not_said_to_be_missing():
    kernel = env_of(module("pure:aa", use="imported"), role="kernel")
    worker = replace(env_of(), content_at=None)
    row = next(row for row in compared(kernel, [worker]).rows if row.name == "helpers")
    assert (row.status, row.severity) == ("unknown", "minor")
    assert "isn't known until the files" in row.why
    assert compared(kernel, [worker]).verdict == "unknown"


def test_local_code_of_the_cluster_alone_is_no_row():
    assert "helpers" not in {r.name for r in compared(env_of(role="kernel"), [env_of(module())]).rows}


def conda(name: str, version: str, build: str = "h1_0", channel: str = "conda-forge") -> Package:
    return Package(name=name, version=version, build=build, channel=channel, installer="conda")


def test_libraries_of_conda_are_compared_where_both_sides_have_conda():
    kernel = env_of(conda("openssl", "3.1"), conda("libblas", "3.9", "20_openblas"), role="kernel")
    pip = compared(kernel, [env_of(some("1.0"))])
    assert (row(pip, "openssl").status, row(pip, "openssl").severity) == ("only_kernel", "same")
    assert "no conda packages" in row(pip, "openssl").why
    both = compared(kernel, [env_of(conda("openssl", "3.1", "h2_1"), conda("libblas", "3.9", "20_mkl"))])
    assert (row(both, "openssl").status, row(both, "openssl").severity) == ("content_differs", "minor")
    assert (row(both, "libblas").status, row(both, "libblas").severity) == ("content_differs", "risky")
    mac = compared(kernel, [env_of(conda("openssl", "3.1", "h2_1"), platform="macosx-14.0-arm64")])
    assert (row(mac, "openssl").status, row(mac, "libblas").severity) == ("same", "same")
    numpy = conda("numpy", "2.1", "py311h_0")
    assert one(env_of(numpy, role="kernel"), env_of(conda("openssl", "3.1")), name="numpy").severity == "minor"
    conflict = one(env_of(numpy, role="kernel"), with_problem(env_of(numpy), "conda_conflict", "numpy"), name="numpy")
    assert (conflict.status, conflict.severity) == ("broken", "risky")


# ---- rules of one's own ---------------------------------------------------------------------------------------------


def test_what_is_ignored_stays_and_is_ok():
    own = combine(user=RuleFile(ignore=("my-lib",), overrides={"numpy": "minor"}))
    kernel = env_of(some("2.0", use="imported"), some("2.0", "numpy"), role="kernel")
    theirs = [env_of(some("1.0"), some("1.26", "numpy"), role=role) for role in ("worker", "scheduler")]
    made = compared(kernel, theirs, rules=own)
    assert (row(made, "my-lib").status, row(made, "my-lib").severity) == ("differs", "same")
    assert row(made, "my-lib").why.startswith("Ignored by your rules.")
    assert (row(made, "numpy").severity, made.verdict) == ("minor", "compatible")
    assert row(made, "numpy").why.startswith("Rated minor by your rules, otherwise breaks.")


def test_nothing_installed_can_pass_for_the_interpreter():
    fake = some("3.11.7", "python")
    assert one(env_of(role="kernel"), env_of(fake, python="3.12.1"), name="python").severity == "breaks"


def test_a_file_in_the_way_of_the_standard_library_is_risky_on_one_side_only():
    shadowed = Problem(
        kind="edited", package="python", where="/w/random.py is imported instead of a module of Python", fix="Rename it"
    )
    plain, hidden = env_of(role="kernel"), env_of(problems=(shadowed,))
    made = compared(plain, [hidden, env_of(role="scheduler")])
    assert (row(made, "python").severity, made.verdict) == ("risky", "risky")
    assert "/w/random.py" in row(made, "python").why


def test_code_of_no_package_that_nobody_imports_is_minor():
    """As what an installer of virtualenvs leaves in a site folder."""
    source = Source(url="/env/_virtualenv.py", kind="module")
    loose = Package(name="_virtualenv.py", version="", source=source, content="pure:a")
    both = [env_of(role="worker"), env_of(role="scheduler")]
    made = compared(env_of(loose, role="kernel"), both)
    assert (row(made, "_virtualenv.py").severity, made.verdict) == ("minor", "compatible")
    other = [env_of(msgspec.structs.replace(loose, content="pure:b"), role=role) for role in ("worker", "scheduler")]
    made = compared(env_of(loose, role="kernel"), other)
    assert (row(made, "_virtualenv.py").status, made.verdict) == ("content_differs", "compatible")


def test_the_verdict_in_one_line_names_the_cluster_and_counts_what_decides():
    tool, other = some("7.0", "ipykernel"), some("2.0", "my-lib")
    bare = [env_of(role=role) for role in ("worker", "scheduler")]
    lines = {
        "Same packages on c": compared(env_of(role="kernel"), bare),
        # A tool of the notebook's makes no difference to tasks, and is no package that differs for them.
        "No known problem on c": compared(env_of(tool, role="kernel"), bare),
        "No known problem on c · 1 package differs": compared(env_of(tool, other, role="kernel"), bare),
        "1 package will break on c": compared(env_of(some("2.0", "my-lib", use="imported"), role="kernel"), bare),
    }
    assert [headline(diff) for diff in lines.values()] == list(lines)


def test_two_platforms_are_compatible_at_best():
    """Their compiled code is not the same, whatever the versions are, and is not compared."""
    numpy = some("2.4.6", "numpy", content="built:a")
    mac = env_of(numpy, role="kernel", platform="macosx-14.0-arm64")
    there = [env_of(replace(numpy, content="built:b"), role=role) for role in ("worker", "scheduler")]
    assert (compared(mac, there).verdict, compared(mac, there).deciding) == ("compatible", 0)
    same = [env_of(numpy, role=role, platform="macosx-14.0-arm64") for role in ("worker", "scheduler")]
    assert compared(mac, same).verdict == "equal"


# ---- failures that were seen ------------------------------------------------------------------------------------------


def test_what_a_task_has_failed_for_breaks_until_it_is_the_same():
    kernel = env_of(some("1.0"), role="kernel")
    seen = {"my-lib": "ModuleNotFoundError: No module named 'my_lib'"}
    missing, there = env_of(), env_of(some("1.0"))
    found = one(kernel, missing, seen=seen)
    assert (found.status, found.severity) == ("only_kernel", "breaks")
    assert found.why.startswith("A task has failed: ModuleNotFoundError: No module named 'my_lib'. my-lib isn't on ")
    assert one(kernel, missing).severity == "minor"
    assert one(kernel, there, seen=seen).severity == "same"
    # What a user rates otherwise stays so.
    assert one(kernel, missing, seen=seen, rules=combine(user=RuleFile(ignore=("my-lib",)))).severity == "same"


def clashing(*, numpy: str, pandas: str = "2.0.3", use: str = "imported", theirs: str = "2.0.3") -> Diff:
    """A notebook with numpy 1.26.4, and a cluster on which another numpy was installed alone."""
    mine = reading({"numpy": package("numpy", "1.26.4"), "pandas": package("pandas", pandas, use=use)})
    there = reading({"numpy": package("numpy", numpy), "pandas": package("pandas", theirs)})
    return diff(mine, {"w": there}, scheduler=there)


def test_what_a_package_breaks_beside_it_is_told_in_its_row():
    """As seen on a cluster: pandas is the same on both sides, and each of its frames fails there."""
    made = clashing(numpy="2.2.6")
    (row,) = [row for row in made.rows if row.severity == "breaks"]
    assert (made.verdict, row.name, row.status) == ("breaks", "numpy", "differs")
    assert row.why == (
        "The notebook uses pandas 2.0.3, which on the cluster can't be imported: it doesn't work with numpy 2.2.6."
    )
    assert row.fix == "Install the same numpy on both sides."


def test_a_package_that_the_notebook_does_not_use_breaks_nothing_of_its():
    severities = {row.name: row.severity for row in clashing(numpy="2.2.6", use="").rows}
    assert severities["numpy"] == "risky"
    assert {row.name: row.severity for row in clashing(numpy="2.2.6", use="loaded").rows}["numpy"] == "risky"


def test_the_one_that_differs_is_at_fault():
    made = {row.name: row for row in clashing(numpy="1.26.4", pandas="2.2.3").rows}
    assert "can't be imported" not in made["numpy"].why + made["pandas"].why
    mine = reading({"numpy": package("numpy", "2.2.6"), "pandas": package("pandas", "2.2.3", use="imported")})
    there = reading({"numpy": package("numpy", "2.2.6"), "pandas": package("pandas", "2.2.1")})
    made = {row.name: row for row in diff(mine, {"w": there}, scheduler=there).rows}
    assert (made["numpy"].status, made["pandas"].severity) == ("same", "breaks")
    assert "can't be imported" in made["pandas"].why
    # Where both sides are the same, the notebook can't import it either: that is no difference.
    assert diff(there, {"w": there}, scheduler=there).verdict == "equal"
    # What works is no clash.
    assert "can't be imported" not in " ".join(row.why for row in clashing(numpy="2.2.6", theirs="2.2.2").rows)
