"""What a process tells of modules whose files were edited after their import; each case in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from coiled_jupyter.texts import source
from tests.environments import interpreters

FIRST = "import os\nLIMIT = 1\n\ndef f(x):\n    return x + LIMIT\n\nclass C:\n    @property\n    def p(self):\n        return 1\n"
RUN = """
import importlib, os, sys, time
sys.path.insert(0, os.getcwd())
n = {"__name__": "edits"}
def look():
    if "edited" not in n:
        exec(compile(sys.stdin.read(), "edits", "exec"), n)
    print([name for name, _ in n["edited"]()])
def write(text, path="helpers.py"):
    with open(path, "w") as file:
        file.write(text)
def old(path="helpers.py"):
    os.utime(path, (1e9, 1e9))
first = open("helpers.py").read()
"""


ENV = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(tmp_path, code, python=sys.executable, options=()):
    (tmp_path / "helpers.py").write_text(FIRST)
    done = subprocess.run(
        [python, *options, "-c", RUN + code],
        input=source("edits"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env=ENV,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_an_edit_after_the_first_look_is_told_until_it_is_reloaded(python, tmp_path):
    code = """
import helpers
look()
write(first.replace("x + LIMIT", "x - LIMIT")); look()
write(first); look()
write(first.replace("LIMIT = 1", "LIMIT = 2")); look()
os.utime("helpers.py", (time.time() + 9, time.time() + 9)); importlib.reload(helpers); look()
os.unlink("helpers.py"); look()
"""
    told = run(tmp_path, code, python)
    assert told == ["[]", "['helpers']", "[]", "['helpers']", "[]", "['helpers']"]


EDITS = {
    "a function": ("x + LIMIT", "x - LIMIT"),
    "a constant": ("LIMIT = 1", "LIMIT = 2"),
    "a property": ("return 1", "return 2"),
    "a new function": ("class C", "def g():\n    return 1\n\nclass C"),
    "a line above": ("import os\n", "import os\n# moved\n"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_an_edit_before_the_first_look_is_told(edit, python, tmp_path):
    """Also where another process has imported the new code since, so that Python's bytecode is of it."""
    before, after = EDITS[edit]
    code = f"""
import helpers, subprocess
write(first.replace({before!r}, {after!r}))
os.utime("helpers.py", (time.time() + 9, time.time() + 9))
subprocess.run([sys.executable, "-c", "import helpers"], check=True)
look()
"""
    assert run(tmp_path, code, python) == ["['helpers']"]


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_code_written_before_its_import_in_a_running_process_is_trusted(python, tmp_path):
    code = """
write(first.replace("LIMIT = 1", "LIMIT = 3") + "import logging\\nlogger = logging.getLogger('x')\\n")
import helpers
look()
"""
    assert run(tmp_path, code, python) == ["[]"]


def test_what_nothing_shows_is_not_trusted(tmp_path):
    """A value that is computed, and no bytecode that tells which file it was computed from."""
    code = """
write(first + "import logging\\nlogger = logging.getLogger('x')\\n")
import helpers
look()
"""
    assert run(tmp_path, code, options=("-B",)) == ["['helpers']"]


def test_old_files_are_not_compiled(tmp_path):
    """Files that are older than the process are what it has imported."""
    (tmp_path / "big.py").write_text("\n".join(f"def f{n}(): return {n}" for n in range(2000)))
    (tmp_path / "helpers.py").write_text(FIRST)
    time.sleep(3)
    code = (
        RUN
        + "import helpers, big, ast\nast.parse = None\nlook()\nprint(n['_SEEN']['big'][2] is not None, sys.flags.optimize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=source("edits"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env=ENV,
    )
    assert done.stdout.splitlines() == ["[]", "True 0"], done.stderr
