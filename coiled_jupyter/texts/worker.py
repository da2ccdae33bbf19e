"""Answers for a worker: what it executes, and which packages the values that it holds need to be unpickled elsewhere.

Kept in the worker's process; ``call(verb, …)`` returns one JSON text. Values are pickled as for a transfer, in a thread,
and the bytes discarded: the modules that are named are recorded, arrays aren't copied, spilled values aren't read.

Rules: Python 3.8, standard library and Dask's own pickler only, never raises.
"""

import itertools
import json
import os
import stat
import sys
import sysconfig
import threading
import time
import types

KEYS = 2000
_WAITS = {
    "distributed.event": "Event",
    "distributed.lock": "Lock",
    "distributed.multi_lock": "MultiLock",
    "distributed.queues": "Queue",
    "distributed.semaphore": "Semaphore",
    "distributed.variable": "Variable",
}
RECORD_LIMIT = 32 << 20
_looks = {}
_numbers = itertools.count(1)


def _workers():
    module = sys.modules.get("distributed.worker")
    return list(getattr(getattr(module, "Worker", None), "_instances", ()))


def _tasks(worker):
    # Before Dask 2022.6 the tasks are the worker's own.
    return list(getattr(worker, "state", worker).tasks.values())


def _running(worker):
    """Return how many tasks execute; also those that have seceded, and those that nobody wants any more."""
    running = getattr(getattr(worker, "state", None), "all_running_tasks", None)
    if running is not None:
        return len(running)
    count = 0
    for task in _tasks(worker):
        state = task.state
        if state in ("cancelled", "resumed"):
            state = getattr(task, "previous", None) or getattr(task, "_previous", None)
        count += state in ("executing", "long-running")
    return count


def executing():
    """Return how many tasks execute here, and the keys (as text) of those that have not begun."""
    running, queued = 0, []
    for worker in _workers():
        running += _running(worker)
        tasks = _tasks(worker)
        queued += [str(task.key) for task in tasks if task.state in ("ready", "waiting", "constrained")]
    return {"executing": running, "queued": queued[:KEYS]}


def blocked():
    """Return how many of the executing tasks have seceded, and for what others wait, such as ``Event``."""
    frames, seceded, waits = sys._current_frames(), 0, []
    for worker in _workers():
        seceded += sum(task.state == "long-running" for task in _tasks(worker))
        for thread in list(worker.active_threads):
            frame, waited = frames.get(thread), None
            while frame is not None:
                # Such as a Lock, which is made of a Semaphore: the task has called the outer one.
                waited = _WAITS.get(frame.f_globals.get("__name__"), waited)
                frame = frame.f_back
            waits += [waited] if waited else []
    return {"seceded": seceded, "waits": waits[:KEYS]}


_NAMED = (type, types.FunctionType, types.BuiltinFunctionType)


class _Enough(Exception):
    pass


class _Nowhere:
    """A file that counts the bytes written to it and keeps none."""

    def __init__(self, limit, end):
        self.left, self.end = limit, end

    def write(self, data):
        self.left -= memoryview(data).nbytes
        if self.left < 0 or time.monotonic() > self.end:
            raise _Enough
        return memoryview(data).nbytes


def _pickler(names, nowhere):
    import cloudpickle

    class Pickler(cloudpickle.CloudPickler):
        def reducer_override(self, value):
            if isinstance(value, type(sys)):
                names.add(value.__name__)
            named = value if isinstance(value, _NAMED) else type(value)
            module = getattr(named, "__module__", None)
            if isinstance(module, str):
                names.add(module)
            if time.monotonic() > nowhere.end:
                raise _Enough
            return super().reducer_override(value)

    return Pickler(nowhere, protocol=5, buffer_callback=lambda _: None)


