"""Makes docs/story.webp anew: the demo of scripts/lab, gone through in a browser, with the times that a reader needs."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Locator, Page, expect

from tests.demo import demo

from .pages import ROOT, browser
from .test_demo import CONNECT, COUNT, KEPT, PANEL, SUM, run_cell
from .test_first_look import PLAN

FILE = ROOT / "docs" / "story.webp"
SIZE = 1.5e6
"""At most, in bytes."""
# Where the checkout lies is nobody's business.
ELSEWHERE = """root => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const {data} = walker.currentNode;
        if (data.includes(root)) walker.currentNode.data = data.replaceAll(root, '~/coiled-jupyter');
    }
}"""


class Story:
    """The frames of a page, and for how long each is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[Image.Image] = []
        self.seconds: list[float] = []

    def show(self, seconds: float, pointer: Locator | None = None) -> None:
        """Take a frame for so many seconds, with a ring around what is about to be pressed."""
        self.page.evaluate(ELSEWHERE, str(ROOT))
        frame = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        if pointer is not None:
            box = pointer.bounding_box()
            assert box is not None
            edges = (box["x"] - 4, box["y"] - 4, box["x"] + box["width"] + 4, box["y"] + box["height"] + 4)
            ImageDraw.Draw(frame).rounded_rectangle(edges, radius=8, outline=(255, 87, 34), width=3)
        if self.frames and frame == self.frames[-1]:
            self.seconds[-1] += seconds
        else:
            self.frames.append(frame)
            self.seconds.append(seconds)

    def follow(self, there: Locator, limit: float = 120) -> None:
        """Take frames until something is there, each for as long as it was on the page."""
        begun = time.monotonic()
        while not there.is_visible():
            assert time.monotonic() - begun < limit
            at = time.monotonic()
            self.page.wait_for_timeout(600)
            self.show(time.monotonic() - at)

    def press(self, button: Locator, seconds: float = 1.2) -> None:
        """Press a button, which is shown first."""
        button.scroll_into_view_if_needed()
        self.show(seconds, button)
        button.click()
        self.page.mouse.move(0, 0)

    def save(self) -> None:
        """Write the file."""
        first, *others = self.frames
        milliseconds = [round(seconds * 1000) for seconds in self.seconds]
        first.save(FILE, save_all=True, append_images=others, duration=milliseconds, loop=0, lossless=True, method=6)
        size = FILE.stat().st_size
        print(f"{len(self.frames)} frames, {sum(self.seconds):.0f} s, {size / 1e6:.2f} MB: {FILE}")
        assert size < SIZE


def tell(page: Page) -> Story:
    """Go through the demo."""
    story = Story(page)
    verdict = page.locator(f"{PANEL} [data-verdict]")
    review = page.locator(PLAN)
    expect(verdict).to_have_attribute("data-verdict", "breaks", timeout=240_000)
    # The cluster's own figures come a moment later, and a notification goes.
    page.wait_for_timeout(7_000)
    story.show(4)

    run_cell(page, CONNECT).scroll_into_view_if_needed()
    story.show(3)
    run_cell(page, COUNT).locator(".jp-Cell-outputWrapper").scroll_into_view_if_needed()
    page.wait_for_timeout(1_000)
    story.show(3)
    failed = run_cell(page, SUM)
    hint = failed.locator(".jp-Coiled-hint")
    expect(hint).to_be_visible(timeout=90_000)
    hint.scroll_into_view_if_needed()
    story.show(4)
    story.press(hint.get_by_role("button"))
    page.wait_for_timeout(500)
    story.show(3)

    story.press(page.locator("[data-sync-offer][aria-disabled=false]"))
    expect(review.locator("[data-plan]")).to_be_visible(timeout=90_000)
    page.wait_for_timeout(500)
    story.show(5)
    story.press(review.get_by_role("button", name="Sync", exact=True))
    done = page.locator("[data-sync-id][data-state=done]").first
    story.follow(done)
    expect(verdict).to_have_attribute("data-verdict", "compatible", timeout=90_000)
    story.show(3)
    run_cell(page, SUM).scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    story.show(3.5)
    run_cell(page, KEPT).scroll_into_view_if_needed()
    story.show(3.5)

    story.press(done.get_by_role("button", name="Undo"))
    expect(review.locator("[data-plan]")).to_be_visible(timeout=90_000)
    page.wait_for_timeout(500)
    story.show(3)
    story.press(review.get_by_role("button", name="Undo", exact=True))
    story.follow(page.locator("[data-sync-id]").first.filter(has_text="undone and verified"))
    expect(verdict).to_have_attribute("data-verdict", "breaks", timeout=240_000)
    page.wait_for_timeout(1_000)
    story.show(5)
    return story


def main() -> None:
    """Start the demo and write what is seen of it."""
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder)) as running:
        with browser(width=1100, height=700) as page:
            page.goto(running.page, timeout=240_000)
            story = tell(page)
        running.stop()
    story.save()


if __name__ == "__main__":
    main()
