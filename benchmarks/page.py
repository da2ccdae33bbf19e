"""How fast the panel draws 1000 rows and takes an update of them, in headless Chromium."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Page, Route

from coiled_jupyter.core.cluster import now
from coiled_jupyter.core.diff import compare
from tests.browser.pages import ROOT, app, browser
from tests.processes import JupyterServer

from .diff import environment
from .table import Figure, median

_EXAMPLE = ROOT / "tests/wire/cluster-idle.json"

# When an answer came, when its rows were there, and which tasks were long; before the page's own scripts.
_WATCH = """
(() => {
  const state = (window.measured = {arrived: 0, long: []});
  new PerformanceObserver(list => list.getEntries().forEach(it => state.long.push(it.duration)))
    .observe({type: 'longtask'});
  const ask = window.fetch;
  window.fetch = async (...args) => {
    const answer = await ask(...args);
    const url = args[0] instanceof Request ? args[0].url : String(args[0]);
    if (!url.includes('/coiled-jupyter/api/diff')) {
      return answer;
    }
    const text = await answer.text();
    state.arrived = performance.now();
    return new Response(text, {status: answer.status, headers: answer.headers});
  };
  // The time from an answer to the frame that shows it.
  window.drawn = version => new Promise(done => {
    const look = () => {
      const cell = document.querySelector('[data-package="package-0"] td:last-child');
      if (cell && cell.textContent.includes(version)) {
        requestAnimationFrame(() => done(performance.now() - state.arrived));
      } else {
        requestAnimationFrame(look);
      }
    };
    look();
  });
})();
"""


def _diff(patch: int) -> bytes:
    """Return a comparison of 1000 packages that all differ."""
    kernel, group = environment("kernel", 0, 1), environment("worker", patch, 1)
    found = compare(kernel, [group], cluster_id="c1", cluster_name="c1", kernel_id="k", kernel_label="k", at=now())
    return msgspec.json.encode(found)


def measure(rounds: int) -> list[Figure]:
    """Return the seconds of the first drawing and of an update, the longest task of updates, and what updates leave in memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "work").mkdir()
        shutil.copy(ROOT / "examples/first-look.ipynb", root / "work")
        server = app(root)
        try:
            with browser("--enable-precise-memory-info") as page:
                return _measure(page, server, rounds)
        finally:
            server.close()


def _measure(page: Page, server: JupyterServer, rounds: int) -> list[Figure]:
    cluster = json.loads(_EXAMPLE.read_text()) | {"id": "c1", "name": "c1", "status": "idle"}
    patch = 1

    def clusters(route: Route) -> None:
        route.fulfill(json=[cluster | {"seen_at": now()}])

    def diff(route: Route) -> None:
        route.fulfill(body=_diff(patch), content_type="application/json")

    page.add_init_script(_WATCH)
    page.route("**/coiled-jupyter/api/clusters?*", clusters)
    page.route("**/coiled-jupyter/api/diff?*", diff)
    page.goto(f"{server.url}/lab/tree/first-look.ipynb?token={server.token}")
    page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
    page.evaluate("window.jupyterapp.restored.then(() => true)")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def used(name: str) -> float:
        metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
        return float(next(it["value"] for it in metrics if it["name"] == name))

    def kept() -> float:
        session.send("HeapProfiler.collectGarbage")
        return used("JSHeapUsedSize")

    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
    page.wait_for_function("document.querySelector('[data-package=\"package-0\"]')", timeout=60_000)
    first = []
    for _ in range(rounds):
        # Another panel of the same page would be none: the table is drawn anew when its rows come back.
        page.get_by_label("Filter packages").fill("nothing is called so")
        page.wait_for_function("!document.querySelector('[data-package]')")
        page.evaluate("window.measured.arrived = 0")
        first.append(
            page.evaluate(
                """() => {
                    const field = document.querySelector('.jp-Coiled-filter');
                    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, '');
                    window.measured.arrived = performance.now();
                    field.dispatchEvent(new Event('input', {bubbles: true}));
                    return window.drawn('1.0.');
                }"""
            )
            / 1000
        )

    def update() -> float:
        nonlocal patch
        patch += 1
        before = used("ScriptDuration")
        page.evaluate("void window.jupyterapp.commands.execute('coiled-jupyter:refresh')")
        page.evaluate("version => window.drawn(version)", f"1.0.{patch}")
        return used("ScriptDuration") - before

    for _ in range(3):
        update()
    page.evaluate("window.measured.long.length = 0")
    heap = kept()
    scripts = [update() for _ in range(5 * rounds)]
    grown = kept() - heap
    longest = page.evaluate("Math.max(0, ...window.measured.long)") / 1000
    return [
        Figure("1000 rows in the panel, first drawing until the frame", median(first), limit=0.1),
        Figure("1000 rows in the panel, scripting of an update", median(scripts), limit=0.016),
        Figure("1000 rows in the panel, longest task of updates", longest, limit=0.05),
        Figure(f"1000 rows in the panel, heap after {5 * rounds} updates", grown / 1024, unit="KiB"),
    ]
