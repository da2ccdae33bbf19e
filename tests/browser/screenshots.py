"""Makes docs/screenshots anew: the panel's most important states in light and dark, of a real lab and a real cluster.

With ``SHEETS`` it makes sheets in that folder instead, to be looked at: each state in three themes and at two widths.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
from playwright.sync_api import Page, expect

from coiled_jupyter.core.times import now
from coiled_jupyter.core.wire import Sync, SyncGroup, SyncLog, SyncResult, SyncStep
from tests.environments import environment, interpreters
from tests.kernelspecs import kernel_spec
from tests.processes import JupyterServer, apart, of_clusters, wait_for

from .pages import ROOT, app, browser
from .test_first_look import PLAN, THEMES, behind, cell, create, faults, open_row, opened, ready, themed
from .test_sync_story import CONNECT, TODAY

FOLDER = ROOT / "docs" / "screenshots"
SHEETS = Path(os.environ["SHEETS"]) if "SHEETS" in os.environ else None
"""Where sheets go, if these are made."""
WIDTHS = (250, 400)
LIGHT, DARK = THEMES[:2]
PANEL = "#coiled-jupyter-panel"
CODE = ("import numpy as np\n\nnp.__version__", "import coiled_jupyter\n\nclient = coiled_jupyter.connect('analysis')")
HOLD = """
text = "[__import__('time').sleep(0.1) for _ in iter(lambda: __import__('os').path.exists({file!r}), True)]"
held = [client.submit(eval, text, workers=[worker], pure=False) for worker in client.scheduler_info()["workers"]]
while len([key for keys in client.processing().values() for key in keys]) < 3: pass
print("held")
"""


def shoot(page: Page, name: str, *, dialog: bool = False) -> None:
    """Take the panel, or the dialog in front, down to where its content ends."""
    page.mouse.move(0, 0)
    if not dialog:
        page.evaluate("document.activeElement.blur()")
    if SHEETS:
        sheet(page, SHEETS / f"{name}.png", dialog)
        return
    for theme, short in ((DARK, "dark"), (LIGHT, "light")):
        themed(page, theme)
        box = page.locator(".jp-Dialog-content" if dialog else PANEL).bounding_box()
        assert box is not None
        if not dialog:
            end = page.evaluate(
                f"""() => Math.max(...[...document.querySelectorAll('{PANEL} > *')]
                    .map(node => node.getBoundingClientRect().bottom))"""
            )
            box["height"] = min(box["height"], end - box["y"] + 8)
        page.screenshot(path=FOLDER / f"{name}-{short}.png", clip=box)


def sheet(page: Page, path: Path, dialog: bool) -> None:
    """Take the panel, or the dialog in front, in each theme and at each width, side by side, and have axe look at it."""
    shots = []
    for theme in THEMES:
        themed(page, theme)
        assert faults(page, ".jp-Dialog-body" if dialog else PANEL) == [], (path.stem, theme)
        for width in WIDTHS:
            widen(page, width)
            shots.append(page.locator(".jp-Dialog-content" if dialog else PANEL).screenshot(animations="disabled"))
    widen(page, WIDTHS[0])
    themed(page, LIGHT)
    assert page.context.browser is not None
    other = page.context.browser.new_page(viewport={"width": 2100, "height": 1000})
    pictures = (f"<img src='data:image/png;base64,{base64.b64encode(shot).decode()}'>" for shot in shots)
    style = "display: flex; gap: 8px; align-items: flex-start; margin: 8px; width: max-content"
    other.set_content(f"<body style='{style}'>{''.join(pictures)}</body>")
    other.locator("body").screenshot(path=path)
    other.close()


def widen(page: Page, width: int) -> None:
    """Give the panel a width, as one does with the mouse."""
    box = page.locator(PANEL).bounding_box()
    # Behind a dialog it can't be done, nor is it needed.
    if box and not page.locator(".jp-Dialog").count():
        page.mouse.move(box["x"] - 2, 600)
        page.mouse.down()
        page.mouse.move(box["x"] - 2 + box["width"] - width, 600, steps=4)
        page.mouse.up()
        page.mouse.move(0, 0)
        page.wait_for_timeout(300)


@contextlib.contextmanager
def held_still(lab: JupyterServer, cluster_id: str) -> Iterator[None]:
    """Stop the processes of a cluster, so that it doesn't answer."""
    processes = of_clusters(cluster_id, lab.env["COILED_JUPYTER_RUNTIME_DIR"])
    assert len(processes) > 2
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def failed(cluster_id: str, workers: list[str]) -> bytes:
    """Return an answer of ``GET syncs`` with one that failed: hard to have for real where the index is a good one."""
    log = (
        "Resolved 24 packages in 310 ms",
        "error: Failed to install: numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl",
        "Caused by: No space left on device (os error 28)",
    )
    group = SyncGroup(
        group="g", role="worker", host="127.0.0.1", nodes=tuple(workers), verified=True, text="the old state is back"
    )
    sync = Sync(
        id="failed",
        plan=None,
        cluster=cluster_id,
        direction="to_cluster",
        state="failed",
        steps=(
            SyncStep(name="Build the environment", state="failed", seconds=4.2, text="No space left on device"),
            SyncStep(name="Test start", state="waiting"),
            SyncStep(name="Move the workers", state="waiting"),
            SyncStep(name="Verify", state="waiting"),
        ),
        log=SyncLog(lines=log, next=len(log)),
        result=SyncResult(text="The environment could not be built: no space left on device.", groups=(group,)),
        undo_of=None,
        undone_by=None,
        started_at=now(),
        ended_at=now(),
    )
    return msgspec.json.encode([sync])


