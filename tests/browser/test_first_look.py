"""The whole path in a real lab, a real kernel and a real cluster, seen through a real browser."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys

import msgspec
import pytest
from playwright.sync_api import expect

from benchmarks.diff import environment
from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.times import now
from tests.processes import free_port, wait_for

from .pages import ROOT, app, browser, errors_of_ours
from .traffic import Traffic

ARTIFACTS = ROOT / "artifacts"
AXE = ROOT / "node_modules/axe-core/axe.min.js"
PLAN = "#coiled-jupyter-panel .jp-Coiled-plan"
THEMES = ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast")
SCRIPT_BYTES = 150 * 1024
"""What the page may load of ours to show the panel with its rows."""
FOCUSED = "document.activeElement.closest('[data-package]')?.dataset.package"
POLL_BYTES = 3_000
"""On average, of a poll of an open panel with three clusters that do nothing: headers, and no answer's body."""
TOAST = ".Toastify__toast:has-text('will break')"
OLD_NUMPY = "numpy==1.26.4" if sys.version_info < (3, 13) else "numpy==2.1.3"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    (root / "work").mkdir()
    for notebook in (ROOT / "examples").glob("*.ipynb"):
        shutil.copy(notebook, root / "work")
    server = app(root)
    yield server
    server.close()


@pytest.fixture(scope="module")
def page(lab):
    with browser() as page:
        wrong = errors_of_ours(page)
        opened(page, lab, "first-look.ipynb")
        yield page
        assert wrong == []


def opened(page, lab, notebook: str) -> None:
    """Open a notebook with the panel beside it."""
    page.goto(f"{lab.url}/lab/tree/{notebook}?token={lab.token}")
    ready(page)
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
    page.wait_for_selector("#coiled-jupyter-panel", state="visible")


def ready(page) -> None:
    page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
    page.evaluate("window.jupyterapp.restored.then(() => true)")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)


@contextlib.contextmanager
def scheduler():
    """Yield the process and the address of a scheduler that isn't ours."""
    port = free_port()
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-dashboard"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(port), what="the scheduler")
        yield process, f"tcp://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def create(lab, **body) -> dict:
    status, cluster = lab.api("POST", "clusters", body)
    assert status == 202, cluster
    wait_for(
        lambda: lab.api("GET", f"clusters/{cluster['id']}")[1]["status"] != "starting", what="the cluster", seconds=180
    )
    return lab.api("GET", f"clusters/{cluster['id']}")[1]


def older(lab) -> dict:
    """Return a running cluster whose numpy is older than the notebook's."""
    for cluster in lab.api("GET", "clusters")[1]:
        if cluster["name"] == "older" and cluster["status"] in ("running", "idle"):
            return cluster
    return create(lab, name="older", workers=2, requirements=[OLD_NUMPY])


def open_row(page, name: str):
    """Return a row's button and the details that it opens."""
    button = page.locator(f"#coiled-jupyter-panel [data-package={name}] button")
    expect(button).to_be_visible(timeout=90_000)
    # A row that moves just then takes no key.
    for _ in range(5):
        if button.get_attribute("aria-expanded") == "false":
            button.press("Enter")
        with contextlib.suppress(AssertionError):
            expect(button).to_have_attribute("aria-expanded", "true", timeout=4_000)
            break
    expect(button).to_have_attribute("aria-expanded", "true")
    return button, page.locator(f"#{button.get_attribute('aria-controls')}")


def behind(card):
    """Open what is behind a cluster's or a sync's line, and return it."""
    fold = card.locator(".jp-Coiled-fold")
    expect(fold).to_be_visible(timeout=90_000)
    if fold.get_attribute("aria-expanded") == "false":
        fold.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    return card


def find(page, text: str) -> None:
    """Show the rows whose names have this text, also those that are the same; all that differ if it is empty."""
    tools = page.get_by_role("button", name="Search, sort and group")
    if text and tools.get_attribute("aria-expanded") == "false":
        tools.click()
    same = page.locator(".jp-Coiled-tools [data-severity=same]")
    if (same.get_attribute("aria-pressed") == "true") != bool(text):
        same.click()
    page.get_by_label("Filter packages").fill(text)
    if not text:
        tools.click()


