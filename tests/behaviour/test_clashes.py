"""What can't be imported beside another package is what was tried: the last release that fails, and the first that works."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from coiled_jupyter.core.rules import Clash, shipped, shipped_file
from coiled_jupyter.core.wire import Package
from tests.environments import interpreters
from tests.nightly import each_night

NUMPY = "2.2.6"
PYTHON = "3.11"
# (package, the last release that fails, the first that works, what is imported, what else is installed)
TRIED = [
    ("astropy", "6.0.1", "6.1.0", "astropy.table", ()),
    ("bottleneck", "1.3.8", "1.4.0", "bottleneck", ()),
    ("cftime", "1.6.3", "1.6.4", "cftime", ()),
    ("h5py", "3.10.0", "3.11.0", "h5py", ()),
    ("matplotlib", "3.8.3", "3.8.4", "matplotlib.pyplot", ()),
    ("netcdf4", "1.6.5", "1.7.1", "netCDF4", ("cftime==1.6.4",)),
    ("numba", "0.59.1", "0.61.2", "numba", ()),
    ("numba", "0.60.0", "0.61.2", "numba", ()),
    ("numexpr", "2.9.0", "2.10.0", "numexpr", ()),
    ("pandas", "2.2.1", "2.2.2", "pandas", ()),
    ("pyarrow", "15.0.2", "16.0.0", "pyarrow", ()),
    ("scikit-image", "0.22.0", "0.23.2", "skimage.transform", ("scipy==1.13.1",)),
    ("scikit-learn", "1.4.1.post1", "1.4.2", "sklearn.tree", ("scipy==1.13.0",)),
    ("scipy", "1.12.0", "1.13.0", "scipy.sparse", ()),
    ("shapely", "2.0.3", "2.0.4", "shapely", ()),
    ("statsmodels", "0.14.1", "0.14.2", "statsmodels.api", ("scipy==1.13.1", "pandas==2.2.3")),
]


@pytest.mark.parametrize(("name", "fails", "works", "module", "beside"), TRIED)
def test_the_rules_follow_from_the_trials(name, fails, works, module, beside):
    def clashes(**versions: str) -> set[tuple[str, str]]:
        return set(shipped().clashes({each: Package(name=each, version=it) for each, it in versions.items()}))

    assert clashes(**{name: fails, "numpy": NUMPY}) == {(name, "numpy")}
    assert clashes(**{name: works, "numpy": NUMPY}) == set()
    assert clashes(**{name: fails, "numpy": "1.26.4"}) == set()
    assert clashes(**{name: fails}) == set()


def test_nothing_else_clashes():
    assert all(isinstance(entry, Clash) for entry in shipped_file().clashes)
    assert [entry.name for entry in shipped_file().clashes] == [name for name, *_ in TRIED]
    odd = [Package(name="pandas", version="no version"), Package(name="numpy", version="2.0")]
    assert shipped().clashes({package.name: package for package in odd}) == []


def imported(folder: Path, requirement: str, module: str, beside: tuple[str, ...]) -> subprocess.CompletedProcess:
    """Import a module in an environment whose numpy is forced, as one that somebody has upgraded alone."""
    python = folder / "bin" / "python"
    folder.with_suffix(".txt").write_text(f"numpy=={NUMPY}")
    force = ["--override", str(folder.with_suffix(".txt")), "--only-binary", ":all:"]
    for command in (
        ["venv", "-q", "--python", interpreters()[PYTHON], str(folder)],
        ["pip", "install", "-q", "--python", str(python), *force, requirement, f"numpy=={NUMPY}", *beside],
    ):
        subprocess.run([find_uv_bin(), *command], check=True)
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, text=True, check=False)


@pytest.mark.skipif(PYTHON not in interpreters(), reason=f"no Python {PYTHON} on this machine")
@pytest.mark.parametrize(("name", "fails", "works", "module", "beside"), each_night(TRIED, ()))
def test_the_last_release_fails_and_the_first_works(name, fails, works, module, beside, tmp_path):
    old = imported(tmp_path / "old", f"{name}=={fails}", module, beside)
    assert old.returncode
    assert "numpy" in old.stderr.lower()
    new = imported(tmp_path / "new", f"{name}=={works}", module, beside)
    assert not new.returncode, new.stderr
