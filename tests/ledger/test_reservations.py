"""Reservations, limits and damage of the ledger."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coiled_jupyter.core.errors import Conflict, Unavailable
from coiled_jupyter.core.launch import LaunchSpec
from coiled_jupyter.core.times import now
from coiled_jupyter.core.wire import Adaptive
from coiled_jupyter.ledger import Ledger, owners


def spec(number: int, workers: int = 3) -> LaunchSpec:
    return LaunchSpec(id=f"c{number}", name=f"n{number}", workers=workers, created_at=now())


def test_the_limit_holds_under_a_race(tmp_path):
    path = tmp_path / "ledger"
    Ledger(path)

    def attempt(number: int) -> bool:
        try:
            Ledger(path).reserve(spec(number), core_limit=100, cluster_limit=1000)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        granted = sum(pool.map(attempt, range(64)))
    assert granted == 33
    assert Ledger(path).used_cores() == 99


def test_a_refusal_tells_the_figures(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.reserve(spec(1, 8), core_limit=10, cluster_limit=9)
    with pytest.raises(Conflict) as caught:
        ledger.reserve(spec(2, 3), core_limit=10, cluster_limit=9)
    assert caught.value.data == {"limit": 10, "used": 8, "asked": 3, "by_cluster": {"n1": 8}}
    assert "n1 (8)" in caught.value.message
    ledger.release("c1")
    ledger.reserve(spec(2, 3), core_limit=10, cluster_limit=9)


def test_a_corrupt_file_is_set_aside(tmp_path):
    path = tmp_path / "ledger"
    path.write_bytes(b"not a database" * 100)
    assert Ledger(path).list() == []
    assert [p.name for p in tmp_path.glob("ledger.corrupt-*")]


def test_a_row_without_an_owner_is_not_alive_for_long(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.reserve(spec(1), core_limit=10, cluster_limit=9)
    row = ledger.get("c1")
    assert ledger.owner_alive(row)
    ledger.claim("c1")
    assert ledger.owner_alive(ledger.get("c1"))
    assert path_mode(ledger) == 0o600


def place(ledger: Ledger, cluster_id: str, where: str) -> None:
    with contextlib.closing(sqlite3.connect(ledger.path)) as connection, connection:
        connection.execute("UPDATE clusters SET place = ?, pid = 1, ticks = '1' WHERE id = ?", (where, cluster_id))


@pytest.mark.parametrize(
    ("other", "over"),
    [
        ("machine/boot/pid:[1]/host", False),
        ("{machine}/{boot}/pid:[1]/{host}", False),
        ("{machine}/{boot}/pid:[1]/host", False),
        # A machine made from the same image.
        ("{machine}/boot/pid:[1]/host", False),
        # Containers without a machine's id, on this host and another.
        ("/{boot}/pid:[1]/{host}", False),
        ("/boot/pid:[1]/{host}", False),
        ("", False),
        ("{machine}/boot/pid:[1]/{host}", True),
    ],
)
def test_rows_of_other_hosts_and_containers_are_left_alone(tmp_path, other, over):
    ledger = Ledger(tmp_path / "ledger")
    machine, boot, _, host = owners.place().split("/")
    ledger.reserve(spec(1, 8), core_limit=10, cluster_limit=9)
    place(ledger, "c1", other.format(machine=machine, boot=boot, host=host))
    # What can't be judged from here neither counts nor is shown; what was before this machine's boot is over.
    assert [row.id for row in ledger.list()] == (["c1"] if over else [])
    if over:
        assert not ledger.owner_alive(ledger.list()[0])
    ledger.reserve(spec(2, 8), core_limit=10, cluster_limit=9)
    assert ledger.limit(10) == 10


def test_two_containers_without_a_machines_id_know_nothing_of_each_other(tmp_path):
    boot, namespace, host = owners.place().split("/")[1:]
    ledger = Ledger(tmp_path / "ledger", f"/{boot}/{namespace}/{host}")
    ledger.reserve(spec(1, 8), core_limit=10, cluster_limit=9)
    assert [row.id for row in ledger.list()] == ["c1"]
    for other in (f"/{boot}/pid:[1]/{host}", f"/boot/pid:[1]/{host}"):
        place(ledger, "c1", other)
        assert ledger.list() == []


ANOTHER_CONTAINER = """
import asyncio, sys
from pathlib import Path
from coiled_jupyter.core.wire import ClusterCreate
from coiled_jupyter.service.facade import Service

async def go():
    service = Service()
    await service.start()
    await asyncio.sleep(3)
    print([c.id for c in service.clusters.all()], service.clusters.usage().cores.requested)
    await service.close()

asyncio.run(go())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or subprocess.run(["unshare", "-p", "-f", "true"], check=False).returncode != 0,
    reason="needs leave to make a pid namespace",
)
def test_a_service_in_another_pid_namespace_leaves_a_shared_folder_alone():
    shared = Ledger()
    shared.reserve(spec(1, 2), core_limit=10, cluster_limit=9)
    shared.claim("c1")
    try:
        before = shared.get("c1")
        command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", ANOTHER_CONTAINER]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == "[] 0"
        assert shared.get("c1") == before
    finally:
        shared.release("c1")
        shared.delete("c1")