def show(page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def themed(page, theme: str) -> None:
    page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", theme)
    page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")
    # Its sheet comes after its name.
    page.wait_for_timeout(500)


def faults(page, where: str) -> list[str]:
    """Return what axe finds wrong with a part of the page, by WCAG 2.2 AA."""
    if not page.evaluate("typeof axe === 'object'"):
        page.add_script_tag(path=str(AXE))
    found = page.evaluate(
        """where => axe.run(where, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})
            .then(({passes, violations}) => [passes.length, violations.map(
                it => `${it.id}: ${it.nodes.map(node => node.html.slice(0, 200) + node.failureSummary).join('; ')}`)])""",
        where,
    )
    # Of nothing at all nothing is wrong either.
    assert found[0] >= 3, found
    return found[1]


def cell(page, code: str, seconds: float = 90) -> str:
    """Run code in the notebook's kernel, once that is there, and return what it printed."""
    kernel = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
    page.wait_for_function(f"Boolean({kernel})", timeout=90_000)
    return page.evaluate(
        """async ([code, seconds]) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const future = kernel.requestExecute({code});
            let said = '';
            future.onIOPub = message => {
                if (message.header.msg_type === 'stream') said += message.content.text;
                if (message.header.msg_type === 'error') said += message.content.evalue;
            };
            const late = new Promise((_, reject) => setTimeout(() => reject(new Error('late: ' + said)), seconds * 1000));
            await Promise.race([future.done, late]);
            return said;
        }""",
        [code.strip(), seconds],
    )


def test_without_a_cluster_the_panel_says_so(page):
    expect(page.locator("[data-verdict=unknown]")).to_have_text("No cluster yet", timeout=60_000)
    assert faults(page, "#coiled-jupyter-panel") == []
    show(page, "no-cluster")


def test_the_numpy_row_is_red_before_a_cell_has_run(lab, page):
    cluster = older(lab)
    assert cluster["status"] in ("running", "idle"), cluster
    row = page.locator("#coiled-jupyter-panel [data-package=numpy]")
    expect(row).to_have_attribute("data-status", "differs", timeout=90_000)
    if sys.version_info < (3, 13):
        expect(row).to_have_attribute("data-severity", "breaks")
        expect(page.locator("[data-verdict=breaks]")).to_be_visible()
        # Said wherever one looks: once as a notification, and beside the kernel and below.
        expect(page.locator(TOAST)).to_contain_text("1 package will break: numpy")
        show(page, "notified")
        for place in (".jp-NotebookPanel-toolbar", "#jp-main-statusbar"):
            item = page.locator(f"{place} [data-glance]")
            expect(item).to_have_attribute("data-glance", "breaks")
            expect(item).to_contain_text("1 will break")
    expect(page.locator(f"[data-cluster-id='{cluster['id']}']")).to_contain_text("2 workers")
    meter = page.locator("[role=meter]")
    expect(meter).to_have_attribute("aria-valuenow", "2")
    expect(meter).to_have_attribute("aria-valuemax", "100")
    show(page, "numpy-differs")
    themed(page, "JupyterLab Dark")
    show(page, "numpy-differs-dark")
    themed(page, "JupyterLab Light")


def test_the_verdict_outside_of_the_panel_can_be_read_and_leads_to_it(lab, page):
    older(lab)
    for place in (".jp-NotebookPanel-toolbar", "#jp-main-statusbar"):
        for theme in THEMES:
            themed(page, theme)
            assert faults(page, f"{place} .jp-Coiled-glance") == [], (place, theme)
    themed(page, THEMES[0])
    page.evaluate("window.jupyterapp.shell.collapseRight()")
    expect(page.locator("#coiled-jupyter-panel")).to_be_hidden()
    page.locator("#jp-main-statusbar [data-glance]").press("Enter")
    expect(page.locator("#coiled-jupyter-panel")).to_be_visible()


def test_the_panel_needs_little_script(page):
    expect(page.locator("#coiled-jupyter-panel [data-package=numpy]")).to_be_visible(timeout=90_000)
    loaded = page.evaluate(
        """() => performance.getEntriesByType('resource')
            .filter(({name}) => name.includes('/extensions/coiled-jupyter/static/'))
            .map(({name, decodedBodySize}) => [name.split('/').pop(), decodedBodySize])"""
    )
    assert 20_000 < sum(size for _, size in loaded) <= SCRIPT_BYTES, loaded


def test_axe_finds_nothing_wrong_in_any_theme(lab, page):
    older(lab)
    panel = "#coiled-jupyter-panel"
    found = {}
    expect(page.locator(f"{panel} [data-sync-offer][aria-disabled=false]")).to_be_visible(timeout=90_000)
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:sync')")
    expect(page.locator(f"{PLAN} [data-plan]")).to_be_visible(timeout=90_000)
    for theme in THEMES:
        themed(page, theme)
        found[theme, "plan"] = faults(page, panel)
    page.keyboard.press("Escape")
    expect(page.locator(PLAN)).to_have_count(0)
    button, _ = open_row(page, "numpy")
    page.locator(f"{panel} details:not([open]) > summary").evaluate_all("all => all.forEach(it => it.click())")
    behind(page.locator(f"{panel} [data-cluster-id]", has_text="older"))
    expect(page.locator(f"{panel} [data-worker]")).to_have_count(2)
    page.get_by_role("button", name="Search, sort and group").click()
    for theme in THEMES:
        themed(page, theme)
        found[theme, "panel"] = faults(page, panel)
    show(page, "panel-high-contrast")
    for command in ("create-cluster", "attach-cluster", "scale-cluster", "restart-cluster"):
        page.evaluate(f"void window.jupyterapp.commands.execute('coiled-jupyter:{command}')")
        dialog = page.locator(".jp-Dialog")
        expect(dialog).to_be_visible()
        for theme in ("JupyterLab Dark High Contrast", "JupyterLab Light"):
            themed(page, theme)
            found[theme, command] = faults(page, ".jp-Dialog-body")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    # What they share is seen in three themes above.
    for command in ("rename-cluster", "keep-cluster", "stop-cluster", "sync-chosen", "export-cluster-json"):
        page.evaluate(f"void window.jupyterapp.commands.execute('coiled-jupyter:{command}')")
        expect(dialog).to_be_visible()
        found[THEMES[0], command] = faults(page, ".jp-Dialog-content")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    page.get_by_role("button", name="More ways to sync").click()
    expect(page.locator(".jp-Coiled-menu")).to_be_visible()
    found[THEMES[0], "sync menu"] = faults(page, ".jp-Coiled-menu")
    page.keyboard.press("Escape")
    themed(page, THEMES[0])
    page.get_by_role("button", name="Search, sort and group").click()
    button.press("Enter")
    assert {state: wrong for state, wrong in found.items() if wrong} == {}


def test_the_row_appears_while_a_cell_sleeps(lab, page):
    page.evaluate("window.jupyterapp.commands.execute('notebook:enter-edit-mode')")
    kernel = lab.ask("GET", "/api/kernels")[1][0]["id"]
    page.evaluate(
        """() => {
            const notebook = window.jupyterapp.shell.currentWidget;
            notebook.sessionContext.session.kernel.requestExecute({code: 'import time; time.sleep(300)'});
        }"""
    )
    wait_for(lambda: lab.ask("GET", f"/api/kernels/{kernel}")[1]["execution_state"] == "busy", what="a busy kernel")
    page.reload()
    ready(page)
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
    expect(page.locator("[data-package=numpy][data-status=differs]")).to_be_visible(timeout=90_000)
    # Told before the reload, and not told again.
    expect(page.locator(TOAST)).to_have_count(0)
    assert lab.ask("GET", f"/api/kernels/{kernel}")[1]["execution_state"] == "busy"
    show(page, "while-busy")
    assert lab.ask("POST", f"/api/kernels/{kernel}/interrupt")[0] == 204
    wait_for(lambda: lab.ask("GET", f"/api/kernels/{kernel}")[1]["execution_state"] == "idle", what="an idle kernel")


def test_a_row_opens_and_tells_what_is_where(lab, page):
    older(lab)
    button, details = open_row(page, "numpy")
    expect(details.locator("[data-role=kernel]")).to_contain_text("Python 3.")
    expect(details.locator("[data-role=worker]")).to_contain_text("2 of 2 workers")
    expect(details.locator("[data-role=scheduler]")).to_contain_text(OLD_NUMPY.partition("==")[2])
    # It leads to a part of the documentation that is there.
    where = details.get_by_role("link", name="Why should versions match?").get_attribute("href")
    page_of, _, part = where.removeprefix("https://coiled-jupyter.org/").partition("#")
    heading = part.replace("-", " ").capitalize()
    assert f"\n## {heading}\n" in (ROOT / "docs" / page_of).with_suffix(".md").read_text()
    show(page, "row")
    button.press("Enter")
    expect(details).to_have_count(0)


def test_an_ignored_package_is_shown_so_until_that_is_taken_back(lab, page):
    older(lab)
    row = page.locator("#coiled-jupyter-panel [data-package=numpy]")
    _, details = open_row(page, "numpy")
    before = row.get_attribute("data-severity")
    details.get_by_role("button", name="Ignore this package").click()
    expect(row).to_have_attribute("data-severity", "same", timeout=60_000)
    expect(row).to_have_attribute("data-status", "differs")
    expect(details).to_contain_text("ignored by you")
    assert faults(page, "#coiled-jupyter-panel") == []
    show(page, "ignored")
    details.get_by_role("button", name="Stop ignoring").click()
    expect(row).to_have_attribute("data-severity", before, timeout=60_000)
    details.get_by_label("Set severity").select_option("minor")
    expect(row).to_have_attribute("data-severity", "minor", timeout=60_000)
    expect(details).to_contain_text("chosen by you")
    details.get_by_label("Set severity").select_option("")
    expect(row).to_have_attribute("data-severity", before, timeout=60_000)
    assert lab.api("GET", "rules")[1]["overrides"] == {}


MOVES = """name => {
    const rows = document.querySelector('.jp-Coiled-rows');
    const row = rows.querySelector(`[data-package='${name}']`);
    window.places = [];
    // An observer of sizes is called last before a frame is drawn, after those that were made before it.
    const clock = document.createElement('div');
    document.body.append(clock);
    clock.style.position = 'fixed';
    const observer = new ResizeObserver(() => {
        window.places.push(row.isConnected ? row.getBoundingClientRect().top : null);
    });
    observer.observe(clock);
    const tick = () => {
        clock.style.width = clock.style.width === '1px' ? '2px' : '1px';
        window.ticking = requestAnimationFrame(tick);
    };
    tick();
}"""
"""Notes where a row is in each frame that is drawn."""


def test_a_plan_is_read_where_the_verdict_is_and_no_row_moves(lab, page):
    older(lab)
    offer = page.locator("#coiled-jupyter-panel [data-sync-offer][aria-disabled=false]")
    expect(offer).to_be_visible(timeout=90_000)
    page.locator(".jp-Coiled-fold[aria-expanded=true]").evaluate_all("all => all.forEach(it => it.click())")
    # More rows than there is room for, and none of them open: the details of one can be taller than the room.
    find(page, "y")
    opened = page.locator("#coiled-jupyter-panel [data-package] button[aria-expanded=true]")
    opened.evaluate_all("all => all.forEach(it => it.click())")
    expect(opened).to_have_count(0)
    expect(page.locator("#coiled-jupyter-panel [data-package]").nth(5)).to_be_attached()
    last = page.evaluate(
        """async () => {
            const rows = document.querySelector('.jp-Coiled-rows');
            rows.scrollTop = 60;
            await new Promise(resolve => setTimeout(resolve, 500));
            const {bottom} = rows.getBoundingClientRect();
            const seen = [...rows.querySelectorAll('[data-package]')]
                .filter(row => row.getBoundingClientRect().bottom < bottom);
            return seen.at(-1).dataset.package;
        }"""
    )
    page.evaluate(MOVES, last)
    offer.press("Enter")
    review = page.locator(PLAN)
    expect(review.locator("h3")).to_be_focused()
    expect(review.locator("[data-plan]")).to_be_visible(timeout=90_000)
    expect(review.get_by_role("button", name="Sync", exact=True)).to_have_attribute("aria-disabled", "false")
    expect(page.locator(f"#coiled-jupyter-panel [data-package='{last}']")).to_be_in_viewport()
    show(page, "plan")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(review).to_have_count(0)
    expect(offer).to_be_focused()
    places = page.evaluate("cancelAnimationFrame(window.ticking), window.places")
    assert len(places) > 10
    assert set(places) == {places[0]}, places
    find(page, "")


def test_what_cannot_be_ignored_says_why(lab, page):
    older(lab)
    find(page, "distributed")
    _, details = open_row(page, "distributed")
    details.get_by_role("button", name="Ignore this package").click()
    expect(details.get_by_role("alert")).to_contain_text("distributed can't be ignored")
    find(page, "")


def test_explaining_an_error_names_the_row_and_leads_to_it(lab, page):
    older(lab)
    expect(page.locator("#coiled-jupyter-panel [data-package=numpy]")).to_be_visible(timeout=90_000)
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:explain')")
    dialog = page.locator(".jp-Dialog")
    text = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'numpy._core'"
    dialog.get_by_role("textbox").fill(text)
    dialog.get_by_role("button", name="Explain").click()
    cause = dialog.locator("[data-cause=numpy]")
    expect(cause).to_contain_text("numpy._core", timeout=60_000)
    assert faults(page, ".jp-Dialog-body") == []
    show(page, "explained")
    cause.get_by_role("button").press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator("[data-package=numpy] button")).to_be_focused()
    expect(page.locator("[data-package=numpy] button")).to_have_attribute("aria-expanded", "true")


