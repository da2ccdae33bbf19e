"""The same panel in Notebook 7, which has no status bar."""

from __future__ import annotations

import json
import shutil

import nbformat
import pytest
from playwright.sync_api import expect

from tests.processes import apart, wait_for

from .pages import ROOT, app, browser, errors_of_ours
from .test_activity import COLOURS, KINDS
from .test_first_look import behind, cell, create, faults, show


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    root = tmp_path_factory.mktemp("book")
    (root / "work").mkdir()
    shutil.copy(ROOT / "examples/first-look.ipynb", root / "work")
    # What an administrator sets instead of our defaults and locks, though the user chose otherwise.
    admin = root / "home/config/labconfig"
    admin.mkdir(parents=True)
    chosen = {"coiled-jupyter:plugin": {"newCluster": {"workers": 3}}}
    (admin / "default_setting_overrides.json").write_text(json.dumps(chosen))
    (admin / "page_config.json").write_text(json.dumps({"coiledJupyterLocked": ["newCluster"]}))
    user = root / "home/config/lab/user-settings/coiled-jupyter"
    user.mkdir(parents=True)
    (user / "plugin.jupyterlab-settings").write_text(json.dumps({"newCluster": {"workers": 4}}))
    # The clusters of other modules may run yet.
    server = app(root, "notebook", env=apart())
    yield server
    server.close()


def running(book) -> list[dict]:
    """Return the kernels; none while the server, which has just started, can't tell."""
    status, kernels = book.ask("GET", "/api/kernels")
    return kernels if status == 200 else []


@pytest.mark.nightly
def test_the_panel_is_there_with_what_notebook_7_has(book):
    with browser() as page:
        wrong = errors_of_ours(page)
        page.goto(f"{book.url}/notebooks/first-look.ipynb?token={book.token}")
        page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
        page.evaluate("window.jupyterapp.restored.then(() => true)")
        page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
        panel = page.locator("#coiled-jupyter-panel")
        expect(panel).to_be_visible()
        expect(panel.locator("[data-verdict=unknown]")).to_have_text("No cluster yet", timeout=90_000)
        panel.get_by_role("button", name="New cluster…").click()
        dialog = page.locator(".jp-Dialog")
        # An administrator's defaults come first; what isn't among them is as ever.
        expect(dialog.get_by_label("Workers", exact=True)).to_have_value("3")
        expect(dialog.get_by_label("Threads per worker")).to_have_value("1")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        # The panel may say so before the page has asked for a kernel.
        kernel = wait_for(lambda: running(book), what="a kernel")[0]["id"]
        wait_for(lambda: book.api("GET", f"environments?kernel={kernel}")[0] == 200, what="a kernel that answers")
        create(book, name="same", workers=1, interpreter={"kernel": kernel})
        expect(panel.locator("[data-verdict=equal]")).to_be_visible(timeout=90_000)
        expect(page.locator(".jp-NotebookPanel-toolbar [data-glance=equal]")).to_be_visible()
        assert faults(page, "#coiled-jupyter-panel") == []
        show(page, "notebook7")
        # Beside the document there is no room: it is below.
        page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:open-task-stream')")
        pane = page.locator("[data-pane=task-stream]")
        expect(pane).to_contain_text("No task has ended")
        box = pane.bounding_box()
        assert box is not None
        assert box["height"] > 200, box
        behind(panel.locator("[data-cluster-id]")).get_by_role("button", name="Stop same").click()
        dialog.get_by_role("button", name="Stop").click()
        expect(panel.locator("[data-verdict=equal]")).to_have_count(0)
        assert wrong == []


RUN = """
import time
import coiled_jupyter
from distributed import wait

def load(x):
    time.sleep(0.05)
    return bytes(100_000)

client = coiled_jupyter.connect("tasks")
loaded = client.map(load, range(30), pure=False)
wait(loaded)
print("ran")
"""


