"""Folders of one's own for every test session: nothing of the user's is read or written."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

# A socket's path is limited to about 100 bytes, so the folder's name is short.
_RUNTIME = tempfile.mkdtemp(prefix="cj-")
os.environ["COILED_JUPYTER_RUNTIME_DIR"] = str(Path(_RUNTIME, "r"))
# Built environments are shared by all tests and runs: their name is their content's hash.
os.environ.setdefault("COILED_JUPYTER_DATA_DIR", str(Path(__file__).resolve().parent.parent / ".cache" / "data"))


def pytest_addoption(parser):
    parser.addoption("--full-matrix", action="store_true", help="every transport for each pair of versions")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full-matrix"):
        left = [item for item in items if item.get_closest_marker("full_matrix")]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session", autouse=True)
def _runtime_folder():
    yield
    shutil.rmtree(_RUNTIME, ignore_errors=True)
