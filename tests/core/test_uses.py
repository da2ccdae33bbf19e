"""Which packages a notebook uses, and how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.reading import ReadPackage
from coiled_jupyter.core.uses import uses

REQUIRES = {
    "dask": (("click", "toolz"), ("distributed", "pandas", "numpy")),
    "distributed": (("dask", "tornado"), ()),
    "pandas": (("numpy", "python-dateutil"), ("pyarrow",)),
    "xarray": (("pandas", "numpy"), ()),
    "python-dateutil": (("six",), ()),
}


def installed(**how: str) -> list[ReadPackage]:
    modules = {
        "scikit-learn": ("sklearn",),
        "protobuf": ("google", "google.protobuf"),
        "auth": ("google", "google.auth"),
    }
    names = {*REQUIRES, *modules, "numpy", "six", "tornado", "pyarrow", "lazy"}
    return [
        ReadPackage(name, "1", use=how.get(name.replace("-", "_"), ""), modules=modules.get(name, ()))
        for name in sorted(names)
    ]


@pytest.mark.parametrize(
    ("named", "how", "found"),
    [
        ({"numpy"}, {}, {"numpy": ("imported", "")}),
        ({"sklearn"}, {}, {"scikit-learn": ("imported", "")}),
        # Of a namespace what lies in it counts.
        ({"google", "google.protobuf"}, {}, {"protobuf": ("imported", "")}),
        # Opening a client of some releases loads pandas, and with it what that needs.
        (
            {"dask", "dask.distributed"},
            {"pandas": "loaded", "numpy": "loaded", "six": "loaded", "distributed": "loaded", "tornado": "loaded"},
            {"dask": ("imported", ""), "distributed": ("imported", ""), "tornado": ("needed", "distributed")},
        ),
        # `from distributed import Client` names no dask, whose extra it is.
        (
            {"distributed"},
            {"pandas": "loaded", "numpy": "loaded", "dask": "loaded", "distributed": "loaded"},
            {"distributed": ("imported", ""), "dask": ("needed", "distributed")},
        ),
        (
            {"xarray", "dask"},
            {"pandas": "loaded", "numpy": "loaded", "six": "loaded"},
            {
                "xarray": ("imported", ""),
                "dask": ("imported", ""),
                "pandas": ("needed", "xarray"),
                "numpy": ("needed", "xarray"),
                "six": ("needed", "xarray"),
            },
        ),
        # By an extra, a plug-in, or nobody knows by whom.
        ({"pandas"}, {"pyarrow": "loaded", "lazy": "loaded"}, {"pandas": ("imported", ""), "pyarrow": ("loaded", ""), "lazy": ("loaded", "")}),
        # What the process says of its own cells.
        (set(), {"lazy": "imported"}, {"lazy": ("imported", "")}),
        # Needed, but never loaded: nothing is known of it.
        ({"pandas"}, {}, {"pandas": ("imported", "")}),
    ],
)  # fmt: skip
def test_uses(named, how, found):
    assert uses(installed(**how), named, REQUIRES) == found


@pytest.mark.parametrize(
    ("named", "imported"),
    [
        ({"azure", "azure.storage", "azure.storage.blob"}, {"azure-storage-blob"}),
        ({"azure", "azure.core"}, {"azure-core"}),
        # What they share is no sign of any, nor of a distribution of that name.
        ({"azure", "azure.storage"}, set()),
    ],
)
def test_of_a_namespace_in_a_namespace_what_lies_in_it_counts(named, imported):
    modules = {
        "azure-core": ("azure.core",),
        "azure-storage-blob": ("azure.storage.blob",),
        "azure": (),
        "azure-storage": (),
    }
    modules["azure-storage-queue"] = ("azure.storage.queue",)
    found = uses([ReadPackage(name, "1", modules=brought) for name, brought in modules.items()], named, {})
    assert {name for name, (use, _) in found.items() if use == "imported"} == imported


def test_a_module_that_was_read_beats_its_name():
    """`serial` is brought by pyserial, though another distribution has that name."""
    both = [ReadPackage("pyserial", "1", modules=("serial",)), ReadPackage("serial", "1")]
    assert uses(both, {"serial"}, {}) == {"pyserial": ("imported", "")}


NAMES = st.sampled_from(sorted({*REQUIRES, "numpy", "six", "lazy"}))


@given(
    st.sets(NAMES),
    st.dictionaries(NAMES, st.sampled_from(["", "loaded", "imported"])),
    st.dictionaries(NAMES, st.tuples(st.lists(NAMES).map(tuple), st.lists(NAMES).map(tuple))),
)
def test_nothing_that_was_named_is_lost_and_nothing_else_is_said_to_be_imported(named, how, requires):
    packages = [ReadPackage(name, "1", use=use) for name, use in how.items()]
    found = uses(packages, named, requires)
    said = {name for name, (use, _) in found.items() if use == "imported"}
    assert said == {name for name, use in how.items() if use == "imported" or name in named}
    for name, (use, needed_by) in found.items():
        assert (use == "needed") == bool(needed_by)
        assert use == "imported" or how[name] == "loaded"
