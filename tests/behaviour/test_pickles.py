"""What the rules say of pickled objects is what became of them in trials, and the trials still end so."""

from __future__ import annotations

from pathlib import Path

import pytest

from coiled_jupyter.core.rules import Case, Pickled, shipped, shipped_file
from tests.behaviour.pickles import TRIALS, Trial, tried
from tests.nightly import each_night

PAGE = Path(__file__).parents[2] / "docs" / "pickles.md"
OWN_RULES = {"numpy", "cloudpickle"}
"""Rules of their own tell these apart by direction."""
OFTEN = [trial for trial in TRIALS if trial.name in ("sortedcontainers", "uncertainties")]


def told() -> list[tuple[str, str, str, bool, bool]]:
    """Return the lines of the page: package, older, newer, and whether the object of each loads in the other."""
    lines = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [(name, older, newer, forth == "loads", back == "loads") for name, older, newer, forth, back in lines[1:]]


def test_the_page_has_each_trial_and_at_least_forty_packages():
    assert [line[:3] for line in told()] == [(t.name, t.older, t.newer) for t in TRIALS]
    assert len({trial.name for trial in TRIALS}) >= 40


def test_the_rules_follow_from_the_page():
    found: dict[tuple[str, str, str], set[str]] = {}
    for name, older, newer, forth, back in told():
        loads = {(True, True): "both", (True, False): "older", (False, True): "newer", (False, False): "none"}
        found.setdefault((name, older, newer), set()).add(loads[forth, back])
    expected = {
        Pickled(name=name, older=older, newer=newer, loads=failed.pop() if len(failed) == 1 else "none")
        for (name, older, newer), all_loads in found.items()
        for failed in [all_loads - {"both"} or {"both"}]
        if name not in OWN_RULES
    }
    assert set(shipped_file().pickles) == expected


@pytest.mark.parametrize("entry", shipped_file().pickles, ids=lambda e: f"{e.name}-{e.older}-{e.newer}")
def test_what_failed_breaks_and_what_loads_may_differ(entry):
    for kernel, cluster in ((entry.older, entry.newer), (entry.newer, entry.older)):
        case = Case(entry.name, "differs", kernel, cluster, imported=True, in_use=True)
        rule = shipped().rule(case)
        failed = entry.loads != "both"
        assert (rule.severity == "breaks") == failed, rule
        assert not failed or "Tried with " in rule.why
    # A notebook that doesn't import it sends no such objects, and a scheduler holds none.
    assert failed <= (shipped().rule(Case(entry.name, "differs", entry.older, entry.newer)).severity != "same")


@pytest.mark.parametrize(
    ("trial", "line"),
    each_night(
        list(zip(TRIALS, told(), strict=True)),
        [(t, line) for t, line in zip(TRIALS, told(), strict=True) if t in OFTEN],
    ),
    ids=lambda it: f"{it.name}-{it.newer}" if isinstance(it, Trial) else "",
)
def test_a_trial_ends_as_the_page_says(trial, line):
    forth, back = tried(trial)
    assert (not forth, not back) == line[3:], (forth, back)
