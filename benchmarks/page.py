"""How soon the panel has its verdict, how fast it draws 1000 rows and takes updates of them, in headless Chromium."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Page, Route

from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.times import now
from tests.browser.pages import ROOT, app, browser
from tests.processes import JupyterServer, apart, wait_for

from .diff import environment
from .table import Figure, median

EXAMPLE = ROOT / "tests/wire/cluster-idle.json"

# When an answer came, when its rows were there, and which tasks were long; before the page's own scripts.
_WATCH = """
(() => {
  const state = (window.measured = {arrived: 0, long: [], canned: null});
  new PerformanceObserver(list => list.getEntries().forEach(it => state.long.push(it.duration)))
    .observe({type: 'longtask'});
  const ask = window.fetch;
  window.fetch = async (...args) => {
    const url = args[0] instanceof Request ? args[0].url : String(args[0]);
    const canned = state.canned?.(url);
    const answer = canned ? new Response(canned) : await ask(...args);
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


# Many updates, one after the other, without the network: of those it is known what they leave behind.
_UPDATES = """
async ([from, to, clusters, diff, mark]) => {
  const {commands} = window.jupyterapp;
  for (let patch = from; patch < to; patch++) {
    const now = new Date().toISOString();
    window.measured.canned = url =>
      url.includes('/coiled-jupyter/api/diff')
        ? diff.replaceAll(mark, patch).replace(/"taken_at":"[^"]*"/g, `"taken_at":"${now}"`)
        : url.includes('/coiled-jupyter/api/clusters') && clusters.replace('"seen_at":null', `"seen_at":"${now}"`);
    void commands.execute('coiled-jupyter:refresh');
    await window.drawn(`1.0.${patch}`);
  }
  window.measured.canned = null;
}
"""

# From the command that opens a notebook to the frame that shows its verdict, and to its kernel's first answer; with a
# kernel that is there, or not yet.
_OPENED = """
async there => {
  const {commands, serviceManager} = window.jupyterapp;
  const shows = () => document.querySelector('#coiled-jupyter-panel [data-verdict=equal]') !== null;
  const until = wish => new Promise(done => {
    const look = () => requestAnimationFrame(() => (shows() === wish ? done(performance.now()) : look()));
    look();
  });
  await until(false);
  const kernel = there ? await serviceManager.kernels.startNew({name: 'python3'}) : null;
  await kernel?.info;
  const begun = performance.now();
  const opening = commands.execute('docmanager:open', {path: 'first-look.ipynb', ...(kernel && {kernel: kernel.model})});
  const answering = opening.then(async ({sessionContext}) => {
    await sessionContext.ready;
    await sessionContext.session.kernel.info;
    return performance.now();
  });
  const seen = await until(true), answered = await answering;
  const notebook = await opening;
  await notebook.sessionContext.shutdown();
  notebook.dispose();
  return [(seen - begun) / 1000, (answered - begun) / 1000];
}
"""
_MARK = 987654
_MANY = (100, 300)
_HEAP_KIB = 1024
"""What 200 updates may leave behind: a comparison that stayed would be as much by itself."""


def _diff(patch: int) -> bytes:
    """Return a comparison of 1000 packages that all differ."""
    kernel, group = environment("kernel", 0, 1), environment("worker", patch, 1)
    found = compare(kernel, [group], cluster_id="c1", cluster_name="c1", kernel_id="k", kernel_label="k", at=now())
    return msgspec.json.encode(found)


def measure(rounds: int) -> list[Figure]:
    """Return the seconds to a verdict, of the first drawing and of an update, and what updates leave in memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "work").mkdir()
        shutil.copy(ROOT / "examples/first-look.ipynb", root / "work")
        server = app(root, env=apart())
        try:
            with browser("--enable-precise-memory-info") as page:
                return [*_verdict(page, server, rounds), *_measure(page, server, rounds)]
        finally:
            server.close()


def open_lab(page: Page, server: JupyterServer, what: str) -> None:
    page.goto(f"{server.url}/lab{what}?token={server.token}")
    page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
    page.evaluate("window.jupyterapp.restored.then(() => true)")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")


def _verdict(page: Page, server: JupyterServer, rounds: int) -> list[Figure]:
    """Return how soon a notebook's verdict is there whose environment and cluster have been read before."""
    kernel = server.ask("POST", "/api/kernels", {"name": "python3"})[1]["id"]
    wait_for(lambda: server.api("GET", f"environments?kernel={kernel}")[0] == 200, what="a kernel that answers")
    made = server.api("POST", "clusters", {"name": "same", "workers": 1, "interpreter": {"kernel": kernel}})[1]["id"]
    path = f"clusters/{made}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="the cluster")
    asked = f"diff?kernel={kernel}&cluster={made}"
    wait_for(lambda: server.api("GET", asked)[1]["verdict"] == "equal", what="the first comparison")
    server.ask("DELETE", f"/api/kernels/{kernel}")
    open_lab(page, server, "")
    seen, answered = {}, {}
    for there in (True, False):
        times = [page.evaluate(_OPENED, there) for _ in range(rounds)]
        seen[there], answered[there] = (median(column) for column in zip(*times, strict=True))
    server.api("DELETE", path)
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the end of the cluster")
    return [
        Figure("Notebook opened on a running kernel, until its verdict is shown", seen[True], limit=2),
        Figure(
            "Notebook opened that starts its kernel, until its verdict is shown",
            seen[False],
            beside="until the kernel answers the lab",
            other=answered[False],
        ),
    ]


def _measure(page: Page, server: JupyterServer, rounds: int) -> list[Figure]:
    cluster = json.loads(EXAMPLE.read_text()) | {"id": "c1", "name": "c1", "status": "idle"}
    patch = 1

    def clusters(route: Route) -> None:
        route.fulfill(json=[cluster | {"seen_at": now()}])

    def diff(route: Route) -> None:
        route.fulfill(body=_diff(patch), content_type="application/json")

    page.add_init_script(_WATCH)
    page.route("**/coiled-jupyter/api/clusters?*", clusters)
    page.route("**/coiled-jupyter/api/diff?*", diff)
    open_lab(page, server, "/tree/first-look.ipynb")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def used(name: str) -> float:
        metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
        return float(next(it["value"] for it in metrics if it["name"] == name))

    def kept() -> float:
        session.send("HeapProfiler.collectGarbage")
        return used("JSHeapUsedSize")

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
    scripts = [update() for _ in range(5 * rounds)]
    longest = page.evaluate("Math.max(0, ...window.measured.long)") / 1000
    heaps = []
    canned = json.dumps([cluster | {"seen_at": None}], separators=(",", ":")), _diff(_MARK).decode(), str(_MARK)
    for begin, end in ((0, _MANY[0]), _MANY):
        # Above those that were shown before.
        page.evaluate(_UPDATES, [1000 + begin, 1000 + end, *canned])
        heaps.append(kept())
    return [
        Figure("1000 rows in the panel, first frame", median(first), limit=0.1),
        Figure("1000 rows in the panel, scripting of an update", median(scripts), limit=0.016),
        Figure("1000 rows in the panel, longest task during updates", longest, limit=0.05),
        Figure(
            f"1000 rows in the panel, growth of the heap from {_MANY[0]} updates to {_MANY[1]}",
            max(0.0, (heaps[1] - heaps[0]) / 1024),
            limit=_HEAP_KIB,
            unit="KiB",
        ),
    ]
