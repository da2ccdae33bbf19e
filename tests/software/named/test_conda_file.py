"""Wishes of conda as requirements of PyPI: each is kept, or refused or left out by its name; none is dropped in silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from coiled_jupyter.core import conda
from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.software.named import conda_file
from coiled_jupyter.software.named.files import parse

PYTHON = "3.12.4"


def of(*entries: object) -> conda_file.Wishes:
    return conda_file.wishes(entries, conda.NAMES)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy ==1.26.4", "numpy==1.26.4"),
        ("pandas=2.1.*", "pandas==2.1.*"),
        ("zarr!=3.0.0", "zarr!=3.0.0"),
        ("scipy >=1.10,<2", "scipy>=1.10,<2"),
        ("numpy[version='>=1.26,<2']", "numpy>=1.26,<2"),
        ("conda-forge::numpy=1.26", "numpy==1.26.*"),
        ("pytorch=2.4", "torch==2.4.*"),
        ("msgpack-python", "msgpack"),
        ("dask=2024.5.0", "dask[complete]==2024.5.0.*"),
        ("dask-core=2024.5.0", "dask==2024.5.0.*"),
        ("importlib_metadata", "importlib-metadata"),
        ("setuptools <71", "setuptools<71"),
        ("xarray ", "xarray"),
    ],
)
def test_what_pypi_can_express_is_kept(entry, line):
    found = of(entry)
    assert (found.lines, found.left_out) == ((line,), ())


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("numba>=0.58|<0.57", "no such wish for a version"),
        ("dask ==2024-07.1", "no such wish for a version"),
        ("netcdf4=1.6.5=nompi*", "the build nompi*"),
        ("scipy 1.11.* py311*", "the build py311*"),
        ("numpy[build=mkl]", "the build mkl"),
        ("pytorch::pytorch=2.3.1=py3.12_cuda12.1_cudnn8.9.2_0", "the channel pytorch"),
        ("conda-forge/label/dask_dev::distributed", "the channel conda-forge/label/dask_dev"),
        ("dask[distributed]", "no wish [distributed]"),
        ("numpy[md5=abc]", "no wish [md5=abc]"),
        ("python 3.11|3.12", "no range of versions"),
        ("=1.26", "isn't a conda package"),
        (7, "isn't a conda package"),
    ],
)
def test_what_pypi_can_not_express_is_refused_by_name(entry, says):
    with pytest.raises(Invalid) as caught:
        of(entry)
    assert says in caught.value.message
    assert str(entry)[:60] in caught.value.message


@pytest.mark.parametrize(
    "name", ["geos", "icu", "proj", "blas", "cairo", "openssl", "tzdata", "libgdal-core", "nobody-knows"]
)
def test_a_name_that_somebody_else_may_have_on_pypi_is_never_taken(name):
    found = of(f"{name}=1.0", "numpy")
    assert found.lines == ("numpy",)
    (left,) = found.left_out
    assert left.name == name
    assert "PyPI" in left.why


def test_an_administrator_knows_more_names():
    names = {**conda.NAMES, "acme-core": "acme", "geos": None}
    found = conda_file.wishes(["acme-core>=2", "geos"], names)
    assert (found.lines, [left.name for left in found.left_out]) == (("acme>=2",), ["geos"])


@pytest.mark.parametrize(
    ("wish", "python", "pythons"),
    [
        ("=3.11", "3.11", ""),
        (" 3.11.*", "3.11", ""),
        ("==3.12.1", "3.12.1", ""),
        (" >=3.8,<3.10", None, ">=3.8,<3.10"),
        ("", None, ""),
    ],
)
def test_the_python_that_is_wished_for_is_kept(wish, python, pythons):
    found = of("python" + wish)
    assert (found.python, found.pythons) == (python, pythons)


def test_an_export_keeps_its_versions_and_names_its_builds():
    text = "# platform: linux-64\n_libgcc_mutex=0.1=conda_forge\nnumpy=1.26.4=py311h64a7726_0\npython=3.11.9=hb806964_0_cpython\n"
    found = parse("requirements.txt", text, PYTHON)
    assert (found.lines, found.python) == (("numpy==1.26.4",), "3.11.9")
    assert [left.name for left in found.left_out] == ["_libgcc_mutex", "numpy, build py311h64a7726_0"]
    # One line of another kind, and it is a file for pip.
    with pytest.raises(Invalid):
        parse("requirements.txt", text + "six==1.16.0\n", PYTHON)


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("environment.yml", "dependencies:\n  - numpy=1.26.4\n  - pip:\n", ("numpy==1.26.4.*",)),
        ("environment.yml", "\ufeffdependencies:\n  - numpy=1.26.4\n", ("numpy==1.26.4.*",)),
        ("requirements.txt", "\ufeff# café\r\nnumpy==1.26.4\r\npandas==2.2.2\r\n", ("numpy==1.26.4", "pandas==2.2.2")),
        ("requirements.txt", "pkg_resources==0.0.0\nnumpy==1.26.4\n", ("numpy==1.26.4",)),
        (
            "pyproject.toml",
            "\ufeff[project]\nname='x'\nversion='0'\ndependencies=['numpy==1.26.4']\n",
            ("numpy==1.26.4",),
        ),
    ],
)
def test_what_editors_and_installers_leave_in_files_is_read(name, text, lines):
    assert parse(name, text, PYTHON).lines == lines


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("requirements.txt", "numpy==1.26.4\r\n".encode("utf-16").decode("utf-8", "replace"), "UTF-8"),
        ("poetry.lock", '[[package]]\nname = "numpy"\n', "poetry export"),
        ("Pipfile.lock", "{}", "pipenv requirements"),
        ("pyproject.toml", '[tool.poetry]\nname = "x"\n', "poetry export"),
        ("conda-lock.yml", "version: 1\npackage: []\n", "environment.yml"),
        ("requirements.txt", "-c constraints.txt\nnumpy\n", "Put its lines"),
        (
            "requirements.txt",
            "attrs @ file:///home/conda/feedstock_root/build_artifacts/attrs_1/work\n",
            "name and version",
        ),
    ],
)
def test_what_can_not_be_read_says_what_to_give_instead(name, text, hint):
    with pytest.raises(Invalid) as caught:
        parse(name, text, PYTHON, allowed=("options", "paths"))
    assert hint in caught.value.hint


def test_an_editable_path_may_be_quoted():
    found = parse("requirements.txt", '--editable="/project/x"\n', PYTHON, allowed=("paths",))
    assert [reference.url for reference in found.references] == [
        reference.url
        for reference in parse("requirements.txt", "-e /project/x\n", PYTHON, allowed=("paths",)).references
    ]


VERSIONS = st.from_regex(r"[1-9][0-9]?(\.[0-9]{1,2}){0,2}", fullmatch=True)


@given(st.lists(st.tuples(st.sampled_from(["=", "==", ">=", "<=", ">", "<", "!="]), VERSIONS), min_size=1, max_size=3))
def test_a_range_means_the_same(parts):
    specifier = conda_file.version(",".join(sign + number for sign, number in parts))
    assert specifier is not None
    known = SpecifierSet(specifier)
    for sign, number in parts:
        exact, inside = number, f"{number}.7"
        holds = {
            "=": (True, True),
            "==": (True, False),
            ">=": (True, True),
            "<=": (True, False),
            "!=": (False, True),
            ">": (False, True),
            "<": (False, False),
        }[sign]
        alone = SpecifierSet(conda_file.version(sign + number) or "")
        assert (alone.contains(exact), alone.contains(inside)) == holds
    assert len(known) <= len(parts)
