"""Reservations, limits and damage of the ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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


def path_mode(ledger: Ledger) -> int:
    return ledger.path.stat().st_mode & 0o777