HOLD = """
%load_ext coiled_jupyter
import warnings
warnings.simplefilter("ignore")
client = %coiled connect older
text = "[__import__('time').sleep(0.1) for _ in iter(lambda: __import__('os').path.exists({file!r}), True)]"
held = [client.submit(eval, text, workers=[worker], pure=False) for worker in client.scheduler_info()["workers"]]
while len([key for keys in client.processing().values() for key in keys]) < 2: pass
print("held")
"""


def test_a_sync_that_a_cell_begins_moves_in_the_panel(lab, page, tmp_path):
    """Both workers are busy, so that it is seen on its way, until the tasks may end."""
    older(lab)
    file = tmp_path / "go on"
    said = cell(page, HOLD.format(file=str(file)))
    assert "held" in said, said
    page.evaluate(
        """() => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const begun = kernel.requestExecute({code: '%coiled sync iniconfig --cluster older --yes'});
            window.said = [];
            begun.onIOPub = ({content}) => window.said.push(content.text ?? content.evalue ?? content.data);
            window.syncing = begun.done.finally(() => { window.ended = true; });
        }"""
    )
    card = page.locator("[data-sync-id]").first
    page.wait_for_function("window.ended || document.querySelector('[data-sync-id]')", timeout=60_000)
    assert not page.evaluate("window.ended"), page.evaluate("JSON.stringify(window.said.slice(-4))")
    expect(card).to_have_attribute("data-state", "rolling", timeout=60_000)
    show(page, "sync-of-a-cell")
    assert faults(page, "[data-sync-id]") == []
    file.touch()
    assert page.evaluate("window.syncing.then(reply => reply.content.status)") == "ok"
    expect(card).to_have_attribute("data-state", "done", timeout=60_000)
    assert faults(page, "[data-sync-id]") == []
    said = cell(page, "del held\nclient.close()\n%coiled undo --cluster older --yes\nprint('back')")
    assert "back" in said, said
    expect(page.locator("[data-sync-id]").first).to_have_attribute("data-state", "done", timeout=60_000)