@pytest.mark.nightly
def test_panes_show_what_ran_below_the_document(book):
    with browser() as page:
        wrong = errors_of_ours(page)

        def begin() -> None:
            page.goto(f"{book.url}/notebooks/first-look.ipynb?token={book.token}")
            page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
            page.evaluate("window.jupyterapp.restored.then(() => true)")
            page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")

        begin()
        kernel = wait_for(lambda: running(book), what="a kernel")[0]["id"]
        wait_for(lambda: book.api("GET", f"environments?kernel={kernel}")[0] == 200, what="a kernel that answers")
        made = create(book, name="tasks", workers=2, interpreter={"kernel": kernel})
        card = page.locator(f"[data-cluster-id='{made['id']}']")
        expect(card).to_contain_text("2 workers")

        def pane(kind: str):
            execute = "([id, cluster]) => window.jupyterapp.commands.execute(`coiled-jupyter:open-${id}`, {cluster})"
            page.evaluate(execute, [kind, made["id"]])
            return page.locator(f"[data-pane={kind}]")

        stream = pane("task-stream")
        expect(stream).to_contain_text("No task has ended")
        assert "ran" in cell(page, RUN)
        expect(stream.locator("tbody tr", has_text="load").locator("td").first).to_have_text("30")
        assert stream.locator("canvas[role=img]").evaluate(COLOURS) > 3
        progress = pane("progress")
        expect(progress.locator("[data-prefix=load] td[data-state=memory]")).to_have_text("30")
        workers = pane("workers")
        expect(workers.locator("[data-worker] td[data-status=running]")).to_have_count(2)
        cells = pane("cluster-map")
        expect(cells.locator("canvas[role=img]")).to_have_attribute("aria-label", "2 workers")
        for kind in KINDS:
            expect(pane(kind)).to_be_visible()
            assert faults(page, f"[data-pane={kind}]") == [], kind
            show(page, f"notebook7-{kind}")
        # A page here is one document: it doesn't keep what else is open. Opened again, a pane has what ran before.
        begin()
        expect(card).to_contain_text("2 workers")
        expect(page.locator("[data-pane]")).to_have_count(0)
        expect(pane("task-stream").locator("tbody tr", has_text="load").locator("td").first).to_have_text("30")
        assert wrong == []


CELLS = (
    "%load_ext coiled_jupyter",
    "%coiled cluster create made --workers 1 --requirement iniconfig==1.1.1",
    "%coiled diff --cluster made",
    "%coiled cluster stop made",
)
# What the bar was like at any moment, however short: its width, and the words around it.
WATCH = """() => {
    window.moved = [];
    new MutationObserver(() => {
        for (const bar of document.querySelectorAll('.jp-OutputArea-output .progress-bar')) {
            window.moved.push([bar.style.width, bar.closest('.jp-OutputArea-output').textContent]);
        }
    }).observe(document.body, {attributes: true, characterData: true, childList: true, subtree: true});
}"""


@pytest.mark.nightly
def test_what_a_magic_gives_and_how_far_it_is_are_shown_there_too(book):
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    # Without its kernel's name it would be asked for.
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), book.root / "work/magics.ipynb")
    with browser() as page:
        page.goto(f"{book.url}/notebooks/magics.ipynb?token={book.token}")
        page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
        page.evaluate("window.jupyterapp.restored.then(() => true)")
        page.wait_for_function(
            "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=60_000
        )
        page.evaluate(WATCH)
        page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        _, made, compared, stopped = (page.locator(".jp-CodeCell").nth(number) for number in range(len(CELLS)))
        expect(stopped.locator(".jp-OutputArea")).to_contain_text("made is stopped", timeout=180_000)
        show(page, "notebook7-magics")
        moved = page.evaluate("window.moved")
        assert len({width for width, _ in moved}) > 1, moved
        assert any("… Start" in text for _, text in moved), moved
        # What stays is text.
        expect(made.locator(".jp-OutputArea")).to_contain_text("✓ Start workers")
        expect(page.locator(".jp-OutputArea .progress-bar")).to_have_count(0)
        expect(compared.locator("table tr", has_text="iniconfig")).to_contain_text("1.1.1")
        expect(compared.locator(".jp-OutputArea")).to_contain_text("may give other results on")
