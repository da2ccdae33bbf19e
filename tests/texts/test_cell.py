"""A cell runs on every Python, beside others in one process, and is ended by an interrupt."""

from __future__ import annotations

import json
import subprocess

import pytest

from coiled_jupyter.texts import source
from tests.environments import interpreters

# Stands for Dask's worker: what a cell logs there is all that it needs of it.
RUN = """
import json, sys, threading, time, types
events = []
class Worker:
    def log_event(self, topic, message):
        events.append([topic, message])
module = types.ModuleType("distributed.worker")
module.get_worker = Worker
sys.modules["distributed.worker"] = module
n = {"__name__": "cell"}
exec(compile(sys.stdin.read(), "cell", "exec"), n)
run, own = n["run"], sys.stdout
def told(topic, name):
    return "".join(m.get("text", "") for t, m in events if t == topic and m["stream"] == name)
found = {
    "value": run("x = 1\\nx + y", {"y": 2}, "a", True),
    "shown": run("'text'", {}, "b", False),
    "empty": run("", {}, "c", True),
    "nothing": run("import sys\\nprint('out')\\nprint('err', file=sys.stderr)", {}, "d", False),
    "wrong": run("def f():\\n    return 1 / 0\\nf()", {}, "e", False),
    "syntax": run("1 +", {}, "f", False),
    "exit": run("raise SystemExit(3)", {}, "g", False),
    "repr": run("class A:\\n    def __repr__(self):\\n        raise ValueError\\nA()", {}, "h", False),
}
found["out"], found["err"] = told("d", "stdout"), told("d", "stderr")
ends = [m["stream"] for t, m in events if t == "d"]
found["last"] = ends[-1]
threads = "[thread.ident for thread in threading.enumerate()]"
started = f"import threading\\nbefore = {threads}\\nprint('x')\\nset({threads}) - set(before)"
found["threads"] = run(started, {}, "threads", False)[2]
cells = [threading.Thread(target=run, args=("for i in range(200): print(T)", {"T": "t%d" % k}, "t%d" % k, False)) for k in (1, 2)]
[cell.start() for cell in cells]
print("mine")
[cell.join() for cell in cells]
found["apart"] = [set(told("t%d" % k, "stdout").split()) == {"t%d" % k} for k in (1, 2)]
found["counts"] = [told("t%d" % k, "stdout").count("\\n") for k in (1, 2)]
answers = []
cell = threading.Thread(target=lambda: answers.append(run("import time\\nwhile True: time.sleep(0.01)", {}, "long", False)))
cell.start()
time.sleep(0.3)
found["asked"] = [n["interrupt"]("nobody"), n["interrupt"]("long")]
cell.join(20)
found["interrupted"] = answers[0][2][0]
print(json.dumps(found), file=sys.__stdout__)
"""


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_a_cell_on_every_python(minor):
    done = subprocess.run(
        [interpreters()[minor], "-c", RUN], input=source("cell"), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    mine, text = done.stdout.splitlines()
    assert mine == "mine", "what others of the process print goes where it went before"
    found = json.loads(text)
    assert found["value"] == ["done", 3, "3"]
    assert found["shown"] == ["done", None, "'text'"]
    assert found["empty"] == ["done", None, ""]
    assert found["nothing"] == ["done", None, ""]
    assert (found["out"], found["err"], found["last"]) == ("out\n", "err\n", "end")
    state, _, (name, message, lines) = found["wrong"]
    assert (state, name, message) == ("failed", "ZeroDivisionError", "division by zero")
    assert "return 1 / 0" in lines
    assert '"cell"' not in lines, "no frame of ours"
    assert found["syntax"][2][0] == "SyntaxError"
    assert found["exit"][2][0] == "SystemExit"
    assert "ValueError" in found["repr"][2]
    # A cell that prints starts none: it might be interrupted in the midst of that.
    assert found["threads"] == "set()"
    assert found["apart"] == [True, True]
    assert found["counts"] == [200, 200]
    assert found["asked"] == [False, True]
    assert found["interrupted"] == "KeyboardInterrupt"