def test_the_error_of_a_cell_is_explained_from_its_menu(lab, page):
    older(lab)
    page.evaluate(
        """() => {
            const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
            app.commands.execute('notebook:insert-cell-below');
            notebook.activeCell.model.sharedModel.setSource('import nowhere_to_be_found');
            return app.commands.execute('notebook:run-cell');
        }"""
    )
    output = page.locator(".jp-OutputArea-output", has_text="ModuleNotFoundError").first
    expect(output).to_be_visible(timeout=90_000)
    output.click(button="right")
    page.locator(".lm-Menu-item", has_text="Explain a Dask Error…").click()
    dialog = page.locator(".jp-Dialog")
    assert "nowhere_to_be_found" in dialog.get_by_role("textbox").input_value()
    dialog.get_by_role("button", name="Explain").click()
    expect(dialog.locator("[data-basis=none]")).to_contain_text("is known to bring the module", timeout=60_000)
    dialog.get_by_role("button", name="Close").click()
    page.evaluate("window.jupyterapp.commands.execute('notebook:delete-cell')")


def test_a_failed_cell_leads_to_the_row_that_explains_it(lab, page):
    older(lab)
    expect(page.locator("#coiled-jupyter-panel [data-package=numpy]")).to_be_visible(timeout=90_000)
    # A busy server doesn't answer in time; what wasn't explained then is explained by a later comparison.
    page.route("**/coiled-jupyter/api/explain*", lambda route: route.abort(), times=1)
    page.evaluate(
        """() => {
            const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
            app.commands.execute('notebook:insert-cell-below');
            const text = `raise ModuleNotFoundError("No module named 'numpy._core'")`;
            notebook.activeCell.model.sharedModel.setSource(text);
            return app.commands.execute('notebook:run-cell');
        }"""
    )
    hint = page.locator(".jp-Cell .jp-Coiled-hint")
    expect(hint).to_contain_text("Explained by a difference: numpy", timeout=90_000)
    show(page, "hint")
    assert faults(page, ".jp-Coiled-hint") == []
    hint.get_by_role("button").press("Enter")
    row = page.locator("[data-package=numpy]")
    expect(row.locator("button")).to_be_focused()
    expect(row).to_have_attribute("data-revealed", "true")
    # What to do about it is said beside it.
    expect(hint).to_contain_text(re.compile("[Ii]nstall the same numpy"))

    severity = row.get_attribute("data-severity")

    def cured(route) -> None:
        # Else what the page has may be confirmed without a body.
        asked = {name: value for name, value in route.request.headers.items() if name != "if-none-match"}
        diff = route.fetch(headers=asked).json()
        diff["rows"] = [{**row, **cure} if row["name"] == "numpy" else row for row in diff["rows"]]
        route.fulfill(json={**diff, "verdict": "compatible", "unread": []})

    # It goes as soon as its cause has gone, or makes no difference any more, as where graphs are sealed.
    for part in ("status", "severity"):
        cure = {part: "same"}
        page.route("**/coiled-jupyter/api/diff?*", cured)
        page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:refresh')")
        expect(hint).to_have_count(0, timeout=60_000)
        # An answer may be on its way.
        page.unroute_all(behavior="wait")
        page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:refresh')")
        expect(row).to_have_attribute("data-severity", severity, timeout=60_000)
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
        expect(hint).to_be_visible(timeout=90_000)
    # It goes with what it explains, and is in no file.
    page.evaluate(
        """() => {
            const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
            notebook.activeCell.model.sharedModel.setSource('1');
            return app.commands.execute('notebook:run-cell');
        }"""
    )
    expect(hint).to_have_count(0, timeout=60_000)
    page.evaluate("window.jupyterapp.commands.execute('notebook:delete-cell')")


