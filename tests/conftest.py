"""Folders of one's own for every test session: nothing of the user's is read or written."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.ledger import Ledger
from tests.processes import wait_for

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what runs in the background so; the programs of tests would inherit that, and hear no interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A socket's path is limited to about 100 bytes, so the folder's name is short.
_RUNTIME = tempfile.mkdtemp(prefix="cj-")
os.environ["COILED_JUPYTER_RUNTIME_DIR"] = str(Path(_RUNTIME, "r"))
# Built environments are shared by all tests and runs: their name is their content's hash.
os.environ.setdefault("COILED_JUPYTER_DATA_DIR", str(Path(__file__).resolve().parent.parent / ".cache" / "data"))


# Where the same laws are tried once more on another Python.
settings.register_profile("brief", max_examples=10)


def pytest_addoption(parser):
    parser.addoption("--full-matrix", action="store_true", help="every transport for each pair of versions")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full-matrix"):
        left = [item for item in items if item.get_closest_marker("full_matrix")]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in left]


def pytest_terminal_summary(terminalreporter):
    texts = sys.modules.get("tests.texts.test_probe")
    if texts is not None:
        # Tests of each Python are made of those that are found: what wasn't is told, not passed over.
        found = texts.interpreters()
        missing = [minor for minor in texts.MINORS if minor not in found] or ["none"]
        terminalreporter.write_line(
            f"Pythons found: {' '.join(sorted(found, key=texts.MINORS.index))}; not found: {' '.join(missing)}"
        )


@pytest.fixture(scope="session", autouse=True)
def _runtime_folder():
    yield
    # Clusters outlive a server that was killed, by their lease; not the tests.
    with contextlib.suppress(CoiledError):
        for row in Ledger().list():
            if row.pid is not None and not row.ended and Ledger().owner_alive(row):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(row.pid, signal.SIGTERM)
                wait_for(lambda row=row: not Ledger().owner_alive(row), seconds=20, what="a cluster's end")
    shutil.rmtree(_RUNTIME, ignore_errors=True)