def end(lab: JupyterServer, cluster_id: str) -> None:
    """Stop a cluster and remove its record."""
    path = f"clusters/{cluster_id}"
    lab.api("DELETE", path)
    wait_for(lambda: lab.api("GET", path)[1]["status"] == "stopped", what="the end of the cluster")
    lab.api("DELETE", path)


def take(lab: JupyterServer, page: Page) -> None:
    """Go through the states."""
    panel, dialog = page.locator(PANEL), page.locator(".jp-Dialog")
    expect(panel.locator("[data-verdict=unknown]")).to_have_text("No cluster yet", timeout=90_000)
    shoot(page, "no-cluster")

    panel.get_by_role("button", name="New cluster…").click()
    dialog.get_by_label("Workers", exact=True).fill("3")
    shoot(page, "new-cluster", dialog=True)
    page.keyboard.press("Escape")

    body = {"name": "analysis", "workers": 3, "requirements": [*TODAY, "numpy==1.26.4", "toolz==0.12.1"]}
    status, cluster = lab.api("POST", "clusters", {**body, "python": "3.11"})
    assert status == 202, cluster
    expect(panel.locator("[data-status=starting]")).to_be_visible()
    shoot(page, "starting")
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: lab.api("GET", path)[1]["status"] != "starting", what="the cluster", seconds=180)
    cluster = lab.api("GET", path)[1]
    assert cluster["status"] in ("running", "idle"), cluster["reason"]

    expect(panel.locator("[data-verdict=breaks]")).to_be_visible(timeout=90_000)
    shoot(page, "breaks")
    if not SHEETS:
        page.screenshot(path=FOLDER.parent / "panel.png")
    button, _ = open_row(page, "numpy")
    shoot(page, "row")
    button.press("Enter")
    search = panel.get_by_role("button", name="Search, sort and group")
    search.click()
    panel.locator(".jp-Coiled-tools [data-severity=same]").click()
    if SHEETS:
        shoot(page, "search")
    panel.locator(".jp-Coiled-tools [data-severity=same]").click()
    search.click()

    answer = failed(cluster["id"], [worker["id"] for worker in cluster["workers"]])
    page.route(
        "**/coiled-jupyter/api/syncs?*", lambda route: route.fulfill(body=answer, content_type="application/json")
    )
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:refresh')")
    page.reload()
    ready(page)
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
    expect(panel.locator("[data-sync-id][data-state=failed]")).to_be_visible(timeout=90_000)
    expect(panel.locator("[data-verdict=breaks]")).to_be_visible(timeout=90_000)
    shoot(page, "sync-failed")
    page.unroute("**/coiled-jupyter/api/syncs?*")
    end(lab, cluster["id"])
    # Where the scheduler has no numpy either, the workers alone can roll, and keep what they hold.
    cluster = create(lab, name="analysis", workers=3, requirements=list(TODAY), python="3.11")
    page.reload()
    ready(page)
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")

    expect(panel.locator("[data-verdict=breaks]")).to_be_visible(timeout=90_000)
    where = cluster["scheduler"]["address"]
    said = cell(
        page, CONNECT.format(folder=str(Path(lab.env["COILED_JUPYTER_RUNTIME_DIR"], "c", cluster["id"])), address=where)
    )
    assert "gathered 200" in said, said
    file = lab.root / "go on"
    assert "held" in cell(page, HOLD.format(file=str(file)))
    offer = panel.locator("[data-sync-offer][aria-disabled=false]")
    expect(offer).to_be_visible(timeout=90_000)
    offer.click()
    review = page.locator(PLAN)
    expect(review.locator("[data-plan]")).to_be_visible(timeout=60_000)
    shoot(page, "plan")
    review.get_by_role("button", name="Sync", exact=True).click()
    card = panel.locator("[data-sync-id]").first
    expect(card).to_have_attribute("data-state", "rolling", timeout=120_000)
    shoot(page, "syncing")
    file.touch()
    expect(card).to_have_attribute("data-state", "done", timeout=120_000)
    expect(panel.locator("[data-verdict=compatible]")).to_be_visible(timeout=60_000)
    shoot(page, "synced")
    card.get_by_role("button", name="Dismiss the result").click()
    behind(panel.locator("[data-cluster-id]"))
    expect(panel.locator("[data-worker]")).to_have_count(3)
    shoot(page, "equal")
    panel.locator("[data-cluster-id] .jp-Coiled-fold").click()

    create(lab, name="never", requirements=["numpy==99999"])
    expect(panel.locator("[data-status=failed]")).to_be_visible(timeout=90_000)
    shoot(page, "cluster-failed")
    never = next(other for other in lab.api("GET", "clusters")[1] if other["name"] == "never")
    lab.api("DELETE", f"clusters/{never['id']}")
    expect(panel.locator("[data-status=failed]")).to_have_count(0, timeout=90_000)

    with held_still(lab, cluster["id"]):
        if SHEETS:
            expect(panel.locator(".jp-Coiled-age[data-age=stale]").first).to_be_visible(timeout=60_000)
            shoot(page, "old")
        expect(panel.locator("[data-verdict=unknown]")).to_be_visible(timeout=60_000)
        shoot(page, "unknown")
    end(lab, cluster["id"])