ASKING = (
    *("create-cluster", "attach-cluster", "scale-cluster", "restart-cluster", "rename-cluster", "keep-cluster"),
    *("stop-cluster", "insert-client", "export-cluster-json", "sync", "sync-chosen", "undo-sync", "restore-state"),
    *("remove-states", "explain", "report-problem"),
)
"""What asks first, of a cluster that differs and was synced before."""
PLANNING = ("sync", "undo-sync")
"""Of these, what shows its plan in the panel and nothing in front."""
HARMLESS = (
    *("show-panel", "show-logs", "refresh", "open-dashboard", "copy-cluster-json", "documentation"),
    *("open-task-stream", "open-progress", "open-workers", "open-cluster-map", "restore-pane"),
)
"""What shows something and changes nothing."""
IDLE = ("cancel-sync", "seal")
"""What there is nothing to do for: no sync runs, and none has made the cluster one for sealed graphs."""


def test_buttons_in_the_output_of_a_saved_notebook_do_nothing_unasked(lab, page):
    cluster = older(lab)
    commands = page.evaluate(
        """() => {
            const {commands} = window.jupyterapp;
            window.ended = [];
            commands.commandExecuted.connect((_, {id, result}) => {
                result.catch(() => undefined).then(() => window.ended.push(id));
            });
            return commands.listCommands().filter(id => id.startsWith('coiled-jupyter:')).map(id => id.slice(15));
        }"""
    )
    assert sorted(commands) == sorted([*ASKING, *HARMLESS, *IDLE])
    wish = {"cluster": cluster["id"], "scope": ["numpy"], "workers": 9, "name": "x", "confirm": True, "yes": True}
    buttons = "".join(
        f"<button data-commandlinker-command='coiled-jupyter:{command}' "
        f"data-commandlinker-args='{json.dumps(wish)}'>run {command}</button>"
        for command in commands
    )
    output = {"output_type": "display_data", "data": {"text/html": f"<div>{buttons}</div>"}, "metadata": {}}
    source = "import dask"
    code = {"cell_type": "code", "execution_count": 1, "metadata": {}, "source": source, "outputs": [output]}
    book = {"cells": [code], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    (lab.work / "buttons.ipynb").write_text(json.dumps(book))
    page.evaluate(
        """async () => {
            const app = window.jupyterapp;
            const kernel = app.shell.currentWidget.sessionContext.session.model.kernel;
            const widget = await app.commands.execute('docmanager:open', {path: 'buttons.ipynb', kernel});
            await widget.context.ready;
        }"""
    )
    expect(page.locator("#coiled-jupyter-panel [data-sync-offer][aria-disabled=false]")).to_be_visible()
    routes = ("clusters", "rules", "layers", "syncs")

    def state():
        found = {route: lab.api("GET", route)[1] for route in routes}
        found["clusters"] = [(c["name"], c["status"], c["desired"], c["environment"]) for c in found["clusters"]]
        return found

    before, changing, opened = state(), [], []
    # The states of the last sync and its undo are what three of the commands are about.
    assert len(before["syncs"]) == 2

    def noted(request) -> None:
        path = request.url.partition("/coiled-jupyter/api/")[2].partition("?")[0]
        # What a notebook imports is told of each that is opened.
        told = path in ("plans", "explain") or path.endswith("/imports")
        if path and request.method != "GET" and not told:
            changing.append((request.method, path))

    page.on("request", noted)
    page.context.on("page", lambda other: opened.append(other))
    dialog = page.locator(".jp-Dialog")
    asked = []
    for command in commands:
        page.evaluate("window.ended.length = 0")
        page.get_by_role("button", name=f"run {command}", exact=True).click()
        # The lab itself doubts a notebook that wasn't run here.
        once = dialog.get_by_role("button", name="Run Once")
        once.click()
        expect(once).to_have_count(0)
        page.wait_for_function(
            "id => document.querySelector('.jp-Dialog') !== null || window.ended.includes(id)",
            arg=f"coiled-jupyter:{command}",
            timeout=90_000,
        )
        if dialog.count():
            asked.append(command)
            page.keyboard.press("Escape")
            expect(dialog).to_have_count(0)
        elif command in PLANNING:
            expect(page.locator(f"{PLAN} h3")).to_be_focused()
            asked.append(command)
            page.keyboard.press("Escape")
            expect(page.locator(PLAN)).to_have_count(0)
        page.locator(".lm-TabBar-tab", has_text="buttons.ipynb").click()
    assert sorted(asked) == sorted(ASKING)
    assert changing == []
    assert state() == before
    for other in opened:
        other.close()
    page.remove_listener("request", noted)
    page.evaluate("window.jupyterapp.shell.currentWidget.dispose()")
    # A pane that is open asks what its cluster is doing.
    for name in ("Logs", "Task stream", "Progress", "Workers", "Cluster map"):
        page.locator(".lm-TabBar-tab", has_text=f"{name} of older").locator(".lm-TabBar-tabCloseIcon").click()
    page.locator(".lm-TabBar-tab", has_text="first-look.ipynb").click()


def test_a_wrong_address_is_told_at_its_field_and_a_right_one_is_attached(lab, page):
    page.get_by_role("button", name="Attach a cluster…").click()
    dialog = page.locator(".jp-Dialog")
    address = dialog.get_by_label("Address of the scheduler")
    address.fill("http://127.0.0.1:1")
    dialog.get_by_role("button", name="Attach").click()
    expect(dialog.get_by_role("alert").filter(has_text="must begin with tcp:// or tls://")).to_be_visible()
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(address).to_be_focused()
    assert faults(page, ".jp-Dialog-body") == []
    show(page, "attach-refused")
    with scheduler() as (process, where):
        address.fill(where)
        expect(address).to_have_attribute("aria-invalid", "false")
        dialog.get_by_label("Name (optional)").fill("theirs")
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0, timeout=60_000)
        card = page.get_by_role("group", name="theirs")
        expect(card).to_contain_text("attached", timeout=90_000)
        expect(card).to_have_attribute("data-status", re.compile("running|idle"), timeout=90_000)
        show(page, "attached")
        # From the palette, where none is named, it is asked which one is meant.
        older(lab)
        page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:rename-cluster')")
        expect(dialog.locator("[data-choice]")).to_have_count(2)
        assert faults(page, ".jp-Dialog-body") == []
        dialog.get_by_role("radio", name="theirs").check()
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("textbox", name="Name")).to_have_value("theirs")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        behind(card).get_by_role("button", name="Detach theirs, which goes on").click()
        expect(dialog).to_contain_text("goes on")
        dialog.get_by_role("button", name="Detach").click()
        expect(card).to_have_count(0, timeout=60_000)
        assert process.poll() is None


