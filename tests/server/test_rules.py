"""The routes of the rules on a real server, with an administrator's file and a user's."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from tests.processes import JupyterServer, apart


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("rules")
    admin = root / "site.toml"
    admin.write_text('ignore = ["certifi"]\n[[rule]]\nnames = ["numpy"]\nseverity = "risky"\nwhy = "Ours."\n')
    data = tempfile.mkdtemp(prefix="cj-")
    server = JupyterServer(
        root,
        "server",
        f"--CoiledJupyter.rules_file={admin}",
        env={"COILED_JUPYTER_DATA_DIR": data, **apart()},
    )
    server.data = Path(data)
    yield server
    server.close()


def test_rules_are_read_and_changed(server):
    status, rules = server.api("GET", "rules")
    assert status == 200
    assert (rules["ignores"], rules["overrides"], rules["faults"]) == ([], {}, [])
    assert [(r["names"], r["origin"]) for r in rules["rules"][:2]] == [(["certifi"], "admin"), (["numpy"], "admin")]
    assert {rule["origin"] for rule in rules["rules"]} == {"admin", "shipped"}
    assert not (server.data / "rules.toml").exists()
    status, changed = server.api("PATCH", "rules", {"ignores": ["My_Lib"], "overrides": {"pandas": "minor"}})
    assert status == 200
    assert (changed["ignores"], changed["overrides"]) == (["my-lib"], {"pandas": "minor"})
    assert server.api("GET", "rules")[1] == changed
    assert stat.S_IMODE((server.data / "rules.toml").stat().st_mode) == 0o600
    assert server.api("PATCH", "rules", {"overrides": {"pandas": None}})[1]["overrides"] == {}
    assert server.api("GET", "rules")[1]["ignores"] == ["my-lib"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b'{"nonsense": 1}', "nonsense"),
        (b'{"rules": []}', "rules"),
        (b'{"ignores": "numpy"}', "ignores"),
        (b'{"ignores": ["python"]}', "ignores"),
        (b'{"ignores": ["Distributed"]}', "ignores"),
        (b'{"ignores": ["../x"]}', "ignores"),
        (b'{"overrides": {"numpy": "red"}}', "overrides[...]"),
        (b'{"overrides": {"a\\nb": "same"}}', "overrides"),
        (b'{"overrides": {"": "same"}}', "overrides"),
        (b'{"overrides": ["numpy"]}', "overrides"),
    ],
    ids=range(12),
)
def test_bad_bodies_name_the_field_and_change_nothing(server, body, field):
    before = server.api("GET", "rules")
    status, answer = server.api("PATCH", "rules", raw=body)
    assert status == 400, answer
    assert answer["error"]["data"]["field"] == field
    assert "Traceback" not in str(answer)
    assert server.api("GET", "rules") == before


def test_a_damaged_file_is_told_and_not_written_over(server):
    path = server.data / "rules.toml"
    before = path.read_text() if path.exists() else ""
    path.write_text("[[rule]\n")
    try:
        status, rules = server.api("GET", "rules")
        assert status == 200
        assert "isn't TOML" in rules["faults"][0]
        assert {rule["origin"] for rule in rules["rules"]} == {"admin", "shipped"}
        status, answer = server.api("PATCH", "rules", {"ignores": ["a"]})
        assert (status, answer["error"]["kind"]) == (409, "conflict")
        assert path.read_text() == "[[rule]\n"
    finally:
        path.write_text(before)


def test_without_credentials_nothing_is_answered(server):
    for method in ("GET", "PATCH"):
        assert server.api(method, "rules", headers={})[0] in (403, 405)
