"""Dask's own dashboard, behind the link that the routes of a real server tell."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.environments import environment, interpreters
from tests.kernelspecs import kernel_spec
from tests.links.test_through_kernel import TODAY
from tests.processes import JupyterServer, short_folder, wait_for
from tests.server.test_discovered import Notebook

TEMPLATE = "proxy/{host}/{port}/status"
OWN = """
from distributed import Client
own = Client(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
"""


@pytest.fixture
def server(request, tmp_path):
    for name, packages in (("plain", ()), ("bokeh", ("bokeh>=3.1,<4",))):
        python = environment(interpreters()["3.11"], *TODAY, "ipykernel", *packages)
        kernel_spec(tmp_path / "home" / "data", name, python)
    options = [f"--CoiledJupyter.dashboard_template={request.param}"] if request.param else []
    server = JupyterServer(tmp_path, "server", *options, env={"COILED_JUPYTER_RUNTIME_DIR": short_folder()})
    yield server
    for cluster in server.api("GET", "clusters")[1]:
        server.api("DELETE", f"clusters/{cluster['id']}")
    server.close()


def started(server, notebook: Notebook, **options) -> dict:
    """Return a cluster that runs in the environment of a notebook's kernel."""

    def made():
        body = {"workers": 1, "interpreter": {"kernel": notebook.kernel}, "options": options}
        status, cluster = server.api("POST", "clusters", body)
        # It can be read a moment after it has started.
        assert status in (202, 503), cluster
        return cluster if status == 202 else None

    cluster = wait_for(made, what="the kernel")

    def ready():
        _, seen = server.api("GET", f"clusters/{cluster['id']}")
        assert seen["status"] != "failed", seen
        return seen if seen["status"] in ("running", "idle") and seen["seen_at"] else None

    return wait_for(ready, what="the cluster")


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


@pytest.mark.nightly
@pytest.mark.parametrize("server", [""], indirect=True)
def test_a_cluster_that_has_bokeh_has_a_dashboard_whose_pages_are_there_and_no_others(server):
    notebook = Notebook(server, "bokeh.ipynb", "bokeh")
    cluster = started(server, notebook)
    url = cluster["scheduler"]["dashboard"]
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/status")
    status, page = fetched(url)
    assert status == 200
    assert "<title>Dask Diagnostic UI</title>" in page
    root = url.removesuffix("status")
    pages = ("workers", "tasks", "graph", "info/main/workers.html", "statics/css/base.css")
    assert [fetched(root + name)[0] for name in pages] == [200] * len(pages)
    # What a scheduler of Dask serves besides: figures for other programs, and a way on to any port.
    assert [fetched(root + name)[0] for name in ("metrics", "json/counts.json", "proxy/22/127.0.0.1/")] == [404] * 3
    assert started(server, notebook, dashboard=False)["scheduler"]["dashboard"] is None

    # Likewise of a cluster that the notebook opens by itself.
    notebook.run(OWN)

    def found():
        clusters = server.api("GET", "clusters")[1]
        return next((c for c in clusters if c["source"] == "discovered" and c["scheduler"]["dashboard"]), None)

    own = wait_for(found, what="the notebook's own cluster")
    assert "<title>Dask Diagnostic UI</title>" in fetched(own["scheduler"]["dashboard"])[1]
    notebook.run("own.close()")
    notebook.close()


@pytest.mark.nightly
@pytest.mark.parametrize("server", [TEMPLATE], indirect=True)
def test_the_link_is_the_administrators_and_there_is_none_without_bokeh(server):
    plain, bokeh = Notebook(server, "plain.ipynb", "plain"), Notebook(server, "bokeh.ipynb", "bokeh")
    assert started(server, plain)["scheduler"]["dashboard"] is None
    told = started(server, bokeh)["scheduler"]["dashboard"]
    assert told.startswith("proxy/127.0.0.1/")
    port = told.split("/")[2]
    assert fetched(f"http://127.0.0.1:{port}/status")[0] == 200
    plain.close()
    bokeh.close()
