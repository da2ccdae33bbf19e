"""A cluster that a notebook opened itself, in a real lab: an install, a red row, one click, and its workers run it."""

from __future__ import annotations

import subprocess

import pytest
from playwright.sync_api import expect
from uv import find_uv_bin

from tests.environments import interpreters
from tests.index import make_wheel
from tests.kernelspecs import empty_notebook, kernel_spec

from .pages import app, browser
from .test_first_look import PLAN, behind, cell, opened, show

PANEL = "#coiled-jupyter-panel"
OPEN = """
from distributed import Client
client = Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")
version = lambda i=0: (__import__("rolled").__version__, i)
kept = client.map(version, range(50), pure=False)
print("gathered", len(client.gather(kept)))
"""
AFTER = """
print("now", sorted(set(client.run(version).values())))
print("kept", client.gather(kept) == [("1.0", i) for i in range(50)])
"""


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_after_an_install_in_the_notebook_one_click_makes_its_own_workers_run_it(tmp_path):
    def install(*what: str) -> None:
        python = str(tmp_path / "venv" / "bin" / "python")
        subprocess.run([find_uv_bin(), "pip", "install", "-q", "--python", python, *what], check=True)

    wheels = [str(make_wheel(tmp_path, "rolled", version=version)) for version in ("1.0", "2.0")]
    venv = [find_uv_bin(), "venv", "-q", "--python", interpreters()["3.11"], str(tmp_path / "venv")]
    subprocess.run(venv, check=True)
    install("distributed==2026.8.0", "dask==2026.8.0", "ipykernel>=7,<8", wheels[0])
    kernel_spec(tmp_path / "home" / "data", "analysis", tmp_path / "venv" / "bin" / "python")
    empty_notebook(tmp_path / "work" / "own.ipynb", "analysis")
    lab = app(tmp_path)
    try:
        with browser(width=1500, height=1000) as page:
            opened(page, lab, "own.ipynb")
            kernel = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
            page.wait_for_function(f"() => Boolean({kernel})", timeout=120_000)
            assert "gathered 50" in cell(page, OPEN, 240)
            expect(page.locator(f"{PANEL} [data-cluster-id]")).to_contain_text("2 workers", timeout=120_000)
            install(wheels[1])
            row = page.locator(f"{PANEL} [data-package=rolled][data-status=restart_needed]")
            expect(row).to_be_visible(timeout=120_000)
            offer = page.locator("[data-sync-offer][aria-disabled=false]")
            expect(offer).to_be_visible(timeout=60_000)
            show(page, "in-place-red")
            offer.click()
            review = page.locator(PLAN)
            expect(review.locator("[data-plan][data-how=in_place]")).to_be_visible(timeout=120_000)
            expect(review).to_contain_text("rolled")
            expect(review).to_contain_text("Nothing is lost")
            expect(review).to_contain_text("there is nothing to undo")
            show(page, "in-place-plan")
            review.get_by_role("button", name="Sync", exact=True).click()
            card = page.locator("[data-sync-id]").first
            expect(card).to_have_attribute("data-state", "done", timeout=240_000)
            expect(behind(card)).to_contain_text("All 2 workers run what is installed now")
            expect(card.get_by_role("button", name="Undo")).to_have_count(0)
            show(page, "in-place-done")
            said = cell(page, AFTER, 120)
            assert "now [('2.0', 0)]" in said, said
            assert "kept True" in said, said
            expect(row).to_have_count(0, timeout=120_000)
    finally:
        lab.close()
