"""What a worker's text tells of tasks that execute, whatever Dask calls them."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from types import ModuleType, SimpleNamespace

import pytest

from coiled_jupyter.texts import worker as text


class Task:
    """A task in one state; one that was cancelled has the state that it was in before under its generation's name."""

    def __init__(self, key: str, state: str, **fields) -> None:
        self.key, self.state = key, state
        for name, value in fields.items():
            setattr(self, name, value)


TASKS = [
    Task("executes", "executing"),
    Task("seceded", "long-running"),
    Task("begins", "ready"),
    Task("waits", "waiting"),
    Task("done", "memory"),
]


@pytest.fixture
def ask(monkeypatch):
    importlib.import_module("distributed.worker")

    def ask(worker, verb: str):
        monkeypatch.setattr(sys.modules["distributed.worker"].Worker, "_instances", {worker})
        return json.loads(text.call(verb))

    return ask


class Worker:
    """A worker with tasks of its own, or with a state that has them."""

    def __init__(self, tasks, *, state: bool, **fields) -> None:
        self.active_threads: dict[int, str] = {}
        held = SimpleNamespace(tasks={task.key: task for task in tasks}, **fields)
        if state:
            self.state = held
        else:
            self.tasks = held.tasks


@pytest.mark.parametrize("previous", ["previous", "_previous"])
@pytest.mark.parametrize("state", [True, False])
def test_a_task_that_has_seceded_or_that_nobody_wants_any_more_executes(ask, state, previous):
    tasks = [
        *TASKS,
        Task("unwanted", "cancelled", **{previous: "executing"}),
        Task("fetched", "cancelled", **{previous: "flight"}),
    ]
    found = ask(Worker(tasks, state=state), "executing")
    assert found == {"executing": 3, "queued": ["begins", "waits"]}


def test_what_dask_counts_itself_is_counted(ask):
    found = ask(Worker(TASKS, state=True, all_running_tasks=set(TASKS[:2])), "executing")
    assert found["executing"] == 2


def test_what_a_task_waits_for_is_told(ask):
    event = ModuleType("distributed.event")
    code = "def wait(event, begun):\n    begun.set()\n    event.wait()\n"
    exec(compile(code, "event.py", "exec"), event.__dict__)
    end, begun = threading.Event(), threading.Event()
    thread = threading.Thread(target=event.wait, args=(end, begun))
    thread.start()
    try:
        begun.wait()
        worker = Worker(TASKS, state=True)
        worker.active_threads = {thread.ident: "executes", 0: "seceded"}
        assert ask(worker, "blocked") == {"seceded": 1, "waits": ["Event"]}
    finally:
        end.set()
        thread.join()