def test_an_equal_environment_is_green(lab, page):
    for cluster in lab.api("GET", "clusters")[1]:
        lab.api("DELETE", f"clusters/{cluster['id']}")
    kernel = lab.ask("GET", "/api/kernels")[1][0]["id"]
    cluster = create(lab, name="same", workers=1, interpreter={"kernel": kernel})
    assert cluster["status"] in ("running", "idle"), cluster
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=90_000)
    assert faults(page, "#coiled-jupyter-panel") == []
    show(page, "equal")

    def equal():
        # On a busy machine a look at files may be older, for a moment, than it may be.
        diff = lab.api("GET", f"diff?kernel={kernel}&cluster={cluster['id']}")[1]
        return diff if diff["verdict"] == "equal" else None

    diff = wait_for(equal, seconds=30, what="an equal cluster")
    assert {group["role"] for group in diff["cluster"]["groups"]} == {"worker", "scheduler"}


def test_updates_of_a_thousand_rows_keep_place_selection_focus_and_opened_row(lab, page):
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=90_000)
    cluster = next(c for c in lab.api("GET", "clusters")[1] if c["name"] == "same")
    patch = 1

    def thousand(route) -> None:
        sides = environment("kernel", 0, 1), environment("worker", patch, 1)
        diff = compare(
            sides[0],
            [sides[1]],
            cluster_id=cluster["id"],
            cluster_name="same",
            kernel_id="k",
            kernel_label="k",
            at=now(),
        )
        route.fulfill(body=msgspec.json.encode(diff), content_type="application/json")

    panel = page.locator("#coiled-jupyter-panel")
    page.route("**/coiled-jupyter/api/diff?*", thousand)
    try:
        page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:refresh')")
        expect(panel.locator("table[aria-rowcount='1001']")).to_be_visible()
        # Of a thousand rows only what can be seen is drawn.
        assert panel.locator("[data-package]").count() < 150
        panel.locator("[data-package] button").first.press("End")
        last = panel.locator("[data-package='package-999'] button")
        expect(last).to_be_focused()
        last.press("Home")
        first = panel.locator("[data-package] button").first
        expect(first).to_be_focused()
        held = page.evaluate(FOCUSED)
        for _ in range(40):
            page.keyboard.press("ArrowDown")
            page.wait_for_function(f"name => {FOCUSED} && {FOCUSED} !== name", arg=held)
            held = page.evaluate(FOCUSED)
        page.keyboard.press("Enter")
        expect(panel.locator(f"[data-package='{held}'] button")).to_have_attribute("aria-expanded", "true")
        # Where a line above comes or goes, the panel scrolls by it, and the row stays where it is seen.
        place = "name => document.querySelector(`[data-package='${name}']`).getBoundingClientRect().top"
        page.evaluate(
            """name => {
                const node = document.querySelector(`[data-package='${name}'] .jp-Coiled-here`);
                window.getSelection().selectAllChildren(node);
            }""",
            held,
        )
        before, selected = page.evaluate(place, held), page.evaluate("window.getSelection().toString()")
        assert page.evaluate("document.querySelector('.jp-Coiled-rows').scrollTop") > 500
        assert selected
        for patch in range(2, 6):
            page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:refresh')")
            expect(panel.locator(f"[data-package='{held}']")).to_contain_text(f".{patch}")
        assert page.evaluate(place, held) == before
        assert page.evaluate("window.getSelection().toString()") == selected
        assert page.evaluate(FOCUSED) == held
        expect(panel.locator(f"[data-package='{held}'] button")).to_have_attribute("aria-expanded", "true")
        show(page, "thousand-rows")
    finally:
        page.unroute("**/coiled-jupyter/api/diff?*")
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:refresh')")
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=90_000)


@pytest.fixture
def calm(lab, page):
    """Two more clusters that do nothing; the page is as before when they have ended."""
    kernel = lab.ask("GET", "/api/kernels")[1][0]["id"]
    for name in ("calm-1", "calm-2"):
        create(lab, name=name, workers=1, interpreter={"kernel": kernel})

    def states():
        return {c["id"]: c["status"] for c in lab.api("GET", "clusters")[1] if c["name"].startswith("calm")}

    def end():
        for cluster_id, status in states().items():
            if status not in ("stopping", "stopped"):
                lab.api("DELETE", f"clusters/{cluster_id}")

    yield end
    end()
    wait_for(lambda: set(states().values()) <= {"stopped"}, what="the end of the others")
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")


