"""Syncs and states that the ledger keeps."""

from __future__ import annotations

import msgspec

from coiled_jupyter.core.change.journal import first
from coiled_jupyter.core.change.state import BASE, State, SyncSpec
from coiled_jupyter.core.launch import BuildSpec
from coiled_jupyter.core.times import now
from coiled_jupyter.ledger import Ledger


def test_the_last_states_and_syncs_of_a_cluster_stay_at_hand_without_what_is_secret(tmp_path):
    ledger = Ledger(tmp_path / "ledger")

    def state(name: str, cluster: str = "c1") -> State:
        return State(id=name, cluster=cluster, how="roll", packages=1, created_at=now(), used_at=now())

    for name in (BASE, *(f"layer{number}" for number in range(7))):
        ledger.journal.save_state(state(name))
    ledger.journal.save_state(state("other", "c2"))
    ledger.journal.save_state(state("layer2"))
    # Five and the base, the last used first; those of other clusters are their own.
    assert [found.id for found in ledger.journal.states("c1")] == [
        "layer2",
        "layer6",
        "layer5",
        "layer4",
        "layer3",
        BASE,
    ]
    assert [found.id for found in ledger.journal.states("c2")] == ["other"]
    ledger.journal.forget_state("layer2")
    assert "layer2" not in {found.id for found in ledger.journal.states()}
    index = BuildSpec(requirements=("x",), index_options=("--index-url", "https://me:hunter22@example.org/simple"))
    for number in range(25):
        plan = SyncSpec(
            id=f"s{number}", plan=None, cluster="c1", environ={"UV_INDEX": "https://me:hunter22@e"}, build=index
        )
        ledger.journal.save_sync(first(plan, now()), plan)
    ended = msgspec.structs.replace(first(plan, now()), state="done")
    ledger.journal.save_sync(ended, plan)
    # One that runs is never forgotten.
    assert len(ledger.journal.syncs()) == 25
    assert ledger.journal.syncs()[0] == (ended, msgspec.structs.replace(plan, environ={}, build=None))
    for path in tmp_path.iterdir():
        assert b"hunter22" not in path.read_bytes()
    ledger.delete("c1")
    assert ledger.journal.syncs() == []
