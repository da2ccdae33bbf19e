"""What a sync would do: laws of actions, batches and losses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coiled_jupyter.core import plan
from coiled_jupyter.core.diff import compare
from coiled_jupyter.core.plan import Had, Wanted
from coiled_jupyter.core.rules import shipped
from coiled_jupyter.core.survey import Survey, SurveyPlace, SurveyProcess, SurveyWorker
from coiled_jupyter.core.wire import Environment, Loaded, Package, PlanLost, Problem, Row, Source

AT = "2026-11-24T12:00:00.000Z"
NAMES = ["numpy", "pandas", "tabulate", "acme", "zzz"]
VERSIONS = ["1.0", "1.1", "2.0"]


def environment(role: str, listed: dict[str, str], /, **fields: object) -> Environment:
    made = Environment(
        id=f"{role}-1",
        role=role,  # type: ignore[arg-type]
        host="h",
        prefix="/p",
        python="3.11.7",
        implementation="cpython",
        platform="linux-x86_64",
        packages=tuple(Package(name=name, version=version) for name, version in sorted(listed.items())),
        problems=(),
        level="all",
        digest="d",
        nodes=("n",),
        taken_at=AT,
        content_at=AT,
    )
    return replace(made, **fields)


def worker(number: int, **fields: object) -> SurveyWorker:
    made = SurveyWorker(
        address=f"tcp://{number}",
        name=str(number),
        nanny=f"tcp://n{number}",
        nanny_process=SurveyProcess(host="h", pid=100 + number),
        place="h\0/p",
        memory_limit=1000,
    )
    return replace(made, **fields)


def place(**fields: object) -> SurveyPlace:
    made = SurveyPlace(
        key="h\0/p",
        host="h",
        prefix="/p",
        speaker="tcp://n1",
        python="3.11.7",
        implementation="cpython",
        platform="linux",
        machine="x86_64",
        libc="glibc 2.36",
        executable="/p/bin/python",
        home="/home/layers",
        uv="/usr/bin/uv",
    )
    return replace(made, **fields)


versions = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VERSIONS))
workers = st.lists(
    st.builds(
        lambda alone, memory, futures, running, actors: {
            "alone": alone, "memory": memory, "futures": futures, "running": running, "actors": actors,
        },
        st.integers(0, 700), st.integers(0, 900), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1),
    ),
    min_size=1,
    max_size=12,
).map(lambda many: [worker(number, **fields) for number, fields in enumerate(many)])  # fmt: skip


# ---- actions ------------------------------------------------------------------------------------------------------


@given(versions, versions)
def test_actions_lead_from_what_is_there_to_what_can_be_had(before, after):
    group = environment("worker", before)
    wish = Wanted(hard=(), wishes=(), chosen=frozenset(NAMES), local={})
    done = plan.actions(environment("kernel", after), [group], wish, Had(versions=after), ())
    state = dict(before)
    for action in done:
        assert action.kind != "refuse"
        assert state.get(action.name) == action.before
        if action.after is None:
            del state[action.name]
        else:
            state[action.name] = action.after
    assert state == after
    assert (not done) == (before == after)


@given(versions, versions, st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_what_a_cause_says_is_what_the_words_say(before, after, chosen, removed):
    group, kernel = environment("worker", before), environment("kernel", after)
    wishes = tuple(f"{name}=={version}" for name, version in after.items())
    wish = Wanted(hard=(), wishes=wishes, chosen=frozenset(chosen), local={}, removed=frozenset(removed))
    words: dict[str, str] = {}
    for action in plan.actions(kernel, [group], wish, Had(versions=after), ()):
        if action.cause != "told":
            assert action.why == words.setdefault(action.cause, action.why) != ""
        assert (action.cause == "absent") == (action.kind == "remove" and action.name in removed)
        assert action.cause != "unneeded" or action.kind == "remove"
    assert len(set(words.values())) == len(words)


def test_a_downgrade_is_called_that():
    wish = Wanted(hard=(), wishes=(), chosen=frozenset({"numpy"}), local={})
    kernel, group = environment("kernel", {"numpy": "1.26.4"}), environment("worker", {"numpy": "2.0.0"})
    (action,) = plan.actions(kernel, [group], wish, Had(versions={"numpy": "1.26.4"}), ())
    assert (action.kind, action.before, action.after) == ("downgrade", "2.0.0", "1.26.4")


def test_what_cannot_be_had_is_refused_by_name_with_the_resolvers_words():
    wish = Wanted(hard=(), wishes=("pywin32==311",), chosen=frozenset({"pywin32"}), local={})
    kernel = environment("kernel", {"pywin32": "311"})
    had = Had(versions={}, refused={"pywin32": "no wheel for this platform"})
    (action,) = plan.actions(kernel, [environment("worker", {})], wish, had, ())
    assert (action.kind, action.name, action.after) == ("refuse", "pywin32", "311")
    assert "no wheel" in action.why


def test_a_damaged_installation_of_the_same_version_is_replaced():
    broken = Problem(kind="missing_files", package="numpy", where="x", fix="y")
    group = environment("worker", {"numpy": "2.0"}, problems=(broken,))
    wish = Wanted(hard=(), wishes=(), chosen=frozenset({"numpy"}), local={})
    done = plan.actions(environment("kernel", {"numpy": "2.0"}), [group], wish, Had(versions={"numpy": "2.0"}), ())
    assert [(a.kind, a.name) for a in done] == [("install", "numpy")]


def test_a_process_that_runs_an_old_version_is_moved_too():
    package = Package(name="numpy", version="2.0", loaded=(Loaded(version="1.0", nodes=("n",)),))
    group = environment("worker", {}, packages=(package,))
    wish = Wanted(hard=(), wishes=(), chosen=frozenset({"numpy"}), local={})
    done = plan.actions(environment("kernel", {"numpy": "2.0"}), [group], wish, Had(versions={"numpy": "2.0"}), ())
    assert [a.name for a in done] == ["numpy"]


# ---- what is wanted -----------------------------------------------------------------------------------------------


def wanted(kernel, present, scheduler=None, names=None, rows=()):
    return plan.wanted(
        environment("kernel", kernel),
        environment("worker", present),
        environment("scheduler", scheduler) if scheduler is not None else None,
        rows,
        names,
        shipped(),
    )


def test_what_a_worker_must_have_as_its_scheduler_has_it_is_no_wish():
    wish = wanted({"dask": "2026.8.0", "numpy": "2.0"}, {"dask": "2023.5.0"}, {"dask": "2023.5.0", "numpy": "1.0"})
    assert wish.hard == ("dask==2023.5.0",)
    assert wish.wishes == ("numpy==2.0",)


def test_the_schedulers_process_decides_not_its_disk():
    running = Package(name="msgpack", version="2.0", loaded=(Loaded(version="1.0", nodes=("scheduler",)),))
    scheduler = environment("scheduler", {}, packages=(running,))
    wish = plan.wanted(environment("kernel", {}), environment("worker", {}), scheduler, (), None, shipped())
    assert wish.hard == ("msgpack==1.0",)


def test_tools_of_the_notebook_do_not_travel_and_those_of_the_cluster_stay():
    wish = wanted({"ipykernel": "7", "numpy": "2.0"}, {"pip": "24", "tabulate": "1"})
    assert set(wish.wishes) == {"numpy==2.0", "pip==24"}
    assert wish.removed == {"tabulate"}
    assert "ipykernel" not in " ".join(wish.wishes)


def test_chosen_names_change_and_all_else_stays_as_it_is():
    wish = wanted({"numpy": "2.0", "pandas": "2.0"}, {"numpy": "1.0", "pandas": "1.0", "acme": "1.0"}, None, {"numpy"})
    assert wish.wishes[0] == "numpy==2.0"
    assert set(wish.wishes) == {"numpy==2.0", "pandas==1.0", "acme==1.0"}
    assert not wish.removed


def test_what_lies_in_the_notebooks_folder_or_conda_has_no_wheel_from_an_index():
    module = Package(name="helpers.py", version="", source=Source(url="/nb/helpers.py", kind="module"))
    native = Package(name="libblas", version="3.9", channel="conda-forge", build="h1_0")
    editable = Package(name="mine", version="1.0", source=Source(url="file:///mine", kind="editable"))
    kernel = environment("kernel", {}, packages=(module, native, editable))
    wish = plan.wanted(kernel, environment("worker", {}), None, (), None, shipped())
    assert wish.wishes == ()
    assert set(wish.local) == {"mine"}


@given(versions, versions, versions)
def test_a_name_is_either_hard_or_a_wish_or_removed(kernel, present, scheduler):
    wish = wanted(kernel, present, {**scheduler, "dask": "1.0"})
    names = [line.partition("==")[0] for line in (*wish.hard, *wish.wishes)]
    assert len(names) == len(set(names))
    assert not set(names) & wish.removed


def test_local_code_that_is_the_same_on_the_workers_is_not_built_again():
    def mine(content):
        source = Source(url="file:///mine", kind="editable")
        return Package(name="mine", version="1.0", source=source, content=content)

    kernel = environment("kernel", {}, packages=(mine("a"), Package(name="numpy", version="2.0")))
    for content, numpy, at, settled, doubtful in (
        ("a", "2.0", AT, True, False),
        ("b", "2.0", AT, False, False),
        ("a", "1.0", AT, False, False),
        # The files weren't looked at yet.
        (None, "2.0", None, False, True),
    ):
        packages = (mine(content), Package(name="numpy", version=numpy))
        group = environment("worker", {}, packages=packages, content_at=at)
        wish = plan.wanted(kernel, group, None, (), None, shipped())
        assert plan.settled(kernel, [group], wish, ()) == settled
        assert plan.doubtful(kernel, [group]) == doubtful
    assert not plan.doubtful(environment("kernel", {"mine": "1.0"}), [environment("worker", {}, content_at=None)])


@given(versions, versions)
def test_nothing_is_resolved_exactly_where_all_is_there(mine, theirs):
    kernel, group = environment("kernel", mine), environment("worker", theirs)
    wish = plan.wanted(kernel, group, None, (), None, shipped())
    assert plan.settled(kernel, [group], wish, ()) == (mine == theirs)


# ---- the other way: beside the kernel ---------------------------------------------------------------------------------


def here(kernel, *groups, names=None, needed=frozenset(), rows=(), **fields):
    """Return what an environment beside the kernel would be, where all that is wished can be had, and what that changes."""
    mine = environment("kernel", kernel, **fields)
    theirs = [environment("worker", group) if isinstance(group, dict) else group for group in groups]
    found = plan.wanted_here(mine, theirs, rows, names, shipped(), frozenset(needed))
    had = Had(versions=dict(line.split("==") for line in found.wish.wishes))
    return found, plan.actions_here(mine, found, had, rows)


@given(versions, versions, st.none() | st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_a_new_kernel_is_as_the_workers_in_what_is_asked_for_and_as_the_notebook_in_the_rest(
    mine, theirs, names, needed
):
    found, done = here(mine, theirs, names=None if names is None else frozenset(names), needed=needed)
    wished = [line.partition("==")[0] for line in found.wish.wishes]
    assert len(wished) == len(set(wished))
    after = dict(line.split("==") for line in found.wish.wishes)
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
        assert {"tornado==6.5", "ipython==9.0"} <= set(found.wish.wishes)
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
    assert "numpy==2.0" in found.wish.wishes
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
    assert (found.wish.wishes, done) == ((), ())
    found, _ = here({}, {"mine": "2.0"}, packages=(mine,))
    assert [(action.name, action.before, action.after) for action in found.refused] == [("mine", "1.0", "2.0")]
    # What only the notebook has goes, from wherever it is.
    found, done = here({}, environment("worker", {}), packages=(mine,))
    assert (found.refused, [(action.kind, action.name) for action in done]) == ((), [("remove", "mine")])


def test_what_is_not_asked_for_and_can_not_be_had_here_is_no_removal():
    mine = environment("kernel", {"ours": "1.0", "numpy": "2.0"})
    found = plan.wanted_here(
        mine, [environment("worker", {"numpy": "1.0"})], (), frozenset({"numpy"}), shipped(), frozenset()
    )
    had = Had(versions={"numpy": "1.0"}, refused={"ours": "It isn't on the index"})
    done = {action.name: action for action in plan.actions_here(mine, found, had, ())}
    assert (done["ours"].kind, done["ours"].why) == ("refuse", "It isn't on the index")
    assert done["numpy"].kind == "downgrade"


# ---- the scheduler ------------------------------------------------------------------------------------------------


def rows(kernel, scheduler, added) -> tuple[Row, ...]:
    return plan.remaining(environment("kernel", kernel), environment("scheduler", scheduler), added, shipped(), AT)


def test_what_the_scheduler_lacks_it_gets_without_a_restart():
    used = Package(name="numpy", version="2.4.6", in_use=True)
    kernel = environment("kernel", {}, packages=(used,))
    scheduler = environment("scheduler", {})
    assert [r.name for r in plan.remaining(kernel, scheduler, {}, shipped(), AT)] == ["numpy"]
    assert plan.remaining(kernel, scheduler, {"numpy": "2.4.6"}, shipped(), AT) == ()


def test_what_the_scheduler_has_in_another_major_version_stays():
    assert [r.name for r in rows({"numpy": "2.4.6"}, {"numpy": "1.26.4"}, {"numpy": "2.4.6"})] == ["numpy"]


# ---- batches ------------------------------------------------------------------------------------------------------


@given(workers)
def test_every_worker_restarts_once(many):
    rolls, _, _ = plan.batches(many, {})
    addresses = [address for roll in rolls for address in roll.workers]
    assert sorted(addresses) == sorted(w.address for w in many)
    assert {roll.batch for roll in rolls} == set(range(1, max(roll.batch for roll in rolls) + 1))


@given(workers)
def test_what_a_batch_holds_fits_into_the_others_or_is_named_as_lost(many):
    rolls, lost, alone = plan.batches(many, {})
    by = {w.address: w for w in many}
    if lost != PlanLost() or alone or not any(w.alone for w in many):
        return
    for batch in {roll.batch for roll in rolls}:
        moving = [by[a] for roll in rolls if roll.batch == batch for a in roll.workers]
        rest = [w for w in many if w not in moving]
        room = sum(max(int((w.memory_limit or 0) * plan.ROOM) - w.memory, 0) for w in rest)
        assert sum(w.alone for w in moving) <= room


def test_all_at_once_only_where_nobody_holds_or_does_anything():
    idle = [worker(n) for n in range(64)]
    assert {roll.batch for roll in plan.batches(idle, {})[0]} == {1}
    busy = [*idle[:-1], worker(63, running=1)]
    assert len({roll.batch for roll in plan.batches(busy, {})[0]}) >= plan.AT_ONCE


def test_an_actor_is_named_before_the_roll():
    _, lost, _ = plan.batches([worker(0, actors=1, futures=5), worker(1)], {})
    assert (lost.actors, lost.futures) == (1, 0)
    assert "actor" in lost.why


def test_more_than_the_others_can_take_is_named_before_the_roll():
    _, lost, _ = plan.batches([worker(0, alone=900, futures=2), worker(1)], {})
    assert lost.futures == 2
    assert "fit" in lost.why


def test_a_single_worker_that_holds_something_needs_a_second():
    assert plan.batches([worker(0, alone=10, futures=1)], {})[2]
    assert not plan.batches([worker(0)], {})[2]


# ---- what can't move ----------------------------------------------------------------------------------------------


def test_why_a_worker_cannot_move_is_said():
    survey = Survey(scheduler=SurveyProcess(host="h", pid=1), workers=(), places=(), encrypted=True)
    assert plan.unmovable(survey, place(), worker(0)) is None
    assert "nanny" in plan.unmovable(survey, place(), worker(0, nanny=None))
    assert "doesn't answer" in plan.unmovable(survey, place(), worker(0, nanny_process=None))
    shared = worker(0, nanny_process=SurveyProcess(host="h", pid=1))
    assert "scheduler" in plan.unmovable(survey, place(), shared)
    assert "CPython" in plan.unmovable(survey, place(implementation="pypy"), worker(0))
    assert "written" in plan.unmovable(survey, place(home=None), worker(0))


def test_another_minor_of_python_is_refused_and_a_patch_is_not():
    kernel = environment("kernel", {})
    assert plan.python_refused(kernel, environment("worker", {}, python="3.11.2")) is None
    assert plan.python_refused(kernel, environment("worker", {}, python="3.12.1")).kind == "refuse"


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
def test_a_state_is_named_by_its_locks_alone(locks):
    assert plan.layer_id(locks) == plan.layer_id(dict(reversed(list(locks.items()))))


def test_values_that_need_what_a_layer_lacks_are_found():
    many = [worker(1, alone=10, futures=2), worker(2, alone=10, scattered=1), worker(3)]
    needs = {"tcp://1": ("numpy", "tabulate"), "tcp://2": ("numpy",)}
    lacking = plan.stranded(many, needs, [{"numpy": "1"}, {}])
    assert lacking == {"tcp://1": ("tabulate",)}
    # Of two layers that differ, values may come to either.
    assert plan.stranded(many, needs, [{"numpy": "1", "tabulate": "1"}, {"tabulate": "1"}]) == {
        "tcp://1": ("numpy",),
        "tcp://2": ("numpy",),
    }
