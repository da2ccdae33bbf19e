"""The page in the oldest lab that is supported, on the oldest Python, as it is installed."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import expect

from tests import installed
from tests.processes import apart

from .pages import ROOT, app, browser, errors_of_ours
from .test_first_look import create, ready

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("oldest")
    (root / "work").mkdir()
    shutil.copy(ROOT / "examples/first-look.ipynb", root / "work")
    server = app(root, env=apart(), python=installed.Shared(tmp_path_factory.getbasetemp()).oldest())
    yield server
    server.close()


def test_the_panel_shows_a_row_of_the_notebook_and_a_cluster(lab):
    assert f'"{installed.floor("jupyterlab")}' in lab.ask("GET", "/lab")[1].replace("&#34;", '"')
    with browser() as page:
        wrong = errors_of_ours(page)
        page.goto(f"{lab.url}/lab/tree/first-look.ipynb?token={lab.token}")
        ready(page)
        page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
        panel = page.locator("#coiled-jupyter-panel")
        expect(panel).to_be_visible()
        expect(panel.locator("[data-verdict=unknown]")).to_be_visible(timeout=60_000)
        create(lab, name="older", workers=1, requirements=["iniconfig==1.1.1"])
        expect(panel.locator("[data-package=iniconfig]")).to_be_visible(timeout=90_000)
        for kind in ("task-stream", "progress", "workers", "cluster-map"):
            page.evaluate(f"window.jupyterapp.commands.execute('coiled-jupyter:open-{kind}')")
            expect(page.locator(f"[data-pane={kind}]")).to_contain_text("1 worker")
        expect(page.locator("[data-pane=workers] [data-worker]")).to_have_count(1)
        expect(panel.locator("[data-verdict]").first).not_to_have_attribute("data-verdict", "unknown", timeout=60_000)
    assert wrong == []
