"""conda's names and PyPI's, and what conda has installed beside the distributions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core import conda
from tests.readings import decode_reading

from .test_reading import GOOD

names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z").filter(lambda name: "--" not in name)
ONLY_CONDAS = set(conda.NAMES)


@given(names.filter(lambda name: name not in ONLY_CONDAS) | st.sampled_from(sorted(filter(None, conda.NAMES.values()))))
def test_names_come_back_as_they_went(name):
    of_conda = next((known for known, pypi in conda.NAMES.items() if pypi == name), name)
    assert conda.to_pypi(of_conda) == name


def test_the_table_is_one_to_one():
    pypi = [name for name in conda.NAMES.values() if name is not None]
    assert len(pypi) == len(set(pypi))


@pytest.mark.parametrize(
    ("name", "pypi"),
    [("pytorch", "torch"), ("matplotlib-base", "matplotlib"), ("msgpack-python", "msgpack"), ("NumPy", "numpy"),
     ("graphviz", None), ("python-graphviz", "graphviz"), ("zstd", None), ("ruamel.yaml", "ruamel-yaml")],
)  # fmt: skip
def test_names_that_differ(name, pypi):
    assert conda.to_pypi(name) == pypi


def test_a_users_own_names():
    names = {**conda.NAMES, "acme-core": "acme"}
    assert conda.to_pypi("acme-core", names) == "acme"


def reading(packages, records):
    data = {**GOOD, "packages": [{"name": n, "version": v} for n, v in packages], "conda": records}
    return decode_reading(json.dumps(data))


def record(name, version, build="h1_0", channel="conda-forge"):
    return {"name": name, "version": version, "build": build, "channel": channel}


def test_distributions_of_conda_carry_their_build_and_libraries_are_packages():
    found = reading(
        [("torch", "2.1.0"), ("numpy", "2.1.0")],
        [
            record("pytorch", "2.1.0", "py311_0"),
            record("openssl", "3.3.1"),
            record("python", "3.11.7"),
            record("../x", "1"),
        ],
    )
    packages = {package.name: package for package in found.packages}
    assert set(packages) == {"torch", "numpy", "openssl"}
    assert (packages["torch"].build, packages["torch"].channel) == ("py311_0", "conda-forge")
    assert packages["numpy"].channel is None
    assert (packages["openssl"].version, packages["openssl"].installer) == ("3.3.1", "conda")
    assert found.problems == ()


def test_pip_over_conda_is_a_problem():
    found = reading([("numpy", "2.1.0")], [record("numpy", "1.26.4", "py311_0")])
    (problem,) = found.problems
    assert (problem.kind, problem.package) == ("conda_conflict", "numpy")
    assert "1.26.4" in problem.where
    assert "conda install" in problem.fix
