"""Runs a Jupyter app with the page of this checkout, and a browser that shows it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

from tests.processes import JupyterServer, apart

ROOT = Path(__file__).resolve().parents[2]
_NAMES = {"lab": "LabApp", "notebook": "JupyterNotebookApp"}
_LAB = ("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")


def app(
    root: Path, kind: str = "lab", *, env: dict[str, str] | None = None, python: Path | None = None
) -> JupyterServer:
    """Start a lab, or Notebook 7, in a folder; who calls it closes it.

    Parameters
    ----------
    python
        One that has a lab and this package installed; None: this one, with the page of this checkout.

    """
    # Nobody answers the lab's own question about news.
    settings = root / "home/config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    name = _NAMES[kind]
    options = [*(_LAB if kind == "lab" else ()), f"--{name}.expose_app_in_browser=True"]
    if python is None:
        # The page of this checkout, also where the environment's installation is another one.
        (root / "pages").mkdir()
        (root / "pages/coiled-jupyter").symlink_to(ROOT / "coiled_jupyter/labextension")
        options.append(f"--{name}.extra_labextensions_path={root / 'pages'}")
    return JupyterServer(root, kind, *options, env={**apart(), **(env or {})}, python=python)


def end(server: JupyterServer) -> None:
    """Have the clusters of a Jupyter app stopped, and end it."""
    for cluster in server.api("GET", "clusters")[1]:
        server.api("DELETE", f"clusters/{cluster['id']}")
    server.close()


def errors_of_ours(page: Page) -> list[str]:
    """Return a list that fills with the stacks of errors that nothing caught, as far as our scripts are in them."""
    # The lab and Notebook 7 have some of their own.
    found: list[str] = []

    def note(error: Error) -> None:
        if "coiled-jupyter" in (error.stack or ""):
            found.append(error.stack or "")

    page.on("pageerror", note)
    return found


@contextlib.contextmanager
def browser(*arguments: str, width: int = 1400, height: int = 900) -> Iterator[Page]:
    """Yield an empty page of headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", *arguments],
        )
        try:
            yield chromium.new_page(viewport={"width": width, "height": height})
        finally:
            chromium.close()
