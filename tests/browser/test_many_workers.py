"""The panel and the panes with 500 real workers that run ten thousand tasks: 610 MiB, and 45 seconds of two cores."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from benchmarks.readings import Cluster
from tests.kernelspecs import empty_notebook
from tests.processes import wait_for

from .pages import app, browser, errors_of_ours
from .test_activity import COLOURS, KINDS
from .test_first_look import behind, cell, faults, opened, show

PANEL = "#coiled-jupyter-panel"
WORKERS = 500
TASKS = 10_000
HELD = (30, 20, 10)
"""How many results the first three workers hold in the end; the others hold none."""
SECONDS = 10
"""Of watching how the page goes on while tasks run."""
WORK = textwrap.dedent("""
    import json, sys, time
    from distributed import Client, wait

    def step(x):
        time.sleep(0.01)
        return x

    def keep(x):
        return x

    address, workers, tasks = json.loads(sys.argv[1])
    with Client(address) as client:
        print("begun", flush=True)
        steps = client.map(step, range(tasks), pure=False)
        wait(steps)
        print("done", flush=True)
        sys.stdin.readline()
        del steps
        kept = [client.map(keep, range(count), workers=[worker], pure=False) for worker, count in workers]
        wait(kept)
        print("kept", flush=True)
        sys.stdin.readline()
