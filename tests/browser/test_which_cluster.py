"""Which cluster a notebook is compared with, and what it imports, as its cells are now, in a real lab."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from .pages import app, browser, end
from .test_first_look import cell, create, faults, find, opened, show

PANEL = "#coiled-jupyter-panel"
ELSEWHERE = "#jp-main-statusbar [data-glance], .jp-NotebookPanel-toolbar [data-glance]"
OWN = """
from dask.distributed import Client
mine = Client(n_workers=1, threads_per_worker=1, dashboard_address=None)
print("opened")
"""
WRITE = "code => window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(code)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("which")
    (root / "work").mkdir()
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook["cells"] = [
        {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": "1"}
    ]
    notebook["metadata"] = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (root / "work" / "plain.ipynb").write_text(json.dumps(notebook))
    server = app(root)
    yield server
    end(server)


@pytest.fixture(scope="module")
def page(lab):
    with browser(width=1500, height=1000) as page:
        opened(page, lab, "plain.ipynb")
        yield page


def test_a_notebook_without_dask_is_compared_with_nothing_unasked(lab, page):
    create(lab, name="theirs", workers=1)
    expect(page.locator("[data-cluster-id]")).to_have_count(1, timeout=60_000)
    expect(page.locator(f"{PANEL} [data-verdict=unknown]")).to_have_text("Which cluster does this notebook use?")
    expect(page.get_by_label("Compare with").locator("option:checked")).to_have_text("Choose a cluster…")
    expect(page.locator(ELSEWHERE)).to_have_count(0)
    assert faults(page, PANEL) == []
    show(page, "which-cluster")


def test_as_soon_as_a_cell_names_dask_the_only_cluster_is_compared_and_named(page):
    page.evaluate(WRITE, "import dask\nimport sortedcontainers")
    expect(page.locator(f"{PANEL} [data-verdict=equal]")).to_have_text("Same packages on theirs", timeout=90_000)
    expect(page.locator("#jp-main-statusbar [data-glance]")).to_be_visible()


def test_what_a_cell_names_that_was_neither_run_nor_saved_is_imported_here(page):
    # Its place in a long list depends on its use, and only visible rows are there.
    find(page, "sortedcontainers")
    row = page.locator(f"{PANEL} [data-package=sortedcontainers]")
    expect(row).to_contain_text("imported here", timeout=60_000)
    page.evaluate(WRITE, "import dask\nimport os")
    expect(row).not_to_contain_text("imported here", timeout=60_000)


def test_the_cluster_that_a_cell_opens_is_the_notebooks_and_another_is_not(lab, page):
    assert "opened" in cell(page, OWN)
    found = []

    def own() -> str:
        found[:] = [c["name"] for c in lab.api("GET", "clusters")[1] if c["source"] == "discovered"]
        return found[0] if found else ""

    page.wait_for_function("document.querySelectorAll('[data-cluster-id]').length === 2", timeout=90_000)
    name = own()
    expect(page.get_by_label("Compare with").locator("option:checked")).to_have_text(name, timeout=60_000)
    assert not page.locator(f"{PANEL} [data-verdict]", has_text="theirs").count()
    show(page, "own-cluster")
    assert "closed" in cell(page, "mine.close(); mine.cluster.close(); print('closed')")
