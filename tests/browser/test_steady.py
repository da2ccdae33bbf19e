"""Nothing in the panel moves, flickers or loses what one is at, with several notebooks and clusters, in every theme."""

from __future__ import annotations

import signal

import pytest
from playwright.sync_api import expect

from tests.kernelspecs import empty_notebook

from .pages import app, browser, end
from .test_first_look import OLD_NUMPY, THEMES, cell, create, open_row, opened, ready, show, themed

PANEL = "#coiled-jupyter-panel"
USES = "import dask"
SECONDS = 12
"""Of watching: each resource is read twice, and the clusters' own figures change."""
WATCH = """() => {
    const panel = document.querySelector('#coiled-jupyter-panel');
    const name = node => node.closest('[data-package]')?.dataset.package
        ?? node.closest('[data-cluster-id]')?.dataset.clusterId ?? node.className;
    const parts = [...panel.querySelectorAll(
        'section, .jp-Coiled-bar, .jp-Coiled-head, [data-package], [data-cluster-id], .jp-Coiled-ends, h2'
    )];
    const places = new Map(parts.map(node => [node, null]));
    const moved = [];
    // What is taken away and put back flickers; an age goes when what was old on a busy machine has been read again.
    const gone = new MutationObserver(records => records.forEach(({removedNodes, target}) => {
        const lost = [...removedNodes].filter(node => node.nodeType === 1 && !node.matches('.jp-Coiled-age'));
        lost.forEach(node => moved.push(`removed from ${name(target)}: ${node.outerHTML.slice(0, 80)}`));
    }));
    gone.observe(panel, {childList: true, subtree: true});
    // An observer of sizes is called last before a frame is drawn, after those that were made before it.
    const clock = document.createElement('div');
    document.body.append(clock);
    clock.style.position = 'fixed';
    let frames = 0;
    const observer = new ResizeObserver(() => {
        frames++;
        places.forEach((place, node) => {
            const {x, y, width, height} = node.getBoundingClientRect();
            const now = [x, y, width, height].join();
            if (place !== null && now !== place) {
                moved.push(`${name(node)}: ${place} to ${now}`);
            }
            places.set(node, now);
        });
    });
    observer.observe(clock);
    let ticking;
    const tick = () => {
        clock.style.width = clock.style.width === '1px' ? '2px' : '1px';
        ticking = requestAnimationFrame(tick);
    };
    tick();
    window.watched = () => {
        cancelAnimationFrame(ticking);
        observer.disconnect();
        gone.disconnect();
        clock.remove();
        return {frames, moved};
    };
}"""
"""Notes what moves or is replaced, in each frame that is drawn."""
SHIFTS = """
    window.shifts = [];
    new PerformanceObserver(list => list.getEntries().forEach(entry => {
        for (const {node, previousRect: from, currentRect: to} of entry.sources) {
            const element = node?.nodeType === 1 ? node : node?.parentElement;
            if (element?.closest('#coiled-jupyter-panel')) {
                window.shifts.push(`${element.outerHTML.slice(0, 90)}: ${from.top} to ${to.top}`);
            }
        }
    })).observe({type: 'layout-shift', buffered: true});
"""
SELECT = "() => window.getSelection().selectAllChildren(document.querySelector('[data-package=numpy] .jp-Coiled-here'))"
HELD = """() => [
    document.activeElement.closest('[data-package]')?.dataset.package,
    window.getSelection().toString(),
    document.querySelector('[data-package=numpy] button').getAttribute('aria-expanded'),
    document.querySelector('.jp-Coiled-rows').scrollTop
]"""


@pytest.fixture(scope="module")
def many(nightly) -> tuple[int, int]:
    """How many notebooks and how many clusters there are."""
    return (3, 5) if nightly else (2, 2)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, many):
    root = tmp_path_factory.mktemp("steady")
    for index in range(many[0]):
        empty_notebook(root / "work" / f"book-{index}.ipynb", "python3")
    server = app(root)
    create(server, name="older", workers=2, requirements=[OLD_NUMPY])
    yield server
    end(server)


@pytest.fixture(scope="module")
def page(lab, many):
    with browser() as page:
        page.add_init_script(SHIFTS)
        for index in range(many[0]):
            if index == 0:
                opened(page, lab, "book-0.ipynb")
            else:
                page.evaluate(
                    "path => void window.jupyterapp.commands.execute('docmanager:open', {path})", f"book-{index}.ipynb"
                )
            page.wait_for_function(
                "path => window.jupyterapp.shell.currentWidget?.context?.path === path"
                " && window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel",
                arg=f"book-{index}.ipynb",
                timeout=90_000,
            )
            page.evaluate(
                """async code => {
                    const {content, context} = window.jupyterapp.shell.currentWidget;
                    await context.ready;
                    content.model.sharedModel.insertCell(0, {cell_type: 'code', source: code, metadata: {}});
                    await context.save();
                }""",
                USES,
            )
            cell(page, "1")
        page.get_by_label("Compare with").select_option(label="older")
        kernel = lab.ask("GET", "/api/kernels")[1][0]["id"]
        for index in range(1, many[1]):
            create(lab, name=f"other-{index}", workers=0, interpreter={"kernel": kernel})
        yield page


@pytest.mark.nightly
@pytest.mark.parametrize("variant", [*THEMES, "forced colors"])
def test_after_a_reload_nothing_moves_flickers_or_is_lost(lab, page, many, variant):
    page.emulate_media(forced_colors="active" if variant == "forced colors" else "none")
    themed(page, variant if variant in THEMES else THEMES[0])
    page.reload()
    ready(page)
    page.evaluate("window.jupyterapp.commands.execute('coiled-jupyter:show-panel')")
    expect(page.locator(f"{PANEL} [data-cluster-id]")).to_have_count(many[1], timeout=90_000)
    expect(page.locator(f"{PANEL} [data-package=numpy]")).to_be_visible(timeout=90_000)
    button, _ = open_row(page, "numpy")
    # The lab itself gives the focus to the notebook when that has been restored, late on a busy machine.
    for _ in range(5):
        button.focus()
        page.evaluate(SELECT)
        # Its details come with the rules.
        page.wait_for_timeout(2_000)
        before = page.evaluate(HELD)
        if before[0] == "numpy":
            break
    assert before[:3] == ["numpy", before[1], "true"]
    assert before[1]
    page.evaluate("window.shifts.length = 0")
    page.evaluate(WATCH)
    page.wait_for_timeout(SECONDS * 1000)
    watched = page.evaluate("window.watched()")
    show(page, f"steady-{variant.replace(' ', '-')}")
    assert watched["frames"] > SECONDS
    assert watched["moved"] == []
    assert page.evaluate("window.shifts") == []
    assert page.evaluate(HELD) == before
    button.press("Enter")


@pytest.mark.nightly
def test_what_gets_old_says_so_and_moves_nothing(lab, page, many):
    expect(page.locator(f"{PANEL} [data-package=numpy]")).to_be_visible(timeout=90_000)
    figures = f"{PANEL} :is(.jp-Coiled-compared, .jp-Coiled-because, .jp-Coiled-activity, [data-cluster-id], .jp-Coiled-cores)"
    page.evaluate(WATCH)
    lab.process.send_signal(signal.SIGSTOP)
    try:
        expect(page.locator(figures).locator(".jp-Coiled-age[data-age=stale]")).to_have_count(4 + many[1])
        watched = page.evaluate("window.watched()")
        show(page, "steady-old")
    finally:
        lab.process.send_signal(signal.SIGCONT)
    assert watched["moved"] == []
