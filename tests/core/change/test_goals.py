"""Which packages workers are to have to be as a kernel, and a new kernel to be as the workers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coiled_jupyter.core.change import actions, afterwards, goals
from coiled_jupyter.core.change.goals import Available
from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.rules import shipped
from coiled_jupyter.core.wire import Loaded, Package, PlanCreate, Problem, Source
from tests.core.change.samples import AT, NAMES, environment, versions


def wanted(kernel, present, scheduler=None, names=None, rows=(), removable=frozenset()):
    return goals.cluster_goal(
        environment("kernel", kernel),
        environment("worker", present),
        environment("scheduler", scheduler) if scheduler is not None else None,
        rows,
        names,
        shipped(),
        removable,
    )


def test_what_a_worker_must_have_as_its_scheduler_has_it_is_no_wish():
    wish = wanted({"dask": "2026.8.0", "numpy": "2.0"}, {"dask": "2023.5.0"}, {"dask": "2023.5.0", "numpy": "1.0"})
    assert wish.required == ("dask==2023.5.0",)
    assert wish.preferred == ("numpy==2.0",)


def test_the_schedulers_process_decides_not_its_disk():
    running = Package(name="msgpack", version="2.0", loaded=(Loaded(version="1.0", nodes=("scheduler",)),))
    scheduler = environment("scheduler", {}, packages=(running,))
    wish = goals.cluster_goal(environment("kernel", {}), environment("worker", {}), scheduler, (), None, shipped())
    assert wish.required == ("msgpack==1.0",)


def test_tools_of_the_notebook_do_not_travel_and_those_of_the_cluster_stay():
    wish = wanted({"ipykernel": "7", "numpy": "2.0"}, {"pip": "24", "tabulate": "1"}, removable=None)
    assert set(wish.preferred) == {"numpy==2.0", "pip==24"}
    assert wish.removed == {"tabulate"}
    assert "ipykernel" not in " ".join(wish.preferred)


def test_what_only_the_cluster_has_stays_last_of_all_unless_it_is_asked_for():
    sides = {"numpy": "2.0"}, {"numpy": "1.0", "tabulate": "1", "acme": "1", "dask": "1"}, {"dask": "1"}
    wish = wanted(*sides)
    assert wish.preferred == ("numpy==2.0", "acme==1", "tabulate==1")
    assert (wish.removed, wish.chosen) == (frozenset(), {"numpy"})
    for names in (None, {"numpy"}):
        assert wanted(*sides, names=names, removable=None).removed == {"acme", "tabulate"}
    # Who names it asks for it, and for no other.
    wish = wanted(*sides, names={"numpy", "acme"}, removable={"numpy", "acme"})
    assert (wish.removed, wish.preferred) == ({"acme"}, ("numpy==2.0", "tabulate==1"))
    for scope, remove, named in (("all", False, frozenset()), (("acme",), False, {"acme"}), ("all", True, None)):
        assert goals.removable(PlanCreate(cluster="c", scope=scope, remove_extra=remove)) == named
    kernel = environment("kernel", {"numpy": "2.0"})
    groups = [environment("worker", {"acme": "1", "pip": "24", "dask": "1"}), environment("worker", {"tabulate": "1"})]
    assert goals.extra_packages(kernel, groups, shipped()) == {"acme", "tabulate"}


def test_what_can_not_be_had_may_stay_and_what_is_required_is_the_notebooks():
    wish = wanted(
        {"numpy": "2.0", "pandas": "2.0", "toolz": "1.0"}, {"numpy": "1.0", "pandas": "1.0"}, None, {"pandas"}
    )
    assert wish.preferred == ("pandas==2.0", "numpy==1.0")
    assert wish.instead == ("pandas==1.0",)
    assert set(wish.hints) == {"numpy==2.0", "toolz==1.0"}


def test_the_scope_of_a_notebook_is_what_breaks_what_it_imports_and_what_that_needs():
    versions_of = {"same": "1.0", "rich": "1.0.1"}
    uses = {"numpy": "imported", "toolz": "needed", "rich": "loaded", "ruff": "", "dask": "", "same": "imported"}
    packages = tuple(
        Package(name=name, version=versions_of.get(name, "2.0"), use=use, needed_by="numpy" if use == "needed" else "")
        for name, use in uses.items()
    )
    group = environment("worker", dict.fromkeys((*uses, "acme"), "1.0"))
    rows = compare(
        environment("kernel", {}, packages=packages), [group],
        cluster_id="", cluster_name="", kernel_id=None, kernel_label="", at=AT, rules=shipped(),
    ).rows  # fmt: skip
    severities = {row.name: row.severity for row in rows}
    assert severities["dask"] in ("breaks", "risky")
    assert goals.scope_names("notebook", rows) == {"python", "numpy", "toolz", "dask"}
    assert {row.name for row in rows if row.matters} == {"numpy", "toolz", "dask"}
    assert goals.scope_names("all", rows) is None
    assert afterwards.outside(rows, goals.scope_names("notebook", rows)) == 2
    assert afterwards.outside(rows, None) == 0


def test_chosen_names_change_and_all_else_stays_as_it_is():
    wish = wanted({"numpy": "2.0", "pandas": "2.0"}, {"numpy": "1.0", "pandas": "1.0", "acme": "1.0"}, None, {"numpy"})
    assert wish.preferred[0] == "numpy==2.0"
    assert set(wish.preferred) == {"numpy==2.0", "pandas==1.0", "acme==1.0"}
    assert not wish.removed


def test_what_lies_in_the_notebooks_folder_or_conda_has_no_wheel_from_an_index():
    module = Package(name="helpers.py", version="", source=Source(url="/nb/helpers.py", kind="module"))
    native = Package(name="libblas", version="3.9", channel="conda-forge", build="h1_0")
    editable = Package(name="mine", version="1.0", source=Source(url="file:///mine", kind="editable"))
    kernel = environment("kernel", {}, packages=(module, native, editable))
    wish = goals.cluster_goal(kernel, environment("worker", {}), None, (), None, shipped())
    assert wish.preferred == ()
    assert set(wish.local) == {"mine"}


@given(versions, versions, st.sampled_from(["duplicate", "missing_files", "no_record", "conda_conflict"]), st.data())
def test_what_is_damaged_is_no_source_of_a_plan(kernel, present, kind, data):
    """A second record of a package, left by an interrupted upgrade, once made a sync install what nobody ran."""
    if not kernel:
        return
    name = data.draw(st.sampled_from(sorted(kernel)))
    mine = environment(
        "kernel", kernel, problems=(Problem(kind=kind, package=name, where="/site", fix="Reinstall it"),)
    )
    group = environment("worker", present)
    wish = goals.cluster_goal(mine, group, None, (), None, shipped())
    pins = dict(pin.split("==") for pin in wish.preferred)
    # What the workers have stays, and what they lack doesn't come.
    assert pins.get(name) == present.get(name)
    done = actions.actions(mine, [group], wish, Available(versions=pins), ())
    (told,) = [action for action in done if action.name == name]
    assert (told.kind, told.before, told.after) == ("refuse", present.get(name), None)
    assert "damaged" in told.why
    assert "reinstall" in told.why
    # A scope that doesn't name it is none of its business.
    others = frozenset(kernel) - {name}
    assert not goals.cluster_goal(mine, group, None, (), others, shipped()).doubtful


def test_a_folder_left_beside_a_package_does_not_make_it_doubtful():
    left = Problem(kind="leftover", package="numpy", where="/site/~umpy", fix="Remove this folder")
    mine = environment("kernel", {"numpy": "2.0"}, problems=(left,))
    wish = goals.cluster_goal(mine, environment("worker", {"numpy": "1.0"}), None, (), None, shipped())
    assert wish.preferred == ("numpy==2.0",)


def test_a_kernel_is_not_made_like_a_worker_that_is_damaged():
    twice = Problem(kind="duplicate", package="numpy", where="/site", fix="Reinstall it")
    group = environment("worker", {"numpy": "1.0"}, problems=(twice,))
    made = goals.kernel_goal(environment("kernel", {"numpy": "2.0"}), [group], (), None, shipped(), frozenset())
    assert made.goal.doubtful["numpy"].startswith("The workers' installation of numpy is damaged")


@given(versions, versions, versions)
def test_a_name_is_either_hard_or_a_wish_or_removed(kernel, present, scheduler):
    wish = wanted(kernel, present, {**scheduler, "dask": "1.0"})
    names = [line.partition("==")[0] for line in (*wish.required, *wish.preferred)]
    assert len(names) == len(set(names))
    assert not set(names) & wish.removed


def here(kernel, *groups, names=None, needed=frozenset(), rows=(), **fields):
    """Return what an environment beside the kernel would be, where all that is wished can be had, and what that changes."""
    mine = environment("kernel", kernel, **fields)
    theirs = [environment("worker", group) if isinstance(group, dict) else group for group in groups]
    found = goals.kernel_goal(mine, theirs, rows, names, shipped(), frozenset(needed))
    had = Available(versions=dict(line.split("==") for line in found.goal.preferred))
    return found, actions.kernel_actions(mine, found, had, rows)


@given(versions, versions, st.none() | st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_a_new_kernel_is_as_the_workers_in_what_is_asked_for_and_as_the_notebook_in_the_rest(
    mine, theirs, names, needed
):
    found, done = here(mine, theirs, names=None if names is None else frozenset(names), needed=needed)
    wished = [line.partition("==")[0] for line in found.goal.preferred]
    assert len(wished) == len(set(wished))
    after = dict(line.split("==") for line in found.goal.preferred)
    for name in NAMES:
        asked = (names is None or name in names) and name not in needed
        # What ipykernel needs there and isn't there is no wish of ours: the resolver brings it.
        assert after.get(name) == (theirs if asked else mine).get(name), name
    assert not [action for action in done if action.kind == "refuse"]
    assert {action.name for action in done} == {name for name in NAMES if mine.get(name) != after.get(name)}
    assert all("otebook" not in action.why for action in done if action.kind == "remove")


def test_what_the_kernel_needs_stays_and_that_is_said_where_it_matters():
    row = {"tornado": "6.1", "ipython": "8.0"}
    mine = {"tornado": "6.5", "ipython": "9.0", "numpy": "2.0"}
    for names, said in ((None, []), (frozenset(row), ["ipython", "tornado"])):
        found, done = here(mine, {**row, "numpy": "1.0"}, needed={"tornado"}, names=names)
        assert {"tornado==6.5", "ipython==9.0"} <= set(found.goal.preferred)
        assert [action.name for action in found.refused] == said
        assert [action.name for action in done] == (["numpy"] if names is None else [])
    rated = compare(
        environment("kernel", mine), [environment("worker", row)],
        cluster_id="", cluster_name="", kernel_id=None, kernel_label="", at=AT, rules=shipped(),
    ).rows  # fmt: skip
    found, _ = here(mine, {**row, "numpy": "1.0"}, needed={"tornado"}, rows=rated)
    assert [(action.name, action.before, action.after) for action in found.refused] == [("tornado", "6.5", "6.1")]
    assert "needs it to start" in found.refused[0].why


def test_where_the_workers_differ_the_notebooks_stays_and_how_is_said():
    found, done = here({"numpy": "2.0", "acme": "1"}, {"numpy": "1.0", "acme": "2"}, {"numpy": "1.1", "acme": "2"})
    assert [(action.name, action.why) for action in found.refused] == [
        ("numpy", "The workers differ among themselves: 1.0 and 1.1.")
    ]
    assert "numpy==2.0" in found.goal.preferred
    assert [action.name for action in done] == ["acme"]
    found, _ = here({}, {"numpy": "1.0"}, {})
    assert found.refused[0].why.endswith("1.0 and none.")


def test_local_code_of_either_side_is_named_and_never_looked_for_on_an_index():
    mine = Package(name="mine", version="1.0", source=Source(url="file:///mine", kind="editable"))
    theirs = Package(name="theirs", version="1.0", source=Source(url="git+https://e", kind="vcs"))
    tool = Package(name="coiled-jupyter", version="1.0", source=Source(url="file:///cj", kind="editable"))
    group = environment("worker", {"mine": "1.0"})
    group = replace(group, packages=(*group.packages, theirs))
    found, done = here({}, group, packages=(mine, tool))
    # Of these the new kernel only lacks what the notebook has.
    assert [action.name for action in found.apart] == ["coiled-jupyter", "mine"]
    assert "file:///mine" in found.apart[1].why
    assert [action.name for action in found.refused] == ["theirs"]
    assert "git+https://e" in found.refused[0].why
    assert (found.goal.preferred, done) == ((), ())
    found, _ = here({}, {"mine": "2.0"}, packages=(mine,))
    assert [(action.name, action.before, action.after) for action in found.refused] == [("mine", "1.0", "2.0")]
    # What only the notebook has goes, from wherever it is.
    found, done = here({}, environment("worker", {}), packages=(mine,))
    assert (found.refused, [(action.kind, action.name) for action in done]) == ((), [("remove", "mine")])


def test_what_is_not_asked_for_and_can_not_be_had_here_is_no_removal():
    mine = environment("kernel", {"ours": "1.0", "numpy": "2.0"})
    found = goals.kernel_goal(
        mine, [environment("worker", {"numpy": "1.0"})], (), frozenset({"numpy"}), shipped(), frozenset()
    )
    had = Available(versions={"numpy": "1.0"}, refused={"ours": "It isn't on the index"})
    done = {action.name: action for action in actions.kernel_actions(mine, found, had, ())}
    assert (done["ours"].kind, done["ours"].why) == ("refuse", "It isn't on the index")
    assert done["numpy"].kind == "downgrade"