@pytest.mark.parametrize("size", [0, 1, 15, 16, 99, 100, 101, 1000, 4095, 4096, 4097, 8000, 8192])
def test_a_file_that_was_half_written_is_made_anew_or_read(tmp_path, size):
    whole = Ledger(tmp_path / "whole")
    for number in range(9):
        whole.reserve(spec(number), core_limit=100, cluster_limit=9)
    path = tmp_path / "ledger"
    path.write_bytes(whole.path.read_bytes()[:size])
    usable(path)


@settings(max_examples=150)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=20))
def test_flipped_bits_never_do_more_than_lose_clusters(tmp_path_factory, flips):
    folder = tmp_path_factory.mktemp("flips")
    whole = Ledger(folder / "whole")
    for number in range(4):
        whole.reserve(spec(number), core_limit=100, cluster_limit=9)
        whole.claim(f"c{number}")
    data = bytearray(whole.path.read_bytes())
    for where, mask in flips:
        data[int(where * len(data))] ^= mask
    path = folder / "ledger"
    path.write_bytes(data)
    usable(path)


def usable(path) -> None:
    """See that nothing but an error of ours comes out of a ledger, whatever its file holds, and that it takes clusters."""
    ledger = Ledger(path)
    for row in ledger.list():
        ledger.owner_alive(row)
        assert isinstance(row.cores, int)
    with contextlib.suppress(Conflict):
        ledger.reserve(spec(77, 0), core_limit=100, cluster_limit=100)
        assert ledger.get("c77") is not None
    assert ledger.limit(100) <= 100


def test_values_of_other_types_are_survived(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.reserve(spec(1), core_limit=100, cluster_limit=9)
    with contextlib.closing(sqlite3.connect(ledger.path)) as connection, connection:
        connection.execute("UPDATE clusters SET cores = 'many', ended = 'no', pid = 'x', created = x'ff', name = x'ff'")
        connection.execute(
            "INSERT INTO clusters SELECT '../..', name, snapshot, 3, 0, place, 1, 1, 1, spec FROM clusters"
        )
    usable(ledger.path)
    assert {row.id for row in ledger.list()} == {"c1", "c77"}


def test_a_place_that_holds_no_file_is_told(tmp_path):
    (tmp_path / "ledger").mkdir()
    with pytest.raises(Unavailable, match="can't be opened"):
        Ledger(tmp_path / "ledger")


def test_an_adaptive_maximum_is_cut_to_what_is_free(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.reserve(spec(1, 4), core_limit=10, cluster_limit=9)
    wish = msgspec.structs.replace(
        spec(2, 1), threads_per_worker=2, adaptive=Adaptive(minimum=1, maximum=50), core_limit=10
    )
    assert ledger.reserve(wish, core_limit=10, cluster_limit=9).desired.adaptive == Adaptive(minimum=1, maximum=3)
    # None is free: it may wait for one, and gets it when the ledger gives it.
    ledger.reserve(spec(3, 4), core_limit=10, cluster_limit=9)
    wish = msgspec.structs.replace(wish, id="c4", name="n4", workers=0, adaptive=Adaptive(minimum=0, maximum=50))
    assert ledger.reserve(wish, core_limit=10, cluster_limit=9).desired.adaptive == Adaptive(minimum=0, maximum=1)


def test_sizes_are_granted_in_whole_workers_and_given_back_when_told(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    for number in (1, 2):
        ledger.reserve(spec(number, 1), core_limit=10, cluster_limit=9)
    assert ledger.resize("c1", 12, step=4, core_limit=10) == (8, 10)
    assert ledger.resize("c2", 6, step=1, core_limit=10) == (2, 10)
    # A wish for less is granted and frees nothing until the processes were seen to end.
    assert ledger.resize("c1", 4, step=4, core_limit=10) == (4, 10)
    assert ledger.used_cores() == 10
    ledger.give_back("c1", 4)
    assert ledger.used_cores() == 6
    ledger.give_back("c1", 8)
    assert ledger.used_cores() == 6
    # Never taken away: a limit that was lowered binds what is asked for next.
    assert ledger.resize("c1", 5, step=1, core_limit=3) == (4, 3)


def test_so_many_clusters_and_no_more(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    for number in range(3):
        ledger.reserve(spec(number, 0), core_limit=10, cluster_limit=3)
    with pytest.raises(Conflict, match="already 3"):
        ledger.reserve(spec(3, 0), core_limit=10, cluster_limit=3)


def test_the_lowest_live_limit_holds(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    limited = msgspec.structs.replace(spec(1, 3), core_limit=5)
    ledger.reserve(limited, core_limit=5, cluster_limit=9)
    with pytest.raises(Conflict) as caught:
        ledger.reserve(spec(2, 3), core_limit=100, cluster_limit=9)
    assert caught.value.data == {"limit": 5, "used": 3, "asked": 3, "by_cluster": {"n1": 3}}
    ledger.snapshot("c1", ledger.get("c1").snapshot, ended=True)
    ledger.release("c1")
    ledger.reserve(spec(2, 3), core_limit=100, cluster_limit=9)


def path_mode(ledger: Ledger) -> int:
    return ledger.path.stat().st_mode & 0o777
