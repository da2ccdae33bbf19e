"""Runs a Dask scheduler or nanny that ends with its supervisor: ``python -c <this text>``, stdin held by the supervisor.

The first line of stdin, a JSON list, is the arguments of ``distributed.cli.dask_spec``; Dask is imported before it is
read, so processes that wait for each other import at the same time. When stdin closes, whoever closed it, the process
ends by SIGTERM, and what is left of its group 3 seconds later by SIGKILL. When the process ends, its group ends.

Rules: Python 3.8, standard library only before Dask's own command starts; the leader of its own process group.
"""

import json
import os
import select
import signal
import sys
import time

GRACE_SECONDS = 3.0


def _guard(alive):
    """Watch, from a process of its own, the supervisor's pipe and the program's (`alive`); a stopped program can't."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    program = os.getppid()
    poll = select.poll()
    # No events asked for: only the hang-up is told, and the arguments stay in the pipe for the program.
    poll.register(0, 0)
    poll.register(alive, 0)
    ready = {fd for fd, _ in poll.poll()}
    if alive not in ready:
        try:
            os.kill(program, signal.SIGTERM)
        except OSError:
            pass
        poll.unregister(0)
        poll.poll(int(GRACE_SECONDS * 1000))
    # The guard is a member of the group, so this number can't have become somebody else's.
    os.killpg(0, signal.SIGKILL)


def _start_guard():
    alive, held = os.pipe()
    if os.fork() == 0:
        try:
            os.close(held)
            _guard(alive)
        finally:
            os._exit(1)
    os.close(alive)


def _die_with_parent():
    # Linux only: ends this process at once even while it is stopped; the guard then ends the rest.
    if sys.platform.startswith("linux"):
        try:
            import ctypes

            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
        except Exception:
            pass


def _arguments():
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 1)
        if not more:
            # The supervisor has gone; the guard is on its way.
            time.sleep(GRACE_SECONDS)
            sys.exit(1)
        line += more
    # What Dask and its workers start must not hold the supervisor's pipe.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return json.loads(line.decode("utf-8"))


if __name__ == "__main__":
    _start_guard()
    _die_with_parent()
    # A file in the working folder must not stand for a module.
    sys.path[:] = [entry for entry in sys.path if entry]
    import runpy

    import distributed  # noqa: F401 - imported ahead of the arguments

    sys.argv[:] = ["dask_spec", *_arguments()]
    runpy.run_module("distributed.cli.dask_spec", run_name="__main__", alter_sys=True)
