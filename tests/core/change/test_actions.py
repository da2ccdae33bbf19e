"""What a plan does to each package, and what stays different on a scheduler."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.change import actions, goals
from coiled_jupyter.core.change.goals import Available, Goal
from coiled_jupyter.core.rules import shipped
from coiled_jupyter.core.wire import Loaded, Package, Problem, Row, Source
from tests.core.change.samples import AT, NAMES, environment, versions


@given(versions, versions)
def test_actions_lead_from_what_is_there_to_what_can_be_had(before, after):
    group = environment("worker", before)
    wish = Goal(required=(), preferred=(), chosen=frozenset(NAMES), local={})
    done = actions.actions(environment("kernel", after), [group], wish, Available(versions=after), ())
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
    wish = Goal(required=(), preferred=wishes, chosen=frozenset(chosen), local={}, removed=frozenset(removed))
    words: dict[str, str] = {}
    for action in actions.actions(kernel, [group], wish, Available(versions=after), ()):
        if action.cause != "told":
            assert action.why == words.setdefault(action.cause, action.why) != ""
        assert (action.cause == "absent") == (action.kind == "remove" and action.name in removed)
        assert action.cause != "unneeded" or action.kind == "remove"
    assert len(set(words.values())) == len(words)


def test_a_downgrade_is_called_that():
    wish = Goal(required=(), preferred=(), chosen=frozenset({"numpy"}), local={})
    kernel, group = environment("kernel", {"numpy": "1.26.4"}), environment("worker", {"numpy": "2.0.0"})
    (action,) = actions.actions(kernel, [group], wish, Available(versions={"numpy": "1.26.4"}), ())
    assert (action.kind, action.before, action.after) == ("downgrade", "2.0.0", "1.26.4")


def test_what_cannot_be_had_is_refused_by_name_with_the_resolvers_words():
    wish = Goal(required=(), preferred=("pywin32==311",), chosen=frozenset({"pywin32"}), local={})
    kernel = environment("kernel", {"pywin32": "311"})
    had = Available(versions={}, refused={"pywin32": "no wheel for this platform"})
    (action,) = actions.actions(kernel, [environment("worker", {})], wish, had, ())
    assert (action.kind, action.name, action.after) == ("refuse", "pywin32", "311")
    assert "no wheel" in action.why


def test_what_stays_stays_and_what_has_to_go_says_why_in_one_sentence():
    """What a scope leaves out once went with "nothing needs it", and a package that can't be had "stayed" by going."""
    kernel = environment("kernel", {"numpy": "2.4.6", "pandas": "3.0"})
    group = environment("worker", {"numpy": "1.26.4", "acme": "1.0", "zzz": "1.0", "pandas": "2.0"})
    wish = goals.cluster_goal(kernel, group, None, (), None, shipped())
    assert wish.preferred[-2:] == ("acme==1.0", "zzz==1.0")
    assert wish.instead == ("numpy==1.26.4", "pandas==2.0")
    conflict = (
        "Because acme==1.0 depends on numpy<2 and you require numpy==2.4.6, we can conclude that your requirements and "
        "acme==1.0 are incompatible. And because you require acme==1.0, we can conclude that your requirements are "
        "unsatisfiable."
    )
    gone = "Because there is no version of pandas==3.0 and you require pandas==3.0, we can conclude that it is unsatisfiable."
    had = Available(
        versions={"numpy": "2.4.6", "pandas": "2.0", "zzz": "1.0"}, refused={"acme": conflict, "pandas": gone}
    )
    done = {action.name: action for action in actions.actions(kernel, [group], wish, had, ())}
    assert set(done) == {"acme", "numpy", "pandas"}
    assert (done["acme"].kind, done["acme"].cause, done["acme"].details) == ("remove", "unfit", conflict)
    assert done["acme"].why == "It needs numpy<2, which doesn't fit the other packages. So it can't stay."
    assert (done["pandas"].kind, done["pandas"].before, done["pandas"].after) == ("refuse", "2.0", "3.0")
    assert (done["pandas"].why, done["pandas"].details) == ("The package index has no pandas 3.0.", gone)
    # Another package may need a version that neither side has.
    had = Available(versions={"numpy": "2.4.6", "pandas": "2.2"}, refused={"pandas": gone})
    done = {action.name: action for action in actions.actions(kernel, [group], wish, had, ())}
    assert (done["pandas"].kind, done["pandas"].before, done["pandas"].after) == ("upgrade", "2.0", "2.2")
    # And nothing may be left of what was to be changed.
    had = Available(versions={"numpy": "2.4.6"}, refused={"pandas": gone, "acme": conflict, "zzz": gone})
    done = {action.name: action for action in actions.actions(kernel, [group], wish, had, ())}
    assert (done["pandas"].kind, done["pandas"].cause, done["pandas"].after) == ("remove", "unfit", None)


