"""Reservations, limits and damage of the ledger."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from coiled_jupyter.core.cluster import LaunchSpec, now
from coiled_jupyter.core.errors import Conflict
from coiled_jupyter.ledger import Ledger


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
    assert caught.value.data == {"limit": 10, "used": 8, "asked": 3}
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


@pytest.mark.parametrize("other", ["machine/boot/pid:[1]", "{machine}/{boot}/pid:[1]", "{machine}/boot/pid:[1]"])
def test_rows_of_other_hosts_and_containers_are_left_alone(tmp_path, other):
    ledger = Ledger(tmp_path / "ledger")
    machine, boot, _ = (ledger._place + "//").split("/")[:3]
    ledger.reserve(spec(1, 8), core_limit=10, cluster_limit=9)
    place(ledger, "c1", other.format(machine=machine, boot=boot))
    # What can't be judged from here neither counts nor is shown; what was before this machine's boot is over.
    over = other == "{machine}/boot/pid:[1]"
    assert [row.id for row in ledger.list()] == (["c1"] if over else [])
    if over:
        assert not ledger.owner_alive(ledger.list()[0])
    ledger.reserve(spec(2, 8), core_limit=10, cluster_limit=9)
    assert ledger.limit(10) == 10


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
    assert caught.value.data == {"limit": 5, "used": 3, "asked": 3}
    ledger.snapshot("c1", ledger.get("c1").snapshot, ended=True)
    ledger.release("c1")
    ledger.reserve(spec(2, 3), core_limit=100, cluster_limit=9)


def path_mode(ledger: Ledger) -> int:
    return ledger.path.stat().st_mode & 0o777