class _Look(threading.Thread):
    """One examination of everything that the workers of this process hold."""

    def __init__(self, seconds, limit):
        super().__init__(name="coiled-jupyter needs", daemon=True)
        self.end, self.limit = time.monotonic() + seconds, limit
        self.answer = None

    def run(self):
        try:
            self.answer = self.look()
        except BaseException as error:
            self.answer = {"error": "The values that it holds could not be examined: %s" % type(error).__name__}

    def look(self):
        modules, unfinished = set(), 0
        for worker in _workers():
            data = worker.data
            memory = getattr(data, "memory", data)
            # The innermost dictionary: reading through the outer ones counts as use, or reads from disk.
            memory = getattr(memory, "d", memory)
            values = list(memory.items())
            unfinished += max(len(data) - len(values), 0)
            for position, (_, value) in enumerate(values):
                if time.monotonic() > self.end:
                    unfinished += len(values) - position
                    break
                names = set()
                nowhere = _Nowhere(self.limit, self.end)
                try:
                    _pickler(names, nowhere).dump(value)
                except BaseException:
                    unfinished += 1
                modules |= names
                self.limit = max(nowhere.left, 0)
        distributions, rest = _distributions({name.split(".")[0] for name in modules})
        return {"distributions": distributions, "modules": rest, "unfinished": unfinished}


def _normal(name):
    import re

    return re.sub(r"[-_.]+", "-", name).lower()


def _distributions(tops):
    """Return the distributions of top-level modules, and the modules that belong to none and aren't Python's own."""
    own = set(sys.builtin_module_names) | set(getattr(sys, "stdlib_module_names", ())) | {"__main__", "__mp_main__"}
    library = os.path.realpath(sysconfig.get_paths()["stdlib"])
    wanted = set()
    for top in tops - own:
        origin = os.path.realpath(getattr(sys.modules.get(top), "__file__", None) or "")
        if not origin.startswith(library + os.sep) or "site-packages" in origin or "dist-packages" in origin:
            wanted.add(top)
    found, known = set(), set()
    for path in _metadata() if wanted else ():
        heads = _heads(path)
        if heads & wanted:
            found.add(_normal(os.path.basename(path).rpartition(".")[0].split("-")[0]))
            known |= heads
    return sorted(found), sorted(wanted - known)


def _metadata():
    for folder in list(sys.path):
        try:
            entries = sorted(os.listdir(folder or os.curdir))
        except (OSError, TypeError, ValueError):
            continue
        for entry in entries:
            if entry.endswith((".dist-info", ".egg-info")):
                yield os.path.join(folder, entry)


def _heads(path):
    """Return the top-level modules of a distribution; what isn't a regular file tells none, and is never waited for."""
    heads = set()
    for name in ("RECORD", "top_level.txt"):
        try:
            with open(os.path.join(path, name), encoding="utf-8", errors="replace", opener=_opener) as file:
                lines = file.read(RECORD_LIMIT).splitlines()
        except OSError:
            continue
        firsts = {line.strip('" ').partition("/")[0].partition(",")[0] for line in lines} - {"", ".."}
        heads |= {first.split(".")[0] for first in firsts}
    return heads


def _opener(path, flags):
    """Open a regular file only: a pipe would wait for somebody to write, and a device may never end."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("not a regular file")


def needs(seconds, limit):
    """Start to examine what the values held here need; return the number of that examination."""
    number = next(_numbers)
    for old in list(_looks)[:-4]:
        del _looks[old]
    _looks[number] = _Look(seconds, limit)
    _looks[number].start()
    return {"look": number}


def needed(number):
    """Return what an examination has found, or null while it isn't ready."""
    look = _looks.get(number)
    return {"error": "There is no such examination"} if look is None else {"found": look.answer}


_VERBS = {"executing": executing, "blocked": blocked, "needs": needs, "needed": needed}


def call(verb, *arguments):
    """Return the JSON answer of a verb; ``error`` says why there is none."""
    try:
        return json.dumps(_VERBS[verb](*arguments))
    except BaseException as error:
        return json.dumps({"error": "The worker could not do it: %s" % type(error).__name__})
