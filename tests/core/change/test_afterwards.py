"""What stays wrong when a plan was carried out, the order in which a plan tells it, and its totals."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.change import afterwards
from coiled_jupyter.core.rules import shipped
from coiled_jupyter.core.wire import Package, PlanAction, PlanTotals, Source
from tests.core.change.samples import AT, NAMES, environment, versions


def used(**found: str):
    return environment(
        "kernel", {}, packages=tuple(Package(name=n, version=v, use="imported") for n, v in found.items())
    )


def left(kernel, *groups, refused=()):
    return afterwards.remaining(kernel, groups, shipped(), AT, refused)


def test_another_python_that_stays_is_said_in_one_sentence_and_who_can_change_it():
    kernel, group = used(numpy="2.4.6"), environment("worker", {"numpy": "2.4.6"}, python="3.10.13")
    refused = PlanAction(
        kind="refuse", name="python", before="3.10.13", after="3.11.7", group=group.id, why="Its owner has to."
    )
    found = left(kernel, group, refused=[refused])
    assert [entry.name for entry in found] == ["python"]
    assert (found[0].severity, found[0].here, found[0].there, found[0].where) == (
        "breaks", "3.11.7", ("3.10.13",), "workers",
    )  # fmt: skip
    assert found[0].why == "Its owner has to."
    assert afterwards.sentence(found[0]) == "Python 3.10.13 on the workers, 3.11.7 here"
    assert afterwards.headline(found) == "Your notebook will still break"


def test_the_worst_is_first_and_where_it_is_is_said():
    kernel = used(numpy="2.4.6", acme="1.0")
    scheduler = environment("scheduler", {"numpy": "1.26.4"}, id="s")
    worker = environment("worker", {"numpy": "2.4.6"}, id="w")
    found = {entry.name: entry for entry in left(kernel, scheduler, worker)}
    assert afterwards.sentence(found["numpy"]) == "numpy 1.26.4 on the scheduler, 2.4.6 here"
    assert afterwards.sentence(found["acme"]) == "acme is missing on the cluster, 1.0 here"
    ranks = [{"breaks": 0, "risky": 1}[entry.severity] for entry in left(kernel, scheduler, worker)]
    assert ranks == sorted(ranks)
    added = afterwards.extended(scheduler, {"acme": "1.0", "numpy": "2.4.6"})
    assert {p.name: p.version for p in added.packages} == {"acme": "1.0", "numpy": "1.26.4"}


@given(versions, versions)
def test_a_group_that_moved_has_what_the_layer_has_and_what_stays_is_another_group(before, after):
    beside = Package(name="helpers.py", version="", source=Source(url="/nb/helpers.py", kind="module"))
    group = environment("worker", before, nodes=("a", "b"))
    group = group.__class__(
        **{**{f: getattr(group, f) for f in group.__struct_fields__}, "packages": (*group.packages, beside)}
    )
    kernel = environment("kernel", after)
    (all_of_it,) = afterwards.moved(kernel, group, ("a", "b"), after)
    assert {p.name: p.version for p in all_of_it.packages} == {**after, "helpers.py": ""}
    new, old = afterwards.moved(kernel, group, ("b",), after)
    assert (new.nodes, old.nodes, old.packages) == (("b",), ("a",), group.packages)
    assert new.id != old.id
    assert afterwards.moved(kernel, group, (), after) == (group,)
    (other,) = afterwards.moved(kernel, group, ("a", "b"), after, "3.12.1")
    assert other.python == "3.12.1"
    # What every group has as the notebook has it is no difference any more.
    assert not [entry for entry in left(kernel, all_of_it) if entry.name in NAMES]


def action(name: str, before: str | None, after: str | None, **fields) -> PlanAction:
    kind = "install" if before is None else "remove" if after is None else "upgrade"
    return PlanAction(
        **{"kind": kind, "name": name, "before": before, "after": after, "group": "g", "why": "", **fields}
    )


def test_each_package_counts_once():
    listed = [
        action("numpy", "1", "2"), action("numpy", None, "2", group="h"), action("pandas", None, "1"),
        action("pandas", None, "1", group="h"), action("acme", "1", None), action("zzz", "1", "2", kind="refuse"),
        action("numpy", "1", "2", kind="refuse", group="s"), action("again", "1", "1", kind="install"),
    ]  # fmt: skip
    found = afterwards.totals(listed, extra={"a", "b"}, outside=3)
    assert found == PlanTotals(change=2, install=1, remove=1, refuse=1, extra=2, outside=3)


@given(st.lists(st.sampled_from(NAMES), unique=True))
def test_the_worst_action_comes_first_and_what_is_about_no_package_before_all(names):
    kernel = used(numpy="2.0", pandas="2.0")
    group = environment("worker", {"numpy": "1.0", "tabulate": "1.0"})
    rows = afterwards.compare(
        kernel, [group], cluster_id="", cluster_name="", kernel_id=None, kernel_label="", at=AT, rules=shipped()
    ).rows
    rank = {row.name: number for number, row in enumerate(rows)}
    workers = action("workers", None, None, kind="refuse")
    found = afterwards.ordered([*(action(name, "1", "2") for name in names), workers], rows)
    assert found[0].name == "workers"
    severities = [("breaks", "risky", "minor", "same").index(one.severity) for one in found[1:]]
    assert severities == sorted(severities)
    assert {one.name for one in found[1:]} == set(names)
    assert all(rank.get(one.name) is not None or one.severity == "same" for one in found[1:])
