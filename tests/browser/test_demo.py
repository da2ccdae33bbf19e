"""The demo as a person goes through it: a cell fails, the panel says why, one click, nothing lost, and back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.demo import demo

from .pages import browser, errors_of_ours
from .test_first_look import PLAN, faults, show

PANEL = "#coiled-jupyter-panel"
CONNECT, COUNT, SUM, KEPT = range(4)
"""The notebook's cells of code."""
RUNS = """
from distributed import Client
ran = "[[t[0] for t in s.transition_log if t[1:3] == ('processing', 'memory')] for s in distributed.Scheduler._instances][0]"
done = Client().run_on_scheduler(eval, ran, {"distributed": __import__("distributed")})
print(sum(key.startswith("primes") for key in done))
"""


def run_cell(page: Page, index: int) -> Locator:
    """Run a cell of code from the keyboard and return it when it has ended."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=90_000)
    expect(prompt).not_to_have_text(before, timeout=90_000)
    return cell


def times_counted(folder: Path) -> int:
    """Return how many of the demo's tasks have run on the cluster, by its scheduler."""
    spec = json.loads((folder / "demo/jupyter/kernels/first-look/kernel.json").read_text())
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNS],
        env={**os.environ, **spec["env"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(asked.stdout)


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_failing_cell_works_after_one_click_and_the_earlier_results_are_there(tmp_path):
    with demo(tmp_path) as running, browser(width=1280, height=800) as page:
        wrong = errors_of_ours(page)
        page.goto(running.page)
        row = page.locator(f"{PANEL} [data-package=numpy]")
        expect(page.locator("[data-verdict=breaks]")).to_contain_text(
            "1 package will break on first-look", timeout=90_000
        )
        expect(row).to_have_attribute("data-severity", "breaks")
        show(page, "demo-before")

        expect(run_cell(page, CONNECT)).to_contain_text("'2.")
        expect(run_cell(page, COUNT)).to_contain_text("41538")
        assert times_counted(tmp_path) == 50
        failed = run_cell(page, SUM)
        expect(failed).to_contain_text("Error during deserialization of the task graph")
        hint = failed.locator(".jp-Coiled-hint")
        expect(hint).to_contain_text("Explained by a difference: numpy", timeout=90_000)
        assert faults(page, ".jp-Coiled-hint") == []
        show(page, "demo-failed")
        hint.get_by_role("button").press("Enter")
        expect(row).to_have_attribute("data-revealed", "true")
        expect(row.locator("button")).to_be_focused()

        page.locator("[data-sync-offer][aria-disabled=false]").click()
        review = page.locator(PLAN)
        expect(review.locator("[data-plan]")).to_be_visible(timeout=90_000)
        expect(review).to_contain_text("Nothing is lost")
        review.get_by_role("button", name="Sync", exact=True).click()
        sync = page.locator("[data-sync-id]").first
        expect(sync).to_have_attribute("data-state", "done", timeout=120_000)
        expect(page.locator("[data-verdict=compatible]")).to_be_visible(timeout=90_000)
        # The same call, whose failed future IPython's last traceback still holds.
        expect(run_cell(page, SUM).locator(".jp-OutputArea-output")).to_have_text("45")
        # Also the link below Dask's warning of the first cell: what the scheduler has no longer matters.
        expect(page.locator(".jp-Coiled-hint")).to_have_count(0, timeout=90_000)
        expect(run_cell(page, KEPT)).to_contain_text("41538")
        assert times_counted(tmp_path) == 50
        show(page, "demo-synced")

        sync.get_by_role("button", name="Undo").click()
        expect(review.locator("[data-plan]")).to_be_visible(timeout=90_000)
        expect(review).to_contain_text("Nothing is lost")
        review.get_by_role("button", name="Undo", exact=True).click()
        expect(sync).to_contain_text("undone and verified", timeout=120_000)
        expect(page.locator("[data-verdict=breaks]")).to_be_visible(timeout=90_000)
        expect(run_cell(page, KEPT)).to_contain_text("41538")
        assert times_counted(tmp_path) == 50
        show(page, "demo-undone")
        assert wrong == []
        running.stop()
