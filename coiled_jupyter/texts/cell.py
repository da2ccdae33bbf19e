"""Runs one cell of the user on a worker, as a task: what it prints is sent while it runs, its last value at its end.

``run(source, given, topic, wanted)`` returns ``["done", value, repr]``, where `value` is None unless `wanted`, or ``["failed",
None, [name, message, traceback]]``. Output is logged as events under `topic`: ``{"stream": "stdout" | "stderr", "text": …}``,
and ``{"stream": "end"}`` at the end. ``interrupt(topic)`` raises KeyboardInterrupt in the cell.

Rules: Python 3.8, standard library only, never raises, except where the cell's own values do when they are pickled.
"""

import ast
import collections
import contextlib
import ctypes
import io
import linecache
import sys
import threading
import time
import traceback
import types

KEY = "_coiled_jupyter_cells"
PAUSE = 0.05
LIMIT = 100000
EVENT = 50000


def _state():
    known = sys.modules.get(KEY)
    if known is None:
        known = types.ModuleType(KEY)
        known.threads = {}
        known.targets = threading.local()
        known = sys.modules.setdefault(KEY, known)
    return known


class _Switch(io.TextIOBase):
    """Replaces a stream of the process: what a cell's thread writes goes to its cell, the rest to the original stream."""

    def __init__(self, name):
        self._name, self._own = name, getattr(sys, name)
        self.coiled_jupyter = True

    def _target(self):
        return getattr(_state().targets, self._name, None) or self._own

    def write(self, text):
        return self._target().write(text)

    def flush(self):
        self._target().flush()

    def __getattr__(self, name):
        return getattr(self._own, name)


def _switch():
    for name in ("stdout", "stderr"):
        if not hasattr(getattr(sys, name), "coiled_jupyter"):
            setattr(sys, name, _Switch(name))


class _Sent(io.TextIOBase):
    """Keeps what is written until a flush sends it."""

    def __init__(self, stream, send):
        self._stream, self._send = stream, send
        self._parts, self._mutex = collections.deque(), threading.Lock()

    def writable(self):
        return True

    def write(self, text):
        self._parts.append(str(text))
        return len(text)

    def flush(self):
        with self._mutex:
            text = "".join([self._parts.popleft() for _ in range(len(self._parts))])
            for start in range(0, len(text), EVENT):
                self._send({"stream": self._stream, "text": text[start : start + EVENT]})


def _tell(streams, ended):
    """Send what was written every `PAUSE` seconds, until the cell ends."""
    while not ended.wait(PAUSE):
        for stream in streams:
            stream.flush()


def _shown(value):
    try:
        return repr(value)[:LIMIT]
    except Exception as error:
        return "<%s whose repr raises %s>" % (type(value).__name__, type(error).__name__)


def _divided(tree):
    """Return the statements, and the expression that they end in, or None."""
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body[-1].value)
        return ast.Module(body=tree.body[:-1], type_ignores=[]), ast.fix_missing_locations(last)
    return tree, None


def _failure(error, filename):
    # The frames of this text mean nothing to the author of the cell.
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename != filename:
        found = found.tb_next
    lines = traceback.format_exception(type(error), error, found or None)
    return [type(error).__name__, str(error)[:LIMIT], "".join(lines)[-LIMIT:]]


def run(source, given, topic, wanted):
    """Run a cell in a namespace of its own, with the names in `given`."""
    state = _state()
    filename = "<cell %s>" % topic
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    worker = sys.modules["distributed.worker"].get_worker()

    def send(message):
        try:
            worker.log_event(topic, message)
        except Exception:
            # The scheduler has gone, which the end of the cell reports.
            pass

    streams = {name: _Sent(name, send) for name in ("stdout", "stderr")}
    _switch()
    for name, stream in streams.items():
        setattr(state.targets, name, stream)
    ended = threading.Event()
    with contextlib.suppress(RuntimeError):
        # Before the cell can be interrupted: until a new thread runs, Python knows it by the ident of the thread that starts
        # it, so an exception for the one would be raised in the other, which the first then waits for without end.
        threading.Thread(target=_tell, args=(list(streams.values()), ended), daemon=True).start()
    state.threads[topic] = threading.get_ident()
    namespace = {"__name__": "__main__", "__builtins__": __builtins__}
    namespace.update(given)
    try:
        statements, last = _divided(ast.parse(source, filename))
        # The user's own code, sent at the user's request.
        exec(compile(statements, filename, "exec"), namespace)  # noqa: S102
        value = eval(compile(last, filename, "eval"), namespace) if last is not None else None  # noqa: S307
        answer = ["done", value if wanted else None, "" if value is None else _shown(value)]
    except BaseException as error:
        answer = ["failed", None, _failure(error, filename)]
    finally:
        state.threads.pop(topic, None)
        ended.set()
        for name in streams:
            setattr(state.targets, name, None)
        for stream in streams.values():
            with contextlib.suppress(Exception):
                stream.flush()
        send({"stream": "end"})
        linecache.cache.pop(filename, None)
    return answer


def interrupt(topic):
    """Raise KeyboardInterrupt in the cell of this worker, if it runs here; it takes effect at its next step of Python."""
    thread = _state().threads.get(topic)
    if thread is None:
        return False
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
    time.sleep(0)
    return True
