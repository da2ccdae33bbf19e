"""What a restart in place changes, whom it restarts, and what it can't do."""

from __future__ import annotations

from msgspec.structs import replace

from coiled_jupyter.core.change import in_place
from coiled_jupyter.core.compare.packages import OLDER
from coiled_jupyter.core.wire import Environment, Loaded, Package, PlanLost
from tests.core.change.samples import environment, worker

NODES = ("tcp://0", "tcp://1")


def having(role: str, *packages: tuple[str, str, dict[str, tuple[str, ...]]], **fields) -> Environment:
    """Return an environment of packages, each with the versions that nodes have loaded."""
    made = environment(role, {}, nodes=NODES if role == "worker" else ("k",), **fields)
    return replace(
        made,
        packages=tuple(
            Package(
                name=name, version=version, loaded=tuple(Loaded(version=v, nodes=n) for v, n in sorted(loaded.items()))
            )
            for name, version, loaded in packages
        ),
    )


def decided(kernel, *groups, loads=None, names=None, own=NODES):
    loads = [worker(0), worker(1)] if loads is None else loads
    return in_place.decide(kernel, groups, frozenset(own), loads, names, ())


def test_only_workers_that_run_something_older_restart():
    group = having("worker", ("x", "2.0", {"1.0": NODES[:1], "2.0": NODES[1:]}), ("y", "1.0", {"1.0": NODES}))
    found = decided(having("kernel", ("x", "2.0", {})), group)
    assert found.workers == NODES[:1]
    assert [(a.kind, a.name, a.before, a.after) for a in found.actions] == [("upgrade", "x", "1.0", "2.0")]
    assert [(r.workers, r.batch) for r in found.rolls] == [(NODES[:1], 1)]
    assert decided(having("kernel"), having("worker", ("x", "2.0", {"2.0": NODES}))) == in_place.InPlace()


def test_a_downgrade_and_edited_code_are_named_as_such():
    group = having("worker", ("code.py", "", {OLDER: NODES}), ("x", "1.0", {"2.0": NODES}))
    kinds = {action.name: (action.kind, action.before) for action in decided(having("kernel"), group).actions}
    assert kinds == {"code.py": ("install", ""), "x": ("downgrade", "2.0")}


def test_a_chosen_package_takes_the_others_of_its_workers_along_and_no_more():
    group = having("worker", ("x", "2.0", {"1.0": NODES[:1]}), ("y", "2.0", {"1.0": NODES}))
    found = decided(having("kernel"), group, names=frozenset({"x"}))
    assert found.workers == NODES[:1]
    assert [action.name for action in found.actions] == ["x", "y"]
    assert "runs everything" in found.actions[1].why


def test_what_the_kernel_still_runs_needs_its_restart_and_of_dask_itself_nothing_is_done():
    group = having("worker", ("x", "2.0", {"1.0": NODES}))
    found = decided(having("kernel", ("x", "2.0", {"1.0": ("k",)})), group)
    assert (found.workers, found.blocked) == (NODES, ())
    assert "restart the kernel to have it run 2.0" in found.refused[0].why
    group = having("worker", ("distributed", "2.0", {"1.0": NODES}))
    found = decided(having("kernel", ("distributed", "2.0", {"1.0": ("k",)})), group)
    assert "restart the kernel instead" in found.blocked[0].why
    # With nothing to restart, it is no obstacle but news all the same.
    found = decided(having("kernel", ("distributed", "2.0", {"1.0": ("k",)})), having("worker"))
    assert (found.workers, found.blocked, len(found.refused)) == ((), (), 1)


def test_workers_of_another_environment_or_from_outside_are_left_alone():
    group = having("worker", ("x", "2.0", {"1.0": NODES}), prefix="/other")
    found = decided(having("kernel"), group)
    assert (found.workers, "/other" in found.refused[0].why) == ((), True)
    group = having("worker", ("x", "2.0", {"1.0": NODES}))
    found = decided(having("kernel"), group, own=NODES[:1])
    assert (found.workers, found.refused[0].why) == (NODES[:1], in_place.NOT_ITS_OWN)


def test_a_second_worker_is_needed_only_where_the_only_one_holds_something():
    group = having("worker", ("x", "2.0", {"1.0": NODES[:1]}))
    assert decided(having("kernel"), group, loads=[worker(0, alone=10, futures=1)]).temporary
    assert not decided(having("kernel"), group, loads=[worker(0)]).temporary
    assert not decided(having("kernel"), group, loads=[worker(0, alone=10, futures=1), worker(1)]).temporary


def test_actors_and_what_has_no_room_are_lost_and_named():
    group = having("worker", ("x", "2.0", {"1.0": NODES}))
    found = decided(having("kernel"), group, loads=[worker(0, actors=1), worker(1, alone=900, futures=3)])
    assert (found.lost.actors, found.lost.futures) == (1, 3)
    assert "actors, which can't move" in found.lost.why
    assert found.lost.why.startswith("Worker 0") or found.lost.why.startswith("What worker 1")
    assert decided(having("kernel"), group, loads=[worker(0, futures=9), worker(1)]).lost == PlanLost()


def test_a_group_is_verified_where_nothing_older_runs_and_the_planned_versions_are_there():
    assert in_place.verified(having("worker", ("x", "2.0", {"2.0": NODES})), {"x": "2.0"}).verified
    for package in (("x", "2.0", {"1.0": NODES[:1]}), ("x", "1.0", {}), ("y", "2.0", {})):
        assert not in_place.verified(having("worker", package), {"x": "2.0"}).verified
