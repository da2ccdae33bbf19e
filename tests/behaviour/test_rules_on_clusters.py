"""Each rule's severity is what really happens: the mismatch is run on a real cluster, and it fails or works as rated.

A part of it: ``pytest tests/behaviour -k numpy``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import pytest

from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.wire import Environment, Package, Role, Row, Severity, Source
from tests.behaviour.clusters import Cluster, Env, listed
from tests.nightly import each_night

AT = "2026-01-01T00:00:00.000Z"

BASE = Env().plus("cloudpickle==3.1.2", "msgpack==1.1.2", "tornado==6.5.2", "toolz==1.1.0")
NOTEBOOK = BASE.plus("more-itertools==10.5.0", "traitlets==5.14.3", "lz4==4.4.5")
WORKING = BASE.plus("more-itertools==10.5.0")
OLD_WIRE = BASE.plus("cloudpickle==3.0.0", "msgpack==1.0.5", "tornado==6.2.0", "toolz==0.12.0")
OTHERS = BASE.plus("more-itertools==8.14.0", "traitlets==5.9.0")
PICKLE_2 = BASE.plus("cloudpickle==2.2.1", overrides=("cloudpickle==2.2.1",))
MSGPACK_0 = BASE.plus("msgpack==0.6.2", overrides=("msgpack==0.6.2",))
PANDAS_3 = BASE.plus("numpy==2.4.2", "pandas==3.0.0")
PANDAS_2 = BASE.plus("numpy==2.3.5", "pandas==2.3.3")
PANDAS_PATCH = BASE.plus("numpy==2.3.5", "pandas==2.3.2")
PANDAS_OLD = BASE.plus("numpy==1.26.4", "pandas==2.0.3")
NUMPY_PATCH = BASE.plus("numpy==2.4.1")
NUMPY_1 = BASE.plus("numpy==1.26.4")
DASK_2022 = Env("3.8", ("dask==2022.2.0", "distributed==2022.2.0", "click==8.0.4", "numpy==1.22.4", "msgpack==1.0.5"))
LZ4_2022 = DASK_2022.plus("lz4==4.3.3")
PANDAS_1_2 = DASK_2022.plus("pandas==1.2.5")
PANDAS_1_3 = DASK_2022.plus("pandas==1.3.5")


def release(version: str) -> Env:
    return Env().plus(f"dask=={version}", f"distributed=={version}", "cloudpickle==3.1.2", "msgpack==1.1.2")


@dataclass(frozen=True)
class Mismatch:
    """A row and its rating, with what works (an act and its result) and what fails (an act and words of its error)."""

    name: str
    severity: Severity
    client: Env
    scheduler: Env
    worker: Env
    works: tuple[tuple[str, object], ...] = ()
    fails: tuple[tuple[str, str], ...] = ()
    in_use: bool = True
    beside: str = ""
    """Another package that the notebook imports."""


def everywhere(
    name: str, severity: Severity, client: Env, cluster: Env, *works, fails=(), in_use: bool = True
) -> Mismatch:
    return Mismatch(name, severity, client, cluster, cluster, works, fails, in_use)


TASKS = (("call", 2), ("many", 380), ("text", 400_000))
GRAPH = "Error during deserialization of the task graph"
ARRAYS = (("array_there", 10), ("array_back", 10), ("array_function", 3))
MISMATCHES = {
    "equal": everywhere("distributed", "same", BASE, BASE, *TASKS),
    "python minor": everywhere("python", "breaks", BASE, BASE.plus(python="3.13"), fails=[("call", "")]),
    "python patch": everywhere("python", "minor", BASE, BASE.plus(python="other 3.11"), *TASKS),
    "dask before 2025.4, older here": everywhere(
        "distributed",
        "breaks",
        release("2024.5.0"),
        BASE,
        fails=[("call", "CancelledError"), ("many", "CancelledError")],
    ),
    "dask before 2025.4, newer here": everywhere(
        "distributed", "breaks", BASE, release("2024.5.0"), fails=[("call", "n_workers")]
    ),
    "dask just before 2025.4": everywhere(
        "dask", "breaks", release("2025.3.0"), BASE, fails=[("call", "CancelledError")]
    ),
    "dask from 2025.4 on": everywhere("distributed", "risky", BASE, release("2025.4.1"), *TASKS),
    "dask from 2025.4 on, older here": everywhere("dask", "risky", release("2025.4.1"), BASE, *TASKS),
    "dask patch": everywhere("dask", "minor", release("2025.4.0"), release("2025.4.1"), *TASKS),
    "cloudpickle major": everywhere(
        "cloudpickle", "breaks", BASE, PICKLE_2, fails=[("call", GRAPH), ("text", "_function_setstate")]
    ),
    "cloudpickle minor": everywhere("cloudpickle", "minor", BASE, OLD_WIRE, *TASKS),
    "msgpack major": everywhere("msgpack", "breaks", BASE, MSGPACK_0, fails=[("call", "CancelledError")]),
    "msgpack major, Dask 2022.2": everywhere(
        "msgpack", "minor", DASK_2022, DASK_2022.plus("msgpack==0.6.2"), *TASKS, ("broadcast", 400_000)
    ),
    "msgpack minor": everywhere("msgpack", "minor", BASE, OLD_WIRE, *TASKS),
    "tornado minor": everywhere("tornado", "minor", BASE, OLD_WIRE, *TASKS),
    "toolz": everywhere("toolz", "minor", BASE, OLD_WIRE, *TASKS),
    "toolz, newer there": everywhere("toolz", "minor", OLD_WIRE, BASE, *TASKS),
    "lz4 only here": everywhere("lz4", "same", NOTEBOOK, BASE, *TASKS),
    "lz4 only there": everywhere("lz4", "same", BASE, NOTEBOOK, *TASKS, in_use=False),
    "lz4 not on the scheduler": Mismatch("lz4", "same", NOTEBOOK, BASE, NOTEBOOK, TASKS),
    "lz4 not on workers, Dask 2022.2": Mismatch(
        "lz4", "risky", LZ4_2022, LZ4_2022, DASK_2022, (("call", 2),), fails=(("broadcast", ""),)
    ),
    "lz4 not on workers": Mismatch("lz4", "same", NOTEBOOK, NOTEBOOK, BASE, (*TASKS, ("broadcast", 400_000))),
    "pandas 1.2 to 1.3": everywhere(
        "pandas", "breaks", PANDAS_1_2, PANDAS_1_3, ("frame_there", 3), fails=[("frame_back", "")]
    ),
    "pandas 1.3 to 1.2": everywhere("pandas", "breaks", PANDAS_1_3, PANDAS_1_2, fails=[("frame_there", "")]),
    "tools": everywhere("traitlets", "same", NOTEBOOK, OTHERS, *TASKS),
    "numpy 2 to 1": everywhere("numpy", "breaks", PANDAS_3, NUMPY_1, fails=[("array_there", "numpy._core")]),
    "numpy 1 to 2": everywhere("numpy", "risky", NUMPY_1, PANDAS_3, *ARRAYS),
    "numpy 2 to 1 on the scheduler": Mismatch(
        "numpy", "breaks", PANDAS_3, NUMPY_1, PANDAS_3, fails=(("array_there", GRAPH),)
    ),
    "numpy under pandas": replace(
        everywhere("numpy", "breaks", PANDAS_OLD, PANDAS_OLD.plus("numpy==2.2.6"), fails=[("frame_there", GRAPH)]),
        beside="pandas",
    ),
    "numpy minor": everywhere("numpy", "risky", PANDAS_3, PANDAS_2, *ARRAYS),
    "numpy patch": everywhere("numpy", "minor", PANDAS_3, NUMPY_PATCH, *ARRAYS),
    "pandas 3 to 2": everywhere("pandas", "breaks", PANDAS_3, PANDAS_2, fails=[("frame_there", "StringDtype")]),
    "pandas 2 to 3": everywhere(
        "pandas", "breaks", PANDAS_2, PANDAS_3, ("frame_there", 3), fails=[("frame_back", "StringDtype")]
    ),
    "pandas patch": everywhere("pandas", "minor", PANDAS_2, PANDAS_PATCH, ("frame_there", 3), ("frame_back", 3)),
    "missing": everywhere(
        "more-itertools", "breaks", NOTEBOOK, BASE, ("package_unused", 2), fails=[("package_used", "No module named")]
    ),
    "missing, not imported": everywhere("more-itertools", "minor", NOTEBOOK, BASE, *TASKS, in_use=False),
    "missing on the scheduler": Mismatch(
        "more-itertools", "breaks", NOTEBOOK, BASE, WORKING, fails=(("package_used", "No module named"),)
    ),
    "missing on workers": Mismatch(
        "more-itertools", "breaks", NOTEBOOK, WORKING, BASE, fails=(("package_used", "TimeoutError"),)
    ),
    "missing here": everywhere("more-itertools", "minor", BASE, WORKING, *TASKS, in_use=False),
    "older there": everywhere(
        "more-itertools", "risky", NOTEBOOK, OTHERS, ("package_used", [1, 2]), fails=[("package_new", "AttributeError")]
    ),
}


@pytest.fixture(scope="module")
def clusters():
    """Start each pair of environments once, and hold few at a time."""
    running: dict[tuple[Env, Env], Cluster] = {}

    def get(scheduler: Env, worker: Env) -> Cluster:
        key = (scheduler, worker)
        if key not in running:
            if len(running) >= 3:
                running.pop(next(iter(running))).close()
            running[key] = Cluster(scheduler, worker)
        return running[key]

    yield get
    for cluster in running.values():
        cluster.close()


def environment(env: Env, role: Role, *more: Package, in_use: Collection[str] = ()) -> Environment:
    found = dict(listed(env))
    packages = [
        Package(name=name, version=version, use="imported" if name in in_use else "")
        for name, version in found.pop("packages")
    ]
    return Environment(
        id=role, role=role, host="h", prefix=role, packages=(*packages, *more), problems=(), level="all", digest=role,
        nodes=(role,), taken_at=AT, content_at=AT, **found,
    )  # fmt: skip


def rated(kernel: Environment, *groups: Environment, name: str) -> Row:
    made = compare(kernel, groups, cluster_id="c", cluster_name="c", kernel_id="k", kernel_label="k", at=AT)
    return next(row for row in made.rows if row.name == name)


OFTEN = (
    "equal",
    "python minor",
    "dask before 2025.4, newer here",
    "numpy 2 to 1",
    "missing",
    "older there",
)


@pytest.mark.parametrize("title", each_night(MISMATCHES, OFTEN))
def test_what_is_rated_is_what_happens(title, clusters):
    case = MISMATCHES[title]
    row = rated(
        environment(case.client, "kernel", in_use=(case.name if case.in_use else "", case.beside)),
        environment(case.worker, "worker"),
        environment(case.scheduler, "scheduler"),
        name=case.name,
    )
    acts = [act for act, _ in (*case.works, *case.fails)]
    done = clusters(case.scheduler, case.worker).run(case.client, acts)
    for act, value in case.works:
        assert done[act] == {"ok": True, "value": value, "error": []}
    for act, words in case.fails:
        assert not done[act]["ok"], done[act]
        assert words in " ".join(done[act]["error"])
    assert row.severity == case.severity, row
    # Nothing is rated as breaking that works, and nothing breaks that isn't rated at least `risky`.
    assert (row.severity == "breaks") <= bool(case.fails)
    assert bool(case.fails) <= (row.severity in ("breaks", "risky"))


def module(content: str | None, *, in_use: bool = False) -> Package:
    source = Source(url="file:///home/me/helpers.py", kind="module")
    return Package(name="helpers", version="", source=source, content=content, use="imported" if in_use else "")


@pytest.mark.parametrize(
    ("there", "severity", "result"),
    each_night([(None, "breaks", None), (41, "risky", 41), (42, "same", 42)], [(41, "risky", 41)]),
    ids=["none", "other", "same"],
)
def test_code_beside_the_notebook(there, severity, result, tmp_path):
    (tmp_path / "helpers.py").write_text("def answer():\n    return 42\n")
    mine = environment(BASE, "kernel", module("pure:42", in_use=True))
    theirs = [] if there is None else [module(f"pure:{there}")]
    row = rated(mine, environment(BASE, "worker", *theirs), environment(BASE, "scheduler", *theirs), name="helpers")
    cluster = Cluster(BASE, BASE)
    try:
        for folder in cluster.folders.values() if there else ():
            (folder / "helpers.py").write_text(f"def answer():\n    return {there}\n")
        done = cluster.run(BASE, ["module_used", "module_inside"], tmp_path)
    finally:
        cluster.close()
    assert row.severity == severity
    for answer in done.values():
        assert answer["value"] == result
        assert answer["ok"] == (there is not None)
        assert there is not None or "No module named 'helpers'" in " ".join(answer["error"])