@pytest.mark.nightly
def test_a_calm_page_asks_next_to_nothing_and_a_hidden_panel_only_for_the_verdict(page, calm):
    page.get_by_label("Compare with").select_option(label="same")
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=90_000)
    expect(page.locator("[data-cluster-id][data-status=idle]")).to_have_count(3)
    # Dask's own workers come to rest some seconds after they have started.
    page.wait_for_timeout(15_000)
    traffic = Traffic(page)
    looks = 12
    for _ in range(looks):
        page.wait_for_timeout(5_000)
        expect(page.locator("[data-verdict=equal]")).to_be_visible()
        expect(page.locator("#coiled-jupyter-panel [data-age=stale]")).to_have_count(0)
    told = "\n".join([str(traffic.bytes), *traffic.requests, *traffic.notices])
    assert traffic.bytes <= POLL_BYTES * len(traffic.requests), told
    # Four resources, each every five seconds or so.
    assert len(traffic.requests) <= 8 * (looks + 1), told
    page.evaluate("window.jupyterapp.shell.collapseRight()")
    page.wait_for_timeout(1_000)
    traffic.requests.clear()
    page.wait_for_timeout(35_000)
    # What the status bar says must not be older than a reading holds; nothing else is shown.
    assert "GET diff" in traffic.requests
    assert set(traffic.requests) <= {"GET diff", "GET clusters", "GET syncs"}
    assert len(traffic.requests) <= 10
    expect(page.locator("#jp-main-statusbar [data-glance=equal]")).to_be_visible()
    # What changes is asked for, also while the panel is hidden.
    traffic.requests.clear()
    calm()
    for _ in range(100):
        if "GET clusters" in traffic.requests:
            break
        page.wait_for_timeout(100)
    assert "GET clusters" in traffic.requests
    traffic.close()


def test_stopping_asks_first_and_green_goes(lab, page):
    behind(page.locator("[data-cluster-id]", has_text="same")).get_by_role("button", name="Stop same").click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("results that only it holds are lost")
    expect(dialog).to_contain_text("It holds no results in memory")
    expect(dialog).to_contain_text("read")
    dialog.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-verdict=equal]")).to_have_count(0, timeout=60_000)
    for _ in range(300):
        states = {c["name"]: (c["status"], c["reason"]) for c in lab.api("GET", "clusters")[1]}
        if {status for status, _ in states.values()} == {"stopped"}:
            break
        page.wait_for_timeout(100)
    assert {status for status, _ in states.values()} == {"stopped"}, states


def test_a_cluster_made_in_the_panel_is_used_from_the_notebook(lab, page):
    expect(page.locator("[role=meter]")).to_have_attribute("aria-valuenow", "0")
    page.get_by_role("button", name="New cluster…").click()
    dialog = page.locator(".jp-Dialog")
    workers = dialog.get_by_label("Workers", exact=True)
    workers.fill("500")
    expect(dialog.locator(".jp-Coiled-summary")).to_contain_text("It needs 500 cores; only 100 remain")
    # Whether a number is right says the server, at its field.
    workers.fill("-1")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert").filter(has_text="workers")).to_be_visible()
    expect(workers).to_have_attribute("aria-invalid", "true")
    expect(workers).to_be_focused()
    workers.fill("1")
    expect(workers).to_have_attribute("aria-invalid", "false")
    dialog.get_by_label("Workers", exact=True).fill("")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert").filter(has_text="This is missing")).to_be_in_viewport()
    expect(workers).to_be_focused()
    workers.fill("1")
    # Nothing else is asked for unless one unfolds it.
    expect(dialog.get_by_label("Name (optional)")).to_be_hidden()
    dialog.locator("summary", has_text="More options").click()
    dialog.get_by_label("Name (optional)").fill("mine")
    dialog.get_by_label("Packages from").select_option("interpreter")
    expect(dialog.locator(".jp-Coiled-summary")).to_contain_text("It uses 1 core; 99 remain")
    show(page, "new-cluster")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("group", name="mine", exact=True)).to_contain_text("Starting")
    assert faults(page, "#coiled-jupyter-panel") == []
    show(page, "starting")
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="More actions for mine").first.click()
    page.locator(".jp-Coiled-menu").get_by_text("Insert client…").click()
    expect(dialog).to_contain_text('coiled_jupyter.connect("mine")')
    assert faults(page, ".jp-Dialog-content") == []
    show(page, "insert-client")
    dialog.get_by_role("button", name="Insert").click()
    # Inserted and not run.
    expect(page.locator(".jp-CodeCell", has_text='coiled_jupyter.connect("mine")')).to_have_count(1)
    page.wait_for_timeout(500)
    assert lab.api("GET", "clusters")[1][-1]["clients"] == 0
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
    wait_for(lambda: any(c["clients"] for c in lab.api("GET", "clusters")[1]), what="the notebook's client", seconds=60)
    show(page, "client")


def test_a_cluster_that_is_dragged_into_a_notebook_brings_its_client(lab, page):
    connect = 'coiled_jupyter.connect("mine")'
    cells = "window.jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.sharedModel.getSource())"
    line = page.locator("[data-cluster-id] .jp-Coiled-fold", has_text="mine")
    before, opened = page.evaluate(cells), line.get_attribute("aria-expanded")

    def drag(cell, where, position) -> None:
        # The notebook draws the cells that are in view.
        page.evaluate("cell => window.jupyterapp.shell.currentWidget.content.scrollToItem(cell, 'smart')", cell)
        line.hover()
        page.mouse.down()
        where.scroll_into_view_if_needed()
        box = None
        # Cells are still being drawn, and move those below them.
        while (there := where.bounding_box()) != box:
            box = there
            page.wait_for_timeout(500)
        at = box["x"] + position[0], box["y"] + position[1]
        page.mouse.move(*at, steps=10)
        # It is there when the server has told the code.
        expect(page.locator(".jp-Coiled-dragged")).to_have_text("mine")
        page.mouse.move(at[0] + 1, at[1], steps=2)
        show(page, "dragged")
        page.mouse.up()
        expect(page.locator(".jp-Coiled-dragged")).to_have_count(0)

    # It is a cell of its own, before the one that it is dropped on.
    drag(0, page.locator(".jp-Notebook .jp-Cell .jp-InputPrompt").first, (10, 10))
    after = page.evaluate(cells)
    assert after[1:] == before
    assert connect in after[0]
    kinds = "window.jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.type)"
    last = len(after) - 1 - page.evaluate(kinds)[::-1].index("code")
    drag(last, page.locator(".jp-Notebook .jp-CodeCell .cm-content").last, (2, 6))
    assert page.evaluate(cells) == [*after[:last], after[0], *after[last:]]
    # A press that doesn't move opens the line, as ever, and nothing was run.
    assert line.get_attribute("aria-expanded") == opened
    line.click()
    assert line.get_attribute("aria-expanded") != opened
    line.click()
    page.evaluate(
        """count => {
            const {sharedModel} = window.jupyterapp.shell.currentWidget.content.model;
            [count, 0].forEach(index => sharedModel.deleteCell(index));
        }""",
        last,
    )
    assert page.evaluate(cells) == before


