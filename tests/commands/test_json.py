"""What `--json` prints, held against the schema of the wire types, for every command."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator

import pytest

from coiled_jupyter.commands.parser import parser
from coiled_jupyter.core.wire import ErrorBody
from tests.processes import apart
from tests.schema import check_types
from tests.test_cli import run

REPORT = "ImportError: cannot import name 'x' from 'iniconfig'"


def with_json(top: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the commands that have `--json`."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                if any("--json" in one.option_strings for one in command._actions):
                    yield command.prog.partition(" ")[2]
                yield from with_json(command)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    root = tmp_path_factory.mktemp("json")
    env = {
        **os.environ,
        **apart(),
        "COILED_JUPYTER_DATA_DIR": str(root / "data"),
        "JUPYTER_DATA_DIR": str(root / "jupyter"),
    }
    seen: set[str] = set()

    def ask(*words: str, code: int = 0, text: str = "") -> object:
        """Run a command with `--json`; return its answer, which must be of a type that the command names."""
        arguments = parser().parse_args([*words, "--json"])
        ended, out, error = run(*words, "--json", env=env, text=text)
        assert ended == code, (words, out, error)
        answer = json.loads(out)
        kinds = (ErrorBody,) if isinstance(answer, dict) and set(answer) == {"error"} else arguments.answers
        check_types(answer, kinds, " ".join(words))
        if kinds is arguments.answers:
            seen.add(" ".join(filter(None, (arguments.command, getattr(arguments, "verb", None)))))
        return answer

    ask.seen, ask.env = seen, env
    yield ask
    run("cluster", "stop", "json", env=env)


def test_what_every_command_prints_is_of_the_types_that_it_names(ask):
    assert ask("status")["clusters"] == []
    assert ask("diff", code=3)["error"]["kind"] == "not_found"
    made = ask("cluster", "create", "json", "--workers", "1", "--requirement", "iniconfig==1.1.1")
    assert [cluster["id"] for cluster in ask("cluster", "list")] == [made["id"]]
    ask("diff", code=1)
    ask("explain", text=REPORT)
    ask("explain", code=2, text="")
    ask("sync", "iniconfig", "--dry-run")
    assert ask("sync", "iniconfig", code=2)["error"]["kind"] == "invalid"
    assert ask("sync", "iniconfig", "--yes")["state"] == "done"
    ask("undo", "--list")
    ask("undo", "--dry-run")
    assert ask("undo", "--yes")["state"] == "done"
    ask("cluster", "scale", "1", "json")
    ask("cluster", "adapt", "json", "--minimum", "1", "--maximum", "1")
    ask("cluster", "keep", "600", "json")
    ask("cluster", "logs", "json", "--node", "scheduler")
    ask("cluster", "rename", "json", "again")
    assert ask("cluster", "stop", "jsn", code=3)["error"]["message"].startswith("There is no cluster jsn")
    ask("software", "create", "kept", "iniconfig==1.1.1")
    ask("software", "list")
    ask("software", "show", "kept")
    ask("software", "export", "kept", "--format", "requirements")
    ask("software", "install", "kept")
    ask("software", "clean")
    assert ask("doctor")["plans"][0]["cluster"] == made["id"]
    assert ask("cluster", "offers", "local") == {"options": {}, "clusters": []}
    ask("cluster", "restart", "again")
    ask("cluster", "stop", "again")
    ask("cluster", "attach", "tcp://127.0.0.1:1", "--name", "json", code=3)
    assert ask.seen == set(with_json(parser()))