def test_a_damaged_installation_of_the_same_version_is_replaced():
    broken = Problem(kind="missing_files", package="numpy", where="x", fix="y")
    group = environment("worker", {"numpy": "2.0"}, problems=(broken,))
    wish = Goal(required=(), preferred=(), chosen=frozenset({"numpy"}), local={})
    done = actions.actions(
        environment("kernel", {"numpy": "2.0"}), [group], wish, Available(versions={"numpy": "2.0"}), ()
    )
    assert [(a.kind, a.name) for a in done] == [("install", "numpy")]


def test_a_process_that_runs_an_old_version_is_moved_too():
    package = Package(name="numpy", version="2.0", loaded=(Loaded(version="1.0", nodes=("n",)),))
    group = environment("worker", {}, packages=(package,))
    wish = Goal(required=(), preferred=(), chosen=frozenset({"numpy"}), local={})
    done = actions.actions(
        environment("kernel", {"numpy": "2.0"}), [group], wish, Available(versions={"numpy": "2.0"}), ()
    )
    assert [a.name for a in done] == ["numpy"]


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
        wish = goals.cluster_goal(kernel, group, None, (), None, shipped())
        assert actions.satisfied(kernel, [group], wish, ()) == settled
        assert actions.content_unknown(kernel, [group]) == doubtful
    assert not actions.content_unknown(
        environment("kernel", {"mine": "1.0"}), [environment("worker", {}, content_at=None)]
    )


@given(versions, versions)
def test_nothing_is_resolved_exactly_where_all_is_there(mine, theirs):
    kernel, group = environment("kernel", mine), environment("worker", theirs)
    wish = goals.cluster_goal(kernel, group, None, (), None, shipped(), None)
    assert actions.satisfied(kernel, [group], wish, ()) == (mine == theirs)
    # What only the cluster has is no reason to do anything, unless it is to go.
    kept = goals.cluster_goal(kernel, group, None, (), None, shipped())
    assert actions.satisfied(kernel, [group], kept, ()) == (mine.items() <= theirs.items())


def rows(kernel, scheduler, added) -> tuple[Row, ...]:
    return actions.remaining(environment("kernel", kernel), environment("scheduler", scheduler), added, shipped(), AT)


def test_what_the_scheduler_lacks_it_gets_without_a_restart():
    used = Package(name="numpy", version="2.4.6", use="imported")
    kernel = environment("kernel", {}, packages=(used,))
    scheduler = environment("scheduler", {})
    assert [r.name for r in actions.remaining(kernel, scheduler, {}, shipped(), AT)] == ["numpy"]
    assert actions.remaining(kernel, scheduler, {"numpy": "2.4.6"}, shipped(), AT) == ()


def test_what_the_scheduler_has_in_another_major_version_stays():
    assert [r.name for r in rows({"numpy": "2.4.6"}, {"numpy": "1.26.4"}, {"numpy": "2.4.6"})] == ["numpy"]


def test_another_minor_of_python_is_refused_and_a_patch_is_not():
    kernel = environment("kernel", {})
    assert actions.python_refused(kernel, environment("worker", {}, python="3.11.2")) is None
    assert actions.python_refused(kernel, environment("worker", {}, python="3.12.1")).kind == "refuse"