""")
FRAMES = """seconds => new Promise(done => {
    const end = performance.now() + seconds * 1000;
    let frames = 0;
    const tick = now => {
        frames++;
        if (now < end) {
            requestAnimationFrame(tick);
        } else {
            done(frames);
        }
    };
    requestAnimationFrame(tick);
})"""


@pytest.fixture(scope="module")
def cluster():
    made = Cluster(WORKERS, seconds=400)
    yield made
    made.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    empty_notebook(root / "work" / "many.ipynb", "python3")
    server = app(root)
    yield server
    server.close()


@contextlib.contextmanager
def work(address: str, kept: list[tuple[str, int]]):
    """Begin to run tasks, and yield a function that waits until what it is told has been said, and goes on."""
    command = [sys.executable, "-W", "ignore", "-c", WORK, json.dumps([address, kept, TASKS])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def until(word: str, *, go: bool = False) -> None:
            if go:
                process.stdin.write("\n")
                process.stdin.flush()
            assert process.stdout.readline() == f"{word}\n"

        try:
            until("begun")
            yield until
        finally:
            process.terminate()


def saved(page: Page, pane: Locator, tmp_path: Path) -> list[dict[str, str]]:
    with page.expect_download() as download:
        pane.locator("jp-button", has_text="CSV").click()
    download.value.save_as(tmp_path / "saved.csv")
    with (tmp_path / "saved.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_five_hundred_workers_are_shown_sorted_and_compared(lab, cluster, tmp_path):
    status, made = lab.api("POST", "clusters", {"address": cluster.address, "name": "many"})
    assert status == 202, made
    path = f"clusters/{made['id']}"
    wait_for(lambda: len(lab.api("GET", path)[1]["workers"]) == WORKERS, what="the workers", seconds=120)
    addresses = sorted(
        (it["id"] for it in lab.api("GET", path)[1]["workers"]), key=lambda it: int(it.rpartition(":")[2])
    )
    with browser() as page:
        wrong = errors_of_ours(page)

        def pane(kind: str) -> Locator:
            page.evaluate("id => window.jupyterapp.shell.activateById(id)", f"coiled-jupyter-{kind}-{made['id']}")
            return page.locator(f"#coiled-jupyter-{kind}-{made['id']}")

        opened(page, lab, "many.ipynb")
        # Before that the choice is nobody's.
        cell(page, "1")
        page.get_by_label("Compare with").select_option(label="many")
        verdict = page.locator(f"{PANEL} [data-verdict]")
        expect(verdict).to_have_attribute("data-verdict", "equal", timeout=180_000)
        expect(page.locator(f"{PANEL} .jp-Coiled-because")).to_contain_text(f"{WORKERS} workers and the scheduler")
        card = behind(page.locator(f"[data-cluster-id='{made['id']}']"))
        # Those that nobody could read are counted.
        expect(card.locator("[data-worker]")).to_have_count(200)
        expect(card).to_contain_text(f"and {WORKERS - 200} more")
        assert faults(page, PANEL) == []
        show(page, "many-panel")
        card.locator(".jp-Coiled-fold").click()
        for kind in KINDS:
            page.evaluate(
                "([id, cluster]) => window.jupyterapp.commands.execute(`coiled-jupyter:open-${id}`, {cluster})",
                [kind, made["id"]],
            )
        stream = pane("task-stream")
        expect(stream.locator("[data-empty]")).to_contain_text("No task has ended")
        with work(cluster.address, list(zip(addresses, HELD, strict=False))) as until:
            expect(stream.locator("tbody tr", has_text="step")).to_be_visible(timeout=120_000)
            # The page goes on drawing and answering while ten thousand tasks end.
            assert page.evaluate(FRAMES, SECONDS) > SECONDS
            fold = card.locator(".jp-Coiled-fold")
            for state in ("true", "false"):
                fold.click()
                expect(fold).to_have_attribute("aria-expanded", state)
            until("done")
            row = stream.locator("tbody tr", has_text="step").locator("td")
            expect(row.nth(0)).to_have_text(str(TASKS), timeout=120_000)
            assert stream.locator("canvas[role=img]").evaluate(COLOURS) > 3
            assert faults(page, "[data-pane=task-stream]") == []
            show(page, "many-task-stream")
            spans = saved(page, stream, tmp_path)
            assert sum(it["action"] == "compute" for it in spans) == TASKS
            assert len({it["worker"] for it in spans}) > WORKERS / 2

            progress = pane("progress")
            expect(progress.locator("[data-prefix=step] td[data-state=memory]")).to_have_text(str(TASKS))
            assert faults(page, "[data-pane=progress]") == []
            show(page, "many-progress")
            until("kept", go=True)
            expect(progress.locator("[data-prefix=keep] td[data-state=memory]")).to_have_text(str(sum(HELD)))

            cells = pane("cluster-map")
            expect(cells.locator("canvas[role=img]")).to_have_attribute("aria-label", f"{WORKERS} workers")
            expect(cells.locator("tbody tr")).to_have_count(WORKERS)
            assert cells.locator("canvas[role=img]").evaluate(COLOURS) > 2
            assert faults(page, "[data-pane=cluster-map]") == []
            show(page, "many-cluster-map")

            workers = pane("workers")
            expect(workers.locator(f"table[aria-rowcount='{WORKERS + 1}']")).to_be_visible()
            # Of five hundred only those that can be seen are drawn.
            shown = workers.locator("[data-worker]")
            expect(shown.first).to_have_attribute("data-worker", addresses[0])
            assert shown.count() < 100
            workers.get_by_role("button", name="Stored").click()
            expect(workers.locator("th[data-column=stored]")).to_have_attribute("aria-sort", "descending")
            expect(shown.first.locator("td").nth(8)).to_have_text(str(HELD[0]))
            drawn = shown.evaluate_all(
                "all => all.map(it => [it.dataset.worker, it.querySelectorAll('td')[8].innerText])"
            )
            assert drawn[: len(HELD)] == [[who, str(count)] for who, count in zip(addresses, HELD, strict=False)]
            # Those that are equal in it are in the order of their names.
            assert drawn[len(HELD) :] == [[who, "0"] for who in addresses[len(HELD) : len(drawn)]]
            assert faults(page, "[data-pane=workers]") == []
            show(page, "many-workers")
            # The end of the table is where its last row is.
            workers.locator(".jp-Coiled-paneScroll").evaluate("node => node.scrollTo(0, node.scrollHeight)")
            expect(shown.last).to_have_attribute("data-worker", addresses[-1])
            expect(shown.last).to_be_in_viewport()
            assert {it["address"] for it in saved(page, workers, tmp_path)} == set(addresses)
            expect(verdict).to_have_attribute("data-verdict", "equal", timeout=180_000)
        assert wrong == []