def test_a_cluster_is_steered_from_its_card(lab, page):
    cluster = next(c for c in lab.api("GET", "clusters")[1] if c["name"] == "mine")
    path = f"clusters/{cluster['id']}"
    card = page.locator(f"[data-cluster-id='{cluster['id']}']")
    menu = page.locator(".lm-Menu")
    dialog = page.locator(".jp-Dialog")

    def workers():
        return lab.api("GET", path)[1]["desired"]["workers"]

    # Three presses, one wish.
    more = behind(card).get_by_role("button", name="One worker more for mine")
    for _ in range(3):
        more.click()
    expect(card).to_contain_text("of 4 workers")
    expect(card).to_contain_text("4 workers", timeout=90_000)
    wait_for(lambda: len(lab.api("GET", path)[1]["workers"]) == 4, what="four workers", seconds=30)
    show(page, "scaled")
    # The rest is in a menu, by keyboard too.
    card.get_by_role("button", name="More actions for mine").focus()
    page.keyboard.press("Enter")
    expect(menu).to_contain_text("Scale…")
    assert faults(page, ".jp-Coiled-menu") == []
    show(page, "more-actions")
    menu.get_by_text("Scale…").click()
    show(page, "scale-dialog")
    dialog.get_by_label("Workers", exact=True).fill("200")
    expect(dialog.get_by_role("button", name="Scale")).to_be_enabled()
    dialog.get_by_label("Workers", exact=True).fill("1.5")
    dialog.get_by_role("button", name="Scale").click()
    expect(dialog.get_by_label("Workers", exact=True)).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Workers", exact=True).fill("1")
    dialog.get_by_role("button", name="Scale").click()
    wait_for(lambda: workers() == 1, what="the smaller size")
    # What its processes print, in a tab of its own, as it comes.
    card.get_by_role("button", name="More actions for mine").click()
    menu.get_by_text("Logs").click()
    log = page.get_by_role("log", name="Logs of mine")
    expect(log).to_contain_text("distributed", timeout=90_000)
    assert faults(page, "[id^='coiled-jupyter-logs-']") == []
    show(page, "logs")
    page.get_by_label("Node").select_option("scheduler")
    page.get_by_label("Search the lines").fill("Scheduler at")
    expect(log).to_contain_text("Scheduler at", timeout=90_000)
    page.locator(".lm-TabBar-tab", has_text="first-look.ipynb").click()
    page.evaluate(
        f"void window.jupyterapp.commands.execute('coiled-jupyter:restart-cluster', {{cluster: '{cluster['id']}'}})"
    )
    expect(dialog).to_contain_text("Restart mine?")
    show(page, "restart-dialog")
    # No argument skips the dialog, and leaving it changes nothing.
    page.keyboard.press("Escape")
    assert lab.api("GET", path)[1]["status"] in ("running", "idle")
    wait_for(lambda: len(lab.api("GET", path)[1]["workers"]) == 1, what="one worker", seconds=40)


def test_a_report_of_a_problem_is_looked_through_before_it_is_saved(page, tmp_path):
    page.get_by_role("menuitem", name="Help", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Report a Problem with Coiled Jupyter…").click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog.get_by_role("region", name="What is in the file")).to_contain_text('"contents"', timeout=90_000)
    assert faults(page, ".jp-Dialog-body") == []
    show(page, "report")
    with page.expect_download() as saved:
        dialog.get_by_role("button", name="Save as File").click()
    saved.value.save_as(tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [cluster["name"] for cluster in report["clusters"]].count("mine") == 1
    assert saved.value.suggested_filename == "coiled-jupyter-report.json"


def test_a_cluster_that_fails_says_why(lab, page):
    cluster = create(lab, name="never", requirements=["numpy==99999"])
    card = page.locator(f"[data-cluster-id='{cluster['id']}']")
    expect(card).to_have_attribute("data-status", "failed")
    expect(card).to_contain_text("numpy==99999")
    expect(card.locator("[data-step='Resolve packages']")).to_have_attribute("data-state", "failed")
    # It isn't what the notebook is compared with.
    expect(page.locator("[data-verdict=equal]")).to_be_visible()
    assert faults(page, "#coiled-jupyter-panel") == []
    show(page, "failed")
    page.get_by_role("button", name="Remove… never from the list").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Remove").click()
    expect(card).to_have_count(0)


def test_without_a_word_of_the_server_figures_get_old_and_claim_nothing(lab, page):
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=90_000)
    lab.process.send_signal(signal.SIGSTOP)
    try:
        expect(page.locator("#coiled-jupyter-panel .jp-Coiled-age[data-age=stale]").first).to_be_visible(timeout=60_000)
        # Half a minute after the last answer; that some figure is old may have been shown before.
        expect(page.locator("[data-verdict=unknown]")).to_be_visible(timeout=60_000)
        expect(page.locator("#jp-main-statusbar [data-glance=unknown]")).to_be_visible()
        assert faults(page, "#coiled-jupyter-panel") == []
        show(page, "server-silent")
    finally:
        lab.process.send_signal(signal.SIGCONT)
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=90_000)


def test_a_restarted_kernel_is_read_again_and_a_dead_server_claims_nothing(lab, page):
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => true)")
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=90_000)
    lab.process.kill()
    expect(page.locator("[data-verdict=unknown]")).to_be_visible(timeout=90_000)
    expect(page.locator("[data-verdict=equal]")).to_have_count(0)
    # The rows are without colour, or gone with the kernel.
    expect(page.locator("[data-stale=false]")).to_have_count(0)
    show(page, "no-server")
