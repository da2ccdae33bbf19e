"""Runs a Jupyter app with the page of this checkout, and a browser that shows it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.processes import JupyterServer

ROOT = Path(__file__).resolve().parents[2]
_OPTIONS = {
    "lab": ("LabApp", "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    "notebook": ("JupyterNotebookApp",),
}


def app(root: Path, kind: str = "lab", *, env: dict[str, str] | None = None) -> JupyterServer:
    """Start a lab, or Notebook 7, in a folder; who calls it closes it."""
    # Nobody answers the lab's own question about news.
    settings = root / "home/config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    # The page of this checkout, also where the environment's installation is another one.
    (root / "pages").mkdir()
    (root / "pages/coiled-jupyter").symlink_to(ROOT / "coiled_jupyter/labextension")
    name, *options = _OPTIONS[kind]
    options += [f"--{name}.extra_labextensions_path={root / 'pages'}", f"--{name}.expose_app_in_browser=True"]
    return JupyterServer(root, kind, *options, env=env)


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
