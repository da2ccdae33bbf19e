"""`%coiled sync` of a cluster of which only the notebook has a client: in place where it lives in the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest
from uv import find_uv_bin

from coiled_jupyter.ipython.results import MIME
from tests.environments import environment, interpreters
from tests.index import make_wheel
from tests.ipython.test_magics import Kernel, displayed, shown
from tests.links.nodes.test_link import TODAY
from tests.processes import IDLE_DASK, apart
from tests.remote import RemoteCluster

OPEN = """
%load_ext coiled_jupyter
from dask.distributed import Client
client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
kept = client.map(lambda i: __import__("rolled").__version__ + str(i), range(4), pure=False)
client.gather(kept)
"""


def test_one_line_makes_the_notebooks_own_workers_run_what_was_installed(tmp_path):
    folder = tmp_path / "packages"

    def install(version: str) -> None:
        wheel = make_wheel(tmp_path, "rolled", version=version)
        command = [find_uv_bin(), "pip", "install", "-q", "--python", sys.executable, "--target", str(folder)]
        subprocess.run([*command, "--upgrade", str(wheel)], check=True)

    install("1.0")
    data = {"COILED_JUPYTER_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(folder)}
    kernel = Kernel(**apart(), **data, **IDLE_DASK)
    try:
        status, found = kernel.run(OPEN, 240)
        assert status == "ok", found
        install("2.0")
        status, found = kernel.run("%coiled sync --dry-run", 240)
        assert status == "ok", found
        plan = shown(found, "execute_result")
        assert plan[MIME]["how"] == "in_place"
        assert "↑ rolled  1.0 → 2.0" in plan["text/plain"]
        assert "Nothing is lost." in plan["text/plain"]
        status, found = kernel.run("s = %coiled sync --yes\ns", 240)
        assert status == "ok", displayed(found)
        done = shown(found, "execute_result")
        assert (done[MIME]["state"], done[MIME]["undoable"]) == ("done", False)
        assert "All 2 workers run what is installed now" in done["text/plain"]
        versions = "sorted(client.run(lambda: __import__('rolled').__version__).values())"
        assert kernel.value(versions) == ["2.0", "2.0"]
        assert kernel.value("client.gather(kept)") == ["1.00", "1.01", "1.02", "1.03"]
        status, found = kernel.run("%coiled sync", 240)
        assert status == "ok"
        assert "There is nothing to do" in shown(found, "execute_result")["text/plain"]
        assert kernel.run("client.close(); client.cluster.close()")[0] == "ok"
    finally:
        kernel.close()


CONNECT = """
%load_ext coiled_jupyter
from dask.distributed import Client
from distributed.security import Security
read = lambda path: open(path).read()
security = Security(
    tls_ca_file=read({ca_file!r}), tls_client_cert=read({cert_file!r}), tls_client_key=read({key_file!r}), require_encryption=True
)
client = Client({address!r}, security=security, timeout=60)
client.wait_for_workers(2, timeout=60)
kept = client.map(str, range(4), pure=False)
client.gather(kept)
"""
HAS = "sorted(client.run(lambda: bool(__import__('importlib.util').util.find_spec('iniconfig'))).values())"


@pytest.mark.nightly
def test_a_cluster_elsewhere_is_synced_with_certificates_that_only_the_notebook_has(tmp_path):
    python = environment(interpreters()["3.11"], *TODAY)
    kernel = Kernel(**apart(), COILED_JUPYTER_DATA_DIR=str(tmp_path / "data"), **IDLE_DASK)
    try:
        with RemoteCluster(tmp_path / "cluster", python, workers=2, tls=True) as running:
            status, found = kernel.run(CONNECT.format(address=running.address, **running.tls), 240)
            assert status == "ok", found
            assert kernel.value(HAS) == [False, False]
            status, found = kernel.run("s = %coiled sync iniconfig --yes\ns", 240)
            assert status == "ok", displayed(found)
            done = shown(found, "execute_result")
            assert (done[MIME]["state"], done[MIME]["undoable"]) == ("done", True)
            assert kernel.value(HAS) == [True, True]
            status, found = kernel.run("%coiled undo --yes", 240)
            assert status == "ok", displayed(found)
            assert kernel.value(HAS) == [False, False]
            assert kernel.value("client.gather(kept)") == ["0", "1", "2", "3"]
            assert kernel.run("client.close()")[0] == "ok"
    finally:
        kernel.close()
