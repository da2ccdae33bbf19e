"""The map of imports against Python's own machinery, over generated pairs of environments: no false green."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from coiled_jupyter.texts import source
from tests.environments import interpreters
from tests.texts.oracle import MAPPED, SOURCE
from tests.texts.pairs import NAMES, Pair

OFTEN, NIGHTLY = 9, 175
"""Pairs for each Python and part."""
PARTS = range(4)
TEXTS = {"content": source("content"), "imports": source("imports")}


def call(
    python: str, code: str, names: Collection[str], cache: Path, root: Path, path: list[str], tail: list[str]
) -> dict:
    arguments = [str(root), json.dumps(path), json.dumps(tail), json.dumps(sorted(names))]
    text = json.dumps({**TEXTS, "cache": str(cache)})
    done = subprocess.run(
        [python, "-B", "-I", "-S", "-c", code, *arguments], input=text, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def shown(answer: dict) -> dict:
    """What a comparison goes by."""
    packages = {name: entry.get("content") for name, entry in answer["packages"].items()}
    modules = {module["name"]: module.get("content") for module in answer["modules"]}
    return {"packages": packages, "modules": modules, "library": answer["library"]}


def under(answer: dict, name: str) -> dict:
    digests = answer["names"].items()
    # The lines that Python runs at its start have no name.
    return {key: digest for key, digest in digests if key.split(".")[0] == name and not key.endswith(".pth")}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("minor", sorted({"3.8", "3.11", "3.13"} & set(interpreters())))
def test_equal_is_said_only_where_the_same_code_would_run(minor, part, tmp_path, request):
    nightly = request.config.option.nightly
    start = (request.config.option.seed * len(PARTS) + part) * 1000
    wrong, differ = [], 0
    # What one look has kept must mislead no other one; and Python's own library is read once.
    cache = tmp_path / "host-files-text.json"
    for number in range(NIGHTLY if nightly else OFTEN):
        pair = Pair(tmp_path / str(number), start + number, interpreters()[minor])
        truths = [call(pair.python, SOURCE, NAMES, cache, *side) for side in pair.sides()]
        names = {name for truth in truths for name in truth}
        # As if the notebook had imported each of them.
        answers = [call(pair.python, MAPPED, names, cache, *side) for side in pair.sides()]
        assert not any("error" in answer for answer in answers), answers
        others = {name for name in names if truths[0].get(name) != truths[1].get(name)}
        unknown = any(answer["unknown"] for answer in answers)
        differ += bool(others)
        if others and shown(answers[0]) == shown(answers[1]) and not unknown:
            wrong.append(("false green", number, pair.changes, sorted(others)))
        for name in sorted(names):
            said = under(answers[0], name) != under(answers[1], name)
            # What a finder that nobody knows serves is unknown, whatever the map says.
            if said != (name in others) and not unknown:
                wrong.append(("false same" if name in others else "false difference", number, pair.changes, name))
    assert wrong == []
    assert differ > 2


_LOCAL = """
import json, sys
given = json.loads(sys.stdin.read())
space = {"__name__": "content"}
exec(compile(given["content"], "content", "exec"), space)
import helpers
from folder_a import inner
imports = {"__name__": "imports"}
exec(compile(given["imports"], "imports", "exec"), imports)
print(imports["imports"](json.dumps({"places": space["places"](), "local": True, "names": True})))
"""


def test_of_code_of_no_package_what_was_imported_or_is_in_the_way_is_told(tmp_path):
    for name in (
        "helpers.py",
        "other.py",
        "colorsys.py",
        "test.py",
        "folder_a/inner.py",
        "folder_a/deep/down.py",
        "folder_b/inner.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("A = 1\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "big.csv").write_text("1,2\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [interpreters()["3.11"], "-c", _LOCAL]
    done = subprocess.run(command, input=json.dumps(TEXTS), capture_output=True, text=True, env=env, cwd=tmp_path)
    answer = json.loads(done.stdout)
    told = {module["name"]: module.get("used", False) for module in answer["modules"]}
    assert {name: told.get(name) for name in ("helpers.py", "folder_a/", "colorsys.py")} == {
        "helpers.py": True,
        "folder_a/": True,
        "colorsys.py": False,
    }
    assert not {"other.py", "folder_b/", "data/", "sitecustomize.py"} & told.keys()
    files = {module["name"]: sorted(module.get("files", ())) for module in answer["modules"]}
    # Of one file its own digest says all.
    assert (files["helpers.py"], files["folder_a/"]) == ([], ["deep/down.py", "inner.py"])
    assert answer["shadows"] == [str(tmp_path / "colorsys.py")]
    assert answer["unknown"] == []
    # A home folder may hold anything: what nobody has imported isn't even looked at.
    assert not {"other", "folder_b", "folder_b.inner", "data"} & answer["names"].keys()
