"""The whole story of a sync in a real lab: a red row, a click, a preview, a green row, nothing lost; then undo."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.environments import environment, interpreters
from tests.kernelspecs import empty_notebook, kernel_spec

from .pages import app, browser, end
from .test_first_look import PLAN, behind, cell, create, faults, opened, ready, show

TODAY = ("distributed==2026.8.0", "dask==2026.8.0", "cloudpickle==3.1.2", "msgpack==1.2.4", "tornado==6.6.1")
PANEL = "#coiled-jupyter-panel"
CONNECT = """
import warnings
warnings.simplefilter("ignore")
import numpy as np
from distributed import Client
from distributed.security import Security
folder = {folder!r}
client = Client({address!r}, timeout=30, security=Security(
    tls_ca_file=folder + "/ca.pem", tls_client_cert=folder + "/cert.pem", tls_client_key=folder + "/key.pem",
    require_encryption=True))
futures = client.map(pow, range(200), [2] * 200, key="kept")
scattered = client.scatter([1, 2, 3], broadcast=False)
print("gathered", len(client.gather(futures)))
"""
SUBMIT = """
try:
    # Held, as by the traceback of a cell that has failed; its value is nothing that an undo would have to keep numpy for.
    held = client.submit(np.ndarray.tolist, np.arange(4))
    print("sum", sum(held.result(timeout=30)))
except Exception as error:
    print("failed", type(error).__name__)
"""
KEPT = """
ran = client.run_on_scheduler(eval, "[sum(1 for t in s.transition_log if t[1] == 'processing' and t[2] == 'memory'"
    " and str(t[0]).startswith('kept')) for s in __import__('distributed').Scheduler._instances][0]")
right = client.gather(futures) == [n ** 2 for n in range(200)] and client.gather(scattered) == [1, 2, 3]
print("kept", right, ran)
"""
SLOW = """
import time
slow = client.submit(time.sleep, 5, key="slow")
print("begun")
"""
ENDED = """
slow.result(timeout=60)
ran = client.run_on_scheduler(eval, "[sum(1 for t in s.transition_log if t[1] == 'processing' and t[2] == 'memory'"
    " and str(t[0]) == 'slow') for s in __import__('distributed').Scheduler._instances][0]")
print("slow", ran)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("story")
    python = environment(interpreters()["3.11"], *TODAY, "numpy==2.4.6", "ipykernel")
    kernel_spec(root / "home" / "data", "analysis", python)
    empty_notebook(root / "work" / "story.ipynb", "analysis")
    server = app(root)
    yield server
    end(server)


@pytest.fixture(scope="module")
def page(lab):
    with browser(width=1500, height=1000) as page:
        opened(page, lab, "story.ipynb")
        yield page


def test_one_click_makes_it_right_loses_nothing_and_is_undone_in_one_click(lab, page):
    cluster = create(lab, name="story", workers=3, requirements=list(TODAY), python="3.11")
    assert cluster["status"] in ("running", "idle"), cluster
    folder = str(Path(lab.env["COILED_JUPYTER_RUNTIME_DIR"], "c", cluster["id"]))
    said = cell(page, CONNECT.format(folder=folder, address=cluster["scheduler"]["address"]))
    assert "gathered 200" in said, said
    row = page.locator(f"{PANEL} [data-package=numpy]")
    expect(row).to_have_attribute("data-severity", "breaks", timeout=90_000)
    expect(page.locator("[data-verdict=breaks]")).to_be_visible(timeout=60_000)
    assert "failed" in cell(page, SUBMIT)
    assert "begun" in cell(page, SLOW)
    show(page, "sync-red")

    offer = page.locator("[data-sync-offer][aria-disabled=false]")
    expect(offer).to_be_visible(timeout=90_000)
    offer.click()
    review = page.locator(PLAN)
    expect(review.locator("[data-plan]")).to_be_visible(timeout=60_000)
    expect(review).to_contain_text("numpy")
    expect(review).to_contain_text("2.4.6")
    expect(review).to_contain_text("Nothing is lost")
    show(page, "sync-preview")
    review.get_by_role("button", name="Sync", exact=True).click()
    card = page.locator("[data-sync-id]").first
    expect(card).to_have_attribute("data-state", "done", timeout=120_000)
    expect(page.locator("[data-verdict=compatible]")).to_be_visible(timeout=60_000)
    expect(page.locator(f"{PANEL} [data-package=numpy][data-severity=block]")).to_have_count(0)
    behind(card)
    assert faults(page, PANEL) == []
    show(page, "sync-done")
    # The same client goes on; what was there is there, and nothing ran twice.
    assert "sum 6" in cell(page, SUBMIT)
    assert "kept True 200" in cell(page, KEPT)
    assert "slow 1" in cell(page, ENDED)

    # It is there after a reload, and undo brings the red row back, without loss too.
    page.reload()
    ready(page)
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
    card = page.locator("[data-sync-id]").first
    expect(card).to_have_attribute("data-state", "done", timeout=90_000)
    card.get_by_role("button", name="Undo").click()
    expect(review.locator("[data-plan]")).to_be_visible(timeout=60_000)
    assert faults(page, PANEL) == []
    review.get_by_role("button", name="Undo", exact=True).click()
    expect(row).to_have_attribute("data-severity", "breaks", timeout=120_000)
    # While the undo runs, the verdict is that.
    expect(page.locator("[data-verdict=breaks]")).to_be_visible(timeout=120_000)
    assert "kept True 200" in cell(page, KEPT)
    show(page, "sync-undone")

    # What was built for it is listed with its size, and goes when one says so, once nobody runs in it.
    expect(page.locator("[data-sync-id][data-state=done]", has_text="Undo on story")).to_be_visible(timeout=60_000)
    layers = [layer for layer in lab.api("GET", "layers")[1] if cluster["id"] in layer["known_by"]]
    (layer,) = [layer for layer in layers if layer["id"] != "base"]
    (place,) = layer["places"]
    assert place["size"] > 1_000_000
    assert Path(place["path"]).is_dir()
    dialog = page.locator(".jp-Dialog")
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:restore-state')")
    expect(dialog.get_by_role("radio")).not_to_have_count(0)
    assert faults(page, ".jp-Dialog-body") == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:remove-states')")
    choice = dialog.locator(f"[data-choice='{layer['id']}']")
    expect(choice).to_contain_text(re.compile(r"\d MiB|\d GiB"))
    expect(choice).to_contain_text("story could go back to it")
    assert faults(page, ".jp-Dialog-body") == []
    expect(choice).to_contain_text(place["path"])
    show(page, "states")
    choice.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Remove", exact=True).click()
    expect(dialog).to_have_count(0, timeout=90_000)
    assert layer["id"] not in [layer["id"] for layer in lab.api("GET", "layers")[1]]
    assert not Path(place["path"]).exists()