def main() -> None:
    """Start what is needed, and take all."""
    (SHEETS or FOLDER).mkdir(parents=True, exist_ok=True)
    os.environ |= apart()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        python = environment(interpreters()["3.11"], *TODAY, "numpy==2.4.6", "ipykernel")
        kernel_spec(root / "home/data", "analysis", python)
        cells = [
            {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": code}
            for code in CODE
        ]
        kernel = {"name": "analysis", "display_name": "analysis", "language": "python"}
        notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}
        (root / "work").mkdir()
        (root / "work/analysis.ipynb").write_text(json.dumps(notebook))
        # Nothing lies over the panel.
        quiet = root / "home/config/labconfig"
        quiet.mkdir(parents=True)
        chosen = {"coiled-jupyter:plugin": {"notify": False}}
        (quiet / "default_setting_overrides.json").write_text(json.dumps(chosen))
        lab = app(root)
        try:
            with browser(height=990) as page:
                opened(page, lab, "analysis.ipynb")
                take(lab, page)
        finally:
            lab.close()
    folder = SHEETS or FOLDER
    made = sorted(folder.glob("*.png"))
    print(f"{len(made)} pictures, {sum(path.stat().st_size for path in made) / 1e6:.2f} MB, in {folder}")


if __name__ == "__main__":
    main()
