"""How many frames in a second the task stream draws with all spans that it keeps, in headless Chromium."""

from __future__ import annotations

import json
import random
import re
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route

from coiled_jupyter.core.activity import ACTIONS, AT_ONCE, KEPT
from coiled_jupyter.core.times import now
from tests.browser.pages import app, browser
from tests.processes import JupyterServer, apart

from .page import EXAMPLE, open_lab
from .table import Figure, median

_SIZES = ((500, 2), (2, 2))
"""Workers, and threads of each."""
_PREFIXES = 30
_FRAMES = 90
_BASE = 1_790_000_000.0
_SECOND = 10_000
_STAGE = "[data-pane=task-stream] .jp-Coiled-paneStage"

# The times from frame to frame, and how long the scripts of each took, while all is shown and each frame shows another part.
_MOVED = """
([stage, frames]) => new Promise(done => {
  const node = document.querySelector(stage), canvas = node.querySelector('canvas');
  const press = key => node.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
  const room = node.scrollHeight - node.clientHeight;
  const times = [];
  press('Home');
  const move = time => {
    const number = times.push(time);
    if (number > frames) {
      return done(times.slice(1).map((at, index) => (at - times[index]) / 1000));
    }
    press(number % 20 < 10 ? 'ArrowLeft' : 'ArrowRight');
    if (number % 15 === 0) {
      press(number % 30 === 0 ? '-' : '+');
    }
    node.scrollTop = room * (number / frames);
    requestAnimationFrame(move);
  };
  requestAnimationFrame(move);
})
"""


def _stream(workers: int, threads: int, begin: int, end: int) -> dict[str, Any]:
    """Return the spans from one number to another, of those that all threads ran in the same minute."""
    chance = random.Random(begin)
    lanes = [
        {"worker": f"tcp://10.0.{w // 250}.{w % 250}:40000", "thread": str(t)}
        for w in range(workers)
        for t in range(threads)
    ]
    columns: dict[str, list[int]] = {name: [] for name in ("lane", "prefix", "action", "start", "length")}
    last = 0
    step = 60 * _SECOND / (KEPT / len(lanes))
    for number in range(begin, end):
        at = int(number // len(lanes) * step)
        columns["lane"].append(number % len(lanes))
        columns["prefix"].append(min(int(chance.expovariate(0.2)), _PREFIXES - 1))
        columns["action"].append(chance.choice((0, 0, 0, 0, 0, 0, 0, 1, 2, 4)) if chance.random() > 0.01 else 5)
        columns["start"].append(at - last)
        columns["length"].append(int(step * chance.uniform(0.2, 0.95)))
        last = at
    names = [f"step-{number}-of-a-computation" for number in range(_PREFIXES)]
    return {
        "base": _BASE,
        "lanes": lanes,
        "prefixes": names,
        "actions": ACTIONS,
        "missed": 0,
        "more": end < KEPT,
        **columns,
    }


def _answer(workers: int, threads: int, begin: int) -> dict[str, Any]:
    end = min(begin + AT_ONCE, KEPT)
    shown = [
        {"id": f"tcp://10.0.{w // 250}.{w % 250}:40000", "name": f"worker-{w}", "status": "running", "threads": threads}
        | dict.fromkeys(("cpu", "memory", "managed", "spilled", "received", "sent", "executing", "processing"), 100)
        | {"limit": 1000, "stored": 5, "seen": 0.3}
        for w in range(workers)
    ]
    return {
        "cluster": "c1",
        "cursor": f"a.{end}",
        "taken_at": now(),
        "now": _BASE + 61,
        "stream": _stream(workers, threads, begin, end),
        "workers": shown,
        "prefixes": [],
        "tasks": KEPT,
        "queued": 0,
        "no_worker": 0,
        "processing": 0,
    }


def measure(rounds: int) -> list[Figure]:
    """Return the times between two frames."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "work").mkdir()
        server = app(root, env=apart())
        try:
            with browser() as page:
                return [figure for size in _SIZES for figure in _measure(page, server, rounds, *size)]
        finally:
            server.close()


def _measure(page: Page, server: JupyterServer, rounds: int, workers: int, threads: int) -> list[Figure]:
    cluster = json.loads(EXAMPLE.read_text()) | {"id": "c1", "name": "c1", "status": "running"}

    def clusters(route: Route) -> None:
        route.fulfill(json=[cluster | {"seen_at": now()}])

    def activity(route: Route) -> None:
        after = re.search(r"after=a\.(\d+)", route.request.url)
        route.fulfill(json=_answer(workers, threads, int(after[1]) if after else 0))

    page.unroute_all()
    page.route("**/coiled-jupyter/api/clusters?*", clusters)
    page.route("**/coiled-jupyter/api/clusters/c1/activity*", activity)
    open_lab(page, server, "")
    page.wait_for_selector("[data-cluster-id=c1]")
    page.evaluate("window.jupyterapp.shell.collapseRight()")
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:open-task-stream', {cluster: 'c1'})")
    page.wait_for_function(
        f"document.querySelector('{_STAGE} canvas')?.getAttribute('aria-label')?.includes('{KEPT} spans')",
        timeout=60_000,
    )
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def scripting() -> float:
        metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
        return float(next(it["value"] for it in metrics if it["name"] == "ScriptDuration"))

    before = scripting()
    frames = [frame for _ in range(rounds) for frame in page.evaluate(_MOVED, [_STAGE, _FRAMES])]
    scripted = (scripting() - before) / len(frames)
    what = f"Task stream of {KEPT} spans on {workers} workers, moved at each frame"
    slow = sorted(frames)[int(len(frames) * 0.95)]
    return [
        Figure(f"{what}: from frame to frame", median(frames), limit=1 / 30),
        Figure(f"{what}: the slowest of 20", slow),
        Figure(f"{what}: scripting of a frame", scripted, limit=0.016),
    ]
