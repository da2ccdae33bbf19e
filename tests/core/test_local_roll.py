"""What a kernel says of a roll is hostile until it is decoded, and is said in sentences."""

from __future__ import annotations

import json

import pytest

from coiled_jupyter.core.errors import Invalid, TooLarge
from coiled_jupyter.core.local_roll import Begun, Look, Stopped, Told, answer, doing, ended, refused


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", Told),
        ("[]", Look),
        ('{"kind": "other"}', Look),
        ('{"kind": "nannies", "workers": [1]}', Look),
        ('{"error": "KeyError"}', Stopped),
        ('{"state": "done", "since": -1}', Told),
        (json.dumps({"state": "done", "what": "x" * 5000}), Told),
        (json.dumps({"state": "done", "lines": ["x"] * 5000}), Told),
        ('{"ticket": 1}', Begun),
    ],
)
def test_what_was_not_asked_for_is_not_read(text, kind):
    with pytest.raises(Invalid):
        answer(text, kind)


def test_a_large_answer_is_not_read():
    with pytest.raises(TooLarge):
        answer(json.dumps({"state": "done", "lines": ["x" * 900] * 5000}), Told)


def test_a_roll_says_what_it_is_at_and_whom_it_waits_for():
    told = answer('{"state": "running", "doing": "tasks", "of": "1", "done": 1}', Told)
    assert doing(told, 2) == "1 of 2: waiting for the running tasks of worker 1"
    assert doing(answer('{"state": "running", "silent": 9}', Told), 2).endswith("which a running cell holds")
    assert doing(answer('{"state": "running", "doing": "{0.x}", "of": "a\\nb", "done": 9}', Told), 2) == "2 of 2"


def test_how_it_failed_names_the_worker_and_what_to_do():
    busy = ended(answer('{"state": "failed", "why": "busy", "worker": "0"}', Told), 120.0)
    assert busy == "A task on worker 0 ran longer than 120 s. Try again when it has ended, or allow more time."
    assert "a bug" in ended(answer('{"state": "failed", "why": "bug", "what": "KeyError"}', Told), 1.0).lower()
    assert "already" in refused(answer('{"error": "running"}', Begun))
    assert refused(answer('{"error": "?"}', Begun))
