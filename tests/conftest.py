"""Folders of one's own for every test session: nothing of the user's is read or written."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.ledger import Ledger
from tests.environments import MINORS, interpreters, tell
from tests.processes import IDLE_DASK, short_folder, wait_for

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what runs in the background so; the programs of tests would inherit that, and hear no interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_RUNTIME = short_folder()
os.environ["COILED_JUPYTER_RUNTIME_DIR"] = str(Path(_RUNTIME, "r"))
# Built environments are shared by all tests and runs: their name is their content's hash.
os.environ.setdefault("COILED_JUPYTER_DATA_DIR", str(Path(__file__).resolve().parent.parent / ".cache" / "data"))

# What files hold is known to all programs of a test run, whatever home they have.
os.environ.setdefault("COILED_JUPYTER_CACHE_DIR", str(Path(__file__).resolve().parent.parent / ".cache" / "files"))

# Programs that tests start look, retry and give up ten times as often as in everyday use.
os.environ.setdefault("COILED_JUPYTER_PACE", "0.1")

for _name, _value in IDLE_DASK.items():
    os.environ.setdefault(_name, _value)

# How long an example takes is the machine's business.
_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("patient", **_PATIENT)
# Where the same laws are tried once more on another Python.
settings.register_profile("brief", max_examples=10, **_PATIENT)
settings.load_profile("patient")


def pytest_addoption(parser):
    group = parser.getgroup("coiled-jupyter")
    group.addoption(
        "--nightly", action="store_true", help="also run what takes hours: all faults, pairs and random steps"
    )
    group.addoption("--seed", type=int, help="of everything that is random (default: 0, with --nightly a new one)")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # The processes of xdist are started with the options as they are then, so all have one seed.
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(1 << 31) if config.option.nightly else 0
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(config.option.seed)

    if hasattr(config, "workerinput"):
        tell(config.workerinput["interpreters"])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["interpreters"] = interpreters()


def pytest_report_header(config):
    return f"random choices: --seed={config.option.seed}"


def pytest_collection_modifyitems(config, items):
    if not config.option.nightly:
        left = [item for item in items if item.get_closest_marker("nightly")]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in left]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Run tests that share a cluster, a server or a page of their module in one process, each of the others in any."""
    from xdist.scheduler import LoadScopeScheduling

    @functools.cache
    def shares(module: str) -> bool:
        return 'scope="module"' in (config.rootpath / module).read_text(encoding="utf-8")

    class ByFixture(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return module if shares(module) else nodeid

    return ByFixture(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_terminal_summary(terminalreporter, config):
    if interpreters.cache_info().currsize or config.getoption("numprocesses", None):
        # Tests of each Python are made of those that are found: what wasn't is told, not passed over.
        found = interpreters()
        missing = [minor for minor in MINORS if minor not in found] or ["none"]
        terminalreporter.write_line(
            f"Pythons found: {' '.join(sorted(found, key=MINORS.index))}; not found: {' '.join(missing)}"
        )
    if config.option.durations:
        spent: dict[str, float] = {}
        for report in itertools.chain(*terminalreporter.stats.values()):
            if isinstance(report, pytest.TestReport):
                module = report.nodeid.partition("::")[0]
                spent[module] = spent.get(module, 0) + report.duration
        terminalreporter.section("slowest modules")
        for module in sorted(spent, key=spent.get, reverse=True)[: config.option.durations]:
            terminalreporter.write_line(f"{spent[module]:7.1f} s  {module}")


@pytest.fixture(scope="session")
def nightly(request) -> bool:
    """Whether long runs are asked for."""
    return request.config.option.nightly


@pytest.fixture(scope="session")
def seed(request) -> int:
    """Of the run's random choices, so that a failure can be had again."""
    return request.config.option.seed


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
