"""What the page and our routes send each other in a minute in which nothing changes, in headless Chromium."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.pages import ROOT, app, browser
from tests.browser.traffic import Traffic
from tests.processes import JupyterServer, apart, wait_for

from .page import open_lab
from .table import Figure

_CLUSTERS = 3
_LIMIT = 5_000
_CALM = 20_000
"""Milliseconds after which Dask's workers, which have just started, have come to rest."""
_NOWHERE = {"showInToolbar": False, "showInStatusBar": False, "notify": False}


def measure(rounds: int) -> list[Figure]:
    """Return the bytes of a minute with an open panel, a hidden one, and a verdict that is shown nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "work").mkdir()
        shutil.copy(ROOT / "examples/first-look.ipynb", root / "work")
        server = app(root, env=apart())
        try:
            with browser() as page:
                return _measure(page, server, root, 60 if rounds > 1 else 10)
        finally:
            for cluster in server.api("GET", "clusters")[1]:
                server.api("DELETE", f"clusters/{cluster['id']}")
            server.close()


def _measure(page: Page, server: JupyterServer, root: Path, seconds: int) -> list[Figure]:
    open_lab(page, server, "/tree/first-look.ipynb")
    kernel = wait_for(lambda: server.ask("GET", "/api/kernels")[1], what="a kernel")[0]["id"]
    wait_for(lambda: server.api("GET", f"environments?kernel={kernel}")[0] == 200, what="a kernel that answers")
    for index in range(_CLUSTERS):
        server.api("POST", "clusters", {"name": f"calm-{index}", "workers": 1, "interpreter": {"kernel": kernel}})
    expect(page.locator("[data-cluster-id][data-status=idle]")).to_have_count(_CLUSTERS, timeout=180_000)
    page.get_by_label("Compare with").select_option(label="calm-0")
    expect(page.locator("[data-verdict=equal]")).to_be_visible(timeout=180_000)

    def counted() -> Traffic:
        page.wait_for_timeout(_CALM)
        traffic = Traffic(page)
        page.wait_for_timeout(1000 * seconds)
        traffic.close()
        return traffic

    def minute(size: int) -> float:
        return size * 60 / seconds

    opened = counted()
    page.evaluate("window.jupyterapp.shell.collapseRight()")
    hidden = counted()
    chosen = root / "home/config/lab/user-settings/coiled-jupyter"
    chosen.mkdir(parents=True, exist_ok=True)
    (chosen / "plugin.jupyterlab-settings").write_text(json.dumps(_NOWHERE))
    page.reload()
    page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
    page.evaluate("window.jupyterapp.restored.then(() => true)")
    nowhere = counted()
    what = f"Traffic of a minute with {_CLUSTERS} idle clusters"
    unit = "B"
    return [
        Figure(f"{what}: an open panel, content", minute(opened.content), limit=_LIMIT, unit=unit),
        Figure("The same with the headers of all requests", minute(opened.bytes), limit=_LIMIT, unit=unit),
        Figure("The same, requests", minute(len(opened.requests)), unit="requests"),
        Figure(f"{what}: a hidden panel, the verdict in the status bar, content", minute(hidden.content), unit=unit),
        Figure("The same with the headers of all requests", minute(hidden.bytes), unit=unit),
        Figure(
            f"{what}: a hidden panel, no verdict, requests", minute(len(nowhere.requests)), limit=0, unit="requests"
        ),
    ]
