"""Which distribution of PyPI a conda package is: the names that differ, both ways.

A name that isn't in the table is itself. Law: ``to_pypi(to_conda(name)) == name`` for each name of PyPI, save those few
that only conda uses for something else.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES: Mapping[str, str | None] = {
    "astropy-base": "astropy",
    "blosc": None,
    "blosc2": None,
    "brotli": None,
    "brotli-python": "brotli",
    "dask": None,
    "dask-core": "dask",
    "flatbuffers": None,
    "graphviz": None,
    "matplotlib": None,
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "py-lightgbm": None,
    "py-opencv": "opencv-python",
    "py-xgboost": "xgboost",
    "pytables": "tables",
    "python": None,
    "python-blosc": "blosc",
    "python-blosc2": "blosc2",
    "python-build": "build",
    "python-duckdb": "duckdb",
    "python-flatbuffers": "flatbuffers",
    "python-graphviz": "graphviz",
    "python-kaleido": "kaleido",
    "python-kubernetes": "kubernetes",
    "python-lmdb": "lmdb",
    "python-xxhash": "xxhash",
    "pytorch": "torch",
    "ruamel-yaml": None,
    "ruamel.yaml": "ruamel-yaml",
    "snappy": None,
    "streamz-base": None,
    "tensorflow": None,
    "tensorflow-base": "tensorflow",
    "xgboost": None,
    "zstd": None,
}
"""conda's name → PyPI's, or None for what is no distribution of that name (a library, a package of packages)."""


def to_pypi(name: str, names: Mapping[str, str | None] = NAMES) -> str | None:
    """Return the PEP 503 name of the distribution that a conda package holds; None where it surely holds none."""
    name = name.lower()
    if name in names:
        return names[name]
    return name.replace("_", "-").replace(".", "-")


def to_conda(name: str, names: Mapping[str, str | None] = NAMES) -> str:
    """Return conda's name of a distribution."""
    return next((conda for conda, pypi in names.items() if pypi == name), name)
