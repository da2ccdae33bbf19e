"""The panes of what a cluster is doing, in a real lab: what ran on a cluster of its own is shown, and there after a reload."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.processes import wait_for
from tests.remote import RemoteCluster

from .pages import app, browser, errors_of_ours
from .test_first_look import THEMES, faults, ready, show, themed

WORK = textwrap.dedent("""
    import sys, time
    from distributed import Client, wait

    def load(x):
        time.sleep(0.05)
        return bytes(100_000)

    def join(a, b):
        return len(a) + len(b)

    def fail(x):
        raise ValueError(x)

    with Client(sys.argv[1]) as client:
        loaded = client.map(load, range(30), pure=False)
        joined = client.map(join, loaded[:-1], loaded[1:], pure=False)
        failed = client.map(fail, range(3), pure=False)
        wait([*joined, *failed])
        print("done", flush=True)
        sys.stdin.readline()
""")
KINDS = ("task-stream", "progress", "workers", "cluster-map")
# How many colours there are in a picture.
COLOURS = """canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    (root / "work").mkdir()
    server = app(root)
    yield server
    server.close()


@pytest.fixture(scope="module")
def cluster(lab, tmp_path_factory):
    """An attached cluster of two workers with a thread each."""
    folder = tmp_path_factory.mktemp("cluster")
    remote = RemoteCluster(folder, sys.executable, workers=2, nannies=False, arguments=("--nthreads", "1"))
    try:
        status, made = lab.api("POST", "clusters", {"address": remote.address, "name": "busy"})
        assert status == 202, made
        path = f"clusters/{made['id']}"
        wait_for(lambda: len(lab.api("GET", path)[1]["workers"]) == 2, what="the workers")
        yield remote, made["id"]
    finally:
        remote.close()


@contextlib.contextmanager
def work(address: str):
    """Run tasks, and hold their results meanwhile."""
    command = [sys.executable, "-c", WORK, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
            yield
        finally:
            process.terminate()


def saved(page, pane: Locator, tmp_path: Path) -> list[dict[str, str]]:
    with page.expect_download() as download:
        pane.locator("jp-button", has_text="CSV").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_panes_show_what_ran_and_are_there_after_a_reload(lab, cluster, tmp_path):
    remote, identity = cluster
    with browser() as page:
        wrong = errors_of_ours(page)

        def pane(kind: str, *, front: bool = True) -> Locator:
            if front:
                page.evaluate("id => window.jupyterapp.shell.activateById(id)", f"coiled-jupyter-{kind}-{identity}")
            return page.locator(f"#coiled-jupyter-{kind}-{identity}")

        page.goto(f"{lab.url}/lab?token={lab.token}")
        ready(page)
        page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
        expect(page.locator(f"[data-cluster-id='{identity}']")).to_contain_text("2 workers")
        # What nobody asks for isn't loaded.
        assert page.evaluate(
            "[...document.styleSheets].every(it => !it.ownerNode.textContent.includes('paneStagePlace'))"
        )
        execute = "([id, cluster]) => window.jupyterapp.commands.execute(`coiled-jupyter:open-${id}`, {cluster})"
        page.evaluate(execute, ["task-stream", identity])
        expect(pane("task-stream").locator("[data-empty]")).to_contain_text("No task has ended")
        assert faults(page, "[data-pane=task-stream]") == []
        with work(remote.address):
            stream = pane("task-stream")
            row = {name: stream.locator("tbody tr", has_text=name).locator("td") for name in ("load", "join", "fail")}
            expect(row["load"].nth(0)).to_have_text("30")
            expect(row["join"].nth(0)).to_have_text("29")
            expect(row["fail"].nth(1)).to_have_text("3")
            assert stream.locator("canvas[role=img]").evaluate(COLOURS) > 5
            for kind in KINDS[1:]:
                page.evaluate(execute, [kind, identity])
            progress = pane("progress")
            expect(progress.locator("[data-prefix=load] [data-state=memory]").last).to_have_text("30")
            expect(progress.locator("[data-prefix=fail] td[data-state=erred]")).to_have_text("3")
            workers = pane("workers")
            expect(workers.locator("[data-worker]")).to_have_count(2)
            expect(workers.locator("[data-worker] td[data-status=running]")).to_have_count(2)
            cells = pane("cluster-map")
            expect(cells.locator("tbody tr")).to_have_count(2)
            expect(cells.locator("canvas[role=img]")).to_have_attribute("aria-label", "2 workers")
            assert cells.locator("canvas[role=img]").evaluate(COLOURS) > 3

            stages = {kind: pane(kind).locator(".jp-Coiled-paneStage") for kind in ("task-stream", "cluster-map")}
            for kind, stage in stages.items():
                pane(kind)
                box = stage.bounding_box()
                assert box is not None
                tip = stage.locator(".jp-Coiled-paneTip")
                for step in range(60):
                    page.mouse.move(box["x"] + box["width"] * (0.12 + 0.014 * step), box["y"] + 12)
                    if tip.is_visible():
                        break
                expect(tip).to_contain_text("Worker: " if kind == "task-stream" else "Status: running")
            pane("task-stream")
            follow = stream.get_by_role("button", name="Follow the present")
            expect(follow).to_have_attribute("aria-pressed", "true")
            stages["task-stream"].press("ArrowLeft")
            expect(follow).to_have_attribute("aria-pressed", "false")
            stages["task-stream"].press("End")
            expect(follow).to_have_attribute("aria-pressed", "true")

            spans = Counter((it["prefix"], it["action"]) for it in saved(page, stream, tmp_path))
            assert spans["load", "compute"] == 30
            assert spans["join", "compute"] == 29
            assert spans["fail", "erred"] == 3
            states = {it["prefix"]: it for it in saved(page, pane("progress"), tmp_path)}
            assert (states["load"]["memory"], states["fail"]["erred"]) == ("30", "3")
            for kind in ("workers", "cluster-map"):
                found = saved(page, pane(kind), tmp_path)
                assert [(it["threads"], it["status"]) for it in found] == [("1", "running")] * 2
                assert sum(int(it["stored"]) for it in found) >= 59
            with page.expect_download() as download:
                pane("cluster-map").locator("jp-button", has_text="PNG").click()
            assert download.value.suggested_filename == "busy-cluster-map.png"

            for theme in THEMES[:2]:
                themed(page, theme)
                for kind in KINDS:
                    pane(kind)
                    assert faults(page, f"[data-pane={kind}]") == [], (kind, theme)
                    show(page, f"activity-{kind}-{theme.split()[-1].lower()}")
            themed(page, THEMES[0])
            # With the figures beside the picture.
            for kind in stages:
                table = pane(kind).locator("jp-button", has_text="Table")
                table.click()
                expect(pane(kind).locator(".jp-Coiled-paneTable")).to_be_visible()
                assert faults(page, f"[data-pane={kind}]") == [], kind
                table.click()

            # The lab writes down a moment later what is open.
            page.wait_for_timeout(1500)
            page.reload()
            ready(page)
            for kind in KINDS:
                expect(pane(kind, front=False)).to_have_count(1)
                expect(pane(kind).locator(".jp-Coiled-paneCaption")).to_contain_text("busy2 workers")
            expect(pane("task-stream").locator("tbody tr", has_text="load").locator("td").first).to_have_text("30")
        assert wrong == []
