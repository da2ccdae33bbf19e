"""What a reading must say for a sync to be called done."""

from __future__ import annotations

from hypothesis import given
from msgspec.structs import replace

from coiled_jupyter.core.change.journal import FINAL, first, misfit, step, verified
from coiled_jupyter.core.change.state import StatePlace, SyncSpec
from coiled_jupyter.core.change.survey import installs
from coiled_jupyter.core.compare.packages import OLDER
from coiled_jupyter.core.wire import Loaded, Package, Problem, Source, SyncGroup
from tests.core.change.samples import AT, environment, versions


def place(expected: dict[str, str], **fields: str) -> StatePlace:
    return StatePlace(
        key="k", host="h", prefix="/base", layer="l", path="/p", executable="/p/bin/python", expected=expected, **fields
    )


@given(versions, versions)
def test_only_exactly_the_planned_versions_are_verified(found, planned):
    planned = planned or {"numpy": "1.0"}
    group = verified(environment("worker", found), place(planned), "/p")
    assert group.verified == (found == planned)
    assert group.nodes == ("n",)


def test_what_runs_counts_and_not_only_what_is_installed():
    for old in ("0.9", OLDER):
        package = Package(name="numpy", version="1.0", loaded=(Loaded(version=old, nodes=("n",)),))
        group = verified(environment("worker", {}, packages=(package,)), place({"numpy": "1.0"}), "/p")
        assert not group.verified
        assert "still runs" in group.text
    same = Package(name="numpy", version="1.0", loaded=(Loaded(version="1.0", nodes=("n",)),))
    assert verified(environment("worker", {}, packages=(same,)), place({"numpy": "1.0"}), "/p").verified


def test_another_prefix_an_incomplete_reading_and_damage_are_never_verified():
    planned = {"numpy": "1.0"}
    assert not verified(environment("worker", planned), place(planned), "/other").verified
    assert not verified(environment("worker", planned, level="versions"), place(planned), "/p").verified
    broken = Problem(kind="missing_files", package="numpy", where="x", fix="y")
    assert not verified(environment("worker", planned, problems=(broken,)), place(planned), "/p").verified


def test_code_beside_the_notebook_is_no_part_of_an_environment():
    helper = Package(name="helpers.py", version="", source=Source(url="/nb/helpers.py", kind="module"))
    numpy = Package(name="numpy", version="1.0")
    assert verified(environment("worker", {}, packages=(helper, numpy)), place({"numpy": "1.0"}), "/p").verified


def test_a_base_environment_is_not_held_to_what_it_had():
    assert verified(environment("worker", {"numpy": "3.0"}), place({}), "/p").verified


def test_a_sync_begins_with_all_of_its_steps_and_claims_nothing():
    for how in ("roll", "replace"):
        sync = first(SyncSpec(id="i", plan=None, cluster="c", how=how), AT)
        assert sync.state == "planned"
        assert sync.state not in FINAL
        assert sync.result is None
        assert {s.state for s in sync.steps} == {"waiting"}


def test_a_step_is_changed_in_place_and_a_new_one_comes_last():
    sync = first(SyncSpec(id="i", plan=None, cluster="c"), AT)
    names = [s.name for s in sync.steps]
    assert [s.name for s in step(sync, names[1], "done")] == names
    assert step(sync, names[1], "done")[1].state == "done"
    assert [s.name for s in step(sync, "Go back", "running")] == [*names, "Go back"]


def test_a_step_keeps_when_it_began_until_it_has_ended():
    sync = first(SyncSpec(id="i", plan=None, cluster="c"), AT)
    name = sync.steps[0].name
    begun = replace(sync, steps=step(sync, name, "running"))
    assert begun.steps[0].started_at is not None
    told = replace(begun, steps=step(begun, name, "running", text="batch 1 of 2"))
    ended = step(told, name, "done", seconds=2.0)
    assert [one[0].started_at for one in (told.steps, ended)] == [begun.steps[0].started_at] * 2
    # One that has ended and begins again is timed anew.
    assert step(replace(told, steps=ended), name, "running")[0].started_at is not None
    assert sync.steps[1].started_at is None


def wrong(text: str, nodes: int = 2) -> SyncGroup:
    return SyncGroup(group="g", role="worker", host="h", nodes=("n",) * nodes, verified=False, text=text)


def test_what_went_back_is_as_it_was():
    assert verified(environment("worker", {"numpy": "1.0"}), place({}), "/p", "as it was").text == "as it was"


def test_a_plugin_that_undoes_a_sync_is_named():
    """PipInstall installs its versions whenever a worker starts, so a restart in a layer ends with these."""
    other = wrong("numpy is 1.26.4 instead of 2.4.6")
    said = installs({"PipInstall-1": False})
    told = misfit([other], said)
    assert told.startswith(
        "2 workers on h aren't as planned: numpy is 1.26.4 instead of 2.4.6. The plugin PipInstall-1 "
    )
    assert "client.unregister_worker_plugin('PipInstall-1')" in told
    assert misfit([wrong("it runs from /p", 1)], said) == "A worker on h isn't as planned: it runs from /p"
    assert misfit([other], "").endswith("instead of 2.4.6")
