"""Clusters on a Slurm, over SSH and of a dask-gateway, from the dialog to the last job, in a real lab."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests import platforms
from tests.environments import environment, interpreters
from tests.gateway import DaskGateway
from tests.kernelspecs import empty_notebook, kernel_spec
from tests.processes import wait_for

from .pages import app, browser, end
from .test_first_look import PLAN, behind, faults, opened, show

PANEL = "#coiled-jupyter-panel"
SAME = ("distributed==2026.8.0", "dask==2026.8.0", "cloudpickle==3.1.3", "msgpack==1.2.4", "tornado==6.6.1")

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def slurm():
    with platforms.slurm() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with DaskGateway(tmp_path_factory.mktemp("gateway"), nodes=Path(sys.executable)) as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def lab(tmp_path_factory, slurm, gateway):
    root = tmp_path_factory.mktemp("elsewhere")
    python = environment(interpreters()["3.11"], *SAME, "numpy==2.2.6", "ipykernel")
    kernel_spec(root / "home" / "data", "analysis", python)
    empty_notebook(root / "work" / "elsewhere.ipynb", "analysis")
    with platforms.ssh(root / "ssh") as machines:
        (root / "home" / "config").mkdir(parents=True)
        factories = {"queue": slurm.factory(), "machines": machines.factory()}
        settings = {"CoiledJupyter": {"factories": factories}}
        (root / "home" / "config" / "jupyter_server_config.json").write_text(json.dumps(settings))
        server = app(root, env={"SLURM_CONF": slurm.environ["SLURM_CONF"], **gateway.variables()})
        yield server
        end(server)


@pytest.fixture(scope="module")
def page(lab):
    with browser(width=1500, height=1000) as page:
        opened(page, lab, "elsewhere.ipynb")
        expect(page.locator("#jp-main-statusbar")).to_contain_text("analysis | Idle", timeout=60_000)
        yield page


def start(page, where: str, fields: dict[str, str]):
    """Create a cluster in the dialog; return its card."""
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:create-cluster')")
    dialog = page.locator(".jp-Dialog")
    dialog.locator("[data-field=factory]").select_option(label=where)
    dialog.get_by_label("Packages from").select_option("server")
    dialog.locator("summary").click()
    for name, text in fields.items():
        dialog.locator(f"[data-field='{name}']").fill(text)
    show(page, f"elsewhere-{where.split()[-1]}")
    assert faults(page, ".jp-Dialog-body") == []
    dialog.get_by_role("button", name="Create").click()
    expect(dialog).to_have_count(0)
    card = page.locator("[data-cluster-id]").first
    expect(card).to_have_attribute("data-status", re.compile("idle|running"), timeout=90_000)
    return card


def test_a_cluster_of_jobs_is_created_synced_undone_and_stopped(lab, page, slurm):
    start(page, "The test's queue", {"name": "jobs", "memory_limit": "500 MB"})
    wait_for(lambda: len(lab.api("GET", "clusters")[1][0]["workers"]) == 2, what="two workers")
    page.get_by_label("Compare with").select_option(label="jobs")
    row = page.locator(f"{PANEL} [data-package=numpy]")
    expect(row).to_be_visible(timeout=90_000)
    show(page, "elsewhere-jobs")
    offer = page.locator("[data-sync-offer][aria-disabled=false]")
    expect(offer).to_be_visible(timeout=90_000)
    offer.click()
    review = page.locator(PLAN)
    expect(review.locator("[data-plan]")).to_be_visible(timeout=60_000)
    review.get_by_role("button", name="Sync", exact=True).click()
    card = page.locator("[data-sync-id]").first
    expect(card).to_have_attribute("data-state", "done", timeout=180_000)
    show(page, "elsewhere-synced")
    card.get_by_role("button", name="Undo").click()
    expect(review.locator("[data-plan]")).to_be_visible(timeout=60_000)
    review.get_by_role("button", name="Undo", exact=True).click()
    expect(page.locator("[data-sync-id][data-state=done]", has_text="Undo on jobs")).to_be_visible(timeout=120_000)
    stop(lab, page)
    wait_for(lambda: not slurm.jobs(), what="the end of the jobs")


def test_the_next_dialog_begins_where_the_last_one_was(page):
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:create-cluster')")
    dialog = page.locator(".jp-Dialog")
    expect(dialog.locator("[data-field=factory]").locator("option:checked")).to_have_text("The test's queue")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_cluster_over_ssh_is_created_and_stopped(lab, page):
    start(page, "The test's machines", {"name": "remote", "options.hosts": "127.0.0.1, 127.0.0.1"})
    wait_for(lambda: len(lab.api("GET", "clusters")[1][-1]["workers"]) == 2, what="two workers")
    show(page, "elsewhere-remote")
    stop(lab, page)


def test_a_gateway_is_asked_and_a_cluster_of_it_created_and_stopped(lab, page, gateway):
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:create-cluster')")
    dialog = page.locator(".jp-Dialog")
    dialog.locator("[data-field=factory]").select_option(label="dask-gateway")
    summary = dialog.locator(".jp-Coiled-summary")
    expect(summary).to_contain_text("dask-gateway isn't in the notebook's environment", timeout=30_000)
    show(page, "elsewhere-gateway-missing")
    dialog.get_by_label("Python that speaks to it").select_option("server")
    dialog.locator("summary").click()
    expect(dialog.get_by_label("<b>Note</b> (optional)")).to_be_visible(timeout=30_000)
    dialog.get_by_label("Profile (optional)").select_option("large")
    dialog.locator("[data-field='options.worker_cores']").fill("3")
    dialog.locator("[data-field=name]").fill("gated")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_text("worker_cores must be at least 1 and at most 2")).to_be_visible()
    show(page, "elsewhere-gateway")
    assert faults(page, ".jp-Dialog-body") == []
    dialog.locator("[data-field='options.worker_cores']").fill("2")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog).to_have_count(0, timeout=30_000)
    card = page.locator("[data-cluster-id]", has_text="gated").first
    expect(card).to_have_attribute("data-status", re.compile("idle|running"), timeout=90_000)
    wait_for(lambda: [w["threads"] for w in lab.api("GET", "clusters")[1][-1]["workers"]] == [2, 2], what="two workers")
    show(page, "elsewhere-gated")
    stop(lab, page)
    wait_for(lambda: not gateway.processes(), what="the end of its processes")


def test_a_cluster_that_runs_at_a_gateway_is_joined_and_detached(lab, page, gateway):
    program = f"{gateway.opening(1)}\nprint(cluster.name, flush=True)\ninput()\ncluster.shutdown()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([gateway.python, "-c", program], text=True, **pipes) as notebook:
        name = notebook.stdout.readline().strip()
        join_and_detach(lab, page, name)
        there = lab.api("POST", "factories/gateway/offers", {})[1]["clusters"]
        assert [(one["name"], one["status"]) for one in there] == [(name, "running")]
        notebook.stdin.write("\n")


def join_and_detach(lab, page, name: str) -> None:
    dialog = page.locator(".jp-Dialog")
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:create-cluster')")
    dialog.get_by_label("Python that speaks to it").select_option("server")
    dialog.get_by_label("Cluster").select_option(name)
    expect(dialog.get_by_label("Workers")).to_have_count(0)
    dialog.locator("summary").click()
    dialog.locator("[data-field=name]").fill("joined")
    show(page, "elsewhere-join")
    assert faults(page, ".jp-Dialog-body") == []
    dialog.get_by_role("button", name="Create").click()
    expect(dialog).to_have_count(0, timeout=30_000)
    wait_for(
        lambda: [c["status"] for c in lab.api("GET", "clusters")[1] if c["joined"]] in (["idle"], ["running"]),
        what="the joined cluster",
    )
    joined = behind(page.locator("[data-cluster-id]", has_text="joined").first)
    show(page, "elsewhere-joined")
    joined.get_by_role("button", name="Detach joined, which goes on").click()
    dialog.get_by_role("button", name="Detach").click()
    expect(joined).to_have_count(0, timeout=30_000)


def stop(lab, page) -> None:
    """Stop the cluster that runs, by the panel's command."""
    (cluster,) = [c for c in lab.api("GET", "clusters")[1] if c["status"] in ("idle", "running")]
    card = behind(page.locator("[data-cluster-id]", has_text=cluster["name"]))
    card.get_by_role("button", name=f"Stop {cluster['name']}").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Stop").click()
    wait_for(lambda: lab.api("GET", f"clusters/{cluster['id']}")[1]["status"] == "stopped", what="its end")
