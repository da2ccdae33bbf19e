"""What the check of a layer takes over from its base environment: bytecode of the very same source, and no other."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from coiled_jupyter.texts import source
from tests.environments import MINORS, interpreters

ENV = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
FIRST = "VALUE = 1\n\ndef where():\n    return where.__code__.co_filename\n"
OTHER = FIRST.replace("1", "2")


class Pair:
    """A base environment that has compiled its packages, and a layer beside it that has not."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.python = folder, python
        self.base, self.layer = self._environment("base"), self._environment("layer")

    def _environment(self, name: str) -> Path:
        subprocess.run([self.python, "-m", "venv", "--without-pip", self.folder / name], check=True, env=ENV)
        site = next((self.folder / name).glob("lib/python*/site-packages"))
        info = site / "thing-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
        (info / "RECORD").write_text("thing/__init__.py,,\n")
        (site / "thing").mkdir()
        (site / "thing" / "__init__.py").write_text(FIRST)
        # As of another moment: a wheel is unpacked where it is installed.
        os.utime(site / "thing" / "__init__.py", (1e9, 1e9 + (name == "base")))
        return site

    def run(self, name: str, code: str, told: str = "") -> str:
        python = self.folder / name / "bin" / "python"
        done = subprocess.run([python, "-I", "-c", code], input=told, capture_output=True, text=True, env=ENV)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def compile(self) -> bytes:
        self.run("base", "import thing")
        return self.bytecode(self.base)

    def bytecode(self, site: Path) -> bytes:
        return next((site / "thing" / "__pycache__").glob("__init__.*.pyc")).read_bytes()

    def check(self, bases: list[Path]) -> bytes:
        """Let the layer check itself, and return its bytecode."""
        asked = {
            "expected": {"thing": "1"},
            "imports": ["thing"],
            "distributed": "",
            "base": [str(base) for base in bases],
        }
        answer = json.loads(self.run("layer", source("check"), json.dumps(asked) + "\n").splitlines()[-1])
        assert answer["problems"] == []
        return self.bytecode(self.layer)

    def value(self) -> int:
        code = "import thing, json; print(json.dumps([thing.VALUE, thing.where()]))"
        value, file = json.loads(self.run("layer", code))
        assert file == str(self.layer / "thing" / "__init__.py")
        return value


FOUND = [minor for minor in MINORS if minor in interpreters()]


@pytest.mark.parametrize("minor", FOUND)
def test_bytecode_of_the_same_source_is_taken_over_and_python_takes_it_for_its_own(tmp_path, minor):
    pair = Pair(tmp_path, interpreters()[minor])
    there = pair.compile()
    here = pair.check([pair.folder, pair.base])
    # It names the file that it was compiled from, until it is imported.
    assert here[16:] == there[16:]
    assert str(pair.base).encode() in here
    assert pair.value() == 1
    assert pair.bytecode(pair.layer) == here


@pytest.mark.parametrize("minor", sorted({FOUND[0], FOUND[-1]}))
@pytest.mark.parametrize("why", ["other source", "older than its source", "of another Python", "none"])
def test_any_other_bytecode_is_left_and_the_layer_compiles_its_own(tmp_path, why, minor):
    pair = Pair(tmp_path, interpreters()[minor])
    there = pair.compile()
    path, file = pair.base / "thing" / "__init__.py", next((pair.base / "thing" / "__pycache__").iterdir())
    if why == "other source":
        # As long, and of the same moment, as what the bytecode is of.
        path.write_text(OTHER)
        os.utime(path, (1e9, 1e9 + 1))
    elif why == "older than its source":
        path.write_text(OTHER)
        pair.compile()
        path.write_text(FIRST)
        os.utime(path, (1e9, 1e9 + 99))
    elif why == "of another Python":
        file.write_bytes(b"\0" + there[1:])
    else:
        file.unlink()
    here = pair.check([pair.base])
    assert str(pair.layer).encode() in here
    assert str(pair.base).encode() not in here
    assert pair.value() == 1
