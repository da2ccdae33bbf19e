"""The whole path in a real lab, a real kernel and a real cluster, seen through a real browser."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.processes import JupyterServer, wait_for

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"
OLD_NUMPY = "numpy==1.26.4" if sys.version_info < (3, 13) else "numpy==2.1.3"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    (root / "work").mkdir()
    for notebook in (ROOT / "examples").glob("*.ipynb"):
        shutil.copy(notebook, root / "work")
    # Nobody answers the lab's own question about news.
    settings = root / "home/config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    server = JupyterServer(
        root,
        "lab",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    )
    yield server
    server.close()


@pytest.fixture(scope="module")
def page(lab):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{lab.url}/lab/tree/first-look.ipynb?token={lab.token}")
        ready(page)
        page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
        page.wait_for_selector("#coiled-jupyter-panel", state="visible")
        yield page
        browser.close()


def ready(page) -> None:
    page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
    page.evaluate("window.jupyterapp.restored.then(() => true)")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)


def create(lab, **body) -> dict:
    status, cluster = lab.api("POST", "clusters", body)
    assert status == 202, cluster
    wait_for(
        lambda: lab.api("GET", f"clusters/{cluster['id']}")[1]["status"] != "starting", what="the cluster", seconds=180
    )
    return lab.api("GET", f"clusters/{cluster['id']}")[1]


def show(page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def test_without_a_cluster_the_panel_says_so(page):
    expect(page.locator("[data-verdict=unknown]")).to_contain_text("no cluster", timeout=20_000)
    show(page, "no-cluster")


def test_the_numpy_row_is_red_before_a_cell_has_run(lab, page):
    cluster = create(lab, name="older", workers=2, requirements=[OLD_NUMPY])
    assert cluster["status"] in ("running", "idle"), cluster
    row = page.locator("#coiled-jupyter-panel [data-package=numpy]")
    expect(row).to_have_attribute("data-status", "differs", timeout=30_000)
    if sys.version_info < (3, 13):
        expect(row).to_have_attribute("data-severity", "block")
        expect(page.locator("[data-verdict=breaks]")).to_be_visible()
    expect(page.locator(f"[data-cluster-id='{cluster['id']}']")).to_contain_text("2 of 2 workers")
    meter = page.locator("[role=meter]")
    expect(meter).to_have_attribute("aria-valuenow", "2")
    expect(meter).to_have_attribute("aria-valuemax", "100")
    show(page, "numpy-differs")
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    page.wait_for_timeout(500)
    show(page, "numpy-differs-dark")
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")


def test_the_row_appears_while_a_cell_sleeps(lab, page):
    page.evaluate("window.jupyterapp.commands.execute('notebook:enter-edit-mode')")
    kernel = lab.ask("GET", "/api/kernels")[1][0]["id"]
    page.evaluate(
        """() => {
            const notebook = window.jupyterapp.shell.currentWidget;
            notebook.sessionContext.session.kernel.requestExecute({code: 'import time; time.sleep(12)'});
        }"""
    )
    wait_for(lambda: lab.ask("GET", f"/api/kernels/{kernel}")[1]["execution_state"] == "busy", what="a busy kernel")
    page.reload()
    ready(page)
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
    expect(page.locator("[data-package=numpy][data-status=differs]")).to_be_visible(timeout=8_000)
    assert lab.ask("GET", f"/api/kernels/{kernel}")[1]["execution_state"] == "busy"
    show(page, "while-busy")


def test_an_equal_environment_is_green(lab, page):
    for cluster in lab.api("GET", "clusters")[1]:
        lab.api("DELETE", f"clusters/{cluster['id']}")
    kernel = lab.ask("GET", "/api/kernels")[1][0]["id"]
    cluster = create(lab, name="same", workers=1, interpreter={"kernel": kernel})
    assert cluster["status"] in ("running", "idle"), cluster
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=30_000)
    show(page, "equal")
    diff = lab.api("GET", f"diff?kernel={kernel}&cluster={cluster['id']}")[1]
    assert diff["verdict"] == "equal", json.dumps(diff["unread"])
    assert {group["role"] for group in diff["cluster"]["groups"]} == {"worker", "scheduler"}


def test_stopping_asks_first_and_green_goes(lab, page):
    page.get_by_role("button", name="Stop same").click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("results that only they hold are lost")
    dialog.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-verdict=equal]")).to_have_count(0, timeout=20_000)
    wait_for(
        lambda: all(c["status"] == "stopped" for c in lab.api("GET", "clusters")[1]),
        what="stopped clusters",
        seconds=30,
    )


def test_a_cluster_made_in_the_panel_is_used_from_the_notebook(lab, page):
    expect(page.locator("[role=meter]")).to_have_attribute("aria-valuenow", "0")
    page.get_by_role("button", name="New cluster…").click()
    dialog = page.locator(".jp-Dialog")
    workers = dialog.get_by_label("Workers", exact=True)
    workers.fill("500")
    expect(dialog.locator(".jp-Coiled-summary")).to_contain_text("500 cores are more than the 100 left")
    expect(dialog.get_by_role("button", name="Create")).to_be_disabled()
    workers.fill("1")
    dialog.get_by_label("Name (optional)").fill("mine")
    dialog.get_by_label("Packages from").select_option("interpreter")
    expect(dialog.locator(".jp-Coiled-summary")).to_contain_text("1 of the 100 cores left")
    show(page, "new-cluster")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("group", name="mine")).to_contain_text("Starting")
    show(page, "starting")
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Insert a client of mine").click()
    expect(dialog).to_contain_text('coiled_jupyter.connect("mine")')
    show(page, "insert-client")
    dialog.get_by_role("button", name="Insert").click()
    # Inserted and not run.
    expect(page.locator(".jp-CodeCell", has_text='coiled_jupyter.connect("mine")')).to_have_count(1)
    page.wait_for_timeout(500)
    assert lab.api("GET", "clusters")[1][-1]["clients"] == 0
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
    wait_for(lambda: any(c["clients"] for c in lab.api("GET", "clusters")[1]), what="the notebook's client", seconds=60)
    show(page, "client")


def test_a_cluster_that_fails_says_why(lab, page):
    cluster = create(lab, name="never", requirements=["numpy==99999"])
    card = page.locator(f"[data-cluster-id='{cluster['id']}']")
    expect(card).to_have_attribute("data-status", "failed")
    expect(card).to_contain_text("numpy==99999")
    expect(card.locator("[data-step='Resolve packages']")).to_have_attribute("data-state", "failed")
    # It isn't what the notebook is compared with.
    expect(page.locator("[data-verdict=equal]")).to_be_visible()
    show(page, "failed")
    page.get_by_role("button", name="Remove never from the list").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Remove").click()
    expect(card).to_have_count(0)


def test_a_restarted_kernel_is_read_again_and_a_dead_server_claims_nothing(lab, page):
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => true)")
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=30_000)
    lab.process.kill()
    expect(page.locator("[data-verdict=unknown]")).to_be_visible(timeout=40_000)
    expect(page.locator("[data-verdict=equal]")).to_have_count(0)
    expect(page.locator("[data-stale=true]")).to_have_count(1)
    show(page, "no-server")
