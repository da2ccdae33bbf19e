"""Runs the nodes of one cluster: imports Dask once and forks a scheduler or nanny for each line of stdin.

Started as ``python -c <this text>``, the leader of its own process group. Each line of stdin is a JSON object:
``{"start": name, "arguments": [...], "environ": {...}, "log": path}`` runs ``distributed.cli.dask_spec`` with these
arguments in a process group of its own, and its output goes to that file if possible; ``{"signal": name, "number": n,
"group": bool}`` sends it a signal. Each line of stdout is ``{"started": name, "pid": n}`` or ``{"ended": name, "code": n}``.

When a node ends, the rest of its group is killed. When stdin closes, because the supervisor has closed it or is gone,
nodes end by SIGTERM, and after 3 seconds by SIGKILL; if this process can't do that, a guard process does.

Rules: Python 3.8, standard library only before Dask is imported; no thread before the last fork.
"""

import importlib.util
import json
import os
import select
import signal
import sys
import time

GRACE_SECONDS = 3.0
# Workers have a lower priority than the notebook, its server and the supervisor.
NICE = 5


def _kill(pid, number, group=False):
    try:
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except OSError:
        pass


def _die_with_parent():
    # Linux only: kills this process when its parent ends, even while it is stopped.
    if sys.platform.startswith("linux"):
        try:
            import ctypes

            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
        except Exception:
            pass


def _guard(reports):
    """Kill every reported group once this program or its supervisor is gone, even if this program is stopped."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set()
    poll = select.poll()
    # Stdin is polled for its hang-up only: its lines are the program's.
    poll.register(0, 0)
    poll.register(reports, select.POLLIN)
    deadline = None
    rest = b""
    while deadline is None or time.monotonic() < deadline:
        for descriptor, _ in poll.poll(None if deadline is None else 100):
            if descriptor == 0:
                # The program has seen it too and ends its nodes; after twice its time, they are killed.
                poll.unregister(0)
                deadline = time.monotonic() + 2 * GRACE_SECONDS
                continue
            data = os.read(reports, 4096)
            if not data:
                deadline = 0.0
                break
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            for line in lines:
                if line.startswith(b"+"):
                    groups.add(int(line[1:]))
                else:
                    groups.discard(int(line[1:]))
    for pid in groups:
        _kill(pid, signal.SIGKILL, group=True)
    _kill(0, signal.SIGKILL, group=True)


def _start_guard():
    """Return the guard's pid and the end of the pipe that reports groups to it; the pipe ends with this program."""
    reports, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(report)
            _guard(reports)
        finally:
            os._exit(1)
    os.close(reports)
    return pid, report


class _Nodes:
    def __init__(self, guard, report):
        self._guard, self._report = guard, report
        self._pids = {}
        # Nodes that have ended while others of their group, which were killed, are still there.
        self._going = {}
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _send(self, **event):
        try:
            os.write(1, json.dumps(event).encode("utf-8") + b"\n")
        except OSError:
            pass

    def _start(self, name, arguments, environ, log):
        pid = os.fork()
        if pid == 0:
            self._become(arguments, environ, log)
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass
        self._report_group(b"+%d\n" % pid)
        self._pids[pid] = name
        self._send(started=name, pid=pid)

    def _report_group(self, line):
        try:
            os.write(self._report, line)
        except OSError:
            # The guard was killed; `_reap` starts another, to which all groups are reported.
            pass

    def _guard_again(self):
        os.close(self._report)
        self._guard, self._report = _start_guard()
        for pid in self._pids:
            self._report_group(b"+%d\n" % pid)

    def _become(self, arguments, environ, log):
        """Turn this fork into a node; doesn't return."""
        code = 1
        try:
            os.setpgid(0, 0)
            _die_with_parent()
            os.nice(NICE)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (self._report, self._wake, self._woken):
                os.close(descriptor)
            # Output of a node and its workers goes to its log; they must not keep the supervisor's pipes open.
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            try:
                printed = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            except OSError:
                # The node runs without a log if the disk is full or the folder gone.
                printed = os.open(os.devnull, os.O_WRONLY)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            os.close(printed)
            os.environ.update(environ)
            sys.argv[:] = ["dask_spec", *arguments]
            from distributed.cli import dask_spec

            dask_spec.main(list(arguments), "dask_spec")
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)

    def _signal(self, name, number, group):
        for pid, known in self._pids.items():
            if known == name:
                _kill(pid, number, group)

    def _reap(self):
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            pid = found.si_pid
            if pid in self._pids:
                # Until it is waited for, its pid isn't reused for another group.
                _kill(pid, signal.SIGKILL, group=True)
                self._report_group(b"-%d\n" % pid)
            _, status = os.waitpid(pid, 0)
            if pid == self._guard:
                self._guard_again()
            name = self._pids.pop(pid, None)
            if name is not None:
                code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                self._going[pid] = name, code, time.monotonic() + 1.0
        self._report_ended()

    def _report_ended(self):
        for pid, (name, code, deadline) in list(self._going.items()):
            try:
                # A group exists as long as any process of it; an unreaped one is waited for at most a second.
                os.killpg(pid, 0)
                gone = time.monotonic() > deadline
            except OSError:
                gone = True
            if gone:
                del self._going[pid]
                self._send(ended=name, code=code)

    def _do(self, line):
        request = json.loads(line.decode("utf-8"))
        if "start" in request:
            self._start(request["start"], request["arguments"], request["environ"], request["log"])
        elif "signal" in request:
            self._signal(request["signal"], request["number"], request.get("group", False))

    def serve(self):
        rest = b""
        while True:
            ready, _, _ = select.select([0, self._wake], [], [], 0.01 if self._going else None)
            if self._wake in ready:
                os.read(self._wake, 4096)
            self._reap()
            if 0 in ready:
                data = os.read(0, 65536)
                if not data:
                    return
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    self._do(line)

    def end(self):
        deadline = time.monotonic() + GRACE_SECONDS
        for pid in self._pids:
            _kill(pid, signal.SIGCONT, group=True)
            _kill(pid, signal.SIGTERM)
        while (self._pids or self._going) and time.monotonic() < deadline:
            select.select([self._wake], [], [], 0.01 if self._going else 0.1)
            self._reap()
        for pid in self._pids:
            _kill(pid, signal.SIGKILL, group=True)


def _keep_lock():
    """Keep the lock that shows whether this cluster lives; forks inherit it, programs that they start don't."""
    held = os.environ.pop("COILED_JUPYTER_ALIVE", "")
    if held.isdigit():
        os.set_inheritable(int(held), False)


if __name__ == "__main__":
    _keep_lock()
    # A file in the working folder must not shadow a module.
    sys.path[:] = [entry for entry in sys.path if entry]
    nodes = _Nodes(*_start_guard())
    _die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The text `probe` needs the time from which the forks' imports may date.
    sys._coiled_jupyter_started = time.time()
    if importlib.util.find_spec("bokeh") is None:
        # Without it there is no dashboard, and its pages would only be open to others.
        os.environ["DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"] = "[]"
    import distributed.cli.dask_spec  # noqa: F401 - once, for all nodes

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        nodes.serve()
    finally:
        nodes.end()
        # The guard is in this process group.
        os.killpg(0, signal.SIGKILL)
